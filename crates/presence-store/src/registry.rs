//! What the service asks of its accounts and instances.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::account::{Account, AccountId, AccountName};
use crate::edge::{Edge, PinEdgeError};
use crate::instance::{Instance, InstanceId, NewInstance};
use crate::token::Token;

/// Accounts, instances and their tokens.
///
/// The synchronous methods answer from memory: they neither wait nor fail, so a request may call them as it
/// likes. The others are durable when they return, and only then can any reader see what they changed;
/// dropping one halfway leaves all or nothing of it. What another process writes to the same data directory
/// shows up by itself, see [`Store::follow`](crate::Store::follow).
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Whose `token` is; `None` for anything that is no token of ours.
    fn authenticate(&self, token: &str) -> Option<Caller>;

    /// The account with this number.
    fn account(&self, id: AccountId) -> Option<Arc<Account>>;

    /// The account with this name.
    fn account_named(&self, name: &str) -> Option<Arc<Account>>;

    /// All accounts, oldest first.
    fn accounts(&self) -> Vec<Arc<Account>>;

    /// The instance of `account` with this name.
    fn instance(&self, account: AccountId, name: &str) -> Option<Arc<Instance>>;

    /// The instance with this number.
    fn instance_by_id(&self, id: InstanceId) -> Option<Arc<Instance>>;

    /// The instances of `account`, oldest first; none for an unknown account.
    fn instances(&self, account: AccountId) -> Vec<Arc<Instance>>;

    /// The instances of all accounts, oldest first.
    fn all_instances(&self) -> Vec<Arc<Instance>>;

    /// The token of `instance`, for the owner of its account.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] where tokens cannot be opened; [`StoreError::Corrupt`] when what was kept is
    /// not what was sealed for this instance.
    fn instance_token(&self, instance: &Instance) -> Result<Token, StoreError>;

    /// With which edge pairings were made; `None` before the first.
    fn edge(&self) -> Option<Edge>;

    /// Counts changes, whoever made them. It is how a server learns that another process deleted an account
    /// whose sessions it still holds: on each change, compare [`all_instances`](Self::all_instances) with them.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Reads what other processes wrote. It touches the file in any case, so it also tells whether the store
    /// is healthy.
    async fn refresh(&self) -> Result<(), StoreError>;

    /// Creates an account with at most `quota` instances (`None`: no limit). Its token is in the answer and
    /// nowhere else.
    async fn create_account(
        &self,
        name: AccountName,
        quota: Option<u32>,
        now: DateTime<Utc>,
    ) -> Result<(Arc<Account>, Token), CreateAccountError>;

    /// Gives an account a new token; the old one is void. `None` when there is no such account.
    async fn rotate_account(&self, id: AccountId) -> Result<Option<Token>, StoreError>;

    /// Deletes an account and its instances. Their device keys are left to the server. `false` when there is
    /// no such account.
    async fn delete_account(&self, id: AccountId) -> Result<bool, StoreError>;

    /// Creates an instance in `account`, with its token in the answer. Of several faults the first in the
    /// order of [`CreateInstanceError`] is reported.
    async fn create_instance(
        &self,
        account: AccountId,
        new: NewInstance,
    ) -> Result<(Arc<Instance>, Token), CreateInstanceError>;

    /// Sets [`Instance::keep_online`]. `false` when there is no such instance.
    async fn set_keep_online(&self, id: InstanceId, keep_online: bool) -> Result<bool, StoreError>;

    /// Sets [`Instance::logged_out`]. `false` when there is no such instance.
    async fn set_logged_out(&self, id: InstanceId, logged_out: bool) -> Result<bool, StoreError>;

    /// Deletes an instance. Its device keys are left to the server. `false` when there is no such instance.
    async fn delete_instance(&self, id: InstanceId) -> Result<bool, StoreError>;

    /// Remembers for good that pairings here are made with `edge`. Call it before the first one is.
    async fn pin_edge(&self, edge: Edge) -> Result<(), PinEdgeError>;
}

/// Whom a token belongs to.
#[derive(Clone, Debug)]
pub enum Caller {
    /// An account: everything in it.
    Account(AccountId),
    /// An instance: itself only.
    Instance(Arc<Instance>),
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
    /// The database failed.
    #[error("the database failed: {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// SQLite's own words.
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
        source: std::io::Error,
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
    #[error("the token key does not belong to this data directory")]
    WrongKey,
    /// Tokens were sealed here, but the file with their key is gone.
    #[error("the file token.key is missing, but the data directory holds tokens that were sealed with a key")]
    MissingKey,
    /// The file `token.key` holds no key.
    #[error("the file token.key holds no valid key")]
    InvalidKey(#[source] crate::key::InvalidKey),
    /// The store was opened without a token key.
    #[error("the store was opened without a token key")]
    NoKey,
    /// All 2 147 483 647 numbers of instances were used.
    #[error("no number for another instance is left")]
    Exhausted,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random(#[source] Box<dyn Error + Send + Sync>),
}
