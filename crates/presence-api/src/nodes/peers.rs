//! What other nodes say of their instances, kept for those who ask.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use presence_cluster::Cluster;
use presence_core::InstanceId;
use presence_store::{Node, NodeId};
use presence_wa::InstanceStatus;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
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

/// By how much the same moment may seem another one, told twice: it is counted from its arrival.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
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

    /// What a node has told about all that it has, as it does at first: of everything else it was told before.
    fn handle_all(&self, by: NodeId, all: StatusNews) {
        let there: HashSet<_> = all.iter().map(|(id, _)| *id).collect();
        {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.retain(|id, told| told.by != by || there.contains(id));
        }
        self.handle_news(by, all);
    }

    /// What a node said that lives no longer stays until its instances' next node says something.
    fn handle_news(&self, by: NodeId, news: StatusNews) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (id, status) in news {
            match status {
                Some(mut status) => {
                    if let Some(told) = known.get(&id).filter(|told| told.by == by) {
                        status.since = since(&told.status, &status);
                    }
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

/// Since when it is as `now` says. Each time a node tells of the same moment, it arrives here as one a little apart.
fn since(before: &InstanceStatus, now: &InstanceStatus) -> Instant {
    let apart = before
        .since
        .max(now.since)
        .duration_since(before.since.min(now.since));
    if before.state == now.state && apart < ON_ITS_WAY {
        before.since
    } else {
        now.since
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
    let mut is_first = true;
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
        let peers = &nodes.inner.peers;
        match heard {
            Heard::News(all) if std::mem::take(&mut is_first) => peers.handle_all(node.id, all),
            Heard::News(news) => peers.handle_news(node.id, news),
            Heard::Alive => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use presence_wa::InstanceState;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_that_is_told_again_is_the_same_one() {
        use InstanceState::{Connected, Connecting};
        let (peers, id) = (Peers::default(), InstanceId::new(1).unwrap());
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        // When each arrives and how long ago it began, in milliseconds; and when that is.
        for (at, node, state, ago, expected) in [
            (0, 1, Connected, 5000, -5000),
            (3, 1, Connected, 5001, -5000),
            (30, 1, Connected, 5010, -5000),
            (1000, 1, Connected, 200, 800),
            (1001, 1, Connecting, 195, 806),
            (1002, 2, Connecting, 191, 811),
        ] {
            tokio::time::advance(start + Duration::from_millis(at) - Instant::now()).await;
            let status = serde_json::json!({
                "state": format!("{state:?}"), "reason": null, "since": -ago, "jid": null, "push_name": null,
                "available": false,
            });
            let news = vec![(id, Some(serde_json::from_value(status).unwrap()))];
            peers.handle_news(NodeId::from_bytes([node; 16]), news);
            let since = peers.status(id).unwrap().since + Duration::from_secs(10);
            let since = since.duration_since(start).as_millis() as i64 - 10_000;
            assert_eq!(since, expected, "at {at}");
        }
    }
}
