//! What requests ask of the cluster.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use presence_core::InstanceId;
use presence_store::{Epoch, KeptShown, Ledger, Node, NodeId, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::act_until::ActUntil;
use crate::clock::Clock;
use crate::driver::Driver;
use crate::message::Message;
use crate::settings::ClusterSettings;
use crate::standing::Standing;
use crate::view::{Home, View, Whereabouts};

/// What this process knows of the cluster. Cheap to clone; questions are answered from memory.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

/// What the task of the cluster publishes, and how it is reached.
pub(crate) struct Shared {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) settings: ClusterSettings,
    pub(crate) view: ArcSwap<View>,
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) act_until: ActUntil,
    mailbox: mpsc::Sender<Message>,
}

impl Cluster {
    /// The cluster of `ledger`, and what drives this node's part in it.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, settings: ClusterSettings) -> (Self, Driver) {
        Self::with_ids(ledger, settings, NodeId::generate)
    }

    /// As [`new`](Self::new), with the ids of this process as a node, one after the other. No id may ever be
    /// given twice.
    #[must_use]
    pub fn with_ids(
        ledger: Arc<dyn Ledger>,
        settings: ClusterSettings,
        ids: impl FnMut() -> Result<NodeId, StoreError> + Send + 'static,
    ) -> (Self, Driver) {
        let clock = Arc::new(Clock::new());
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let shared = Arc::new(Shared {
            ledger,
            settings,
            view: ArcSwap::default(),
            changes: watch::Sender::new(0),
            standing: watch::Sender::new(Standing::Outside),
            act_until: ActUntil::new(Arc::clone(&clock)),
            clock,
            mailbox,
        });
        let driver = Driver::new(Arc::clone(&shared), messages, Box::new(ids));
        (Self { shared }, driver)
    }

    /// Where `instance` is.
    #[must_use]
    pub fn whereabouts(&self, instance: InstanceId) -> Whereabouts {
        self.shared.view.load().whereabouts(instance)
    }

    /// Where what has this number is at home, such as the rate limit of an account.
    #[must_use]
    pub fn home(&self, key: u64) -> Home {
        self.shared.view.load().home(key)
    }

    /// Which node this process is now.
    #[must_use]
    pub fn me(&self) -> Option<NodeId> {
        self.shared.view.load().me
    }

    /// All nodes that live.
    #[must_use]
    pub fn nodes(&self) -> Arc<[Arc<Node>]> {
        Arc::clone(&self.shared.view.load().nodes)
    }

    /// Every instance that the ledger has told of, whether a node has it or not.
    #[must_use]
    pub fn instances(&self) -> Vec<InstanceId> {
        let owners = self.shared.view.load().owners().into_iter();
        owners.map(|(instance, _)| instance).collect()
    }

    /// Counts changes of who lives and who has what.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// How this node stands.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Whether this node may act for the instances that it has: it was neither cut off for long nor asleep. Reads
    /// the clock and one number, so that it can be asked before each stanza, from any thread.
    #[must_use]
    pub fn may_act(&self) -> bool {
        self.shared.act_until.is_ahead()
    }

    /// Reads the ledger now, since what is known of it was wrong. Many who ask at the same time share one read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let (reply, read) = oneshot::channel();
        self.tell(Message::Refresh(reply)).await?;
        read.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes a new instance for this node; `None` when another one was faster, or this one is leaving. When it
    /// returns, the sessions have been told and [`whereabouts`](Self::whereabouts) says so.
    ///
    /// # Errors
    /// When the ledger cannot be written, or this node is not in the cluster.
    pub async fn claim(&self, instance: InstanceId) -> Result<Option<Epoch>, StoreError> {
        let standing = *self.shared.standing.borrow();
        let node = match (standing, self.me()) {
            (Standing::Leaving, _) => return Ok(None),
            (Standing::Member, Some(me)) => me,
            _ => return Err(failed("take an instance", io::ErrorKind::NotConnected)),
        };
        let claim = self.shared.ledger.claim_one(node, instance);
        let claimed = timeout(self.shared.settings.patience, claim).await;
        let claimed = claimed.map_err(|_| failed("take an instance", io::ErrorKind::TimedOut))??;
        let Some(epoch) = claimed else {
            return Ok(None);
        };
        let (reply, taken) = oneshot::channel();
        self.tell(Message::Claimed {
            node,
            instance,
            epoch,
            reply,
        })
        .await?;
        let is_taken = taken.await.map_err(|_| StoreError::Closed)?;
        Ok(Some(epoch).filter(|_| is_taken))
    }

    /// Keeps what instances of this node show, for whoever takes them when it is lost.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn keep_shown(&self, shown: &[(InstanceId, Epoch, Bytes)]) -> Result<(), StoreError> {
        match self.me() {
            Some(me) => self.shared.ledger.keep_shown(me, shown).await,
            None => Ok(()),
        }
    }

    /// What these instances showed, as it was kept last.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn take_shown(&self, instances: &[InstanceId]) -> Result<Vec<KeptShown>, StoreError> {
        self.shared.ledger.take_shown(instances).await
    }

    /// Forgets an instance that was deleted: the ledger does not tell of it. If it is this node's, its session is
    /// given up.
    pub async fn forget(&self, instance: InstanceId) {
        // Nobody has to forget once the task is over.
        let _ = self.tell(Message::Deleted(instance)).await;
    }

    /// Hands everything over, all at the same time and within `grace`, and leaves the cluster. When the database
    /// does not answer, that takes somewhat longer, and the lease has to run out.
    pub async fn leave(&self, grace: Duration) {
        if self.tell(Message::Leave { grace }).await.is_ok() {
            let longest = grace + 2 * self.shared.settings.patience;
            let _ = timeout(longest, self.shared.mailbox.closed()).await;
        }
    }

    async fn tell(&self, message: Message) -> Result<(), StoreError> {
        let sent = self.shared.mailbox.send(message).await;
        sent.map_err(|_| StoreError::Closed)
    }
}

/// How many messages may wait for the task, which takes them in microseconds; callers wait beyond that.
const MAILBOX: usize = 256;

/// A failure that the ledger itself does not tell of.
pub(crate) fn failed(doing: &'static str, kind: io::ErrorKind) -> StoreError {
    StoreError::Away {
        doing,
        source: Box::new(io::Error::from(kind)),
    }
}
