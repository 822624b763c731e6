//! What this node has, and how far each of it is.

use std::collections::{BTreeMap, BTreeSet};

use presence_core::InstanceId;
use presence_store::{Epoch, NodeId, Ownership};
use tokio::time::Instant;

/// The instances of this node. What is to be done with them is asked for by the `poll_` functions.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    held: BTreeMap<InstanceId, Holding>,
    /// Those to be taken, those whose sessions are open, and those whose sessions have ended in order.
    new: BTreeSet<InstanceId>,
    open: BTreeSet<InstanceId>,
    closed: BTreeSet<InstanceId>,
    /// Those to be given up next.
    lost: Vec<InstanceId>,
    /// How many are not on their way out.
    staying: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holding {
    epoch: Epoch,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The sessions are to be told.
    New,
    /// They were told.
    Open,
    /// Its session ends in order, until then.
    Closing { until: Instant },
    /// Its session has ended in order: it is to be released.
    Closed,
    /// Its session ends without a word.
    Ending(Then),
    /// It is this node's, but has no session while the database is away.
    Suspended,
}

/// What an instance is when its session has ended without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Gone,
    New,
    Closed,
    Suspended,
}

impl Phase {
    fn stays(self) -> bool {
        match self {
            Self::New | Self::Open | Self::Suspended | Self::Ending(Then::New | Then::Suspended) => true,
            Self::Closing { .. } | Self::Closed | Self::Ending(Then::Gone | Then::Closed) => false,
        }
    }
}

impl Holdings {
    /// How many there are that are not on their way out.
    pub(crate) fn staying(&self) -> usize {
        self.staying
    }

    /// How many are on their way out.
    pub(crate) fn going(&self) -> usize {
        self.held.len() - self.staying
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether nothing is left but what is to be released.
    pub(crate) fn are_all_closed(&self) -> bool {
        self.closed.len() == self.held.len()
    }

    /// Whether it is this node's in that epoch, and stays.
    pub(crate) fn keeps(&self, instance: InstanceId, epoch: Epoch) -> bool {
        self.held
            .get(&instance)
            .is_some_and(|holding| holding.epoch == epoch && holding.phase.stays())
    }

    /// This is this node's by the ledger. What it had in an earlier epoch may have been another's meanwhile.
    pub(crate) fn add(&mut self, instance: InstanceId, epoch: Epoch) {
        let phase = match self.held.get(&instance) {
            Some(holding) if epoch <= holding.epoch && holding.phase != Phase::Ending(Then::Gone) => return,
            None => Phase::New,
            Some(holding) => match holding.phase {
                Phase::New | Phase::Closed | Phase::Suspended => Phase::New,
                Phase::Open | Phase::Closing { .. } => self.end(instance, Then::New),
                Phase::Ending(_) => Phase::Ending(Then::New),
            },
        };
        self.set(instance, epoch, phase);
    }

    /// This is this node's by the ledger, which does not want it: it is leaving.
    pub(crate) fn add_closed(&mut self, instance: InstanceId, epoch: Epoch) {
        let phase = match self.held.get(&instance) {
            Some(holding) if epoch <= holding.epoch => return,
            None => Phase::Closed,
            Some(holding) => match holding.phase {
                Phase::New | Phase::Closed | Phase::Suspended => Phase::Closed,
                Phase::Open | Phase::Closing { .. } => self.end(instance, Then::Closed),
                Phase::Ending(_) => Phase::Ending(Then::Closed),
            },
        };
        self.set(instance, epoch, phase);
    }

    /// This is not this node's any more.
    pub(crate) fn lose(&mut self, instance: InstanceId) {
        let Some(Holding { epoch, phase }) = self.held.get(&instance).copied() else {
            return;
        };
        match phase {
            Phase::New | Phase::Closed | Phase::Suspended => self.remove(instance),
            Phase::Open | Phase::Closing { .. } => {
                let phase = self.end(instance, Then::Gone);
                self.set(instance, epoch, phase);
            }
            Phase::Ending(_) => self.set(instance, epoch, Phase::Ending(Then::Gone)),
        }
    }

    /// Nothing is this node's any more.
    pub(crate) fn lose_all(&mut self) {
        for instance in self.instances() {
            self.lose(instance);
        }
    }

    /// The database is away for too long: no session goes on.
    pub(crate) fn suspend_all(&mut self) {
        for instance in self.instances() {
            let Holding { epoch, phase } = self.held[&instance];
            let phase = match phase {
                Phase::New => Phase::Suspended,
                Phase::Open => self.end(instance, Then::Suspended),
                Phase::Closing { .. } => self.end(instance, Then::Closed),
                Phase::Ending(Then::New) => Phase::Ending(Then::Suspended),
                other => other,
            };
            self.set(instance, epoch, phase);
        }
    }

    /// The database is back, and what was this node's still is.
    pub(crate) fn resume(&mut self) {
        for instance in self.instances() {
            let Holding { epoch, phase } = self.held[&instance];
            let phase = match phase {
                Phase::Suspended => Phase::New,
                Phase::Ending(Then::Suspended) => Phase::Ending(Then::New),
                other => other,
            };
            self.set(instance, epoch, phase);
        }
    }

    /// Begins to hand one over that is `fit` for it, which is to be done until then.
    pub(crate) fn hand_over(
        &mut self,
        until: Instant,
        fit: impl Fn(InstanceId) -> bool,
    ) -> Option<(InstanceId, Epoch)> {
        let instance = self.open.iter().copied().find(|instance| fit(*instance))?;
        let epoch = self.held[&instance].epoch;
        self.set(instance, epoch, Phase::Closing { until });
        Some((instance, epoch))
    }

    /// What has no session is to be released: this node leaves.
    pub(crate) fn close_idle(&mut self) {
        for instance in self.instances() {
            let Holding { epoch, phase } = self.held[&instance];
            let phase = match phase {
                Phase::New | Phase::Suspended => Phase::Closed,
                Phase::Ending(Then::New | Then::Suspended) => Phase::Ending(Then::Closed),
                other => other,
            };
            self.set(instance, epoch, phase);
        }
    }

    /// Gives up what is not closed by now, to release it then.
    pub(crate) fn end_overdue(&mut self, now: Instant, everything: bool) {
        for instance in self.instances() {
            let Holding { epoch, phase } = self.held[&instance];
            let is_due = match phase {
                Phase::Closing { until } => until <= now || everything,
                Phase::Open => everything,
                _ => false,
            };
            if is_due {
                let phase = self.end(instance, Then::Closed);
                self.set(instance, epoch, phase);
            }
        }
    }

    /// When [`end_overdue`](Self::end_overdue) has something to do.
    pub(crate) fn closing_until(&self) -> Option<Instant> {
        let until = self.held.values().filter_map(|holding| match holding.phase {
            Phase::Closing { until } => Some(until),
            _ => None,
        });
        // Most of the time nothing is going.
        Some(until).filter(|_| self.going() > 0)?.min()
    }

    /// A session that was to be handed over in that epoch has ended.
    pub(crate) fn handle_handed_over(&mut self, instance: InstanceId, epoch: Epoch) {
        let closing = self
            .held
            .get(&instance)
            .is_some_and(|holding| holding.epoch == epoch && matches!(holding.phase, Phase::Closing { .. }));
        if closing {
            self.set(instance, epoch, Phase::Closed);
        }
    }

    /// Sessions that were given up have ended.
    pub(crate) fn handle_given_up(&mut self, instances: &[InstanceId]) {
        for instance in instances {
            let Some(Holding { epoch, phase }) = self.held.get(instance).copied() else {
                continue;
            };
            match phase {
                Phase::Ending(Then::Gone) => self.remove(*instance),
                Phase::Ending(Then::New) => self.set(*instance, epoch, Phase::New),
                Phase::Ending(Then::Closed) => self.set(*instance, epoch, Phase::Closed),
                Phase::Ending(Then::Suspended) => self.set(*instance, epoch, Phase::Suspended),
                Phase::New | Phase::Open | Phase::Closing { .. } | Phase::Closed | Phase::Suspended => {}
            }
        }
    }

    /// These are released.
    pub(crate) fn handle_released(&mut self, released: &[(InstanceId, Epoch)]) {
        for (instance, epoch) in released {
            let closed = Holding {
                epoch: *epoch,
                phase: Phase::Closed,
            };
            if self.held.get(instance) == Some(&closed) {
                self.remove(*instance);
            }
        }
    }

    /// Those to be told to the sessions.
    pub(crate) fn poll_new(&mut self, node: NodeId) -> Option<Vec<Ownership>> {
        let mut taken = Vec::with_capacity(self.new.len());
        while let Some(instance) = self.new.first().copied() {
            let epoch = self.held[&instance].epoch;
            self.set(instance, epoch, Phase::Open);
            taken.push(Ownership {
                instance,
                node: Some(node),
                epoch,
            });
        }
        Some(taken).filter(|taken| !taken.is_empty())
    }

    /// Those to be given up.
    pub(crate) fn poll_lost(&mut self) -> Option<Vec<InstanceId>> {
        Some(std::mem::take(&mut self.lost)).filter(|lost| !lost.is_empty())
    }

    /// Those to be released.
    pub(crate) fn closed(&self) -> Vec<(InstanceId, Epoch)> {
        let closed = self.closed.iter();
        closed
            .map(|instance| (*instance, self.held[instance].epoch))
            .collect()
    }

    fn end(&mut self, instance: InstanceId, then: Then) -> Phase {
        self.lost.push(instance);
        Phase::Ending(then)
    }

    fn instances(&self) -> Vec<InstanceId> {
        self.held.keys().copied().collect()
    }

    fn set(&mut self, instance: InstanceId, epoch: Epoch, phase: Phase) {
        let before = self.held.insert(instance, Holding { epoch, phase });
        if before.is_some_and(|before| before.phase.stays()) {
            self.staying -= 1;
        }
        self.staying += usize::from(phase.stays());
        self.unlist(instance);
        match phase {
            Phase::New => drop(self.new.insert(instance)),
            Phase::Open => drop(self.open.insert(instance)),
            Phase::Closed => drop(self.closed.insert(instance)),
            _ => {}
        }
    }

    fn remove(&mut self, instance: InstanceId) {
        if let Some(before) = self.held.remove(&instance) {
            self.staying -= usize::from(before.phase.stays());
        }
        self.unlist(instance);
    }

    fn unlist(&mut self, instance: InstanceId) {
        self.new.remove(&instance);
        self.open.remove(&instance);
        self.closed.remove(&instance);
    }
}
