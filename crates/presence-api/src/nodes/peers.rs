//! What other nodes say of their instances, kept for those who ask.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use presence_cluster::Cluster;
use presence_core::InstanceId;
use presence_store::{Node, NodeId};
use presence_wa::InstanceStatus;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::Nodes;
use super::board::{StatusFeed, StatusNews};
use super::feed::Heard;
use super::reach::Unreached;

/// The statuses of other nodes' instances, as those said last.
#[derive(Default)]
pub(super) struct Peers {
    known: Arc<RwLock<HashMap<InstanceId, Told>>>,
    changes: watch::Sender<u64>,
}

struct Told {
    by: NodeId,
    status: InstanceStatus,
}

/// How long to wait before a node is followed again.
const AGAIN: Duration = Duration::from_secs(1);

impl Peers {
    pub(super) fn status(&self, instance: InstanceId) -> Option<InstanceStatus> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&instance).map(|told| told.status.clone())
    }

    /// Which node told last how it is.
    pub(super) fn told_by(&self, instance: InstanceId) -> Option<NodeId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&instance).map(|told| told.by)
    }

    pub(super) fn watch(&self, instance: InstanceId, cluster: Cluster) -> PeerWatch {
        let (mut changes, mut moves) = (self.changes.subscribe(), cluster.changes());
        changes.mark_changed();
        moves.mark_changed();
        PeerWatch {
            cluster,
            moves,
            instance,
            known: Arc::clone(&self.known),
            changes,
            told: None,
        }
    }

    /// What a node said that lives no longer stays until its instances' next node says something.
    fn handle_news(&self, by: NodeId, news: StatusNews) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (id, status) in news {
            match status {
                Some(status) => {
                    known.insert(id, Told { by, status });
                }
                // Another node may have told of it already.
                None if known.get(&id).is_some_and(|told| told.by == by) => {
                    known.remove(&id);
                }
                None => {}
            }
        }
        drop(known);
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Follows how an instance is that another node has.
pub(crate) struct PeerWatch {
    instance: InstanceId,
    known: Arc<RwLock<HashMap<InstanceId, Told>>>,
    changes: watch::Receiver<u64>,
    cluster: Cluster,
    /// Of who has what.
    moves: watch::Receiver<u64>,
    told: Option<InstanceStatus>,
}

impl PeerWatch {
    /// How it is next; at first how it is now, once that is known. `None` when it is another node's no longer, or the
    /// service stops. A call that is dropped loses nothing.
    pub(crate) async fn next(&mut self) -> Option<InstanceStatus> {
        loop {
            tokio::select! {
                biased;
                moved = self.moves.changed() => {
                    moved.ok()?;
                    if self.cluster.whereabouts(self.instance).is_here() {
                        return None;
                    }
                    continue;
                }
                changed = self.changes.changed() => changed.ok()?,
            }
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let status = known.get(&self.instance).map(|told| &told.status);
            if let Some(status) = status.filter(|status| self.told.as_ref() != Some(status)) {
                let status = status.clone();
                self.told = Some(status.clone());
                return Some(status);
            }
        }
    }
}

/// Follows how the instances of every other node are, for as long as it lives.
pub(super) async fn follow(nodes: Nodes) {
    let mut changes = nodes.changes();
    let mut followed: HashMap<NodeId, (Arc<Node>, AbortOnDropHandle<()>)> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let others = nodes.others();
        nodes.inner.client.retain(&others);
        followed.retain(|id, (node, _)| {
            let lives = others.iter().any(|node| node.id == *id);
            if !lives && nodes.inner.reach.handle_gone(*id) {
                let (node, url) = (node.id, &node.address);
                tracing::info!(%node, url, "the node that was not reached is none any more");
            }
            lives
        });
        for node in others {
            let nodes = &nodes;
            followed.entry(node.id).or_insert_with(|| {
                nodes.inner.reach.handle_new(node.id);
                let follow = follow_node(nodes.clone(), Arc::clone(&node));
                (node, AbortOnDropHandle::new(tokio::spawn(follow)))
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_node(nodes: Nodes, node: Arc<Node>) {
    let (reach, id, url) = (&nodes.inner.reach, node.id, &node.address);
    loop {
        let Err(why) = listen(&nodes, &node).await;
        if reach.handle_unreached(id) {
            tracing::warn!(node = %id, url, %why, "another node is not reached; what it has is out of reach from here");
        }
        sleep(AGAIN).await;
    }
}

/// Listens to how the instances of `node` are, until it is not reached.
async fn listen(nodes: &Nodes, node: &Node) -> Result<Infallible, Unreached> {
    let (client, reach) = (&nodes.inner.client, &nodes.inner.reach);
    // It notices sooner that the node is not there any more, and calls need it.
    let channel = client.channel(node).await?;
    let mut feed = client.follow(node, &StatusFeed {}).await?;
    loop {
        let heard = tokio::select! {
            biased;
            heard = feed.next() => heard,
            () = channel.closed() => None,
        };
        let Some(heard) = heard else {
            return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
        };
        if reach.handle_heard(node.id) {
            tracing::info!(node = %node.id, url = node.address, "the other node is reached again");
        }
        if let Heard::News(news) = heard {
            nodes.inner.peers.handle_news(node.id, news);
        }
    }
}
