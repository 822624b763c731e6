//! The registry: a snapshot in memory that readers share, and a journal that makes changes durable first.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::account::{Account, AccountId, AccountName};
use crate::data_dir::DataDir;
use crate::directory::{Change, Directory};
use crate::edge::{Edge, PinEdgeError};
use crate::follow;
use crate::instance::{Instance, InstanceId, NewInstance};
use crate::journal::{Appended, Journal, MemoryJournal};
use crate::key::{KeySource, TokenKey};
use crate::registry::{Caller, CreateAccountError, CreateInstanceError, Registry, StoreError};
use crate::sqlite::SqliteJournal;
use crate::token::Token;

/// The accounts and instances of a data directory, or of nothing but memory.
///
/// Readers load an immutable snapshot. A change is decided on the newest one, written to the journal, and
/// only then published as the next snapshot. Changes and reloads take turns.
pub struct Store {
    current: ArcSwap<Directory>,
    journal: Mutex<Box<dyn Journal>>,
    changes: watch::Sender<u64>,
    key: Option<TokenKey>,
}

impl Store {
    /// Opens the registry of a data directory, and creates it there when there is none.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] or [`StoreError::MissingKey`] when the token key is not the one that was used
    /// here before; [`StoreError::Newer`] when a newer version wrote here; otherwise whatever kept the files
    /// from being read and written.
    pub async fn open(dir: &DataDir, key: KeySource) -> Result<Self, StoreError> {
        let mut journal = SqliteJournal::open(&dir.database()).await?;
        let check_value = journal.key_check().await?;
        let key = match key {
            KeySource::Given(key) => Some(key),
            KeySource::Absent => None,
            KeySource::File => Some(match TokenKey::read(&dir.token_key())? {
                Some(key) => key,
                // A new key would open none of the tokens that are there.
                None if check_value.is_some() => return Err(StoreError::MissingKey),
                None => TokenKey::create(&dir.token_key())?,
            }),
        };
        if let Some(key) = &key {
            let check_value = match check_value {
                Some(value) => value,
                None => journal.claim_key_check(&key.check_value()?).await?,
            };
            if !key.matches(&check_value) {
                return Err(StoreError::WrongKey);
            }
        }
        let directory = journal.refresh().await?.unwrap_or_default();
        Ok(Self::new(directory, Box::new(journal), key))
    }

    /// An empty registry that is gone when dropped, for tests.
    ///
    /// # Errors
    /// [`StoreError::Random`] when there is no random key to be had.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::new(
            Directory::default(),
            Box::new(MemoryJournal),
            Some(TokenKey::generate()?),
        ))
    }

    pub(crate) fn new(directory: Directory, journal: Box<dyn Journal>, key: Option<TokenKey>) -> Self {
        Self {
            current: ArcSwap::from_pointee(directory),
            journal: Mutex::new(journal),
            changes: watch::Sender::new(0),
            key,
        }
    }

    /// Looks twice a second for what other processes wrote, such as the command line on the same data
    /// directory. The task ends by itself when the store is dropped.
    pub fn follow(self: &Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(follow::follow(Arc::downgrade(self)))
    }

    /// Decides a change, makes it durable and publishes it. `decide` is asked again when another process
    /// wrote at the same time; without a change nothing is written.
    ///
    /// Dropped at any await, it leaves nothing half done: a change that became durable without being published
    /// is one that the journal does not count as told, so the next refresh reads it.
    async fn change<T, E: From<StoreError>>(
        &self,
        mut decide: impl FnMut(&Directory) -> Result<(Option<Change>, T), E> + Send,
    ) -> Result<T, E> {
        let mut journal = self.journal.lock().await;
        loop {
            self.catch_up(&mut **journal).await?;
            let current = self.current.load_full();
            let (change, outcome) = decide(&current)?;
            let Some(change) = change else { return Ok(outcome) };
            let next = current.with(&change);
            match journal.append(&change).await? {
                Appended::Durable => {
                    self.publish(next);
                    return Ok(outcome);
                }
                Appended::Outdated => {}
            }
        }
    }

    async fn catch_up(&self, journal: &mut dyn Journal) -> Result<(), StoreError> {
        if let Some(directory) = journal.refresh().await? {
            self.publish(directory);
        }
        Ok(())
    }

    /// Only to be called by whoever holds the journal, or an older snapshot could replace a newer one.
    fn publish(&self, directory: Directory) {
        self.current.store(Arc::new(directory));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes one instance by `edit`, if it is there and `edit` says that it changed something.
    async fn edit_instance(
        &self,
        id: InstanceId,
        edit: impl Fn(&mut Instance) -> bool + Send + Sync,
    ) -> Result<bool, StoreError> {
        self.change(|directory| {
            let Some(instance) = directory.instance_by_id(id) else {
                return Ok((None, false));
            };
            let mut instance = Instance::clone(instance);
            let change = edit(&mut instance).then(|| Change::PutInstance(Arc::new(instance)));
            Ok((change, true))
        })
        .await
    }

    fn key(&self) -> Result<&TokenKey, StoreError> {
        self.key.as_ref().ok_or(StoreError::NoKey)
    }
}

#[async_trait]
impl Registry for Store {
    fn authenticate(&self, token: &str) -> Option<Caller> {
        self.current.load().authenticate(token)
    }

    fn account(&self, id: AccountId) -> Option<Arc<Account>> {
        self.current.load().account(id).cloned()
    }

    fn account_named(&self, name: &str) -> Option<Arc<Account>> {
        self.current
            .load()
            .accounts()
            .find(|account| account.name.as_str() == name)
            .cloned()
    }

    fn accounts(&self) -> Vec<Arc<Account>> {
        self.current.load().accounts().cloned().collect()
    }

    fn instance(&self, account: AccountId, name: &str) -> Option<Arc<Instance>> {
        self.current.load().instance(account, name).cloned()
    }

    fn instance_by_id(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.current.load().instance_by_id(id).cloned()
    }

    fn instances(&self, account: AccountId) -> Vec<Arc<Instance>> {
        self.current.load().instances(account).cloned().collect()
    }

    fn all_instances(&self) -> Vec<Arc<Instance>> {
        let mut instances: Vec<_> = self.current.load().all_instances().cloned().collect();
        instances.sort_unstable_by_key(|instance| instance.id);
        instances
    }

    fn instance_token(&self, instance: &Instance) -> Result<Token, StoreError> {
        self.key()?.open_token(instance.id, &instance.sealed_token)
    }

    fn edge(&self) -> Option<Edge> {
        self.current.load().edge()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let mut journal = self.journal.lock().await;
        self.catch_up(&mut **journal).await
    }

    async fn create_account(
        &self,
        name: AccountName,
        quota: Option<u32>,
        now: DateTime<Utc>,
    ) -> Result<(Arc<Account>, Token), CreateAccountError> {
        let token = Token::generate()?;
        let account = self
            .change(|directory| {
                let account = directory.new_account(&name, quota, token.hash(), now)?;
                Ok::<_, CreateAccountError>((Some(Change::PutAccount(account.clone())), account))
            })
            .await?;
        Ok((account, token))
    }

    async fn rotate_account(&self, id: AccountId) -> Result<Option<Token>, StoreError> {
        let token = Token::generate()?;
        let found = self
            .change(|directory| {
                let Some(account) = directory.account(id) else {
                    return Ok::<_, StoreError>((None, false));
                };
                let account = Account {
                    token: token.hash(),
                    ..Account::clone(account)
                };
                Ok((Some(Change::PutAccount(Arc::new(account))), true))
            })
            .await?;
        Ok(found.then_some(token))
    }

    async fn delete_account(&self, id: AccountId) -> Result<bool, StoreError> {
        self.change(|directory| {
            let change = directory.account(id).map(|_| Change::DropAccount(id));
            let found = change.is_some();
            Ok((change, found))
        })
        .await
    }

    async fn create_instance(
        &self,
        account: AccountId,
        new: NewInstance,
    ) -> Result<(Arc<Instance>, Token), CreateInstanceError> {
        let key = self.key()?;
        let NewInstance {
            name,
            token,
            keep_online,
            now,
        } = new;
        let token = token.map_or_else(Token::generate, Ok)?;
        let instance = self
            .change(|directory| {
                let seal = |id| key.seal_token(id, &token);
                let instance =
                    directory.new_instance(account, &name, keep_online, token.hash(), now, seal)?;
                Ok::<_, CreateInstanceError>((Some(Change::PutInstance(instance.clone())), instance))
            })
            .await?;
        Ok((instance, token))
    }

    async fn set_keep_online(&self, id: InstanceId, keep_online: bool) -> Result<bool, StoreError> {
        self.edit_instance(id, |instance| {
            std::mem::replace(&mut instance.keep_online, keep_online) != keep_online
        })
        .await
    }

    async fn set_logged_out(&self, id: InstanceId, logged_out: bool) -> Result<bool, StoreError> {
        self.edit_instance(id, |instance| {
            std::mem::replace(&mut instance.logged_out, logged_out) != logged_out
        })
        .await
    }

    async fn delete_instance(&self, id: InstanceId) -> Result<bool, StoreError> {
        self.change(|directory| {
            let change = directory
                .instance_by_id(id)
                .map(|instance| Change::DropInstance(instance.account, id));
            let found = change.is_some();
            Ok((change, found))
        })
        .await
    }

    async fn pin_edge(&self, edge: Edge) -> Result<(), PinEdgeError> {
        self.change(|directory| {
            edge.check(directory.edge())?;
            let change = directory.edge().is_none().then_some(Change::PinEdge(edge));
            Ok((change, ()))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
