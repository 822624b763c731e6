//! The file in which the WhatsApp client keeps the keys of all sessions.

mod own_tables;
mod wipe;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use presence_core::InstanceId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::Mutex;

use crate::files;
use crate::sqlite;

/// `devices.db`: one file for all sessions, each with the number of its instance.
///
/// The client owns its schema. Only one thing is known of it here: rows of a device carry its number in a
/// column `device_id`, and the table `device` in its `id`. Two small tables in the file are ours, see
/// [`check`](Self::check) and [`Store::check_keys`](crate::Store::check_keys).
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

    /// The devices of which there is any key. A number that no instance can have is passed over, with a
    /// warning in the log.
    ///
    /// # Errors
    /// When the file cannot be read. One that is missing holds none.
    pub async fn devices(&self) -> Result<BTreeSet<InstanceId>, DeviceKeysError> {
        let Some(mut connection) = self.connect().await.map_err(DeviceKeysError::read)? else {
            return Ok(BTreeSet::new());
        };
        let devices = devices(&mut connection).await.map_err(DeviceKeysError::read);
        close(connection).await;
        devices
    }

    /// The devices that a phone has linked: the client's rows with an `account`. One query for all of them, since
    /// a start asks for nothing else. A number that no instance can have is passed over.
    ///
    /// # Errors
    /// When the file cannot be read. One that is missing, or that the client has not laid out yet, holds none.
    pub async fn linked(&self) -> Result<Vec<LinkedRow>, DeviceKeysError> {
        let Some(mut connection) = self.connect().await.map_err(DeviceKeysError::read)? else {
            return Ok(Vec::new());
        };
        let rows = linked(&mut connection).await.map_err(DeviceKeysError::read);
        close(connection).await;
        rows
    }

    /// Deletes every key of `device`, and overwrites where they were. It writes in small pieces, so that other
    /// devices' writes get their turn. Doing it again is no error, and goes on where it ended.
    ///
    /// # Errors
    /// When the file cannot be written; then some keys may be left.
    pub async fn wipe(&self, device: InstanceId) -> Result<(), DeviceKeysError> {
        let _turn = self.turn.lock().await;
        let Some(mut connection) = self.connect().await.map_err(DeviceKeysError::write)? else {
            return Ok(());
        };
        let wiped = wipe(&mut connection, device)
            .await
            .map_err(DeviceKeysError::write);
        wipe::empty_log(&mut connection).await;
        close(connection).await;
        wiped
    }

    /// Tells whether the file is well: reads it, and writes a row of a table of ours to the disk. A
    /// transaction that is rolled back would not do, since it never reaches the disk and so notices no full
    /// one; neither would a row of the client's, whose meaning is its own. It takes SQLite's write lock for one
    /// small write. When it returns, whatever the client wrote before is on the disk as well: all share one
    /// log.
    ///
    /// How long it may take is the caller's to bound; dropping it halfway does no harm.
    ///
    /// # Errors
    /// When the file is missing or cannot be read or written.
    pub async fn check(&self) -> Result<(), DeviceKeysError> {
        let Some(mut connection) = self.connect().await.map_err(DeviceKeysError::read)? else {
            return Err(DeviceKeysError::Missing);
        };
        let checked = async {
            own_tables::create(&mut connection).await?;
            own_tables::write_check(&mut connection).await
        };
        let checked = checked.await.map_err(DeviceKeysError::write);
        close(connection).await;
        checked
    }

    /// Notes, durably, that keys of `instance` that are made from now on belong to its pairing `number`.
    pub(crate) async fn set_pairing_number(
        &self,
        instance: InstanceId,
        number: u32,
    ) -> Result<(), DeviceKeysError> {
        self.prepare()
            .map_err(|error| DeviceKeysError::write(error.into()))?;
        let Some(mut connection) = self.connect().await.map_err(DeviceKeysError::write)? else {
            return Err(DeviceKeysError::Missing);
        };
        let set = async {
            own_tables::create(&mut connection).await?;
            own_tables::set_pairing_number(&mut connection, instance, number).await
        };
        let set = set.await.map_err(DeviceKeysError::write);
        close(connection).await;
        set
    }

    /// The highest number that was noted for each instance, of whatever became of its keys.
    pub(crate) async fn pairing_numbers(&self) -> Result<BTreeMap<InstanceId, u32>, DeviceKeysError> {
        let Some(mut connection) = self.connect().await.map_err(DeviceKeysError::read)? else {
            return Ok(BTreeMap::new());
        };
        let numbers = own_tables::pairing_numbers(&mut connection).await;
        close(connection).await;
        numbers.map_err(DeviceKeysError::read)
    }

    /// `None` when there is no file.
    async fn connect(&self) -> sqlx::Result<Option<SqliteConnection>> {
        if !self.path.try_exists()? {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            // As the client has it.
            .journal_mode(SqliteJournalMode::Wal)
            // What was wiped or noted here is so after a power cut too.
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        sqlite::connect(&options).await.map(Some)
    }
}

/// What the client's row of a linked device says of its account.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkedRow {
    /// Whose keys they are.
    pub instance: InstanceId,
    /// The account's number as a JID of this device, `<digits>:<device>@s.whatsapp.net`.
    pub pn: String,
    /// The account's name; empty while it is not known.
    pub push_name: String,
}

impl std::fmt::Debug for LinkedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkedRow")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Device keys that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceKeysError {
    /// The file is gone.
    #[error("the file of the device keys is missing")]
    Missing,
    /// They could not be read.
    #[error("cannot read the device keys")]
    Read(#[source] Box<dyn Error + Send + Sync>),
    /// The disk has no room.
    #[error("cannot write the device keys: the disk is full")]
    Full(#[source] Box<dyn Error + Send + Sync>),
    /// Another connection kept the file locked for too long.
    #[error("cannot write the device keys: another connection keeps them locked")]
    Busy(#[source] Box<dyn Error + Send + Sync>),
    /// They could not be deleted or written.
    #[error("cannot write the device keys")]
    Write(#[source] Box<dyn Error + Send + Sync>),
}

impl DeviceKeysError {
    fn read(error: sqlx::Error) -> Self {
        Self::Read(Box::new(error))
    }

    fn write(error: sqlx::Error) -> Self {
        let (full, busy) = (sqlite::is_full(&error), sqlite::is_busy(&error));
        let source = Box::new(error);
        if full {
            Self::Full(source)
        } else if busy {
            Self::Busy(source)
        } else {
            Self::Write(source)
        }
    }
}

/// Sessions write all the time, in short transactions.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

async fn devices(connection: &mut SqliteConnection) -> sqlx::Result<BTreeSet<InstanceId>> {
    let mut numbers = BTreeSet::new();
    for table in wipe::device_tables(connection).await? {
        numbers.extend(table.numbers(connection).await?);
    }
    let (devices, strange): (Vec<_>, Vec<_>) = numbers
        .into_iter()
        .map(|number| i32::try_from(number).ok().and_then(InstanceId::new))
        .partition(Option::is_some);
    if !strange.is_empty() {
        tracing::warn!(
            count = strange.len(),
            "devices.db holds keys under numbers that no instance has; they are left alone"
        );
    }
    Ok(devices.into_iter().flatten().collect())
}

async fn linked(connection: &mut SqliteConnection) -> sqlx::Result<Vec<LinkedRow>> {
    let laid_out: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'device')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !laid_out {
        return Ok(Vec::new());
    }
    let rows: Vec<(i32, String, String)> =
        sqlx::query_as("SELECT id, pn, push_name FROM device WHERE account IS NOT NULL")
            .fetch_all(connection)
            .await?;
    let linked = rows.into_iter().filter_map(|(id, pn, push_name)| {
        let instance = InstanceId::new(id)?;
        Some(LinkedRow {
            instance,
            pn,
            push_name,
        })
    });
    Ok(linked.collect())
}

async fn wipe(connection: &mut SqliteConnection, device: InstanceId) -> sqlx::Result<()> {
    for table in wipe::device_tables(connection).await? {
        table.wipe(connection, device).await?;
    }
    Ok(())
}

/// The last connection to close tidies the files up; that this fails changes nothing.
async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(error = &error as &dyn Error, "closing devices.db failed");
    }
}
