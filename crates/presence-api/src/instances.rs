//! The one door to the instances: what the registry remembers of them, and the sessions that the fleet keeps.
//!
//! Handlers come in here and touch neither. Every method is one thing that a client can ask for, done in the
//! order that leaves nothing wrong behind if the process is killed in the middle of it.

mod fenced;
mod here;
mod kept;
mod member;
mod pairing_record;
mod webhooks;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use presence_core::{ChatJid, ChatPresence, InstanceId, PresenceSent, Shown};
use presence_store::{
    AccountId, Caller, CreateInstanceError, Edge, Instance, NewInstance, Registry, StoreError, Token,
};
use presence_wa::{
    ConnectError, Connected, Connector, Fleet, FleetCounters, FleetSettings, Identity, InstanceOptions,
    InstanceState, InstanceStatus, InstanceWatch, PairWith, Proxy, ReconnectError, SavedKeys, ShowError,
    StatusWatch,
};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use self::fenced::FencedConnector;
use self::pairing_record::RegistryPairingRecord;
use crate::clock::utc_now;
use crate::nodes::{
    ApplySettings, ChangeFailed, Connect, KnownStatus, LogOut, NoOwner, Nodes, PeerWatch, Reconnect, Remove,
    Show, ShownChat, ShownIn,
};
use crate::proxy::{self, KeptProxyError};
use crate::scope::Scope;

/// Every instance of the service: its record and its session. Cheap to clone.
#[derive(Clone)]
pub struct Instances {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Arc<dyn Registry>,
    fleet: Fleet,
    /// What is in the fleet.
    known: Mutex<HashSet<InstanceId>>,
    /// `None`: there is no other node, and every instance is here.
    nodes: Option<Nodes>,
    /// What was taken over from another node of late, and when.
    taken: Mutex<HashMap<InstanceId, Instant>>,
    /// When it was last begun to read what other nodes wrote.
    caught_up: tokio::sync::Mutex<Option<Instant>>,
    /// Changes under way, which are finished even if nobody waits for them.
    changes: TaskTracker,
    /// Cancelled when the service begins to stop.
    stopping: CancellationToken,
}

/// An instance as its owner sees it.
pub(crate) struct Listed {
    pub(crate) instance: Arc<Instance>,
    /// To the owner of its account only. An error is a token that cannot be opened.
    pub(crate) token: Option<Result<Token, StoreError>>,
    /// `None` while the fleet does not know it yet, or no longer.
    pub(crate) status: Option<InstanceStatus>,
    /// In a cluster, the node that has it.
    pub(crate) node: Option<ListedNode>,
}

/// The node that has an instance.
pub(crate) struct ListedNode {
    /// Where others reach it; `None`: no node has the instance.
    pub(crate) address: Option<String>,
    /// The node does not answer, and the status is what it said last.
    pub(crate) is_silent: bool,
}

/// An instance that a caller may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotYours {
    /// It is no instance of the caller's account.
    Unknown,
    /// The caller is a sibling of it.
    Sibling,
}

/// A change that was not made.
#[derive(Debug)]
pub(crate) enum ChangeError<E> {
    /// The service stops.
    Stopping,
    /// A defect; the cause is for the log.
    Panicked(tokio::task::JoinError),
    /// It failed at the node that has the instance.
    Elsewhere(ChangeFailed),
    /// No node made it, or nobody knows.
    NoOwner(NoOwner),
    Failed(E),
}

/// Something that was not done where the instance is.
#[derive(Debug)]
pub(crate) enum RouteError<E> {
    /// No node did it, or nobody knows.
    NoOwner(NoOwner),
    Failed(E),
}

impl Instances {
    /// The instances of `registry`, whose sessions `connector` opens. Saved ones are reopened in the
    /// background; from here on, sessions and registry are kept in step, whoever changes the registry.
    /// `edge` is what the connector's pairings are made with, for the registry to remember.
    ///
    /// Which sessions are saved is read once, for all of them; those that were used last come back first.
    pub async fn open(
        registry: Arc<dyn Registry>,
        edge: Edge,
        connector: Arc<dyn Connector>,
        settings: FleetSettings,
    ) -> Self {
        let saved = match connector.paired().await {
            Ok(paired) => Some(paired.into_iter().collect::<HashMap<_, _>>()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "the saved sessions cannot be listed; each is looked for by itself"
                );
                None
            }
        };
        let instances = Self::new(registry, edge, connector, settings, None);
        let mut all = instances.inner.registry.all_instances();
        all.sort_by_key(|instance| std::cmp::Reverse(instance.last_used));
        for instance in all {
            let saved = match &saved {
                None => SavedKeys::Resume,
                Some(saved) => saved_keys(saved.get(&instance.id)),
            };
            instances.inner.add(&instance, saved);
        }
        instances.follow();
        instances
    }

    /// The same as one of several `nodes`: an instance is here when this node is given it
    /// ([`Sessions`](presence_cluster::Sessions)), and until then what is asked of it is done where it is.
    #[must_use]
    pub fn join(
        registry: Arc<dyn Registry>,
        edge: Edge,
        connector: Arc<dyn Connector>,
        settings: FleetSettings,
        nodes: Nodes,
    ) -> Self {
        let connector = Arc::new(FencedConnector::new(connector, nodes.cluster().clone()));
        let instances = Self::new(registry, edge, connector, settings, Some(nodes.clone()));
        instances.follow();
        let stopping = instances.inner.stopping.clone();
        instances.inner.changes.spawn(nodes.follow(stopping));
        instances.keep_shown();
        instances
    }

    fn new(
        registry: Arc<dyn Registry>,
        edge: Edge,
        connector: Arc<dyn Connector>,
        settings: FleetSettings,
        nodes: Option<Nodes>,
    ) -> Self {
        let record = RegistryPairingRecord {
            registry: Arc::clone(&registry),
            edge,
        };
        Self {
            inner: Arc::new(Inner {
                registry,
                fleet: Fleet::new(connector, Arc::new(record), settings),
                known: Mutex::default(),
                nodes,
                taken: Mutex::default(),
                caught_up: tokio::sync::Mutex::default(),
                changes: TaskTracker::new(),
                stopping: CancellationToken::new(),
            }),
        }
    }

    /// Keeps sessions and registry in step from here on.
    fn follow(&self) {
        let inner = Arc::clone(&self.inner);
        self.inner.changes.spawn(async move {
            inner.stopping.run_until_cancelled(inner.follow()).await;
        });
    }

    /// The other nodes, in a cluster.
    pub(crate) fn nodes(&self) -> Option<&Nodes> {
        self.inner.nodes.as_ref()
    }

    /// Whose `token` is.
    pub(crate) fn authenticate(&self, token: &str) -> Option<Caller> {
        self.inner.registry.authenticate(token)
    }

    /// The same, also when another node made the token a moment ago.
    pub(crate) async fn authenticate_soon(&self, token: &str) -> Option<Caller> {
        if let Some(caller) = self.authenticate(token) {
            return Some(caller);
        }
        self.inner.catch_up().await.then(|| self.authenticate(token))?
    }

    /// The same as [`find`](Self::find), also when another node made the instance a moment ago.
    pub(crate) async fn find_soon(&self, caller: &Caller, name: &str) -> Result<Arc<Instance>, NotYours> {
        let found = self.find(caller, name);
        if matches!(found, Err(NotYours::Unknown)) && self.inner.catch_up().await {
            return self.find(caller, name);
        }
        found
    }

    /// The instance that `caller` means by `name`. Nothing of another account can be observed.
    pub(crate) fn find(&self, caller: &Caller, name: &str) -> Result<Arc<Instance>, NotYours> {
        let registry = &self.inner.registry;
        match caller {
            Caller::Account(account) => registry.instance(*account, name).ok_or(NotYours::Unknown),
            Caller::Instance(own) if own.name.as_str() == name => Ok(Arc::clone(own)),
            Caller::Instance(own) => Err(match registry.instance(own.account, name) {
                Some(_) => NotYours::Sibling,
                None => NotYours::Unknown,
            }),
        }
    }

    /// Where the session of `instance` stands; `None` while the fleet does not know it yet, or no longer.
    pub(crate) fn status(&self, instance: InstanceId) -> Option<InstanceStatus> {
        self.known_status(instance).map(|known| known.status)
    }

    fn known_status(&self, instance: InstanceId) -> Option<KnownStatus> {
        match (self.inner.fleet.status(instance), &self.inner.nodes) {
            (Some(status), _) => Some(KnownStatus {
                status,
                is_old: false,
            }),
            (None, Some(nodes)) => nodes.status(instance),
            (None, None) => None,
        }
    }

    /// What `caller` may see: an account its instances, oldest first; an instance itself.
    pub(crate) async fn list(&self, caller: &Caller) -> Vec<Listed> {
        if matches!(caller, Caller::Account(_)) {
            // Another node may have made one a moment ago.
            self.inner.catch_up().await;
        }
        let (instances, with_tokens) = match caller {
            Caller::Instance(own) => (vec![Arc::clone(own)], false),
            Caller::Account(account) => (self.inner.registry.instances(*account), true),
        };
        let listed = |instance: Arc<Instance>| {
            let known = self.known_status(instance.id);
            Listed {
                token: with_tokens.then(|| self.inner.registry.instance_token(&instance)),
                node: self.inner.nodes.as_ref().map(|nodes| ListedNode {
                    address: nodes.address_of(instance.id),
                    is_silent: known.as_ref().is_some_and(|known| known.is_old),
                }),
                status: known.map(|known| known.status),
                instance,
            }
        };
        instances.into_iter().map(listed).collect()
    }

    /// Creates an instance. It is disconnected until a phone links it.
    pub(crate) async fn create(
        &self,
        account: AccountId,
        new: NewInstance,
    ) -> Result<(Arc<Instance>, Token), ChangeError<CreateInstanceError>> {
        self.change(async move |inner| {
            let created = inner.registry.create_instance(account, new).await?;
            match &inner.nodes {
                None => inner.add(&created.0, SavedKeys::Nothing),
                Some(nodes) => {
                    if let Err(error) = nodes.cluster().claim(created.0.id).await {
                        tracing::debug!(%error, "a new instance is left for any node to take");
                    }
                }
            }
            Ok(created)
        })
        .await
    }

    /// Unlinks the device and deletes the instance with its keys and token; `false` when it is gone already.
    /// The session ends first: were the process killed in between, the instance is still there, and can be
    /// deleted again.
    pub(crate) async fn remove(&self, instance: Arc<Instance>) -> Result<bool, ChangeError<StoreError>> {
        let Some(nodes) = self.nodes_but_for(instance.id) else {
            return self.remove_local(instance).await;
        };
        let call = Remove {
            instance: instance.id,
        };
        let removed = nodes.at_owner(instance.id, call, |_| self.remove_here(instance.id));
        elsewhere(removed.await)
    }

    async fn remove_local(&self, instance: Arc<Instance>) -> Result<bool, ChangeError<StoreError>> {
        self.change(async move |inner| {
            let wiped = inner.end(instance.id).await;
            let deleted = inner.registry.delete_instance(instance.id).await;
            match &deleted {
                // It is still there, without keys: a phone can link it again.
                Err(_) => inner.add(&instance, SavedKeys::Unknown),
                Ok(_) if wiped => inner.mark_wiped(instance.id).await,
                // The next start wipes what is remembered as deleted.
                Ok(_) => {}
            }
            deleted
        })
        .await
    }

    /// Gets the instance online, or what a phone needs to link it. The caller bounds the wait and may give up
    /// at any time.
    pub(crate) async fn connect(
        &self,
        instance: &Instance,
        how: PairWith,
    ) -> Result<Connected, RouteError<ConnectError>> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return Ok(self.inner.fleet.connect(id, how).await?);
        };
        let number = match how {
            PairWith::Qr => None,
            PairWith::LinkCode(number) => Some(number.to_string()),
        };
        let call = Connect { instance: id, number };
        Ok(nodes.at_owner(id, call, |_| self.connect_here(id, how)).await??)
    }

    /// Opens the saved session again. Returns when that has begun.
    pub(crate) async fn reconnect(&self, instance: &Instance) -> Result<(), RouteError<ReconnectError>> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return Ok(self.inner.fleet.reconnect(id).await?);
        };
        let call = Reconnect { instance: id };
        Ok(nodes.at_owner(id, call, |_| self.reconnect_here(id)).await??)
    }

    /// Unlinks the device and wipes its keys. The instance and its token stay; doing it again is no error.
    pub(crate) async fn logout(&self, instance: &Instance) -> Result<(), ChangeError<StoreError>> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return self.logout_local(id).await;
        };
        let call = LogOut { instance: id };
        elsewhere(nodes.at_owner(id, call, |_| self.log_out_here(id)).await)
    }

    async fn logout_local(&self, id: InstanceId) -> Result<(), ChangeError<StoreError>> {
        self.change(async move |inner| {
            // Before anything is done, so that what was answered with 200 is still true after a restart.
            inner.registry.set_logged_out(id, true).await?;
            inner.fleet.logout(id).await;
            Ok(())
        })
        .await
    }

    /// Whether WhatsApp takes the account for online all the time; `false` when the instance is gone. It is
    /// durable, and the session acts on it, when this returns.
    pub(crate) async fn set_keep_online(
        &self,
        instance: &Instance,
        keep: bool,
    ) -> Result<bool, ChangeError<StoreError>> {
        let id = instance.id;
        let set = self
            .change(async move |inner| {
                let set = inner.registry.set_keep_online(id, keep).await?;
                if set {
                    inner.apply_settings(id);
                }
                Ok(set)
            })
            .await?;
        if let Some(nodes) = self.nodes_but_for(id) {
            let call = ApplySettings { instance: id };
            // A node that is not reached now learns of it from the registry.
            let _ = nodes.at_owner(id, call, |_| self.apply_settings_here(id)).await;
        }
        Ok(set)
    }

    /// The proxy that the instance connects through.
    pub(crate) fn proxy(&self, instance: &Instance) -> Result<Option<Proxy>, KeptProxyError> {
        proxy::kept(&*self.inner.registry, instance)
    }

    /// Gives the instance another proxy, or none; `false` when the instance is gone. It is durable when this
    /// returns, and the next connection is made through it.
    pub(crate) async fn set_proxy(
        &self,
        instance: &Instance,
        proxy: Option<&Proxy>,
    ) -> Result<bool, ChangeError<StoreError>> {
        let (id, proxy) = (instance.id, proxy.map(proxy::secret));
        self.change(async move |inner| inner.registry.set_proxy(id, proxy).await)
            .await
    }

    /// Shows or ends an indicator. Dropped before the stanza is written, nothing is sent.
    pub(crate) async fn presence(
        &self,
        instance: &Instance,
        presence: &ChatPresence,
    ) -> Result<PresenceSent, RouteError<ShowError>> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return Ok(self.inner.fleet.show(id, presence).await?);
        };
        let call = Show {
            instance: id,
            presence: presence.into(),
        };
        Ok(nodes
            .at_owner(id, call, |_| self.show_here(id, presence))
            .await??)
    }

    /// What the instance shows now, what ends first at the front. Nothing, when its node does not answer.
    pub(crate) async fn shown(&self, instance: &Instance) -> Vec<(ChatJid, Shown)> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return self.inner.fleet.shown(id).await;
        };
        let call = ShownIn { instance: id };
        let shown = nodes.at_owner(id, call, |_| self.shown_here(id)).await;
        let shown = shown.unwrap_or_default().into_iter();
        shown.filter_map(ShownChat::into_shown).collect()
    }

    /// Follows the instance; `None` while the fleet does not know it yet, or no longer.
    pub(crate) fn watch(&self, id: InstanceId) -> Option<InstanceWatch> {
        self.inner.fleet.watch(id)
    }

    /// Follows how an instance is that another node has.
    pub(crate) fn watch_elsewhere(&self, id: InstanceId) -> Option<PeerWatch> {
        Some(self.nodes_but_for(id)?.watch(id))
    }

    /// Follows how the instance is; `None` while the fleet does not know it yet, or no longer.
    pub(crate) fn watch_status(&self, id: InstanceId) -> Option<StatusWatch> {
        self.inner.fleet.watch_status(id)
    }

    /// Whether this node has the instance.
    pub(crate) fn has(&self, id: InstanceId) -> bool {
        self.inner.nodes.as_ref().is_none_or(|nodes| nodes.has(id))
    }

    /// The instances that are at this node, oldest first.
    pub(crate) fn all_here(&self) -> Vec<Arc<Instance>> {
        let mut all = self.all();
        all.retain(|instance| self.has(instance.id));
        all
    }

    /// The instance with this number.
    pub(crate) fn by_id(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.inner.registry.instance_by_id(id)
    }

    /// Every instance, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Instance>> {
        self.inner.registry.all_instances()
    }

    /// Counts changes of the registry.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.registry.changes()
    }

    /// The instances that are in `scope` now, oldest first.
    pub(crate) fn in_scope(&self, scope: Scope) -> Vec<Arc<Instance>> {
        match scope {
            Scope::Account(account) => self.inner.registry.instances(account),
            Scope::Instance(id) => self.inner.registry.instance_by_id(id).into_iter().collect(),
        }
    }

    /// How many instances are in each state.
    pub(crate) fn states(&self) -> [(InstanceState, usize); 4] {
        use InstanceState::{Connected, Connecting, Disconnected, LoggedOut};
        let mut states = [Connected, Connecting, Disconnected, LoggedOut].map(|state| (state, 0));
        for instance in self.all_here() {
            let status = self.inner.fleet.status(instance.id);
            let state = status.map_or(Disconnected, |status| status.state);
            for (_, count) in states.iter_mut().filter(|(counted, _)| *counted == state) {
                *count += 1;
            }
        }
        states
    }

    /// What all instances have done since the start.
    pub(crate) fn counters(&self) -> &FleetCounters {
        self.inner.fleet.counters()
    }

    /// Whether the registry can be read and written.
    pub(crate) async fn check_registry(&self) -> Result<(), StoreError> {
        self.inner.registry.check().await
    }

    /// How many tasks of instances have panicked since the start.
    #[must_use]
    pub fn task_panics(&self) -> u64 {
        self.inner.fleet.counters().task_panics.get()
    }

    /// Pauses every indicator that is shown, closes every session, and lets changes that have begun finish;
    /// all at the same time, and within `grace`.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        let inner = &self.inner;
        inner.stopping.cancel();
        inner.changes.close();
        let changes = async {
            if timeout(grace, inner.changes.wait()).await.is_err() {
                tracing::warn!(changes = inner.changes.len(), "changes did not finish in time");
            }
        };
        let sessions = async {
            if let Some(nodes) = &inner.nodes {
                nodes.cluster().leave(grace).await;
            }
            inner.fleet.shutdown(grace).await;
        };
        tokio::join!(sessions, changes);
        inner.remember_use().await;
    }

    /// Runs a change to its end even if the client goes away meanwhile: half a logout would be worse than one
    /// that nobody waits for.
    async fn change<T, E, F>(&self, change: impl FnOnce(Arc<Inner>) -> F) -> Result<T, ChangeError<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        if self.inner.stopping.is_cancelled() {
            return Err(ChangeError::Stopping);
        }
        let change = change(Arc::clone(&self.inner)).in_current_span();
        match self.inner.changes.spawn(change).await {
            Ok(done) => done.map_err(ChangeError::Failed),
            Err(error) => Err(ChangeError::Panicked(error)),
        }
    }
}

/// What became of a change at the node that has the instance.
fn elsewhere<T>(done: Result<Result<T, ChangeFailed>, NoOwner>) -> Result<T, ChangeError<StoreError>> {
    done.map_err(ChangeError::NoOwner)?
        .map_err(ChangeError::Elsewhere)
}

impl<E> From<NoOwner> for RouteError<E> {
    fn from(why: NoOwner) -> Self {
        Self::NoOwner(why)
    }
}

impl From<ShowError> for RouteError<ShowError> {
    fn from(error: ShowError) -> Self {
        Self::Failed(error)
    }
}

impl From<ConnectError> for RouteError<ConnectError> {
    fn from(error: ConnectError) -> Self {
        Self::Failed(error)
    }
}

impl From<ReconnectError> for RouteError<ReconnectError> {
    fn from(error: ReconnectError) -> Self {
        Self::Failed(error)
    }
}

impl Inner {
    /// Puts an instance into the fleet, unless it is there. Where keys of a pairing are saved, its session is
    /// reopened in the background.
    fn add(&self, instance: &Instance, saved: SavedKeys) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(instance.id) {
            let options = InstanceOptions {
                name: instance.name.to_string(),
                keep_online: instance.keep_online,
                saved,
                logged_out: instance.logged_out,
                banned: instance
                    .banned_until
                    .and_then(|until| (until - utc_now()).to_std().ok()),
            };
            self.fleet.add(instance.id, options);
        }
    }

    /// Pauses what the instance shows, unlinks its device, wipes the keys, and takes it out of the fleet.
    /// `true` when no key is left.
    async fn end(&self, id: InstanceId) -> bool {
        let wiped = self.fleet.remove(id).await;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        wiped
    }

    async fn mark_wiped(&self, id: InstanceId) {
        if let Err(error) = self.registry.mark_wiped(&[id]).await {
            // The next start finds nothing to wipe, and tries this again.
            tracing::debug!(%error, "it is not remembered that the keys are wiped");
        }
    }

    /// Writes down which instances were used of late, for the next start to bring them back first.
    async fn remember_use(&self) {
        let now = utc_now();
        let used: Vec<_> = self.fleet.take_used().into_iter().map(|id| (id, now)).collect();
        if !used.is_empty()
            && let Err(error) = self.registry.touch(&used).await
        {
            tracing::debug!(%error, "it is not remembered which instances were used");
        }
    }

    /// Hands the session the settings that the registry holds now. One hand-over at a time: of two changes at
    /// once, the session ends with the one that the registry ends with, whichever of them is answered last.
    fn apply_settings(&self, id: InstanceId) {
        let _turn = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = self.registry.instance_by_id(id) {
            self.fleet.set_keep_online(instance.id, instance.keep_online);
        }
    }

    /// Follows what other processes change in the registry, such as `presence-server account delete`. Ends
    /// with the registry.
    async fn follow(&self) {
        let mut changes = self.registry.changes();
        let mut uses = tokio::time::interval(REMEMBER_USE_EVERY);
        uses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Before this began, something may have changed since the instances were added.
        let mut seen = None;
        loop {
            let count = *changes.borrow_and_update();
            if seen != Some(count) {
                self.reconcile(seen.and_then(|seen| self.registry.changed_since(seen)))
                    .await;
                seen = Some(count);
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = uses.tick() => self.remember_use().await,
            }
        }
    }

    /// Puts into the fleet what is new, and takes out of it what is gone: of `changed`, or of all there is.
    async fn reconcile(&self, changed: Option<BTreeSet<InstanceId>>) {
        let gone: Vec<_> = match changed {
            Some(changed) => {
                let (there, gone): (Vec<_>, Vec<_>) = changed
                    .into_iter()
                    .map(|id| (id, self.registry.instance_by_id(id)))
                    .partition(|(_, instance)| instance.is_some());
                for instance in there.into_iter().filter_map(|(_, instance)| instance) {
                    self.add_if_here(&instance);
                }
                let gone = gone.into_iter().map(|(id, _)| id);
                let (known, unknown) = gone.partition(|id| self.is_known(*id));
                self.leave_out(unknown).await;
                known
            }
            None => {
                for instance in self.registry.all_instances() {
                    self.add_if_here(&instance);
                }
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let gone = known.into_iter();
                gone.filter(|id| self.registry.instance_by_id(*id).is_none())
                    .collect()
            }
        };
        // Together: each takes as long as WhatsApp takes to confirm, or to be given up.
        let removals = gone.into_iter().map(|id| async move {
            tracing::info!(instance.id = %id, "the instance was deleted; its session ends");
            if self.end(id).await {
                self.mark_wiped(id).await;
            }
            self.leave_out(vec![id]).await;
        });
        futures_util::future::join_all(removals).await;
    }

    /// Reads what other nodes wrote until now. `false` without other nodes, or when it cannot be read. Many who ask at
    /// once have it read once, so whoever guesses tokens keeps the database no busier than one reader does.
    async fn catch_up(&self) -> bool {
        if self.nodes.is_none() {
            return false;
        }
        let asked = Instant::now();
        let read = async {
            let mut caught_up = self.caught_up.lock().await;
            if caught_up.is_some_and(|begun| begun >= asked) {
                return true;
            }
            let begun = Instant::now();
            let read = self.registry.refresh().await.is_ok();
            *caught_up = read.then_some(begun);
            read
        };
        timeout(CATCH_UP, read).await.unwrap_or(false)
    }

    /// Puts an instance into the fleet that the registry has told of, unless another node is to have it; and hands it
    /// the settings that another process may have changed.
    fn add_if_here(&self, instance: &Instance) {
        match &self.nodes {
            None => self.add(instance, SavedKeys::Unknown),
            Some(nodes) if nodes.has(instance.id) => {
                self.add(instance, SavedKeys::Resume);
                self.apply_settings(instance.id);
            }
            Some(_) => {}
        }
    }

    /// These were deleted, which the cluster is not told of otherwise.
    async fn leave_out(&self, deleted: Vec<InstanceId>) {
        if let Some(nodes) = &self.nodes {
            for id in deleted {
                nodes.cluster().forget(id).await;
            }
        }
    }

    fn is_known(&self, id: InstanceId) -> bool {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&id)
    }
}

/// What is known of an instance's keys, from the list of all that are paired.
fn saved_keys(paired: Option<&Identity>) -> SavedKeys {
    match paired {
        Some(identity) => SavedKeys::Paired(identity.clone()),
        None => SavedKeys::Unpaired,
    }
}

/// How long a request with an unknown token, or for an unknown instance, waits for what other nodes wrote.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How often it is written down which instances were used.
const REMEMBER_USE_EVERY: Duration = Duration::from_secs(60);
