//! The life of this node: its lease, its contact with the database, and until when it may act.

use std::time::Duration;

use presence_store::NodeId;
use tokio::time::Instant;

use crate::settings::ClusterSettings;

/// One run after the other of this process, as nodes of the cluster.
#[derive(Debug)]
pub(crate) struct Membership {
    settings: ClusterSettings,
    run: Run,
    /// Since when every statement was answered.
    contact: Option<Instant>,
    /// The last renewal failed, and nothing was answered since. It may have been carried out all the same: a node
    /// that is not answered must not go on renewing, or nobody ever takes what it cannot run.
    is_unheard: bool,
    /// When to enter, renew or withdraw next.
    due: Instant,
    now: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// This process is no node.
    Outside,
    Entering(NodeId),
    /// It may have entered, without having heard of it. It leaves, and enters under another id.
    Withdrawing(NodeId),
    Alive(Life),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    id: NodeId,
    entered: Instant,
    /// When the last renewal that succeeded began: it lived then.
    confirmed: Instant,
    /// It did not sleep past its lease since.
    is_awake: bool,
}

/// What to do for the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    ChooseId,
    Enter(NodeId),
    Renew(NodeId),
    Withdraw(NodeId),
}

/// A process whose clock moves on by more than this between two looks was stopped, or its machine was. It is also
/// how long one that is cut off may act without looking at the clock again.
pub(crate) const ASLEEP: Duration = Duration::from_secs(2);

/// How long after a failure a statement is tried again.
pub(crate) const RETRY: Duration = Duration::from_millis(500);

impl Membership {
    pub(crate) fn new(now: Instant, settings: ClusterSettings) -> Self {
        Self {
            settings,
            run: Run::Outside,
            contact: None,
            is_unheard: false,
            due: now,
            now,
        }
    }

    /// Time has passed.
    pub(crate) fn handle_time(&mut self, now: Instant) {
        if now > self.now + ASLEEP {
            self.contact = None;
            if let Run::Alive(life) = &mut self.run {
                life.is_awake &= now < life.confirmed + self.settings.lease;
                self.due = now;
            }
        }
        self.now = self.now.max(now);
    }

    pub(crate) fn handle_id(&mut self, id: Option<NodeId>) {
        match id {
            Some(id) => self.run = Run::Entering(id),
            None => self.due = self.now + RETRY,
        }
    }

    /// A statement that began then was answered, or was not. An answer that was long in coming says that there was
    /// no contact meanwhile.
    pub(crate) fn handle_contact(&mut self, began: Instant, answered: bool) {
        let is_late = began + self.settings.renew_every < self.now;
        self.contact = match answered {
            true if is_late => Some(self.now),
            true => self.contact.or(Some(self.now)),
            false => None,
        };
        self.is_unheard &= !answered;
    }

    /// Whether `id` was entered, by a statement that began then.
    pub(crate) fn handle_entered(&mut self, began: Instant, id: NodeId, entered: bool) {
        if self.run != Run::Entering(id) {
            return;
        }
        self.run = if entered {
            self.due = began + self.settings.renew_every;
            Run::Alive(Life {
                id,
                entered: self.now,
                confirmed: began,
                is_awake: self.now < began + self.settings.lease,
            })
        } else {
            self.due = self.now + RETRY;
            Run::Withdrawing(id)
        };
    }

    /// `id` was renewed by a statement that began then.
    pub(crate) fn handle_renewed(&mut self, began: Instant, id: NodeId) {
        if let Run::Alive(life) = &mut self.run
            && life.id == id
        {
            life.confirmed = life.confirmed.max(began);
            life.is_awake |= self.now < life.confirmed + self.settings.lease;
            self.due = began + self.settings.renew_every;
        }
    }

    /// A renewal has failed.
    pub(crate) fn handle_not_renewed(&mut self) {
        self.is_unheard = true;
        self.due = self.now + RETRY;
    }

    /// What was entered without an answer could not be withdrawn.
    pub(crate) fn handle_not_withdrawn(&mut self) {
        self.due = self.now + RETRY;
    }

    /// The run is over: it is gone from the ledger.
    pub(crate) fn end(&mut self) {
        self.run = Run::Outside;
        self.due = self.now;
    }

    /// What to do now; `None` before that is due.
    pub(crate) fn step(&self) -> Option<Step> {
        let step = match self.run {
            Run::Outside => Step::ChooseId,
            Run::Entering(id) => Step::Enter(id),
            Run::Withdrawing(id) => Step::Withdraw(id),
            Run::Alive(_) if self.is_unheard => return None,
            Run::Alive(life) => Step::Renew(life.id),
        };
        Some(step).filter(|_| self.due <= self.now)
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Which node this is; `None` while it is none.
    pub(crate) fn id(&self) -> Option<NodeId> {
        self.life().map(|life| life.id)
    }

    /// Which node this may be in the ledger.
    pub(crate) fn is_outside(&self) -> bool {
        self.run == Run::Outside
    }

    /// Nobody can have struck this node off.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.life()
            .is_some_and(|life| life.is_awake && self.now < life.confirmed + self.settings.lease)
    }

    /// The database has been away for longer than sessions go on without it.
    pub(crate) fn is_outage_over(&self) -> bool {
        self.life()
            .is_some_and(|life| self.now >= life.confirmed + self.settings.outage)
    }

    /// Whether a read that began then must name this node if it lives.
    pub(crate) fn is_known_to(&self, read_began: Instant) -> bool {
        self.life().is_some_and(|life| life.entered <= read_began)
    }

    /// The database answers.
    pub(crate) fn is_in_contact(&self) -> bool {
        self.contact.is_some()
    }

    /// Others have had the time to renew: this node was in contact for a whole lease, and no renewal of its own is
    /// late, so that a database which was away is not taken for their deaths.
    pub(crate) fn may_strike_off(&self) -> bool {
        let in_time = |life: Life| self.now <= life.confirmed + self.settings.renew_every + RETRY;
        let steady = |since: Instant| since + self.settings.lease <= self.now;
        self.life().is_some_and(in_time) && self.contact.is_some_and(steady)
    }

    /// Until when this node may act for what it has, if nothing is heard and it does not look again.
    pub(crate) fn acts_until(&self) -> Option<Instant> {
        let life = self.life().filter(|life| life.is_awake)?;
        let leased = life.confirmed + self.settings.lease;
        let awake = (self.now + ASLEEP).min(life.confirmed + self.settings.outage);
        Some(leased.max(awake))
    }

    fn life(&self) -> Option<Life> {
        match self.run {
            Run::Alive(life) => Some(life),
            _ => None,
        }
    }
}
