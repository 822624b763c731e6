//! `presence-server restore FROM`: a back-up takes the place of what is in the data directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use presence_api::utc_now;
use presence_store::{DataDir, Lost, Snapshot, TokenKey};
use serde_json::json;

use super::backup::{Contents, TokenKeyArgs};
use super::data_dir::DataDirArgs;
use super::output::{block_on, say};

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The directory that `backup` made.
    from: PathBuf,
    #[command(flatten)]
    key: TokenKeyArgs,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Answer with JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: RestoreArgs) -> anyhow::Result<()> {
    block_on(restore(args))
}

async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    ensure!(
        args.from.is_dir(),
        "there is no directory {}",
        args.from.display()
    );
    let key = args.key.read()?;
    let dir = args.data_dir.open()?;
    let lock = dir.lock()?;
    let backup = dir.read_backup(&args.from, key.as_ref()).await?;
    let contents = Contents::of(&backup).await?;
    if has_data(&dir) {
        let lost = what_is_lost(&dir, &backup, &contents, key.as_ref()).await?;
        if !lost.is_empty() {
            bail!(refusal(&args.from, &dir, &lost));
        }
    }
    let kept = backup.put_in_place(&dir, &lock, utc_now()).await?;
    if args.json {
        let mut restored = contents.json(dir.path());
        restored["kept"] = json!(kept);
        say(json!({ "restored": restored }))?;
    } else {
        say(format_args!("restored {contents} to {}", dir.path().display()))?;
        if let Some(kept) = kept {
            say(format_args!("what was there before is in {}", kept.display()))?;
        }
        say("no other server may run with these keys: stop it before you start this one")?;
    }
    contents.warn_of_unreadable();
    Ok(())
}

fn has_data(dir: &DataDir) -> bool {
    ["presence.db", "keys.db", "devices.db"]
        .iter()
        .any(|name| dir.path().join(name).exists())
}

async fn what_is_lost(
    dir: &DataDir,
    backup: &Snapshot,
    contents: &Contents,
    key: Option<&TokenKey>,
) -> anyhow::Result<Vec<Lost>> {
    let path = dir.path().display();
    let there = dir.snapshot(dir.path(), key).await.with_context(|| {
        format!(
            "what {path} holds cannot be compared with the back-up, and nothing was changed. Move {path} away, and \
             restore into a new directory"
        )
    })?;
    let linked_there = Contents::of(&there).await?.linked;
    Ok(backup.lacks(&contents.linked, &there, &linked_there))
}

fn refusal(from: &Path, dir: &DataDir, lost: &[Lost]) -> String {
    let (from, dir) = (from.display(), dir.path().display());
    let mut words = format!("nothing was changed: {from} has not all that {dir} has. It would lose\n");
    for lost in lost.iter().take(NAMED) {
        words.push_str(&format!("  {lost}\n"));
    }
    if let Some(more) = lost.len().checked_sub(NAMED).filter(|more| *more > 0) {
        words.push_str(&format!("  and {more} more\n"));
    }
    words.push_str(&format!(
        "Restore a newer back-up; or, if it is this one that you want, move {dir} away and restore into a new \
         directory: then what is named here has to be made anew, and its phones linked again"
    ));
    words
}

/// How many of the losses are named.
const NAMED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_ten_losses_and_counts_the_others() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temporary.path()).unwrap();
        let lost = |count: usize| {
            let lost = Lost::Account {
                name: "acme".parse().unwrap(),
                instances: 3,
            };
            refusal(Path::new("old"), &dir, &vec![lost; count])
        };
        assert_eq!(lost(10).matches("  account acme, with 3 instances\n").count(), 10);
        assert!(!lost(10).contains("more"));
        assert_eq!(lost(12).matches("account acme").count(), 10);
        assert!(lost(12).contains("\n  and 2 more\nRestore a newer back-up"));
    }
}
