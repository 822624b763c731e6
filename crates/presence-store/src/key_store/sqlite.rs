//! Device keys in a SQLite file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::task::JoinHandle;

use super::pending::{Pending, Task};
use super::rows::{self, Seal};
use super::sqlite_disk::SqliteDisk;
use super::writer::{self, Shared};
use super::{Durability, Epoch, KeyStore, Kind, Row, RowChange};
use crate::error::StoreError;
use crate::files;
use crate::key::TokenKey;
use crate::sqlite::{connect, failed, migrate};

/// A [`KeyStore`] in a SQLite file, `keys.db` in a data directory. Its clones are the same store.
///
/// All devices share one connection that writes, behind their backs, and one that reads. Values are sealed with
/// the data directory's key, each for its row.
///
/// Nobody else may write to the file. The last handle to be dropped has what is pending written in the background;
/// [`close`](Self::close) waits for it.
#[derive(Clone)]
pub struct SqliteKeyStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// Empty once it is closed.
    reader: Mutex<Option<SqliteConnection>>,
    seal: Seal,
    writer: StdMutex<Option<JoinHandle<bool>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl SqliteKeyStore {
    /// Opens the file at `path`, creates it for its owner only when there is none, and brings its schema up to
    /// date. Without a key, devices can be listed and wiped, and nothing else.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] when its values are sealed with another key; [`StoreError::Newer`] when a newer
    /// version wrote there; otherwise whatever kept the file from being read and written.
    pub async fn open(path: &Path, key: Option<TokenKey>) -> Result<Self, StoreError> {
        let mut writer = open_file(path).await?;
        if let Some(key) = &key {
            claim(&mut writer, key).await?;
        }
        let epochs = rows::epochs(&mut writer).await?;
        let reader = connect(&options(path).create_if_missing(false))
            .await
            .map_err(failed("open keys.db"))?;
        let shared = Arc::new(Shared::new(Pending::new(epochs)));
        let seal = Seal(key);
        let writing = tokio::spawn(writer::run(
            Arc::clone(&shared),
            SqliteDisk::new(options(path), writer, seal.clone()),
        ));
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                reader: Mutex::new(Some(reader)),
                seal,
                writer: StdMutex::new(Some(writing)),
            }),
        })
    }

    /// Waits until everything that was appended before was given to the system: from then on a killed process
    /// loses none of it.
    ///
    /// # Errors
    /// When it cannot be written; it is tried on.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.inner.shared.wait(Task::Flush).await
    }

    /// Tells whether the store is well: writes everything that is pending and a row of its own to the disk.
    ///
    /// How long it may take is the caller's to bound.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.inner.shared.wait(Task::Check).await
    }

    /// How often keys were written since the store was opened: a [check](Self::check) alone is none. One flush takes what
    /// all devices have gathered.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.inner.shared.flushes()
    }

    /// Writes what is pending and lets go of the file. Once; what is asked of any clone afterwards fails. The answer
    /// is whether everything was written: a disk that refuses is not tried again.
    pub async fn close(&self) -> bool {
        self.inner.shared.close();
        let writer = {
            let mut writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.take()
        };
        let is_all_written = match writer {
            // It panics over nothing that could be handled here.
            Some(writer) => writer.await.unwrap_or(false),
            None => true,
        };
        if let Some(reader) = self.inner.reader.lock().await.take()
            && let Err(error) = reader.close().await
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "closing the device keys failed"
            );
        }
        is_all_written
    }

    /// Notes, durably, that keys of `instance` that are made from now on belong to its pairing `number`.
    pub(crate) async fn set_pairing_number(
        &self,
        instance: InstanceId,
        number: u32,
    ) -> Result<(), StoreError> {
        self.inner.shared.wait(Task::Pairing { instance, number }).await
    }

    /// The highest number that was noted for each instance, of whatever became of its keys.
    pub(crate) async fn pairing_numbers(&self) -> Result<BTreeMap<InstanceId, u32>, StoreError> {
        rows::pairing_numbers(&mut *self.reader().await?).await
    }

    /// Whether it has taken the place of an older file, or was the first one.
    pub(crate) async fn is_successor(&self) -> Result<bool, StoreError> {
        rows::is_successor(&mut *self.reader().await?).await
    }

    /// Notes that it has, durably.
    pub(crate) async fn set_successor(&self) -> Result<(), StoreError> {
        self.inner.shared.wait(Task::Successor).await
    }

    /// How many values the key does not open: of another key, of another row, or damaged.
    pub(crate) async fn unreadable(&self) -> Result<usize, StoreError> {
        self.inner.seal.unreadable(&mut *self.reader().await?).await
    }

    /// Readers take turns, in order.
    async fn reader(&self) -> Result<MappedMutexGuard<'_, SqliteConnection>, StoreError> {
        let reader = self.inner.reader.lock().await;
        MutexGuard::try_map(reader, Option::as_mut).map_err(|_| StoreError::Closed)
    }
}

#[async_trait]
impl KeyStore for SqliteKeyStore {
    async fn get(&self, device: InstanceId, kind: Kind, name: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Inner { shared, seal, .. } = &*self.inner;
        let rows = (device, kind);
        let written = async { seal.get(&mut *self.reader().await?, rows, name).await };
        shared.get(rows, name, written).await
    }

    async fn range(&self, device: InstanceId, kind: Kind, prefix: &[u8]) -> Result<Vec<Row>, StoreError> {
        let Inner { shared, seal, .. } = &*self.inner;
        let rows = (device, kind);
        let written = async { seal.range(&mut *self.reader().await?, rows, prefix).await };
        shared.range(rows, prefix, written).await
    }

    async fn unwritten_for(
        &self,
        device: InstanceId,
        kind: Kind,
        age: Duration,
    ) -> Result<Vec<Bytes>, StoreError> {
        let rows = (device, kind);
        let written = async { rows::unwritten_for(&mut *self.reader().await?, rows, age).await };
        self.inner.shared.unwritten_for(rows, written).await
    }

    async fn of_all(&self, kind: Kind) -> Result<Vec<(InstanceId, Bytes)>, StoreError> {
        let Inner { shared, seal, .. } = &*self.inner;
        let written = async { seal.of_all(&mut *self.reader().await?, kind).await };
        shared.of_all(kind, written).await
    }

    async fn devices(&self) -> Result<BTreeSet<InstanceId>, StoreError> {
        let written = async { rows::devices(&mut *self.reader().await?).await };
        self.inner.shared.devices(written).await
    }

    async fn append(
        &self,
        device: InstanceId,
        epoch: Epoch,
        changes: Vec<RowChange>,
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.inner.shared.append(device, epoch, changes, durability).await
    }

    async fn wipe(&self, device: InstanceId) -> Result<(), StoreError> {
        self.inner.shared.wipe(device).await
    }
}

/// Which devices have keys in a file that somebody else may be writing, and of which pairing of an instance they are.
/// Unlike the keys themselves, that changes seldom: when a device gets its first ones, or loses them.
pub(crate) async fn pairings(
    connection: &mut SqliteConnection,
) -> Result<(BTreeSet<InstanceId>, BTreeMap<InstanceId, u32>), StoreError> {
    Ok((
        rows::devices(connection).await?,
        rows::pairing_numbers(connection).await?,
    ))
}

/// Opens the file for writing, with the schema that it must have.
pub(crate) async fn open_file(path: &Path) -> Result<SqliteConnection, StoreError> {
    files::create_private(path).map_err(|source| StoreError::File {
        doing: "create keys.db",
        source,
    })?;
    let mut connection = connect(&options(path)).await.map_err(failed("open keys.db"))?;
    migrate(&mut connection, &MIGRATIONS).await?;
    Ok(connection)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // What was wiped is overwritten.
        .pragma("secure_delete", "ON")
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

/// Seals the file with `key` from now on, unless it is sealed with one already.
async fn claim(connection: &mut SqliteConnection, key: &TokenKey) -> Result<(), StoreError> {
    let check = match seal_check(connection).await? {
        Some(check) => check,
        None => {
            let check = key.check_value()?;
            set_seal_check(connection, &check).await?;
            check
        }
    };
    if key.matches(&check) {
        Ok(())
    } else {
        Err(StoreError::WrongSeal)
    }
}

/// The value by which the key that the file is sealed with is known again.
pub(super) async fn seal_check(connection: &mut SqliteConnection) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT value FROM meta WHERE key = 'seal_check'")
        .fetch_optional(connection)
        .await
        .map_err(failed("read the check of the device keys' seal"))
}

pub(super) async fn set_seal_check(
    connection: &mut SqliteConnection,
    check: &[u8],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES ('seal_check', ?)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(check)
    .execute(connection)
    .await
    .map_err(failed("write the check of the device keys' seal"))?;
    Ok(())
}

/// How long a write waits for a lock: back-ups take one for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/keys/0001_keys.sql")];
