//! The file in which the WhatsApp client keeps the keys of all sessions.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::Mutex;

use crate::files;
use crate::sqlite;

/// `devices.db`: one file for all sessions, each with the number of its instance.
///
/// The client owns its schema. Here only one thing is known of it: rows of a device carry its number in a
/// column `device_id`, and the table `device` in its `id`.
#[derive(Clone, Debug)]
pub struct DeviceKeys {
    path: PathBuf,
    /// Wipes take turns here, where waiting is fair, instead of at SQLite's lock, where it is not.
    turn: Arc<Mutex<()>>,
}

impl DeviceKeys {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            turn: Arc::default(),
        }
    }

    /// Where the file is, for the client to open.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the file exists and that only its owner can read it, before the client opens it.
    /// SQLite gives the files that it puts beside it the same rights.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn prepare(&self) -> io::Result<()> {
        files::create_private(&self.path)?;
        for suffix in ["-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            match files::make_private(path.as_ref()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The devices of which there is any key.
    ///
    /// # Errors
    /// When the file cannot be read. One that is missing holds none.
    pub async fn devices(&self) -> Result<BTreeSet<i32>, DeviceKeysError> {
        let _turn = self.turn.lock().await;
        let Some(mut connection) = self.connect().await.map_err(DeviceKeysError::read)? else {
            return Ok(BTreeSet::new());
        };
        let devices = devices(&mut connection).await.map_err(DeviceKeysError::read);
        close(connection).await;
        devices
    }

    /// Deletes every key of `device`, and overwrites where they were. Doing it again is no error.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing was deleted.
    pub async fn wipe(&self, device: i32) -> Result<(), DeviceKeysError> {
        let _turn = self.turn.lock().await;
        let Some(mut connection) = self.connect().await.map_err(DeviceKeysError::wipe)? else {
            return Ok(());
        };
        let wiped = wipe(&mut connection, device).await.map_err(DeviceKeysError::wipe);
        empty_log(&mut connection).await;
        close(connection).await;
        wiped
    }

    /// `None` when there is no file.
    async fn connect(&self) -> sqlx::Result<Option<SqliteConnection>> {
        if !self.path.try_exists()? {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        sqlite::connect(&options).await.map(Some)
    }
}

/// Device keys that could not be read or wiped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceKeysError {
    /// They could not be listed.
    #[error("cannot read the device keys")]
    Read(#[source] Box<dyn Error + Send + Sync>),
    /// They could not be deleted.
    #[error("cannot wipe the device keys")]
    Wipe(#[source] Box<dyn Error + Send + Sync>),
}

impl DeviceKeysError {
    fn read(error: sqlx::Error) -> Self {
        Self::Read(Box::new(error))
    }

    fn wipe(error: sqlx::Error) -> Self {
        Self::Wipe(Box::new(error))
    }
}

/// Sessions write all the time, in short transactions.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

async fn wipe(connection: &mut SqliteConnection, device: i32) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // The table `device` comes last: rows elsewhere may refer to it.
    for (table, column) in columns(&mut transaction).await? {
        let delete = format!("DELETE FROM {} WHERE {column} = ?", quoted(&table));
        sqlx::query(AssertSqlSafe(delete))
            .bind(device)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

/// Removes old pages, which may hold wiped keys, from the write-ahead log. That needs a moment in which nobody
/// reads; without one, the log overwrites itself soon enough.
async fn empty_log(connection: &mut SqliteConnection) {
    for pragma in ["PRAGMA busy_timeout = 100", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        if let Err(error) = sqlx::query(pragma).execute(&mut *connection).await {
            tracing::debug!(
                error = &error as &dyn Error,
                "emptying the log of devices.db failed"
            );
        }
    }
}

async fn devices(connection: &mut SqliteConnection) -> sqlx::Result<BTreeSet<i32>> {
    let mut devices = BTreeSet::new();
    for (table, column) in columns(connection).await? {
        let select = format!(
            "SELECT DISTINCT {column} FROM {} WHERE {column} IS NOT NULL",
            quoted(&table)
        );
        devices.extend(
            sqlx::query_scalar::<_, i32>(AssertSqlSafe(select))
                .fetch_all(&mut *connection)
                .await?,
        );
    }
    Ok(devices)
}

/// Every table with rows of devices, and the column with the device's number.
async fn columns(connection: &mut SqliteConnection) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
         WHERE t.type = 'table' AND (c.name = 'device_id' OR (t.name = 'device' AND c.name = 'id'))
         ORDER BY t.name = 'device'",
    )
    .fetch_all(connection)
    .await
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The last connection to close tidies the files up; that this fails changes nothing.
async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(error = &error as &dyn Error, "closing devices.db failed");
    }
}
