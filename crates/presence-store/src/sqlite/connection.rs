//! Connections to SQLite files, and what their failures mean.

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::error::{StoreError, cause_of};

/// Connects, patiently: of several processes that switch a new file to WAL at once, SQLite fails all but one
/// on the spot, whatever its busy timeout.
pub(crate) async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let mut attempts = 0;
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && attempts < 40 => attempts += 1,
            result => return result,
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Makes the connection anew if no transaction can be begun on it.
///
/// When a disk is full or fails, SQLite rolls a transaction back by itself. sqlx does not learn of it, counts the
/// transaction as open, and begins no other.
pub(crate) async fn renew_if_stuck(
    connection: &mut SqliteConnection,
    options: &SqliteConnectOptions,
) -> sqlx::Result<()> {
    if !connection.is_in_transaction() {
        return Ok(());
    }
    // One whose end nobody waited for is rolled back before this is answered.
    let answered = connection.ping().await.is_ok();
    if answered && !connection.is_in_transaction() {
        return Ok(());
    }
    let stuck = std::mem::replace(connection, connect(options).await?);
    if let Err(error) = stuck.close().await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "closing a connection that was stuck failed"
        );
    }
    Ok(())
}

/// A number that is another one when another connection wrote to the file.
pub(super) async fn data_version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("PRAGMA data_version")
        .fetch_one(connection)
        .await
}

pub(crate) fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| {
        let (busy, full) = (is_busy(&error), is_full(&error));
        let source = cause_of(error);
        if busy {
            StoreError::Busy { doing, source }
        } else if full {
            StoreError::Full { doing, source }
        } else {
            StoreError::Database { doing, source }
        }
    }
}

/// Whether SQLite failed because another connection holds a lock: `SQLITE_BUSY` and `SQLITE_LOCKED`.
fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(5 | 6))
}

/// Whether SQLite failed because there is no room on the disk: `SQLITE_FULL`.
fn is_full(error: &sqlx::Error) -> bool {
    code(error) == Some(13)
}

/// The primary result code; an extended one has more in its upper bits.
fn code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
