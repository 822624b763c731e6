//! What requests ask of the cluster, and the task that keeps it true.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use presence_core::InstanceId;
use presence_store::{Epoch, KeptShown, Ledger, Node, NodeId, StoreError};
use tokio::sync::watch;

use crate::sessions::Sessions;
use crate::settings::ClusterSettings;
use crate::view::{Home, View, Whereabouts};

/// What this process knows of the cluster. Cheap to clone; questions are answered from memory.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: Arc<dyn Ledger>,
    settings: ClusterSettings,
    view: ArcSwap<View>,
    changes: watch::Sender<u64>,
    standing: watch::Sender<Standing>,
}

/// How this node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not entered the ledger yet, or has to enter it again.
    Outside,
    /// It lives, as far as it knows.
    Member,
    /// The database does not answer. What this node has, it keeps for a while.
    CutOff,
    /// It hands over what it has, and takes nothing.
    Leaving,
}

/// Keeps the cluster true, until it is told to leave.
pub struct Driver {
    cluster: Cluster,
}

impl Cluster {
    /// The cluster of `ledger`, and what drives this node's part in it.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, settings: ClusterSettings) -> (Self, Driver) {
        let cluster = Self {
            inner: Arc::new(Inner {
                ledger,
                settings,
                view: ArcSwap::default(),
                changes: watch::Sender::new(0),
                standing: watch::Sender::new(Standing::Outside),
            }),
        };
        (cluster.clone(), Driver { cluster })
    }

    /// Where `instance` is.
    #[must_use]
    pub fn whereabouts(&self, instance: InstanceId) -> Whereabouts {
        self.inner.view.load().whereabouts(instance)
    }

    /// Where what has this number is at home, such as the rate limit of an account.
    #[must_use]
    pub fn home(&self, key: u64) -> Home {
        self.inner.view.load().home(key)
    }

    /// Which node this process is now.
    #[must_use]
    pub fn me(&self) -> Option<NodeId> {
        self.inner.view.load().me
    }

    /// All nodes that live.
    #[must_use]
    pub fn nodes(&self) -> Arc<[Arc<Node>]> {
        Arc::clone(&self.inner.view.load().nodes)
    }

    /// Counts changes of who lives and who has what.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// How this node stands.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.subscribe()
    }

    /// Whether this node may act for the instances that it has: it was neither cut off for long nor asleep.
    #[must_use]
    pub fn may_act(&self) -> bool {
        matches!(
            *self.inner.standing.borrow(),
            Standing::Member | Standing::CutOff | Standing::Leaving
        )
    }

    /// Reads the ledger now, since what is known of it was wrong.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Takes a new instance for this node; `None` when another one was faster.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn claim(&self, instance: InstanceId) -> Result<Option<Epoch>, StoreError> {
        let _ = (instance, &self.inner.ledger, &self.inner.settings);
        Ok(None)
    }

    /// Keeps what instances of this node show, for whoever takes them when it is lost.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn keep_shown(&self, shown: &[(InstanceId, Epoch, Bytes)]) -> Result<(), StoreError> {
        match self.me() {
            Some(me) => self.inner.ledger.keep_shown(me, shown).await,
            None => Ok(()),
        }
    }

    /// What these instances showed, as it was kept last.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn take_shown(&self, instances: &[InstanceId]) -> Result<Vec<KeptShown>, StoreError> {
        self.inner.ledger.take_shown(instances).await
    }

    /// Hands everything over, all at the same time and within `grace`, and leaves the cluster.
    pub async fn leave(&self, grace: Duration) {
        let _ = grace;
    }
}

impl Driver {
    /// Plays this node's part with `sessions`, until [`Cluster::leave`] is done.
    pub async fn run(self, sessions: Arc<dyn Sessions>) {
        let _ = (self.cluster, sessions);
    }
}
