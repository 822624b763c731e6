//! `presence-server devices …`: the device keys of WhatsApp sessions.

use anyhow::bail;
use clap::{Args, Subcommand};
use presence_store::{DataDir, KeySource, KeyStore as _, Registry, Store};

use super::data_dir::DataDirArgs;
use super::output::{block_on, say};

#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    #[command(subcommand)]
    command: DevicesCommand,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

#[derive(Debug, Subcommand)]
enum DevicesCommand {
    /// Wipe the keys of devices that presence.db knows nothing of, for good.
    ///
    /// A server refuses to start over such keys, because they may be good: presence.db may have been lost, or
    /// restored from an older back-up. Restore the one that belongs to them if you can. After this command
    /// their phones have to be linked again, and go on listing the old device until its owner removes it there.
    /// It works only while no server runs on the data directory.
    WipeUnknown,
}

pub(super) fn run(args: DevicesArgs) -> anyhow::Result<()> {
    let DevicesCommand::WipeUnknown = args.command;
    block_on(wipe_unknown(args.data_dir.open_existing()?))
}

async fn wipe_unknown(dir: DataDir) -> anyhow::Result<()> {
    let lock = dir.lock()?;
    let store = Store::open(&dir, KeySource::Absent).await?;
    let keys = dir.open_keys(&lock, &store).await?;
    if dir.old_keys(&keys).await?.is_some() {
        bail!("the device keys are still in devices.db: start the server once, which takes them over");
    }
    // Remembered as deleted first: cut off from here on, the next start wipes the rest.
    let unknown = store.give_up_unknown_keys(&keys).await?;
    for id in &unknown {
        keys.wipe(*id).await?;
        store.mark_wiped(&[*id]).await?;
        say(format_args!("wiped the keys of device {id}"))?;
    }
    say(format_args!("{} devices were unknown", unknown.len()))?;
    keys.close().await;
    store.close().await?;
    Ok(())
}
