//! The other nodes of a cluster: calls to whichever has an instance, and what is known of theirs.
//!
//! A request's token, limit and body are checked where it arrives. What it asks for is then a [`NodeCall`], carried
//! out by the node that has the instance, which may be this one. Without a cluster there are no nodes, and nothing
//! of this.

mod board;
mod calls;
mod carry_out;
mod channel;
mod client;
mod dial;
mod feed;
mod frame;
mod peers;
mod reach;
mod secret;
mod serve;
mod shown_feed;

use std::sync::Arc;
use std::time::Duration;

use presence_cluster::{Cluster, Home, Whereabouts};
use presence_core::InstanceId;
use presence_store::Node;
use presence_wa::InstanceStatus;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::board::StatusBoard;
pub(crate) use self::calls::{
    ApplySettings, ChangeFailed, Connect, Count, CountAndShow, Counted, CreateLink, LogOut, NodeCall,
    OpenLink, Reconnect, Remove, RevokeLink, Show, ShownChat, ShownIn,
};
use self::client::{Client, Unanswered};
pub use self::dial::DialNode;
use self::dial::Tcp;
pub(crate) use self::peers::PeerWatch;
use self::peers::Peers;
pub(crate) use self::reach::NodesCheck;
use self::reach::Reach;
pub use self::secret::{ClusterSecret, InvalidSecret};
pub(crate) use self::serve::serve;
use crate::events::Update;
use crate::rate_limit::{Bucket, Standing};
use crate::scope::Scope;

/// This node among the others. Cheap to clone.
#[derive(Clone)]
pub struct Nodes {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    secret: ClusterSecret,
    client: Client,
    board: StatusBoard,
    peers: Peers,
    reach: Reach,
}

/// No node carried the call out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoOwner {
    /// No node has the instance, or none that answers.
    #[error("no node that answers has the instance")]
    Nobody,
    /// The node that has it was asked, and did not answer: it may have done it or not.
    #[error("the node that has the instance did not answer")]
    NoAnswer,
}

/// How long a request waits for an instance that is on its way from one node to another.
const SETTLING: Duration = Duration::from_secs(5);
/// How long to wait before the ledger is asked again who has an instance, unless a change is noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Nodes {
    /// The nodes of `cluster`, which know each other by `secret`.
    #[must_use]
    pub fn new(cluster: Cluster, secret: ClusterSecret) -> Self {
        Self::with_dial(cluster, secret, Arc::new(Tcp))
    }

    /// The same, over connections that `dial` opens.
    #[must_use]
    pub fn with_dial(cluster: Cluster, secret: ClusterSecret, dial: Arc<dyn DialNode>) -> Self {
        Self {
            inner: Arc::new(Inner {
                client: Client::new(&secret, dial),
                cluster,
                secret,
                board: StatusBoard::default(),
                peers: Peers::default(),
                reach: Reach::default(),
            }),
        }
    }

    /// Whether `instance` is this node's.
    pub(crate) fn has(&self, instance: InstanceId) -> bool {
        matches!(self.whereabouts(instance), Whereabouts::Here(_))
    }

    pub(crate) fn whereabouts(&self, instance: InstanceId) -> Whereabouts {
        self.inner.cluster.whereabouts(instance)
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// Where the node that has `instance` is reached, for people.
    pub(crate) fn address_of(&self, instance: InstanceId) -> Option<String> {
        let cluster = &self.inner.cluster;
        match cluster.whereabouts(instance) {
            Whereabouts::There(node, _) => Some(node.address.clone()),
            Whereabouts::Here(_) => {
                let (me, nodes) = (cluster.me()?, cluster.nodes());
                let mine = nodes.iter().find(|node| node.id == me)?;
                Some(mine.address.clone())
            }
            Whereabouts::Nowhere => None,
        }
    }

    /// How `instance`, which another node has, is; as that node said last.
    pub(crate) fn status(&self, instance: InstanceId) -> Option<InstanceStatus> {
        self.inner.peers.status(instance)
    }

    /// Whether the node that has `instance` is not heard: how the instance is now, nobody here knows.
    pub(crate) fn is_silent(&self, instance: InstanceId) -> bool {
        let Inner { peers, reach, .. } = &*self.inner;
        match self.whereabouts(instance) {
            Whereabouts::Here(_) => false,
            Whereabouts::There(node, _) => reach.is_silent(node.id) == Some(true),
            // What is known of it, a node said that is gone.
            Whereabouts::Nowhere => {
                let told_by = peers.told_by(instance);
                told_by.is_some_and(|node| reach.is_silent(node) != Some(false))
            }
        }
    }

    /// Follows how an instance is that another node has.
    pub(crate) fn watch(&self, instance: InstanceId) -> PeerWatch {
        self.inner.peers.watch(instance, self.inner.cluster.clone())
    }

    /// Counts changes of who has what.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.cluster.changes()
    }

    /// Follows what instances of `scope` show that `node` has.
    pub(crate) async fn follow_shown(self, node: Arc<Node>, scope: Scope, updates: mpsc::Sender<Update>) {
        shown_feed::follow(self, node, scope, updates).await;
    }

    /// Has the statuses of other nodes' instances kept up to date, until `stopping`.
    pub(crate) async fn follow(self, stopping: CancellationToken) {
        stopping.run_until_cancelled(peers::follow(self)).await;
    }

    /// Has `call` carried out where its instance is: by `here` at this node, or by the node that has it. An instance
    /// that is on its way from one node to another is waited for.
    ///
    /// # Errors
    /// [`NoOwner`] when nobody carried it out, or nobody knows.
    pub(crate) async fn at_owner<C, F>(
        &self,
        instance: InstanceId,
        call: C,
        here: impl Fn(C) -> F,
    ) -> Result<C::Answer, NoOwner>
    where
        C: NodeCall + Clone,
        F: Future<Output = Option<C::Answer>>,
    {
        let mut changes = self.changes();
        let until = Instant::now() + SETTLING;
        loop {
            changes.mark_unchanged();
            match self.whereabouts(instance) {
                Whereabouts::Here(_) => {
                    if let Some(answer) = here(call.clone()).await {
                        return Ok(answer);
                    }
                }
                Whereabouts::There(node, _) => match self.inner.client.ask(&node, &call).await {
                    Ok(answer) => return Ok(answer),
                    // Such as by a node that was just ending.
                    Err(Unanswered::Unknown) if !C::IS_REPEATABLE => return Err(NoOwner::NoAnswer),
                    Err(_) => self.look_again().await,
                },
                Whereabouts::Nowhere => {}
            }
            if Instant::now() >= until {
                return Err(NoOwner::Nobody);
            }
            let _ = timeout_at(until.min(Instant::now() + LOOK_AGAIN), changes.changed()).await;
        }
    }

    async fn look_again(&self) {
        if let Err(error) = self.inner.cluster.refresh().await {
            tracing::debug!(%error, "who has an instance cannot be read");
        }
    }

    /// Counts a request where its caller's window is: that of an instance at its node, that of an account at the
    /// account's home. `None` when that is this node, or it does not answer: then the window here has to do.
    pub(crate) async fn count(&self, scope: Scope, bucket: Bucket) -> Option<Option<Standing>> {
        let node = self.counts_elsewhere(scope)?;
        self.ask(&node, &Count { scope, bucket }).await
    }

    /// The other node, if there is one, that has the window of `scope`.
    pub(crate) fn counts_elsewhere(&self, scope: Scope) -> Option<Arc<Node>> {
        match scope {
            Scope::Instance(id) => self.has_elsewhere(id),
            Scope::Account(id) => match self.inner.cluster.home(id.get().unsigned_abs()) {
                Home::There(node) => Some(node),
                Home::Here => None,
            },
        }
    }

    /// The other node, if there is one, that has `instance`.
    pub(crate) fn has_elsewhere(&self, instance: InstanceId) -> Option<Arc<Node>> {
        match self.whereabouts(instance) {
            Whereabouts::There(node, _) => Some(node),
            Whereabouts::Here(_) | Whereabouts::Nowhere => None,
        }
    }

    /// Has `node` count a request and show what it asks for. `None` when it does not answer, as for
    /// [`count`](Self::count). What it has not shown is still to be shown.
    pub(crate) async fn count_and_show(&self, node: &Node, call: &CountAndShow) -> Option<Counted> {
        match self.inner.client.ask(node, call).await {
            Ok(counted) => Some(counted),
            // It is of the version before, and counts by itself.
            Err(Unanswered::Refused) => {
                let standing = self.ask(node, &call.count).await?;
                Some(Counted {
                    standing,
                    shown: None,
                })
            }
            Err(why) => {
                tracing::debug!(node = %node.id, ?why, "another node did not count and show");
                None
            }
        }
    }

    /// Asks one node; `None` when it does not answer.
    pub(crate) async fn ask<C: NodeCall>(&self, node: &Node, call: &C) -> Option<C::Answer> {
        match self.inner.client.ask(node, call).await {
            Ok(answer) => Some(answer),
            Err(why) => {
                tracing::debug!(node = %node.id, call = C::NAME, ?why, "another node did not answer");
                None
            }
        }
    }

    /// All nodes but this one.
    pub(crate) fn others(&self) -> Vec<Arc<Node>> {
        let cluster = &self.inner.cluster;
        let me = cluster.me();
        let nodes = cluster.nodes();
        let others = nodes.iter().filter(|node| Some(node.id) != me);
        others.cloned().collect()
    }
}

/// Returns at the next change of who has what; never without other nodes.
pub(crate) async fn changed(moves: &mut Option<watch::Receiver<u64>>) -> Result<(), watch::error::RecvError> {
    match moves {
        Some(moves) => moves.changed().await,
        None => std::future::pending().await,
    }
}
