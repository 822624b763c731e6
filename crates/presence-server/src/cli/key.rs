//! `presence-server key …`: the key that tokens, proxies, webhooks and device keys are sealed with.

use anyhow::Context;
use clap::{Args, Subcommand};
use presence_store::{KeyChange, TokenKey};

use super::data_dir::DataDirArgs;
use super::output::{block_on, say};
use crate::config::settings;

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Seal all tokens, proxies, webhooks and device keys with another key. They stay the same.
    ///
    /// Without options, a new key is made and takes the place of the one in token.key; cut off at any moment,
    /// one of the two stays in force. It works only while no server runs on the data directory.
    ///
    /// A key that is kept elsewhere (--token-key) is changed for another one that is (--new-token-key): then
    /// start the server with the new one. Whether a command that was cut off got so far shows when it starts:
    /// it refuses the key that is not in force. If it says that keys.db has another key, run the command again.
    Rotate {
        /// The key that the tokens are sealed with now, if it is kept elsewhere than in token.key.
        #[arg(long, env = settings::TOKEN_KEY.variable, value_name = "BASE64", hide_env_values = true,
              requires = "new_token_key")]
        token_key: Option<String>,
        /// The key that they are to be sealed with: 32 bytes.
        #[arg(
            long,
            env = "PRESENCE_NEW_TOKEN_KEY",
            value_name = "BASE64",
            hide_env_values = true,
            requires = "token_key"
        )]
        new_token_key: Option<String>,
    },
}

pub(super) fn run(args: KeyArgs) -> anyhow::Result<()> {
    let KeyCommand::Rotate {
        token_key,
        new_token_key,
    } = args.command;
    let change = match (token_key, new_token_key) {
        (Some(old), Some(new)) => KeyChange::Given {
            old: TokenKey::from_base64(&old).context("--token-key is no key")?,
            new: TokenKey::from_base64(&new).context("--new-token-key is no key")?,
        },
        _ => KeyChange::File,
    };
    let dir = args.data_dir.open_existing()?;
    let lock = dir.lock()?;
    let resealed = block_on(async { Ok(dir.rotate_token_key(&lock, change).await?) })?;
    say(format_args!(
        "sealed the tokens of {} instances anew, {} proxies, {} webhooks and {} device keys",
        resealed.tokens, resealed.proxies, resealed.webhooks, resealed.keys
    ))?;
    if resealed.unreadable > 0 {
        say(format_args!(
            "{} others could not be opened before either, and are left as they are",
            resealed.unreadable
        ))?;
    }
    Ok(())
}
