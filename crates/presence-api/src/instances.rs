//! The one door to the instances: what the registry remembers of them, and the sessions that the fleet keeps.
//!
//! Handlers come in here and touch neither.

mod calls;
mod error;
mod fenced;
mod here;
mod in_step;
mod kept;
mod looks;
mod member;
mod pairing_record;
mod webhooks;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use presence_core::InstanceId;
use presence_store::{Caller, Edge, Instance, Registry, StoreError, Token};
use presence_wa::{
    Connector, Fleet, FleetCounters, FleetSettings, InstanceState, InstanceStatus, InstanceWatch, SavedKeys,
    StatusWatch,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub(crate) use self::error::{ChangeError, NotYours, RouteError, Unread};
use self::fenced::FencedConnector;
use self::in_step::saved_keys;
use self::looks::Looks;
use self::pairing_record::RegistryPairingRecord;
use crate::nodes::{Nodes, PeerWatch};
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
    /// In a cluster, what this node was given, and has neither handed over nor given up since.
    held: RwLock<HashMap<InstanceId, Held>>,
    /// Held while it is written down what instances show: by each alone that is handed over, or by all.
    keeping: tokio::sync::RwLock<()>,
    /// When this process began to play its part.
    began: Instant,
    /// At what other nodes wrote, for requests that ask for what is not known here.
    looks: Looks,
    /// Changes under way, which are finished even if nobody waits for them.
    changes: TaskTracker,
    /// Cancelled when the service begins to stop.
    stopping: CancellationToken,
}

/// An instance that this node was given.
#[derive(Clone)]
struct Held {
    since: Instant,
    /// Cancelled when it is in the fleet, with what it showed at the node before. Until then nobody else puts it there.
    resumed: CancellationToken,
    /// It is being handed over: of what it showed, another node was told.
    is_leaving: bool,
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
    /// The node does not answer, and the status is what it said last, if anything.
    pub(crate) is_silent: bool,
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
                held: RwLock::default(),
                keeping: tokio::sync::RwLock::default(),
                began: Instant::now(),
                looks: Looks::default(),
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
    ///
    /// # Errors
    /// [`Unread`] when that cannot be told: the token may be good.
    pub(crate) async fn authenticate_soon(&self, token: &str) -> Result<Option<Caller>, Unread> {
        if let Some(caller) = self.authenticate(token) {
            return Ok(Some(caller));
        }
        let read = self.inner.catch_up().await;
        // What this look did not get, another may have read meanwhile.
        match self.authenticate(token) {
            None => read.map(|()| None),
            caller => Ok(caller),
        }
    }

    /// The same as [`find`](Self::find), also when another node made the instance a moment ago;
    /// [`NotYours::Unread`] when that cannot be told.
    pub(crate) async fn find_soon(&self, caller: &Caller, name: &str) -> Result<Arc<Instance>, NotYours> {
        match self.find(caller, name) {
            Err(NotYours::Unknown) => {}
            found => return found,
        }
        let read = self.inner.catch_up().await;
        match self.find(caller, name) {
            Err(NotYours::Unknown) => Err(read.map_or_else(NotYours::from, |()| NotYours::Unknown)),
            found => found,
        }
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
        let here = self.inner.fleet.status(instance);
        here.or_else(|| self.inner.nodes.as_ref()?.status(instance))
    }

    /// What `caller` may see: an account its instances, oldest first; an instance itself.
    pub(crate) async fn list(&self, caller: &Caller) -> Vec<Listed> {
        if matches!(caller, Caller::Account(_)) {
            // Another node may have made one a moment ago. Where that cannot be told, the others are listed.
            let _ = self.inner.catch_up().await;
        }
        let (instances, with_tokens) = match caller {
            Caller::Instance(own) => (vec![Arc::clone(own)], false),
            Caller::Account(account) => (self.inner.registry.instances(*account), true),
        };
        let listed = |instance: Arc<Instance>| Listed {
            token: with_tokens.then(|| self.inner.registry.instance_token(&instance)),
            node: self.inner.nodes.as_ref().map(|nodes| ListedNode {
                address: nodes.address_of(instance.id),
                is_silent: nodes.is_silent(instance.id),
            }),
            status: self.status(instance.id),
            instance,
        };
        instances.into_iter().map(listed).collect()
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

impl Inner {
    fn held(&self) -> RwLockReadGuard<'_, HashMap<InstanceId, Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, HashMap<InstanceId, Held>> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}
