//! What must hold at every moment.

use std::collections::BTreeMap;
use std::time::Duration;

use presence_store::{Epoch, InstanceId, LedgerFault, NodeId};
use tokio::time::Instant;

use crate::support::{State, World, secs};

/// What was seen of a cluster so far.
#[derive(Default)]
pub(crate) struct Watch {
    /// Who had what in which epoch.
    owners: BTreeMap<(InstanceId, Epoch), NodeId>,
    epochs: BTreeMap<InstanceId, Epoch>,
    /// Since when nobody runs what there is.
    unserved: BTreeMap<InstanceId, Instant>,
    /// When each node was last not quite well, and when its way to the ledger was last faulty.
    unwell: Vec<Option<Instant>>,
    faulty: Vec<Option<Instant>>,
}

/// How long a node must have been well to be counted on: for one lease it strikes nobody off.
const WELL_FOR: Duration = secs(24);

/// How long nobody may run an instance while there is a node that can be counted on: a lease, a statement of another
/// node's that takes as long as it may, what is left to others for a while, and a little.
const UNSERVED_FOR: Duration = secs(9 + 5 + 2 + 1);

/// How long a node whose way to the ledger is in order again may act for what it has lost: a statement that was
/// under way may yet take as long as it may.
const LEARNS_WITHIN: Duration = secs(6);

impl Watch {
    pub(crate) fn look(&mut self, world: &World) {
        let now = Instant::now();
        self.note_health(now, world);
        let owners = world.ledger.owners();
        for owner in &owners {
            let before = self.epochs.insert(owner.instance, owner.epoch);
            assert!(
                before.is_none_or(|before| before <= owner.epoch),
                "an epoch went back"
            );
            if let Some(node) = owner.node {
                let first = *self.owners.entry((owner.instance, owner.epoch)).or_insert(node);
                assert_eq!(first, node, "two owners in one epoch");
            }
        }
        let mut served = BTreeMap::new();
        for (at, node) in world.nodes.iter().enumerate() {
            let acts = node.state() != State::Gone && node.cluster.may_act();
            for (instance, epoch) in node.sessions.open().iter().filter(|_| acts) {
                let owner = owners.iter().find(|owner| owner.instance == *instance);
                let is_owner =
                    owner.is_some_and(|owner| owner.node == node.cluster.me() && owner.epoch == *epoch);
                // What was deleted, it hears of from the registry.
                let is_gone = owner.is_none();
                let is_cut_off = self.faulty[at].is_some_and(|faulty| now < faulty + LEARNS_WITHIN);
                assert!(
                    is_owner || is_gone || is_cut_off,
                    "node {at} acts for {instance}, which is another's"
                );
                if is_owner && node.state() != State::Stopped {
                    served.insert(*instance, at);
                }
            }
        }
        let well = self
            .unwell
            .iter()
            .any(|unwell| unwell.is_none_or(|unwell| unwell + WELL_FOR <= now));
        let unserved = std::mem::take(&mut self.unserved);
        for owner in &owners {
            if served.contains_key(&owner.instance) {
                continue;
            }
            let since = unserved.get(&owner.instance).copied().unwrap_or(now);
            let long = now - since;
            assert!(
                !well || long <= UNSERVED_FOR,
                "nobody runs {owner:?} for {long:?}"
            );
            self.unserved.insert(owner.instance, since);
        }
    }

    fn note_health(&mut self, now: Instant, world: &World) {
        // A node that is new was not there before.
        self.unwell.resize(world.nodes.len(), Some(now));
        self.faulty.resize(world.nodes.len(), None);
        for (at, node) in world.nodes.iter().enumerate() {
            let is_faulty = node.way.fault() != LedgerFault::Nothing;
            if is_faulty {
                self.faulty[at] = Some(now);
            }
            if is_faulty || node.state() != State::Running || node.is_leaving() {
                self.unwell[at] = Some(now);
            }
            if node.is_over() {
                assert!(
                    node.state() == State::Gone || node.is_leaving(),
                    "node {at} has panicked"
                );
                assert!(node.sessions.open().is_empty(), "node {at} left sessions running");
            }
        }
    }
}
