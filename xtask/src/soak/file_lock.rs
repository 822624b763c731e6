//! A database of the server, locked by somebody else, as a back-up or a slow disk would hold it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// How long the lock is waited for: writers of the server come and go.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);

/// Locks `database` against writers, for `time`.
pub(super) fn hold(database: &Path, time: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let options = SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(LOCK_TIMEOUT);
    runtime
        .block_on(async {
            let mut connection = options.connect().await?;
            sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await?;
            tokio::time::sleep(time).await;
            sqlx::query("ROLLBACK").execute(&mut connection).await?;
            connection.close().await
        })
        .with_context(|| format!("{} cannot be locked", database.display()))
}
