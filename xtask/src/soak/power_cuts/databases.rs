//! The server's databases as a cut has left them: SQLite must find nothing wrong with them.

use std::path::Path;

use anyhow::{Context, ensure};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::disk::Disk;
use super::mount::Mounted;

/// Which, by their files' names.
const DATABASES: [&str; 2] = ["presence.db", "keys.db"];

/// Opens a copy of each that is there: whoever opens the original first would repair it.
pub(super) fn check(mounted: &Mounted) -> anyhow::Result<()> {
    let copies = tempfile::tempdir()?;
    for name in DATABASES {
        let there = mounted.look(|disk| {
            copy(disk, &format!("{name}-wal"), copies.path())?;
            copy(disk, name, copies.path())
        })?;
        if there {
            open(&copies.path().join(name)).with_context(|| format!("{name} does not open after a cut"))?;
        }
    }
    Ok(())
}

/// Returns whether there is a file of this name.
fn copy(disk: &Disk, name: &str, to: &Path) -> anyhow::Result<bool> {
    let file = disk.find(name.as_ref()).and_then(|number| disk.file(number));
    file.map(|file| std::fs::write(to.join(name), file.bytes()))
        .transpose()?;
    Ok(file.is_some())
}

fn open(database: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(database).connect().await?;
        let found: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&mut connection)
            .await?;
        ensure!(found == "ok", "SQLite finds: {found}");
        Ok(connection.close().await?)
    })
}
