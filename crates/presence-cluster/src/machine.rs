//! What this node does when, for the cluster. Pure.

mod events;
mod next_action;

use std::collections::BTreeMap;
use std::time::Duration;

use presence_store::NodeId;
use tokio::time::Instant;

use crate::action::StatementKind;
use crate::holdings::Holdings;
use crate::ledger_copy::LedgerCopy;
use crate::membership::{ASLEEP, Membership};
use crate::settings::ClusterSettings;
use crate::share::Loads;
use crate::standing::Standing;
use crate::view::View;

/// Everything that is decided about this node's part in the cluster.
///
/// It is a state machine without input or output. It keeps a lease ([`Membership`]), a copy of the ledger
/// ([`LedgerCopy`]), and what this node has ([`Holdings`]). Whoever drives it:
///
/// 1. tells it how statements ended ([`handle_answer`](Self::handle_answer)), that sessions ended, that the ledger
///    has changed, and that time has passed ([`handle_time`](Self::handle_time));
/// 2. after each of these calls [`poll_action`](Self::poll_action) until it is `None`, and publishes
///    [`view`](Self::view), [`standing`](Self::standing) and [`acts_until`](Self::acts_until);
/// 3. sleeps until [`poll_timeout`](Self::poll_timeout), and ends when [`is_over`](Self::is_over).
///
/// `now` is the caller's and never goes back.
///
/// # What always holds
/// - An instance is taken only in an epoch that the ledger has given this node, and after whatever it had of an
///   earlier one has ended.
/// - Nothing is taken while this node may have been struck off.
/// - Nothing is released whose session may still run.
/// - What the ledger says is another's is given up at once.
pub(crate) struct Machine {
    settings: ClusterSettings,
    membership: Membership,
    copy: LedgerCopy,
    holdings: Holdings,
    /// When the statements under way began.
    under_way: BTreeMap<StatementKind, Instant>,
    /// Something may have changed since the last read began.
    is_hinted: bool,
    read_at: Instant,
    strike_off_at: Instant,
    /// The database has just answered.
    has_answered: bool,
    claim_at: Instant,
    /// Fewer were to be had than thought: the ledger is read before the next claim.
    has_misjudged: bool,
    release_at: Instant,
    move_at: Instant,
    /// Since when there was always something to hand over.
    surplus_since: Option<Instant>,
    is_suspended: bool,
    wanted: usize,
    leaving: Option<Leaving>,
    now: Instant,
}

/// How this node leaves.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    /// Until then sessions end in order, thereafter without a word.
    until: Instant,
    has_left: bool,
}

/// What nobody has taken for so long is taken by whoever sees it, whatever its share.
const OVERDUE: Duration = Duration::from_secs(2);

/// How long a node must have had too many to hand any over: others may just be entering or leaving.
const SETTLED: Duration = Duration::from_secs(3);

/// How long it must have had too many until it also hands over what shows something. Most indicators are over by then;
/// who shows one after the other would never move.
const PATIENCE: Duration = Duration::from_secs(60);

impl Machine {
    pub(crate) fn new(now: Instant, settings: ClusterSettings) -> Self {
        Self {
            membership: Membership::new(now, settings.clone()),
            settings,
            copy: LedgerCopy::default(),
            holdings: Holdings::default(),
            under_way: BTreeMap::new(),
            is_hinted: true,
            read_at: now,
            strike_off_at: now,
            has_answered: false,
            claim_at: now,
            has_misjudged: false,
            release_at: now,
            move_at: now,
            surplus_since: None,
            is_suspended: false,
            wanted: 0,
            leaving: None,
            now,
        }
    }

    /// Time has passed, and there are that many instances now.
    pub(crate) fn handle_time(&mut self, now: Instant, wanted: usize) {
        self.now = self.now.max(now);
        self.wanted = wanted;
        self.membership.handle_time(now);
        if self.membership.is_outage_over() {
            self.is_suspended = true;
            self.holdings.suspend_all();
        }
        let is_late = self.leaving.is_some_and(|leaving| leaving.until <= self.now);
        if is_late
            || self
                .holdings
                .closing_until()
                .is_some_and(|until| until <= self.now)
        {
            self.holdings.end_overdue(self.now, is_late);
        }
        if self.loads().is_none_or(|loads| loads.to_hand_over() == 0) {
            self.surplus_since = None;
        } else {
            self.surplus_since.get_or_insert(self.now);
        }
    }

    /// When to call [`handle_time`](Self::handle_time) next. That is soon, since a process that was stopped shows
    /// only by its clock.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Instant {
        let tick = self.now + ASLEEP / 4;
        let read = Some(self.read_at).filter(|_| self.is_idle(StatementKind::Read));
        let claims = self.leaving.is_none() && self.claimable() > 0 && !self.has_misjudged;
        let moves = self.surplus_since.map(|since| self.move_at.max(since + SETTLED));
        let deadlines = [
            read,
            Some(self.membership.due()),
            Some(self.claim_at).filter(|_| claims),
            Some(self.release_at).filter(|_| self.holdings.going() > 0),
            moves,
            self.holdings.closing_until(),
            self.leaving.map(|leaving| leaving.until),
            self.leaving.map(|leaving| leaving.until + self.settings.patience),
        ];
        let ahead = deadlines.into_iter().flatten().filter(|at| *at > self.now);
        ahead.min().map_or(tick, |at| at.min(tick))
    }

    /// What is known of the cluster.
    pub(crate) fn view(&self) -> &View {
        self.copy.view()
    }

    /// Whether it is news.
    pub(crate) fn poll_view_changed(&mut self) -> bool {
        self.copy.poll_changed()
    }

    /// How this node stands.
    pub(crate) fn standing(&self) -> Standing {
        match (self.membership.id(), self.leaving) {
            (_, Some(_)) => Standing::Leaving,
            (None, None) => Standing::Outside,
            (Some(_), None) if self.membership.is_confirmed() => Standing::Member,
            (Some(_), None) => Standing::CutOff,
        }
    }

    /// Until when this node may act for what it has, if nothing happens.
    pub(crate) fn acts_until(&self) -> Option<Instant> {
        self.membership.acts_until()
    }

    /// It has left, or had as long for it as it may.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.leaving.is_some_and(|leaving| {
            let is_done = self.membership.is_outside() && self.holdings.is_empty();
            is_done || self.now >= leaving.until + self.settings.patience
        })
    }

    fn claimable(&self) -> usize {
        self.share_to_claim().max(self.overdue())
    }

    /// How many of those that nobody has are this node's to take.
    fn share_to_claim(&self) -> usize {
        self.loads().map_or(0, |loads| loads.to_claim())
    }

    /// How many of them the others have left for too long.
    fn overdue(&self) -> usize {
        self.loads().map_or(0, |_| self.copy.free_for(self.now, OVERDUE))
    }

    /// Who has how many; `None` as long as this node is not among those that are known.
    fn loads(&self) -> Option<Loads> {
        let me = self.membership.id().filter(|me| self.copy.has_node(*me))?;
        Some(Loads {
            wanted: self.wanted,
            free: self.copy.free(),
            me: (me, self.holdings.staying()),
            others: self.copy.others(me),
        })
    }

    /// This node, if nobody can have struck it off.
    fn confirmed(&self) -> Option<NodeId> {
        self.membership.id().filter(|_| self.membership.is_confirmed())
    }

    fn is_idle(&self, kind: StatementKind) -> bool {
        !self.under_way.contains_key(&kind)
    }
}

#[cfg(test)]
mod tests;
