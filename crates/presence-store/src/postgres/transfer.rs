//! Everything that a data directory holds, moved into a PostgreSQL database and back out.

mod export;
mod import;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::Transaction;
use crate::error::StoreError;
use crate::key_check::{CheckKeysError, UnknownKeys};

/// How much was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// Accounts.
    pub accounts: usize,
    /// Instances, paired or not.
    pub instances: usize,
    /// Keys of devices.
    pub keys: usize,
}

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The database holds a registry or device keys already.
    #[error("the database is not empty")]
    DatabaseTaken,
    /// The directory holds a registry or device keys already.
    #[error("{} is not empty: it has a presence.db or a keys.db", .0.display())]
    DirectoryTaken(PathBuf),
    /// There is no registry to move.
    #[error("there is no presence.db in {}", .0.display())]
    Missing(PathBuf),
    /// The device keys are of an earlier version.
    #[error(
        "{} holds a devices.db, which an earlier version made: start the server on it once, which takes it over",
        .0.display()
    )]
    Earlier(PathBuf),
    /// The registry and the device keys are not of one moment.
    #[error(transparent)]
    Keys(Box<UnknownKeys>),
    /// A node uses the database.
    #[error("a node runs on the database: end all of them first, or wait until their leases are over")]
    Running,
    /// A file could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Either store failed, or is sealed with another key.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransferError {
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<CheckKeysError> for TransferError {
    fn from(error: CheckKeysError) -> Self {
        match error {
            CheckKeysError::Unknown(unknown) => Self::Keys(Box::new(unknown)),
            CheckKeysError::Store(error) => Self::Store(error),
        }
    }
}

fn exists(file: &Path) -> Result<bool, TransferError> {
    file.try_exists().map_err(TransferError::file("look for", file))
}

/// A sealed key of a device: the number of the device, its kind, name and value, and when it was written, in Unix seconds.
type SealedKey = (i32, i16, Vec<u8>, Vec<u8>, i64);

/// Refuses a database on which a node runs, and keeps every instance from being taken until the end of the
/// transaction.
async fn expect_no_node(transaction: &mut Transaction) -> Result<(), TransferError> {
    let taking = sqlx::query("SELECT version FROM ledger FOR UPDATE");
    transaction.execute(taking).await?;
    let query = sqlx::query("SELECT EXISTS (SELECT FROM node WHERE expires_at > clock_timestamp())");
    match transaction.fetch_optional(query).await? {
        Some((true,)) => Err(TransferError::Running),
        _ => Ok(()),
    }
}

/// Nobody waits for what a move locks, but reading or writing the files may take its time.
const PATIENTLY: &str =
    "SET LOCAL statement_timeout = '600s'; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(3600);

/// How many keys are moved at a time.
const PAGE: i64 = 1000;
