//! `presence-server account …`: accounts, in the data directory itself.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use presence_api::utc_now;
use presence_store::{Account, DataDir, KeySource, Registry, Store};
use serde_json::json;

use super::output::{block_on, say};
use crate::config::settings;

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
    /// The data directory of the server.
    #[arg(long, global = true, env = settings::DATA_DIR.variable, value_name = "DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Answer with JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Create an account and print its token. It is stored nowhere: keep it.
    New {
        /// 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit.
        name: String,
        /// The most instances it may have. Unset: no limit.
        #[arg(long, env = "PRESENCE_QUOTA", value_name = "N")]
        quota: Option<u32>,
    },
    /// List accounts.
    List,
    /// Give an account a new token and print it. The old one is void, in a running server within a second.
    Rotate {
        /// Which account.
        name: String,
    },
    /// Delete an account with its instances. A running server ends their sessions within a second; else their
    /// keys are wiped when one starts.
    Delete {
        /// Which account.
        name: String,
    },
}

pub(super) fn run(args: AccountArgs) -> anyhow::Result<()> {
    block_on(execute(args))
}

async fn execute(args: AccountArgs) -> anyhow::Result<()> {
    let json = args.json;
    // Only a new account makes a directory: a mistyped one would otherwise look like an empty one.
    if !matches!(args.command, AccountCommand::New { .. }) && !args.data_dir.is_dir() {
        bail!("there is no data directory {}", args.data_dir.display());
    }
    let dir = DataDir::open(&args.data_dir)
        .with_context(|| format!("cannot open the data directory {}", args.data_dir.display()))?;
    let store = Store::open(&dir, KeySource::Absent).await?;
    match args.command {
        AccountCommand::New { name, quota } => {
            let name = name.parse().context("this cannot be an account's name")?;
            let (account, token) = store.create_account(name, quota, utc_now()).await?;
            if json {
                say(json!({"account": describe(&store, &account), "token": token.expose()}))?;
            } else {
                say(token.expose())?;
            }
        }
        AccountCommand::List => {
            let accounts = store.accounts();
            if json {
                let accounts: Vec<_> = accounts.iter().map(|account| describe(&store, account)).collect();
                say(json!({ "accounts": accounts }))?;
            } else {
                for account in accounts {
                    let instances = store.instances(account.id).len();
                    let quota = account
                        .quota
                        .map_or("no limit".to_owned(), |quota| format!("at most {quota}"));
                    say(format_args!(
                        "{:<30} {instances} instances, {quota}",
                        account.name.as_str()
                    ))?;
                }
            }
        }
        AccountCommand::Rotate { name } => {
            let account = named(&store, &name)?;
            let token = store
                .rotate_account(account.id)
                .await?
                .with_context(|| no_account(&name))?;
            if json {
                say(json!({"account": describe(&store, &account), "token": token.expose()}))?;
            } else {
                say(token.expose())?;
            }
        }
        AccountCommand::Delete { name } => {
            let account = named(&store, &name)?;
            let instances = store.instances(account.id).len();
            if !store.delete_account(account.id).await? {
                bail!(no_account(&name));
            }
            if json {
                say(json!({"deleted": {"name": name, "instances": instances}}))?;
            } else {
                say(format_args!("deleted {name} with {instances} instances"))?;
            }
        }
    }
    Ok(())
}

fn named(store: &Store, name: &str) -> anyhow::Result<Arc<Account>> {
    store.account_named(name).with_context(|| no_account(name))
}

fn no_account(name: &str) -> String {
    format!("there is no account {name:?}")
}

fn describe(store: &Store, account: &Account) -> serde_json::Value {
    json!({
        "name": account.name.as_str(),
        "quota": account.quota,
        "instances": store.instances(account.id).len(),
        "createdAt": account.created_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    })
}
