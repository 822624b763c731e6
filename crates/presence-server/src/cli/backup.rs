//! `presence-server backup TO`: everything that must not be lost, copied while a server runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf, absolute};

use anyhow::Context;
use clap::Args;
use presence_core::InstanceId;
use presence_store::{Registry as _, Snapshot, TokenKey};
use presence_wa::linked_devices;
use serde_json::{Value, json};

use super::data_dir::DataDirArgs;
use super::output::{block_on, say, warn};
use crate::config::settings;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// A directory that does not exist yet, or is empty.
    to: PathBuf,
    /// Leave token.key out, which opens what is sealed in the other files. Then keep it elsewhere.
    #[arg(long)]
    without_key: bool,
    #[command(flatten)]
    key: TokenKeyArgs,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Answer with JSON.
    #[arg(long)]
    json: bool,
}

/// The key of a server that does not keep it in its data directory.
#[derive(Debug, Args)]
pub(super) struct TokenKeyArgs {
    /// The key that everything is sealed with, if it is kept elsewhere than in token.key.
    #[arg(long, env = settings::TOKEN_KEY.variable, value_name = "BASE64", hide_env_values = true)]
    token_key: Option<String>,
}

impl TokenKeyArgs {
    pub(super) fn read(&self) -> anyhow::Result<Option<TokenKey>> {
        let given = self.token_key.as_deref().filter(|key| !key.trim().is_empty());
        given
            .map(|key| TokenKey::from_base64(key).context("--token-key is no key"))
            .transpose()
    }
}

pub(super) fn run(args: BackupArgs) -> anyhow::Result<()> {
    block_on(back_up(args))
}

async fn back_up(args: BackupArgs) -> anyhow::Result<()> {
    let dir = args.data_dir.open_existing()?;
    let key = args.key.read()?;
    let to = absolute(&args.to)?;
    Snapshot::may_become(&to)?;
    // In the same file system, so that it can be renamed when it is whole.
    let beside = to.parent().context("/ is not empty")?;
    let snapshot = dir.snapshot(beside, key.as_ref()).await?;
    snapshot.must_belong_together()?;
    let contents = Contents::of(&snapshot).await?;
    let with_key = key.is_none() && !args.without_key;
    let bytes = snapshot.publish(&to, with_key).await?;
    if args.json {
        let mut backup = contents.json(&to);
        backup["bytes"] = json!(bytes);
        backup["withKey"] = json!(with_key);
        say(json!({ "backup": backup }))?;
    } else {
        say(format_args!(
            "saved {contents} to {}, {} KiB",
            to.display(),
            bytes.div_ceil(1024)
        ))?;
        say(if with_key {
            "token.key is among the files: who has them has every linked device, so keep them from others"
        } else {
            "the token key is not among the files, and without it none of them opens: keep it elsewhere"
        })?;
    }
    contents.warn_of_unreadable();
    Ok(())
}

/// What people want to know of a copy.
pub(super) struct Contents {
    accounts: usize,
    instances: usize,
    /// The devices that phones are linked to.
    pub(super) linked: BTreeSet<InstanceId>,
    unreadable: usize,
}

impl Contents {
    pub(super) async fn of(snapshot: &Snapshot) -> anyhow::Result<Self> {
        let linked = linked_devices(snapshot.keys()).await?;
        Ok(Self {
            accounts: snapshot.registry().accounts().len(),
            instances: snapshot.registry().all_instances().len(),
            linked: &linked & &snapshot.devices_in_force(),
            unreadable: snapshot.unreadable(),
        })
    }

    pub(super) fn json(&self, path: &Path) -> Value {
        json!({
            "path": path,
            "accounts": self.accounts,
            "instances": self.instances,
            "linkedPhones": self.linked.len(),
            "unreadable": self.unreadable,
        })
    }

    pub(super) fn warn_of_unreadable(&self) {
        if self.unreadable > 0 {
            warn(&format!(
                "{} tokens, proxies or device keys do not open with the key; they are copied as they are",
                self.unreadable
            ));
        }
    }
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {} and {}",
            counted(self.accounts, "account"),
            counted(self.instances, "instance"),
            counted(self.linked.len(), "linked phone")
        )
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
