//! The registry: a snapshot in memory that readers share, and a backend that makes changes durable first.

mod keys;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use presence_core::InstanceId;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::account::{Account, AccountId, AccountName};
use crate::backend::{Appended, Backend, MemoryBackend, Refreshed};
use crate::caller::Caller;
use crate::contents::Contents;
use crate::data_dir::DataDir;
use crate::directory::{Change, Directory, whole_millis};
use crate::edge::{Edge, PinEdgeError};
use crate::error::{CreateAccountError, CreateInstanceError, StoreError};
use crate::follow;
use crate::instance::{Instance, NewInstance};
use crate::key::{KeySource, TokenKey};
use crate::key_file::KeyFile;
use crate::key_store::SqliteKeyStore;
use crate::recent::RecentChanges;
use crate::registry::Registry;
use crate::secret_text::SecretText;
use crate::sqlite::SqliteBackend;
use crate::token::Token;

/// The accounts and instances of a data directory, of a [`Postgres`](crate::Postgres), or of nothing but memory.
///
/// Readers load an immutable snapshot. A change is decided on the newest one, made durable by the backend, and
/// only then published as the next snapshot. Changes and reloads take turns.
pub struct Store {
    current: ArcSwap<Directory>,
    backend: Mutex<Box<dyn Backend>>,
    changes: watch::Sender<u64>,
    /// That others wrote; `None` where nobody tells.
    hints: Option<watch::Receiver<u64>>,
    recent: StdMutex<RecentChanges>,
    key: Option<TokenKey>,
    /// The device keys beside it, once they are checked.
    keys: OnceLock<SqliteKeyStore>,
    /// Where it is; `None` in memory and in PostgreSQL.
    dir: Option<DataDir>,
}

impl Store {
    /// Opens the registry of a data directory, and creates it there when there is none.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] or [`StoreError::MissingKey`] when the token key is not the one that was used
    /// here before; [`StoreError::Newer`] when a newer version wrote here; otherwise whatever kept the files
    /// from being read and written.
    pub async fn open(dir: &DataDir, key: KeySource) -> Result<Self, StoreError> {
        let mut backend = SqliteBackend::open(&dir.database()).await?;
        let check_value = backend.key_check().await?;
        let key = match key {
            KeySource::Given(key) => Some(key),
            KeySource::Absent => None,
            KeySource::File => Some(KeyFile::new(dir.token_key()).open(check_value.as_deref())?),
        };
        if let Some(key) = &key {
            let check_value = match check_value {
                Some(value) => value,
                None => backend.claim_key_check(&key.check_value()?).await?,
            };
            if !key.matches(&check_value) {
                return Err(StoreError::WrongKey);
            }
        }
        Self::over(Box::new(backend), key, Some(dir.clone())).await
    }

    /// An empty registry that is gone when dropped, for tests.
    ///
    /// # Errors
    /// [`StoreError::Random`] when there is no random key to be had.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::new(
            Directory::default(),
            Box::new(MemoryBackend),
            Some(TokenKey::generate()?),
            None,
        ))
    }

    /// What `backend` has, from the beginning.
    pub(crate) async fn over(
        mut backend: Box<dyn Backend>,
        key: Option<TokenKey>,
        dir: Option<DataDir>,
    ) -> Result<Self, StoreError> {
        let mut directory = Directory::default();
        match backend.refresh().await? {
            Refreshed::Everything(everything) => directory = *everything,
            Refreshed::Changes(changes) => changes.iter().for_each(|change| directory.apply(change)),
            Refreshed::Nothing => {}
        }
        Ok(Self::new(directory, backend, key, dir))
    }

    pub(crate) fn new(
        directory: Directory,
        backend: Box<dyn Backend>,
        key: Option<TokenKey>,
        dir: Option<DataDir>,
    ) -> Self {
        Self {
            current: ArcSwap::from_pointee(directory),
            hints: backend.hints(),
            backend: Mutex::new(backend),
            changes: watch::Sender::new(0),
            recent: StdMutex::default(),
            key,
            keys: OnceLock::new(),
            dir,
        }
    }

    /// Lets go of the files and tidies them up. Dropping does the same, but nobody can wait for it.
    ///
    /// # Errors
    /// When the files cannot be written. What was acknowledged is safe all the same.
    pub async fn close(self) -> Result<(), StoreError> {
        self.backend.into_inner().close().await
    }

    /// Looks twice a second for what other processes wrote, such as the command line on the same data
    /// directory, and at once when the database tells of it. The task ends by itself when the store is dropped.
    pub fn follow(self: &Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(follow::follow(Arc::downgrade(self), self.hints.clone()))
    }

    /// Decides a change, makes it durable and publishes it. `decide` is asked again when another process
    /// wrote at the same time; without a change nothing is written.
    ///
    /// Dropped at any await, it leaves nothing half done: a change that became durable without being published
    /// is one that the backend does not count as told, so the next refresh reads it.
    async fn change<T, E: From<StoreError>>(
        &self,
        mut decide: impl FnMut(&Directory) -> Result<(Option<Change>, T), E> + Send,
    ) -> Result<T, E> {
        let mut backend = self.backend.lock().await;
        loop {
            self.catch_up(&mut **backend).await?;
            let current = self.current.load_full();
            let (change, outcome) = decide(&current)?;
            let Some(change) = change else { return Ok(outcome) };
            match backend.append(&change).await? {
                Appended::Durable => {
                    self.publish(&current, &[change]);
                    return Ok(outcome);
                }
                Appended::Outdated => {}
            }
        }
    }

    async fn catch_up(&self, backend: &mut dyn Backend) -> Result<(), StoreError> {
        match backend.refresh().await? {
            Refreshed::Nothing => {}
            Refreshed::Changes(changes) => self.publish(&self.current.load_full(), &changes),
            Refreshed::Everything(directory) => {
                self.current.store(Arc::from(directory));
                let count = self.recent().push_everything();
                self.changes.send_replace(count);
            }
        }
        Ok(())
    }

    /// Only to be called by whoever holds the backend, or an older snapshot could replace a newer one.
    fn publish(&self, current: &Directory, changes: &[Change]) {
        let mut next = current.clone();
        let mut touched = BTreeSet::new();
        for change in changes {
            touched.append(&mut next.touched_by(change));
            next.apply(change);
        }
        self.current.store(Arc::new(next));
        if changes.iter().any(Change::concerns_readers) {
            let count = self.recent().push(touched);
            self.changes.send_replace(count);
        }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, RecentChanges> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Before a logged-out instance pairs again, so that a registry from before cannot take its keys for those
    /// that were logged out. The key file is written first: were it the other way round, a crash in between
    /// would leave keys that look as old as the registry.
    async fn note_new_pairing(&self, id: InstanceId) -> Result<(), StoreError> {
        let (Some(keys), Some(instance)) = (self.keys.get(), self.instance_by_id(id)) else {
            return Ok(());
        };
        if !instance.logged_out {
            return Ok(());
        }
        let number = instance.pairing_number.saturating_add(1);
        keys.set_pairing_number(id, number).await
    }

    /// All that it holds, as it is now.
    pub(crate) async fn contents(&self) -> Result<Contents, StoreError> {
        let mut backend = self.backend.lock().await;
        self.catch_up(&mut **backend).await?;
        let deleted = backend.deleted().await?;
        Ok(Contents::new(&self.current.load(), deleted))
    }

    /// The key that everything is sealed with, unless it was opened without one.
    pub(crate) fn token_key(&self) -> Option<&TokenKey> {
        self.key.as_ref()
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
        self.current.load().account_named(name).cloned()
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
        self.current.load().all_instances().cloned().collect()
    }

    fn was_deleted(&self, id: InstanceId) -> bool {
        let directory = self.current.load();
        id.get() <= directory.last_instance() && directory.instance_by_id(id).is_none()
    }

    fn instance_count(&self) -> usize {
        self.current.load().instance_count()
    }

    fn instance_token(&self, instance: &Instance) -> Result<Token, StoreError> {
        self.key()?.open_token(instance.id, &instance.sealed_token)
    }

    fn instance_proxy(&self, instance: &Instance) -> Result<Option<SecretText>, StoreError> {
        let Some(sealed) = &instance.sealed_proxy else {
            return Ok(None);
        };
        self.key()?.open_proxy(instance.id, sealed).map(Some)
    }

    fn account_webhook(&self, account: &Account) -> Result<Option<SecretText>, StoreError> {
        let Some(sealed) = &account.sealed_webhook else {
            return Ok(None);
        };
        self.key()?.open_webhook(account.id, sealed).map(Some)
    }

    fn edge(&self) -> Option<Edge> {
        self.current.load().edge()
    }

    fn deleted_unwiped(&self) -> Vec<InstanceId> {
        self.current.load().unwiped().collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed_since(&self, count: u64) -> Option<BTreeSet<InstanceId>> {
        self.recent().since(count)
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let mut backend = self.backend.lock().await;
        self.catch_up(&mut **backend).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut backend = self.backend.lock().await;
        self.catch_up(&mut **backend).await?;
        backend.check().await
    }

    async fn create_account(
        &self,
        name: AccountName,
        quota: Option<u32>,
        now: DateTime<Utc>,
    ) -> Result<(Arc<Account>, Token), CreateAccountError> {
        let token = Token::for_account()?;
        let account = self
            .change(|directory| {
                let account = directory.new_account(&name, quota, token.hash(), now)?;
                Ok::<_, CreateAccountError>((Some(Change::PutAccount(account.clone())), account))
            })
            .await?;
        Ok((account, token))
    }

    async fn rotate_account(&self, id: AccountId) -> Result<Option<Token>, StoreError> {
        let token = Token::for_account()?;
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

    async fn set_webhook(&self, id: AccountId, webhook: Option<SecretText>) -> Result<bool, StoreError> {
        let sealed = match &webhook {
            Some(webhook) => Some(self.key()?.seal_webhook(id, webhook)?),
            None => None,
        };
        self.change(|directory| {
            let Some(account) = directory.account(id) else {
                return Ok((None, false));
            };
            let changed = account.sealed_webhook.is_some() || sealed.is_some();
            let account = Account {
                sealed_webhook: sealed.clone(),
                ..Account::clone(account)
            };
            let change = changed.then(|| Change::PutAccount(Arc::new(account)));
            Ok((change, true))
        })
        .await
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
            proxy,
            now,
        } = new;
        let token = token.map_or_else(Token::for_instance, Ok)?;
        let instance = self
            .change(|directory| {
                let seal = |id| {
                    let proxy = proxy
                        .as_ref()
                        .map(|proxy| key.seal_proxy(id, proxy))
                        .transpose()?;
                    Ok((key.seal_token(id, &token)?, proxy))
                };
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

    async fn set_proxy(&self, id: InstanceId, proxy: Option<SecretText>) -> Result<bool, StoreError> {
        let sealed = match &proxy {
            Some(proxy) => Some(self.key()?.seal_proxy(id, proxy)?),
            None => None,
        };
        self.edit_instance(id, |instance| {
            let before = std::mem::replace(&mut instance.sealed_proxy, sealed.clone());
            before.is_some() || sealed.is_some()
        })
        .await
    }

    async fn set_logged_out(&self, id: InstanceId, logged_out: bool) -> Result<bool, StoreError> {
        if !logged_out {
            self.note_new_pairing(id).await?;
        }
        self.edit_instance(id, |instance| {
            if instance.logged_out && !logged_out {
                instance.pairing_number = instance.pairing_number.saturating_add(1);
            }
            std::mem::replace(&mut instance.logged_out, logged_out) != logged_out
        })
        .await
    }

    async fn set_banned_until(
        &self,
        id: InstanceId,
        until: Option<DateTime<Utc>>,
    ) -> Result<bool, StoreError> {
        let until = until.map(whole_millis);
        self.edit_instance(id, |instance| {
            std::mem::replace(&mut instance.banned_until, until) != until
        })
        .await
    }

    async fn touch(&self, used: &[(InstanceId, DateTime<Utc>)]) -> Result<(), StoreError> {
        self.change(|directory| {
            let used: Vec<_> = used
                .iter()
                .filter(|(id, _)| directory.instance_by_id(*id).is_some())
                .map(|(id, at)| (*id, whole_millis(*at)))
                .collect();
            Ok(((!used.is_empty()).then_some(Change::Touch(used)), ()))
        })
        .await
    }

    async fn delete_instance(&self, id: InstanceId) -> Result<bool, StoreError> {
        self.change(|directory| {
            let change = directory.instance_by_id(id).map(|_| Change::DropInstance(id));
            let found = change.is_some();
            Ok((change, found))
        })
        .await
    }

    async fn mark_wiped(&self, ids: &[InstanceId]) -> Result<(), StoreError> {
        self.change(|directory| {
            let ids: Vec<_> = ids
                .iter()
                .copied()
                .filter(|id| directory.is_unwiped(*id))
                .collect();
            Ok(((!ids.is_empty()).then_some(Change::MarkWiped(ids)), ()))
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
