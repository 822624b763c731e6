//! What can go wrong between the service and its files.

use std::error::Error;
use std::io;

/// A store that could not be opened, read or written. Nothing was changed, unless the failure struck while a
/// change was being committed; which of the two it was shows at the next read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process kept the database locked for too long.
    #[error("another process keeps the database locked: {doing}")]
    Busy {
        /// What was tried.
        doing: &'static str,
        /// SQLite's own words.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk has no room for the change.
    #[error("the disk is full: {doing}")]
    Full {
        /// What was tried.
        doing: &'static str,
        /// The database's own words.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database failed.
    #[error("the database failed: {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// The database's own words.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database does not answer now: it cannot be reached, has no connection left, is shutting down or too slow.
    #[error("the database does not answer: {doing}")]
    Away {
        /// What was tried.
        doing: &'static str,
        /// The database's own words, or the network's.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file could not be read or written.
    #[error("cannot {doing}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// What was kept is not what this service writes.
    #[error("the store holds an invalid {what}")]
    Corrupt {
        /// Which part of it.
        what: &'static str,
    },
    /// A newer version of the service wrote this database.
    #[error("the database has format {found}; this version knows formats up to {known}")]
    Newer {
        /// The database's format.
        found: i64,
        /// The newest format known.
        known: i64,
    },
    /// The token key is not the one that the tokens here were sealed with.
    #[error("the token key is not the one that the tokens here were sealed with")]
    WrongKey,
    /// Tokens were sealed here, but the file with their key is gone.
    #[error("the file token.key is missing, but the data directory holds tokens that were sealed with a key")]
    MissingKey,
    /// The file `token.key` holds no key.
    #[error("the file token.key holds no valid key")]
    InvalidKey(#[source] InvalidKey),
    /// Others may read the file `token.key`, and it is not ours to change that.
    #[error(
        "others may read the file token.key, and it belongs to another user or is a link: give it to the user \
         that runs this, with mode 0600"
    )]
    ExposedKey,
    /// The store was opened without a token key.
    #[error("the store was opened without a token key")]
    NoKey,
    /// The device keys are sealed with another key than the data directory's.
    #[error(
        "keys.db is sealed with another key: it belongs to another data directory or an older back-up, or a \
         `presence-server key rotate` was cut off, which has to be run again"
    )]
    WrongSeal,
    /// The device keys of an earlier version lie beside those that have taken their place.
    #[error(
        "devices.db, which an earlier version made, lies beside keys.db, which has taken its place. Which of them \
         has the newer keys is for you to say: move devices.db away, or, if it was restored together with the \
         presence.db of the same back-up, move keys.db away (and keys.db-wal and keys.db-shm with it)"
    )]
    TwoKeyFiles,
    /// Somebody who took the device over has written to it.
    #[error("the device belongs to another node by now")]
    Fenced,
    /// Too much waits for a disk that cannot be written.
    #[error("too many changes wait for the disk")]
    Overloaded,
    /// The store was closed.
    #[error("the store was closed")]
    Closed,
    /// One failure of several who waited together.
    #[error(transparent)]
    Shared(std::sync::Arc<StoreError>),
    /// All 2 147 483 647 numbers of instances were used.
    #[error("no number for another instance is left")]
    Exhausted,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random(#[source] Box<dyn Error + Send + Sync>),
}

/// What failed below sqlx, whose own text repeats that of its cause.
pub(crate) fn cause_of(error: sqlx::Error) -> Box<dyn Error + Send + Sync> {
    match error {
        sqlx::Error::Database(cause) => cause.into_error(),
        sqlx::Error::Io(cause) => Box::new(cause),
        sqlx::Error::Tls(cause) | sqlx::Error::Configuration(cause) => cause,
        error => Box::new(error),
    }
}

/// An account that was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateAccountError {
    /// Another account has this name.
    #[error("an account with this name exists")]
    NameTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An instance that was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateInstanceError {
    /// The account was deleted meanwhile.
    #[error("there is no such account")]
    NoAccount,
    /// Some account or instance has this token.
    #[error("the token is in use")]
    TokenTaken,
    /// The account has as many instances as it may.
    #[error("the account has as many instances as its quota allows")]
    QuotaExceeded,
    /// The account has an instance with this name.
    #[error("the account has an instance with this name")]
    NameTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A text that is no token key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// It is not base64.
    #[error("a token key is written in standard base64")]
    Base64,
    /// It has another number of bytes.
    #[error("a token key has 32 bytes, not {0}")]
    Length(usize),
}
