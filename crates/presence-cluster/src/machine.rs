//! What this node does when, for the cluster. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use presence_core::InstanceId;
use presence_store::{Epoch, LedgerNews, NodeId, Ownership};
use tokio::time::Instant;

use crate::action::{Action, Answer, Statement, StatementKind};
use crate::holdings::Holdings;
use crate::ledger_copy::LedgerCopy;
use crate::membership::{ASLEEP, Membership, RETRY, Step};
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

/// How many instances are claimed by one statement, and how soon the next one follows: what one node takes at once
/// is little enough for several to take alike of what a lost one had.
const CLAIM_BATCH: usize = 50;
const CLAIM_PAUSE: Duration = Duration::from_millis(100);

/// What nobody has taken for so long is taken by whoever sees it, whatever its share.
const OVERDUE: Duration = Duration::from_secs(5);

/// How long a node must have had too many to hand any over: others may just be entering or leaving.
const SETTLED: Duration = Duration::from_secs(3);

/// The longest that a session may take to end in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

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

    /// The id that was chosen for the next run; `None` when none could be.
    pub(crate) fn handle_id(&mut self, id: Option<NodeId>) {
        self.membership.handle_id(id);
    }

    /// The ledger may have changed.
    pub(crate) fn handle_hint(&mut self) {
        self.is_hinted = true;
    }

    /// A statement has ended.
    pub(crate) fn handle_answer(&mut self, statement: &Statement, answer: Answer) {
        let Some(began) = self.under_way.remove(&statement.kind()) else {
            return;
        };
        self.has_answered = answer != Answer::Failed;
        self.membership.handle_contact(began, self.has_answered);
        match (statement, answer) {
            (Statement::Enter(id), Answer::Done) => {
                self.membership.handle_entered(began, *id, true);
                self.copy.set_me(self.membership.id());
                self.is_hinted = true;
            }
            (Statement::Enter(id), _) => self.membership.handle_entered(began, *id, false),
            (Statement::Renew(id), Answer::Done) => self.handle_renewed(began, *id),
            (Statement::Renew(_), Answer::Failed) => self.membership.handle_not_renewed(),
            (Statement::Renew(id) | Statement::Claim(id, _), Answer::Dead) => self.handle_death(*id),
            (Statement::Read(_), Answer::News(news)) => self.handle_news(began, news),
            (Statement::Read(_), _) => self.is_hinted = false,
            (Statement::StrikeOff(_), Answer::StruckOff(nodes)) => self.is_hinted |= !nodes.is_empty(),
            (Statement::Claim(id, most), Answer::Claimed(claimed)) => {
                self.has_misjudged = claimed.len() < *most as usize;
                self.handle_claimed(*id, &claimed);
            }
            (Statement::Claim(..), _) => {
                self.has_misjudged = true;
                self.claim_at = self.now + RETRY;
            }
            (Statement::Release(_, released), Answer::Done) => {
                self.holdings.handle_released(released);
                self.learn_released(released);
            }
            (Statement::Release(..), _) => self.release_at = self.now + RETRY,
            (Statement::Leave(id), Answer::Done) => self.handle_left(*id),
            (Statement::Leave(_), _) => {
                self.membership.handle_not_withdrawn();
                self.release_at = self.now + RETRY;
            }
            _ => {}
        }
    }

    /// This node has claimed an instance by a statement of somebody else's. Whether it has it now.
    pub(crate) fn handle_claimed_one(&mut self, node: NodeId, instance: InstanceId, epoch: Epoch) -> bool {
        if self.membership.id() != Some(node) {
            return false;
        }
        let claimed = Ownership {
            instance,
            node: Some(node),
            epoch,
        };
        self.handle_claimed(node, &[claimed]);
        self.holdings.keeps(instance, epoch)
    }

    /// The instance was deleted.
    pub(crate) fn handle_deleted(&mut self, instance: InstanceId) {
        self.copy.forget(instance);
        self.holdings.lose(instance);
    }

    /// A session that was to be handed over has ended.
    pub(crate) fn handle_handed_over(&mut self, instance: InstanceId, epoch: Epoch) {
        self.holdings.handle_handed_over(instance, epoch);
    }

    /// Sessions that were to be given up have ended.
    pub(crate) fn handle_given_up(&mut self, instances: &[InstanceId]) {
        self.holdings.handle_given_up(instances);
    }

    /// This node is to leave, and has so long to do it in order.
    pub(crate) fn handle_leave(&mut self, grace: Duration) {
        let until = self.now + grace;
        self.leaving.get_or_insert(Leaving {
            until,
            has_left: false,
        });
        self.holdings.close_idle();
    }

    fn handle_renewed(&mut self, began: Instant, id: NodeId) {
        self.membership.handle_renewed(began, id);
        if self.is_suspended && self.membership.is_confirmed() {
            self.is_suspended = false;
            self.holdings.resume();
            if self.leaving.is_some() {
                self.holdings.close_idle();
            }
        }
    }

    fn handle_claimed(&mut self, id: NodeId, claimed: &[Ownership]) {
        for ownership in claimed {
            let is_newer = self.copy.learn(self.now, ownership);
            if is_newer && self.membership.id() == Some(id) {
                self.add(ownership.instance, ownership.epoch);
            }
        }
        self.claim_at = self.now + CLAIM_PAUSE;
    }

    fn handle_news(&mut self, began: Instant, news: LedgerNews) {
        self.has_misjudged = false;
        let (learned, gone) = self.copy.read(self.now, began, news);
        for instance in gone {
            self.holdings.lose(instance);
        }
        let me = self.membership.id();
        if let Some(me) = me
            && self.membership.is_known_to(began)
            && !self.copy.has_node(me)
        {
            self.handle_death(me);
            return;
        }
        for ownership in learned {
            if me.is_some() && ownership.node == me {
                // The answer to a claim was lost, or is still to come.
                self.add(ownership.instance, ownership.epoch);
            } else {
                self.holdings.lose(ownership.instance);
            }
        }
    }

    fn add(&mut self, instance: InstanceId, epoch: Epoch) {
        if self.leaving.is_some() {
            self.holdings.add_closed(instance, epoch);
            return;
        }
        self.holdings.add(instance, epoch);
        if self.is_suspended {
            self.holdings.suspend_all();
        }
    }

    fn learn_released(&mut self, released: &[(InstanceId, Epoch)]) {
        for (instance, epoch) in released {
            let released = Ownership {
                instance: *instance,
                node: None,
                epoch: *epoch,
            };
            self.copy.learn(self.now, &released);
        }
    }

    /// `id` was struck off. All that it had may be others' by now.
    fn handle_death(&mut self, id: NodeId) {
        if self.membership.id() != Some(id) {
            return;
        }
        self.membership.end();
        self.copy.set_me(None);
        self.holdings.lose_all();
        self.is_suspended = false;
        self.is_hinted = true;
    }

    fn handle_left(&mut self, id: NodeId) {
        if let Some(leaving) = &mut self.leaving {
            leaving.has_left = true;
        }
        if self.membership.id().is_none_or(|me| me == id) {
            self.membership.end();
            self.copy.set_me(None);
            self.holdings.lose_all();
        }
    }

    /// What to do now; `None` when there is nothing to do for now. Instances that `is_busy` are handed over only
    /// when this node leaves.
    #[must_use]
    pub(crate) fn poll_action(&mut self, is_busy: &dyn Fn(InstanceId) -> bool) -> Option<Action> {
        if let Some(lost) = self.holdings.poll_lost() {
            return Some(Action::GiveUp(lost));
        }
        if let Some(me) = self.confirmed()
            && let Some(taken) = self.holdings.poll_new(me)
        {
            return Some(Action::Take(taken));
        }
        if let Some((instance, epoch)) = self.next_hand_over(is_busy) {
            return Some(Action::HandOver(instance, epoch));
        }
        if self.wants_id() {
            return Some(Action::ChooseId);
        }
        let statement = self.next_statement()?;
        self.under_way.insert(statement.kind(), self.now);
        Some(Action::Begin(statement))
    }

    fn wants_id(&self) -> bool {
        self.leaving.is_none() && self.membership.step() == Some(Step::ChooseId)
    }

    fn next_statement(&mut self) -> Option<Statement> {
        self.membership_statement()
            .or_else(|| self.read())
            .or_else(|| self.strike_off())
            .or_else(|| self.claim())
            .or_else(|| self.release())
    }

    fn membership_statement(&self) -> Option<Statement> {
        if let Some(me) = self.membership.id()
            && let Some(leaving) = self.leaving
        {
            let is_ready = self.holdings.are_all_closed() && !leaving.has_left;
            if is_ready && self.release_at <= self.now && self.is_idle(StatementKind::Leave) {
                return Some(Statement::Leave(me));
            }
        }
        let statement = match self.membership.step()? {
            Step::ChooseId => return None,
            Step::Enter(id) => Statement::Enter(id),
            Step::Renew(id) => Statement::Renew(id),
            Step::Withdraw(id) => Statement::Leave(id),
        };
        Some(statement).filter(|statement| self.is_idle(statement.kind()))
    }

    fn read(&mut self) -> Option<Statement> {
        let is_due = self.is_hinted || self.read_at <= self.now;
        if !is_due || !self.is_idle(StatementKind::Read) {
            return None;
        }
        self.is_hinted = false;
        self.read_at = self.now + self.settings.read_every;
        Some(Statement::Read(self.copy.version()))
    }

    /// Only when the database has just answered, so that the statement does not wait where others' renewals do.
    fn strike_off(&mut self) -> Option<Statement> {
        let has_answered = std::mem::take(&mut self.has_answered);
        let is_due = has_answered && self.strike_off_at <= self.now && self.membership.may_strike_off();
        let me = self.confirmed().filter(|_| is_due)?;
        if !self.is_idle(StatementKind::StrikeOff) {
            return None;
        }
        // The answers to regular reads come a little more often than this.
        self.strike_off_at = self.now + self.settings.read_every / 2;
        Some(Statement::StrikeOff(me))
    }

    fn claim(&self) -> Option<Statement> {
        let me = self.confirmed().filter(|_| self.leaving.is_none())?;
        let is_due = self.claim_at <= self.now && !self.has_misjudged && self.membership.is_in_contact();
        if !is_due || !self.is_idle(StatementKind::Claim) {
            return None;
        }
        let most = self.claimable().min(CLAIM_BATCH);
        let most = u32::try_from(most).ok().filter(|most| *most > 0)?;
        Some(Statement::Claim(me, most))
    }

    fn claimable(&self) -> usize {
        let overdue = self.copy.free_for(self.now, OVERDUE);
        self.loads().map_or(0, |loads| loads.to_claim().max(overdue))
    }

    fn release(&self) -> Option<Statement> {
        let me = self.membership.id()?;
        if self.release_at > self.now || !self.is_idle(StatementKind::Release) {
            return None;
        }
        let closed = self.holdings.closed();
        Some(Statement::Release(me, closed)).filter(|_| !self.holdings.closed().is_empty())
    }

    fn next_hand_over(&mut self, is_busy: &dyn Fn(InstanceId) -> bool) -> Option<(InstanceId, Epoch)> {
        if let Some(leaving) = self.leaving {
            return self.holdings.hand_over(leaving.until, |_| true);
        }
        self.confirmed()?;
        let is_settled = self
            .surplus_since
            .is_some_and(|since| since + SETTLED <= self.now);
        // As long as nobody takes what was handed over, no more of it is.
        let homeless = self.holdings.going() + self.copy.free();
        let is_taken = homeless < self.settings.moves_per_second as usize;
        let has_surplus = self.loads().is_some_and(|loads| loads.to_hand_over() > 0);
        if !is_settled || !is_taken || !has_surplus || self.move_at > self.now {
            return None;
        }
        self.move_at = self.now + Duration::from_secs(1) / self.settings.moves_per_second.max(1);
        let until = self.now + CLOSE_TIMEOUT;
        self.holdings.hand_over(until, |instance| !is_busy(instance))
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
}
