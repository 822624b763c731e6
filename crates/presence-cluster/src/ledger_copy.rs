//! What this node knows of the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use presence_core::InstanceId;
use presence_store::{LedgerNews, LedgerVersion, Node, NodeId, Ownership};
use tokio::time::Instant;

use crate::view::{Owner, View};

/// A copy of the ledger that lags behind it, and what follows from how it changes.
///
/// What is learned of an instance comes in any order, since reads and claims are under way at the same time. An
/// epoch is taken once and given up once, so what is newer shows: a higher epoch, or nobody in the same one.
#[derive(Default)]
pub(crate) struct LedgerCopy {
    view: View,
    version: Option<LedgerVersion>,
    held: BTreeMap<NodeId, usize>,
    /// Since when nobody has these.
    free: BTreeMap<InstanceId, Instant>,
    /// When the nodes that leave gave something up last.
    leaving: BTreeMap<NodeId, Instant>,
    /// What was not learned from a read, and when.
    claimed: Vec<(InstanceId, Instant)>,
    /// What was deleted of late, and when: an answer that was under way may yet tell of it.
    deleted: BTreeMap<InstanceId, Instant>,
    has_changed: bool,
}

/// How long a node that is taken for a leaving one may give nothing up until it is not any more.
const LEAVING: Duration = Duration::from_secs(10);

/// How long that is remembered: longer than any statement is waited for.
const DELETED: Duration = Duration::from_secs(60);

impl LedgerCopy {
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Whether the view is another one since this was asked last.
    pub(crate) fn poll_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    pub(crate) fn version(&self) -> Option<LedgerVersion> {
        self.version
    }

    pub(crate) fn has_node(&self, node: NodeId) -> bool {
        self.view.nodes.iter().any(|other| other.id == node)
    }

    /// Which node this process is now.
    pub(crate) fn set_me(&mut self, me: Option<NodeId>) {
        if self.view.me != me {
            self.view.me = me;
            self.has_changed = true;
        }
    }

    /// How many instances nobody has.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// How many of them nobody has taken for that long.
    pub(crate) fn free_for(&self, now: Instant, long: Duration) -> usize {
        self.free.values().filter(|since| **since + long <= now).count()
    }

    /// How many instances those have who stay in the cluster, but for `me`.
    pub(crate) fn others(&self, me: NodeId) -> Vec<(NodeId, usize)> {
        let stays = |node: &&Arc<Node>| node.id != me && !self.leaving.contains_key(&node.id);
        let others = self.view.nodes.iter().filter(stays);
        others.map(|node| (node.id, self.held_by(node.id))).collect()
    }

    /// What was claimed or released. `false`: something newer was known.
    pub(crate) fn learn(&mut self, now: Instant, ownership: &Ownership) -> bool {
        self.claimed.push((ownership.instance, now));
        self.set(now, ownership)
    }

    /// The instance was deleted, and its number is never given again.
    pub(crate) fn forget(&mut self, now: Instant, instance: InstanceId) {
        self.deleted.insert(instance, now);
        self.remove(instance);
    }

    fn remove(&mut self, instance: InstanceId) {
        if let Some((owner, _)) = self.view.forget(instance) {
            self.uncount(owner);
            self.free.remove(&instance);
            self.has_changed = true;
        }
    }

    /// What was read by a statement that began then. The answer is what is news by it, and what is gone.
    pub(crate) fn read(
        &mut self,
        now: Instant,
        began: Instant,
        news: LedgerNews,
    ) -> (Vec<Ownership>, Vec<InstanceId>) {
        self.version = Some(news.version);
        let mut nodes: Vec<Arc<Node>> = news.nodes.into_iter().map(Arc::new).collect();
        nodes.sort_unstable_by_key(|node| node.id);
        if *nodes != *self.view.nodes {
            self.view.nodes = nodes.into();
            self.has_changed = true;
        }
        self.claimed.retain(|(_, learned)| *learned >= began);
        self.deleted.retain(|_, deleted| now < *deleted + DELETED);
        let mut gone = Vec::new();
        if news.is_everything {
            // It may say less than what was known, if the database is an older one.
            let claimed: BTreeSet<InstanceId> = self.claimed.iter().map(|(instance, _)| *instance).collect();
            let read: BTreeMap<InstanceId, Owner> = news
                .changed
                .iter()
                .map(|read| (read.instance, (read.node, read.epoch)))
                .collect();
            for (instance, known) in self.view.owners() {
                let is_void = read
                    .get(&instance)
                    .is_none_or(|read| *read != known && !is_newer(*read, known));
                if is_void && !claimed.contains(&instance) {
                    self.remove(instance);
                    gone.push(instance);
                }
            }
        }
        let mut gave_up: BTreeSet<NodeId> = BTreeSet::new();
        let mut learned = Vec::new();
        for ownership in news.changed {
            let owner = self.view.owner(ownership.instance);
            if !self.set(now, &ownership) {
                continue;
            }
            learned.push(ownership);
            match (owner, ownership.node) {
                (Some((Some(owner), epoch)), None) if epoch == ownership.epoch => drop(gave_up.insert(owner)),
                (_, Some(owner)) => drop(self.leaving.remove(&owner)),
                _ => {}
            }
        }
        self.note_leaving(now, &gave_up);
        (learned, gone)
    }

    /// A node hands over what it has too many. One that gives up much more than that is leaving: what it had is
    /// shared among those who stay before it is gone.
    fn note_leaving(&mut self, now: Instant, gave_up: &BTreeSet<NodeId>) {
        let nodes = self.view.nodes.len().max(1);
        let share = self.view.len() / nodes;
        for node in gave_up {
            if self.held_by(*node) + share.div_ceil(8).max(2) < share {
                self.leaving.insert(*node, now);
            } else if let Some(last) = self.leaving.get_mut(node) {
                *last = now;
            }
        }
        self.leaving.retain(|_, last| now < *last + LEAVING);
    }

    fn set(&mut self, now: Instant, ownership: &Ownership) -> bool {
        if self.deleted.contains_key(&ownership.instance) {
            return false;
        }
        let known = self.view.owner(ownership.instance);
        if let Some(known) = known {
            if !is_newer((ownership.node, ownership.epoch), known) {
                return false;
            }
            self.uncount(known.0);
        }
        match ownership.node {
            Some(node) => {
                *self.held.entry(node).or_default() += 1;
                self.free.remove(&ownership.instance);
            }
            None => {
                self.free.entry(ownership.instance).or_insert(now);
            }
        }
        self.view.set(ownership);
        self.has_changed = true;
        true
    }

    fn held_by(&self, node: NodeId) -> usize {
        self.held.get(&node).copied().unwrap_or(0)
    }

    fn uncount(&mut self, owner: Option<NodeId>) {
        if let Some(owner) = owner
            && let Some(held) = self.held.get_mut(&owner)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&owner);
            }
        }
    }
}

fn is_newer((node, epoch): Owner, (known_node, known_epoch): Owner) -> bool {
    (epoch, node.is_none()) > (known_epoch, known_node.is_none())
}

#[cfg(test)]
mod tests;
