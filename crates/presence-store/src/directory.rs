//! All accounts and instances at one moment, and every rule that a change of them must keep.
//!
//! Pure: what a change is to be is decided here, on a value; making it durable is the backend's part.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use presence_core::InstanceId;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::account::{Account, AccountId, AccountName};
use crate::caller::Caller;
use crate::edge::Edge;
use crate::error::{CreateAccountError, CreateInstanceError, StoreError};
use crate::instance::{Instance, InstanceName};
use crate::key::{SealedProxy, SealedToken};
use crate::token::TokenHash;

/// A snapshot, made of persistent maps: cloning one copies a few pointers, and a change copies what lies on
/// the way to what it changes.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    accounts: RedBlackTreeMapSync<AccountId, Holding>,
    account_names: HashTrieMapSync<AccountName, AccountId>,
    instances: RedBlackTreeMapSync<InstanceId, Arc<Instance>>,
    tokens: HashTrieMapSync<TokenHash, Owner>,
    /// Deleted instances whose keys may still be there.
    unwiped: RedBlackTreeSetSync<InstanceId>,
    edge: Option<Edge>,
    last_account: i64,
    last_instance: i32,
}

/// An account and what it holds.
#[derive(Clone)]
struct Holding {
    account: Arc<Account>,
    instances: RedBlackTreeSetSync<InstanceId>,
    names: HashTrieMapSync<InstanceName, InstanceId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Account(AccountId),
    Instance(InstanceId),
}

/// One step from a directory to the next.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Creates the account, or replaces the one with its number. Its name never changes.
    PutAccount(Arc<Account>),
    /// Deletes the account with all its instances, and remembers these as deleted.
    DropAccount(AccountId),
    /// Creates the instance, or replaces the one with its number. Its name and account never change.
    PutInstance(Arc<Instance>),
    /// Deletes the instance, and remembers it as deleted.
    DropInstance(InstanceId),
    PinEdge(Edge),
    /// These were used, at these times.
    Touch(Vec<(InstanceId, DateTime<Utc>)>),
    /// The keys of these, which are remembered as deleted, are gone.
    MarkWiped(Vec<InstanceId>),
    /// These are to be remembered as deleted, with keys still to be wiped, whether they ever were instances
    /// here or not.
    RememberDeleted(Vec<InstanceId>),
    /// New instances get higher numbers than this.
    ReserveIds(InstanceId),
}

impl Change {
    /// Whether anybody is told of it. Use is written down all the time, and wiping keys is the service's own.
    pub(crate) fn concerns_readers(&self) -> bool {
        match self {
            Self::PutAccount(_)
            | Self::DropAccount(_)
            | Self::PutInstance(_)
            | Self::DropInstance(_)
            | Self::PinEdge(_) => true,
            Self::Touch(_) | Self::MarkWiped(_) | Self::RememberDeleted(_) | Self::ReserveIds(_) => false,
        }
    }
}

/// Questions.
impl Directory {
    pub(crate) fn authenticate(&self, token: &str) -> Option<Caller> {
        match *self.tokens.get(&TokenHash::of(token)?)? {
            Owner::Account(id) => Some(Caller::Account(id)),
            Owner::Instance(id) => self.instances.get(&id).cloned().map(Caller::Instance),
        }
    }

    pub(crate) fn account(&self, id: AccountId) -> Option<&Arc<Account>> {
        Some(&self.accounts.get(&id)?.account)
    }

    pub(crate) fn account_named(&self, name: &str) -> Option<&Arc<Account>> {
        self.account(*self.account_names.get(name)?)
    }

    /// By creation, as all lists.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values().map(|holding| &holding.account)
    }

    pub(crate) fn instance(&self, account: AccountId, name: &str) -> Option<&Arc<Instance>> {
        self.instances.get(self.accounts.get(&account)?.names.get(name)?)
    }

    pub(crate) fn instance_by_id(&self, id: InstanceId) -> Option<&Arc<Instance>> {
        self.instances.get(&id)
    }

    pub(crate) fn instances(&self, account: AccountId) -> impl Iterator<Item = &Arc<Instance>> {
        self.accounts
            .get(&account)
            .into_iter()
            .flat_map(|holding| holding.instances.iter())
            .filter_map(|id| self.instances.get(id))
    }

    pub(crate) fn all_instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values()
    }

    pub(crate) fn instance_count(&self) -> usize {
        self.instances.size()
    }

    pub(crate) fn unwiped(&self) -> impl Iterator<Item = InstanceId> {
        self.unwiped.iter().copied()
    }

    pub(crate) fn is_unwiped(&self, id: InstanceId) -> bool {
        self.unwiped.contains(&id)
    }

    pub(crate) fn edge(&self) -> Option<Edge> {
        self.edge
    }

    pub(crate) fn last_account(&self) -> i64 {
        self.last_account
    }

    pub(crate) fn last_instance(&self) -> i32 {
        self.last_instance
    }
}

/// Decisions: what would have to change.
impl Directory {
    pub(crate) fn new_account(
        &self,
        name: &AccountName,
        quota: Option<u32>,
        token: TokenHash,
        now: DateTime<Utc>,
    ) -> Result<Arc<Account>, CreateAccountError> {
        if self.account_names.contains_key(name) {
            return Err(CreateAccountError::NameTaken);
        }
        let id = AccountId(self.last_account.checked_add(1).ok_or(StoreError::Exhausted)?);
        Ok(Arc::new(Account {
            id,
            name: name.clone(),
            quota,
            created_at: whole_millis(now),
            token,
            sealed_webhook: None,
        }))
    }

    /// `seal` is called with the number of the new instance, once nothing speaks against it.
    pub(crate) fn new_instance(
        &self,
        account: AccountId,
        name: &InstanceName,
        keep_online: bool,
        token: TokenHash,
        now: DateTime<Utc>,
        seal: impl FnOnce(InstanceId) -> Result<(SealedToken, Option<SealedProxy>), StoreError>,
    ) -> Result<Arc<Instance>, CreateInstanceError> {
        let holding = self
            .accounts
            .get(&account)
            .ok_or(CreateInstanceError::NoAccount)?;
        if self.tokens.contains_key(&token) {
            return Err(CreateInstanceError::TokenTaken);
        }
        if holding
            .account
            .quota
            .is_some_and(|quota| holding.instances.size() >= quota as usize)
        {
            return Err(CreateInstanceError::QuotaExceeded);
        }
        if holding.names.contains_key(name) {
            return Err(CreateInstanceError::NameTaken);
        }
        let id = self
            .last_instance
            .checked_add(1)
            .and_then(InstanceId::new)
            .ok_or(StoreError::Exhausted)?;
        let (sealed_token, sealed_proxy) = seal(id)?;
        Ok(Arc::new(Instance {
            id,
            account,
            name: name.clone(),
            keep_online,
            logged_out: false,
            banned_until: None,
            last_used: None,
            created_at: whole_millis(now),
            pairing_number: 0,
            token,
            sealed_token,
            sealed_proxy,
        }))
    }
}

/// Changes.
impl Directory {
    /// Makes `change`, which was decided on this directory or read from a backend.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::PutAccount(account) => self.put_account(account),
            Change::DropAccount(id) => self.drop_account(*id),
            Change::PutInstance(instance) => self.put_instance(instance),
            Change::DropInstance(id) => self.drop_instance(*id),
            Change::PinEdge(edge) => self.edge = Some(*edge),
            Change::Touch(used) => {
                for (id, at) in used {
                    if let Some(instance) = self.instances.get_mut(id) {
                        Arc::make_mut(instance).last_used = Some(*at);
                    }
                }
            }
            Change::MarkWiped(ids) => {
                for id in ids {
                    self.unwiped.remove_mut(id);
                }
            }
            Change::RememberDeleted(ids) => {
                for id in ids {
                    self.unwiped.insert_mut(*id);
                    self.never_again(0, id.get());
                }
            }
            Change::ReserveIds(id) => self.never_again(0, id.get()),
        }
    }

    /// Which instances `change`, which is about to be made, creates, changes or deletes.
    pub(crate) fn touched_by(&self, change: &Change) -> BTreeSet<InstanceId> {
        match change {
            Change::PutInstance(instance) => BTreeSet::from([instance.id]),
            Change::DropInstance(id) => BTreeSet::from([*id]),
            Change::DropAccount(id) => self.instances(*id).map(|instance| instance.id).collect(),
            Change::PutAccount(_)
            | Change::PinEdge(_)
            | Change::Touch(_)
            | Change::MarkWiped(_)
            | Change::RememberDeleted(_)
            | Change::ReserveIds(_) => BTreeSet::new(),
        }
    }

    /// Gives no number up to these again, though the records that had them may be gone.
    pub(crate) fn never_again(&mut self, last_account: i64, last_instance: i32) {
        self.last_account = self.last_account.max(last_account);
        self.last_instance = self.last_instance.max(last_instance);
    }

    fn put_account(&mut self, account: &Arc<Account>) {
        match self.accounts.get_mut(&account.id) {
            Some(holding) => {
                let replaced = std::mem::replace(&mut holding.account, account.clone());
                self.release_token(&replaced.token, Owner::Account(account.id));
            }
            None => self.accounts.insert_mut(
                account.id,
                Holding {
                    account: account.clone(),
                    instances: RedBlackTreeSetSync::new_sync(),
                    names: HashTrieMapSync::new_sync(),
                },
            ),
        }
        self.account_names.insert_mut(account.name.clone(), account.id);
        self.tokens.insert_mut(account.token, Owner::Account(account.id));
        self.never_again(account.id.0, 0);
    }

    fn drop_account(&mut self, id: AccountId) {
        // It may have been created and deleted between two looks of this process; so may an instance.
        self.never_again(id.0, 0);
        let Some(holding) = self.accounts.get(&id).cloned() else {
            return;
        };
        for instance in holding.instances.iter() {
            self.drop_instance(*instance);
        }
        self.accounts.remove_mut(&id);
        self.account_names.remove_mut(&holding.account.name);
        self.release_token(&holding.account.token, Owner::Account(id));
    }

    fn put_instance(&mut self, instance: &Arc<Instance>) {
        let replaced = self.instances.get(&instance.id).cloned();
        let Some(holding) = self.accounts.get_mut(&instance.account) else {
            return;
        };
        match replaced {
            Some(replaced) => self.release_token(&replaced.token, Owner::Instance(instance.id)),
            None => {
                holding.instances.insert_mut(instance.id);
                holding.names.insert_mut(instance.name.clone(), instance.id);
            }
        }
        self.instances.insert_mut(instance.id, instance.clone());
        self.tokens
            .insert_mut(instance.token, Owner::Instance(instance.id));
        self.never_again(0, instance.id.get());
    }

    fn drop_instance(&mut self, id: InstanceId) {
        self.unwiped.insert_mut(id);
        self.never_again(0, id.get());
        let Some(instance) = self.instances.get(&id).cloned() else {
            return;
        };
        self.instances.remove_mut(&id);
        if let Some(holding) = self.accounts.get_mut(&instance.account) {
            holding.instances.remove_mut(&id);
            holding.names.remove_mut(&instance.name);
        }
        self.release_token(&instance.token, Owner::Instance(id));
    }

    /// Only from `owner`: the token may be another's by now.
    fn release_token(&mut self, token: &TokenHash, owner: Owner) {
        if self.tokens.get(token) == Some(&owner) {
            self.tokens.remove_mut(token);
        }
    }
}

/// What is kept of `time`, so that memory and file never differ.
pub(crate) fn whole_millis(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::milliseconds(1)).unwrap_or(time)
}
