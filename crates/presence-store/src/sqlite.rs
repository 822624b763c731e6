//! The journal in a SQLite file.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use crate::account::{Account, AccountId};
use crate::directory::{Change, Directory};
use crate::edge::Edge;
use crate::files;
use crate::instance::{Instance, InstanceId};
use crate::journal::{Appended, Journal};
use crate::key::SealedToken;
use crate::registry::StoreError;
use crate::token::TokenHash;

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
        let directory = load(&mut snapshot).await?;
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
        let rows = write(&mut transaction, change).await.map_err(failed(doing))?;
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

/// Tells how many rows `change` touched.
async fn write(connection: &mut SqliteConnection, change: &Change) -> sqlx::Result<u64> {
    let query = match change {
        Change::PutAccount(account) => sqlx::query(
            "INSERT INTO account (id, name, token_hash, quota, created_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, quota = excluded.quota
             WHERE name = excluded.name",
        )
        .bind(account.id.0)
        .bind(account.name.as_str())
        .bind(&account.token.0[..])
        .bind(account.quota)
        .bind(account.created_at.timestamp_millis()),
        Change::DropAccount(id) => sqlx::query("DELETE FROM account WHERE id = ?").bind(id.0),
        Change::PutInstance(instance) => sqlx::query(
            "INSERT INTO instance
                 (id, account_id, name, token_hash, sealed_token, keep_online, logged_out, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET keep_online = excluded.keep_online, logged_out = excluded.logged_out
             WHERE token_hash = excluded.token_hash",
        )
        .bind(instance.id.device())
        .bind(instance.account.0)
        .bind(instance.name.as_str())
        .bind(&instance.token.0[..])
        .bind(&instance.sealed_token.0[..])
        .bind(instance.keep_online)
        .bind(instance.logged_out)
        .bind(instance.created_at.timestamp_millis()),
        Change::DropInstance(account, id) => sqlx::query("DELETE FROM instance WHERE id = ? AND account_id = ?")
            .bind(id.device())
            .bind(account.0),
        Change::PinEdge(edge) => sqlx::query("INSERT INTO meta (key, value) VALUES ('edge', ?)")
            .bind(edge.as_str().as_bytes()),
    };
    Ok(query.execute(connection).await?.rows_affected())
}

async fn load(connection: &mut SqliteConnection) -> Result<Directory, StoreError> {
    let doing = "read the registry";
    let mut directory = Directory::default();
    let accounts = sqlx::query("SELECT id, name, token_hash, quota, created_at FROM account ORDER BY id")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(doing))?;
    for row in &accounts {
        let account = account(row).map_err(corrupt("account"))?;
        directory.apply(&Change::PutAccount(Arc::new(account)));
    }
    let instances = sqlx::query("SELECT * FROM instance ORDER BY id")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(doing))?;
    for row in &instances {
        let instance = instance(row).map_err(corrupt("instance"))?;
        directory.apply(&Change::PutInstance(Arc::new(instance)));
    }
    let edge: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'edge'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed(doing))?;
    if let Some(edge) = edge {
        let edge = Edge::from_bytes(&edge).ok_or(StoreError::Corrupt { what: "edge" })?;
        directory.apply(&Change::PinEdge(edge));
    }
    // The highest numbers ever given, those of deleted records included.
    let last: (i64, i32) = sqlx::query_as(
        "SELECT coalesce(max(seq) FILTER (WHERE name = 'account'), 0),
                coalesce(max(seq) FILTER (WHERE name = 'instance'), 0) FROM sqlite_sequence",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed(doing))?;
    directory.never_again(last.0, last.1);
    Ok(directory)
}

/// What a row cannot be read for; not shown, since it may repeat the row.
type Unreadable = Box<dyn Error + Send + Sync>;

fn account(row: &SqliteRow) -> Result<Account, Unreadable> {
    Ok(Account {
        id: AccountId(row.try_get("id")?),
        name: row.try_get::<&str, _>("name")?.parse()?,
        quota: row.try_get("quota")?,
        created_at: time(row)?,
        token: hash(row)?,
    })
}

fn instance(row: &SqliteRow) -> Result<Instance, Unreadable> {
    Ok(Instance {
        id: InstanceId::from_device(row.try_get("id")?).ok_or("not positive")?,
        account: AccountId(row.try_get("account_id")?),
        name: row.try_get::<&str, _>("name")?.parse()?,
        keep_online: row.try_get("keep_online")?,
        logged_out: row.try_get("logged_out")?,
        created_at: time(row)?,
        token: hash(row)?,
        sealed_token: SealedToken(row.try_get::<&[u8], _>("sealed_token")?.into()),
    })
}

fn time(row: &SqliteRow) -> Result<DateTime<Utc>, Unreadable> {
    Ok(DateTime::from_timestamp_millis(row.try_get("created_at")?).ok_or("out of range")?)
}

fn hash(row: &SqliteRow) -> Result<TokenHash, Unreadable> {
    Ok(TokenHash(row.try_get::<&[u8], _>("token_hash")?.try_into()?))
}

fn corrupt(what: &'static str) -> impl FnOnce(Unreadable) -> StoreError {
    move |_| StoreError::Corrupt { what }
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
