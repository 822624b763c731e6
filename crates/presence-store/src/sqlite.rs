//! The journal in a SQLite file.

mod rows;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

use crate::directory::{Change, Directory};
use crate::files;
use crate::journal::{Appended, Journal};
use crate::registry::StoreError;

/// One connection: writers take turns anyway, and `PRAGMA data_version` on it tells exactly whether *another*
/// connection wrote.
pub(crate) struct SqliteJournal {
    connection: SqliteConnection,
    /// The `data_version` up to which everything was read or appended; `None` when that is in doubt.
    told: Option<i64>,
}

impl SqliteJournal {
    /// Opens the file at `path`, creates it when there is none, and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        files::create_private(path).map_err(|source| StoreError::File {
            doing: "create presence.db",
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives a power cut too.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = connect(&options).await.map_err(failed("open presence.db"))?;
        migrate(&mut connection).await?;
        Ok(Self {
            connection,
            told: None,
        })
    }

    /// The value by which the token key is known again, once there is one.
    pub(crate) async fn key_check(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar("SELECT value FROM meta WHERE key = 'token_key_check'")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(failed("read the check of the token key"))
    }

    /// Keeps `check`, unless there is a value already; the answer is what is there now.
    pub(crate) async fn claim_key_check(&mut self, check: &[u8]) -> Result<Vec<u8>, StoreError> {
        sqlx::query("INSERT INTO meta (key, value) VALUES ('token_key_check', ?) ON CONFLICT DO NOTHING")
            .bind(check)
            .execute(&mut self.connection)
            .await
            .map_err(failed("write the check of the token key"))?;
        self.key_check().await?.ok_or(StoreError::Corrupt {
            what: "check of the token key",
        })
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn refresh(&mut self) -> Result<Option<Directory>, StoreError> {
        let doing = "read the registry";
        if self.told.is_some()
            && self.told == Some(data_version(&mut self.connection).await.map_err(failed(doing))?)
        {
            return Ok(None);
        }
        // One transaction, so that all of it is of one moment.
        let mut snapshot = self.connection.begin().await.map_err(failed(doing))?;
        let version = data_version(&mut snapshot).await.map_err(failed(doing))?;
        let directory = rows::load(&mut snapshot).await?;
        snapshot.rollback().await.map_err(failed(doing))?;
        self.told = Some(version);
        Ok(Some(directory))
    }

    async fn append(&mut self, change: &Change) -> Result<Appended, StoreError> {
        let doing = "write to the registry";
        // IMMEDIATE: from here to the end nobody else writes, so what is checked stays true.
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed(doing))?;
        let version = data_version(&mut transaction).await.map_err(failed(doing))?;
        if self.told != Some(version) {
            transaction.rollback().await.map_err(failed(doing))?;
            return Ok(Appended::Outdated);
        }
        // A commit that fails, or whose answer nobody waits for, may have happened or not.
        self.told = None;
        let rows = rows::write(&mut transaction, change)
            .await
            .map_err(failed(doing))?;
        // Each change is one row's. Anything else means that it was not decided on what the file holds.
        if rows != 1 {
            return Err(StoreError::Corrupt { what: "registry" });
        }
        transaction.commit().await.map_err(failed(doing))?;
        self.told = Some(version);
        Ok(Appended::Durable)
    }
}

/// How long a write waits for another process's; theirs take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Changes of the schema in the order in which they were made. `PRAGMA user_version` counts those that a file
/// has seen.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_registry.sql")];

async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let doing = "bring the registry's schema up to date";
    // Whoever comes second finds nothing left to do.
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed(doing))?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed(doing))?;
    let missing = usize::try_from(found)
        .ok()
        .and_then(|seen| MIGRATIONS.get(seen..));
    let Some(missing) = missing else {
        return Err(StoreError::Newer {
            found,
            known: MIGRATIONS.len() as i64,
        });
    };
    if missing.is_empty() {
        return transaction.rollback().await.map_err(failed(doing));
    }
    for migration in missing {
        sqlx::raw_sql(*migration)
            .execute(&mut *transaction)
            .await
            .map_err(failed(doing))?;
    }
    // A pragma takes no parameters.
    let count = format!("PRAGMA user_version = {}", MIGRATIONS.len());
    sqlx::query(AssertSqlSafe(count))
        .execute(&mut *transaction)
        .await
        .map_err(failed(doing))?;
    transaction.commit().await.map_err(failed(doing))
}

async fn data_version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("PRAGMA data_version")
        .fetch_one(connection)
        .await
}

fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| {
        let busy = is_busy(&error);
        let source = Box::new(error);
        if busy {
            StoreError::Busy { doing, source }
        } else {
            StoreError::Database { doing, source }
        }
    }
}

/// Whether SQLite failed because another connection holds a lock: SQLITE_BUSY and SQLITE_LOCKED, whatever
/// their extended code in the upper bits.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<u32>().ok());
    matches!(code.map(|code| code & 0xff), Some(5 | 6))
}
