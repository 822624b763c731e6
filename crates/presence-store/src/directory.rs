//! All accounts and instances at one moment, and every rule that a change of them must keep.
//!
//! Pure: what a change is to be is decided here, on a value; making it durable is the journal's part.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};

use crate::account::{Account, AccountId, AccountName};
use crate::edge::Edge;
use crate::instance::{Instance, InstanceId, InstanceName};
use crate::key::SealedToken;
use crate::registry::{Caller, CreateAccountError, CreateInstanceError, StoreError};
use crate::token::TokenHash;

/// A snapshot. Cloning it copies maps of pointers, and what a change does not touch stays shared.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    accounts: BTreeMap<AccountId, Arc<Holding>>,
    tokens: HashMap<TokenHash, Owner>,
    edge: Option<Edge>,
    last_account: i64,
    last_instance: i32,
}

/// An account and what it holds.
#[derive(Clone)]
struct Holding {
    account: Arc<Account>,
    instances: BTreeMap<InstanceId, Arc<Instance>>,
    names: HashMap<InstanceName, InstanceId>,
}

#[derive(Clone, Copy)]
enum Owner {
    Account(AccountId),
    Instance(AccountId, InstanceId),
}

/// One step from a directory to the next.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Creates the account, or replaces the one with its number.
    PutAccount(Arc<Account>),
    /// Deletes the account with all its instances.
    DropAccount(AccountId),
    /// Creates the instance, or replaces the one with its number. Its name and account never change.
    PutInstance(Arc<Instance>),
    DropInstance(AccountId, InstanceId),
    PinEdge(Edge),
}

/// Questions.
impl Directory {
    pub(crate) fn authenticate(&self, token: &str) -> Option<Caller> {
        match *self.tokens.get(&TokenHash::of(token)?)? {
            Owner::Account(id) => Some(Caller::Account(id)),
            Owner::Instance(account, id) => self
                .accounts
                .get(&account)?
                .instances
                .get(&id)
                .cloned()
                .map(Caller::Instance),
        }
    }

    pub(crate) fn account(&self, id: AccountId) -> Option<&Arc<Account>> {
        Some(&self.accounts.get(&id)?.account)
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values().map(|holding| &holding.account)
    }

    pub(crate) fn instance(&self, account: AccountId, name: &str) -> Option<&Arc<Instance>> {
        let holding = self.accounts.get(&account)?;
        holding.instances.get(holding.names.get(name)?)
    }

    pub(crate) fn instance_by_id(&self, id: InstanceId) -> Option<&Arc<Instance>> {
        self.accounts
            .values()
            .find_map(|holding| holding.instances.get(&id))
    }

    pub(crate) fn instances(&self, account: AccountId) -> impl Iterator<Item = &Arc<Instance>> {
        self.accounts
            .get(&account)
            .into_iter()
            .flat_map(|holding| holding.instances.values())
    }

    /// By account, then by creation.
    pub(crate) fn all_instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.accounts
            .values()
            .flat_map(|holding| holding.instances.values())
    }

    pub(crate) fn edge(&self) -> Option<Edge> {
        self.edge
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
        if self.accounts().any(|account| account.name == *name) {
            return Err(CreateAccountError::NameTaken);
        }
        let id = AccountId(self.last_account.checked_add(1).ok_or(StoreError::Exhausted)?);
        Ok(Arc::new(Account {
            id,
            name: name.clone(),
            quota,
            created_at: whole_millis(now),
            token,
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
        seal: impl FnOnce(InstanceId) -> Result<SealedToken, StoreError>,
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
            .is_some_and(|quota| holding.instances.len() >= quota as usize)
        {
            return Err(CreateInstanceError::QuotaExceeded);
        }
        if holding.names.contains_key(name) {
            return Err(CreateInstanceError::NameTaken);
        }
        let id = self
            .last_instance
            .checked_add(1)
            .and_then(InstanceId::from_device)
            .ok_or(StoreError::Exhausted)?;
        Ok(Arc::new(Instance {
            id,
            account,
            name: name.clone(),
            keep_online,
            logged_out: false,
            created_at: whole_millis(now),
            token,
            sealed_token: seal(id)?,
        }))
    }
}

/// Changes.
impl Directory {
    /// This directory after `change`.
    pub(crate) fn with(&self, change: &Change) -> Self {
        let mut next = self.clone();
        next.apply(change);
        next
    }

    /// Makes `change`, which was decided on this directory or read from a journal.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::PutAccount(account) => {
                let holding = self
                    .accounts
                    .entry(account.id)
                    .or_insert_with(|| Arc::new(Holding::of(account)));
                let replaced = std::mem::replace(&mut Arc::make_mut(holding).account, account.clone());
                self.tokens.remove(&replaced.token);
                self.tokens.insert(account.token, Owner::Account(account.id));
                self.never_again(account.id.0, 0);
            }
            Change::DropAccount(id) => {
                if let Some(holding) = self.accounts.remove(id) {
                    self.tokens.remove(&holding.account.token);
                    for instance in holding.instances.values() {
                        self.tokens.remove(&instance.token);
                    }
                }
            }
            Change::PutInstance(instance) => {
                if let Some(holding) = self.accounts.get_mut(&instance.account) {
                    let holding = Arc::make_mut(holding);
                    if let Some(replaced) = holding.instances.insert(instance.id, instance.clone()) {
                        self.tokens.remove(&replaced.token);
                    }
                    holding.names.insert(instance.name.clone(), instance.id);
                    self.tokens
                        .insert(instance.token, Owner::Instance(instance.account, instance.id));
                    self.never_again(0, instance.id.device());
                }
            }
            Change::DropInstance(account, id) => {
                if let Some(holding) = self.accounts.get_mut(account) {
                    let holding = Arc::make_mut(holding);
                    if let Some(instance) = holding.instances.remove(id) {
                        holding.names.remove(&instance.name);
                        self.tokens.remove(&instance.token);
                    }
                }
            }
            Change::PinEdge(edge) => self.edge = Some(*edge),
        }
    }

    /// Gives no number up to these again, though the records that had them may be gone.
    pub(crate) fn never_again(&mut self, last_account: i64, last_instance: i32) {
        self.last_account = self.last_account.max(last_account);
        self.last_instance = self.last_instance.max(last_instance);
    }
}

impl Holding {
    fn of(account: &Arc<Account>) -> Self {
        Self {
            account: account.clone(),
            instances: BTreeMap::new(),
            names: HashMap::new(),
        }
    }
}

/// What the journal keeps of `time`, so that memory and file never differ.
fn whole_millis(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::milliseconds(1)).unwrap_or(time)
}
