//! What the service asks of its accounts and instances.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use presence_core::InstanceId;
use tokio::sync::watch;

use crate::account::{Account, AccountId, AccountName};
use crate::caller::Caller;
use crate::edge::{Edge, PinEdgeError};
use crate::error::{CreateAccountError, CreateInstanceError, StoreError};
use crate::instance::{Instance, NewInstance};
use crate::secret_text::SecretText;
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

    /// Whether there was an instance with this number, which is gone now. Numbers are never given again.
    fn was_deleted(&self, id: InstanceId) -> bool;

    /// How many there are of all accounts.
    fn instance_count(&self) -> usize;

    /// The token of `instance`, for the owner of its account.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] where tokens cannot be opened; [`StoreError::Corrupt`] when what was kept is
    /// not what was sealed for this instance: then this one token is lost, and no other.
    fn instance_token(&self, instance: &Instance) -> Result<Token, StoreError>;

    /// The proxy that `instance` connects through; `None` when it connects directly.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] where it cannot be opened; [`StoreError::Corrupt`] when what was kept is not what
    /// was sealed for this instance. It has one all the same.
    fn instance_proxy(&self, instance: &Instance) -> Result<Option<SecretText>, StoreError>;

    /// Where `account` is told of its instances; `None`: nowhere.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] where it cannot be opened; [`StoreError::Corrupt`] when what was kept is not what
    /// was sealed for this account. It has one all the same.
    fn account_webhook(&self, account: &Account) -> Result<Option<SecretText>, StoreError>;

    /// With which edge pairings were made; `None` before the first.
    fn edge(&self) -> Option<Edge>;

    /// Deleted instances whose device keys may still be there, oldest first. They are remembered from the
    /// moment of their deletion until [`mark_wiped`](Self::mark_wiped), and their numbers are never given
    /// again. Only what is in here may be wiped without being asked for.
    fn deleted_unwiped(&self) -> Vec<InstanceId>;

    /// Counts changes, whoever made them. It is how a server learns that another process deleted an account
    /// whose sessions it still holds; [`changed_since`](Self::changed_since) tells what to look at.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Which instances were created, changed or deleted after [`changes`](Self::changes) was at `count`.
    /// `None` when it is not known any more: after more than a thousand changes, or when everything was read
    /// anew. Then compare [`all_instances`](Self::all_instances) with what you have.
    fn changed_since(&self, count: u64) -> Option<BTreeSet<InstanceId>>;

    /// Reads what other processes wrote.
    async fn refresh(&self) -> Result<(), StoreError>;

    /// Tells whether the store is well: reads what others wrote, and writes a row durably. A full disk, one
    /// that cannot be written and a lock that another process does not let go are errors; a disk that hangs
    /// is for the caller to time out. Dropping it halfway does no harm.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Busy`] or whatever else kept it from that.
    async fn check(&self) -> Result<(), StoreError>;

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

    /// Gives an account another webhook, or none. `false` when there is no such account.
    async fn set_webhook(&self, id: AccountId, webhook: Option<SecretText>) -> Result<bool, StoreError>;

    /// Deletes an account and its instances. Their device keys are left to the server, and remembered in
    /// [`deleted_unwiped`](Self::deleted_unwiped). `false` when there is no such account.
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

    /// Gives an instance another proxy, or none. `false` when there is no such instance.
    async fn set_proxy(&self, id: InstanceId, proxy: Option<SecretText>) -> Result<bool, StoreError>;

    /// Sets [`Instance::logged_out`]: to `true` before the keys are wiped, to `false` before the first key of
    /// a new pairing is made. `false` when there is no such instance.
    async fn set_logged_out(&self, id: InstanceId, logged_out: bool) -> Result<bool, StoreError>;

    /// Sets [`Instance::banned_until`], cut to whole milliseconds. `false` when there is no such instance.
    async fn set_banned_until(
        &self,
        id: InstanceId,
        until: Option<DateTime<Utc>>,
    ) -> Result<bool, StoreError>;

    /// Sets [`Instance::last_used`] of many, in one write. Instances that are gone are left out. It is not
    /// counted by [`changes`](Self::changes).
    async fn touch(&self, used: &[(InstanceId, DateTime<Utc>)]) -> Result<(), StoreError>;

    /// Deletes an instance. Its device keys are left to the server, and remembered in
    /// [`deleted_unwiped`](Self::deleted_unwiped). `false` when there is no such instance.
    async fn delete_instance(&self, id: InstanceId) -> Result<bool, StoreError>;

    /// Remembers that the keys of these deleted instances are gone. Of others it does nothing.
    async fn mark_wiped(&self, ids: &[InstanceId]) -> Result<(), StoreError>;

    /// Remembers for good that pairings here are made with `edge`. Call it before the first one is.
    async fn pin_edge(&self, edge: Edge) -> Result<(), PinEdgeError>;
}
