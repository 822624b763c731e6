//! What a node of the cluster does next.

use std::time::Duration;

use presence_core::InstanceId;
use presence_store::Epoch;

use super::{Machine, PATIENCE, SETTLED};
use crate::action::{Action, Statement, StatementKind};
use crate::membership::Step;
use crate::sessions::Activity;

/// How many instances are claimed by one statement.
const CLAIM_BATCH: usize = 50;

/// The longest that a session may take to end in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

impl Machine {
    /// What to do now; `None` when there is nothing to do for now. `activity` says which instances would be disturbed
    /// if they were handed over.
    #[must_use]
    pub(crate) fn poll_action(&mut self, activity: &dyn Fn(InstanceId) -> Activity) -> Option<Action> {
        if let Some(lost) = self.holdings.poll_lost() {
            return Some(Action::GiveUp(lost));
        }
        if let Some(me) = self.confirmed()
            && let Some(taken) = self.holdings.poll_new(me)
        {
            return Some(Action::Take(taken));
        }
        if let Some((instance, epoch)) = self.next_hand_over(activity) {
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

    fn claim(&mut self) -> Option<Statement> {
        let me = self.confirmed().filter(|_| self.leaving.is_none())?;
        let is_due = self.claim_at <= self.now && !self.has_misjudged && self.membership.is_in_contact();
        if !is_due || !self.is_idle(StatementKind::Claim) {
            return None;
        }
        let most = self.claimable().min(CLAIM_BATCH);
        let most = u32::try_from(most).ok().filter(|most| *most > 0)?;
        if self.overdue() > self.share_to_claim() {
            // Whoever was to take it does not live, or as good as: before it is struck off, more would come back, too.
            self.move_at = self.now + self.settings.lease;
        }
        Some(Statement::Claim(me, most))
    }

    fn release(&self) -> Option<Statement> {
        let me = self.membership.id()?;
        if self.release_at > self.now || !self.is_idle(StatementKind::Release) {
            return None;
        }
        let closed = self.holdings.closed();
        Some(Statement::Release(me, closed)).filter(|_| !self.holdings.closed().is_empty())
    }

    fn next_hand_over(&mut self, activity: &dyn Fn(InstanceId) -> Activity) -> Option<(InstanceId, Epoch)> {
        if let Some(leaving) = self.leaving {
            return self.holdings.hand_over(leaving.until, |_| true);
        }
        self.confirmed()?;
        let surplus_for = self.now.saturating_duration_since(self.surplus_since?);
        let is_settled = surplus_for >= SETTLED;
        // As long as nobody takes what was handed over, no more of it is.
        let homeless = self.holdings.going() + self.copy.free();
        let is_taken = homeless < self.settings.moves_per_second as usize;
        let has_surplus = self.loads().is_some_and(|loads| loads.to_hand_over() > 0);
        if !is_settled || !is_taken || !has_surplus || self.move_at > self.now {
            return None;
        }
        self.move_at = self.now + Duration::from_secs(1) / self.settings.moves_per_second.max(1);
        let until = self.now + CLOSE_TIMEOUT;
        let idle = |instance| activity(instance) == Activity::Idle;
        if let Some(idle) = self.holdings.hand_over(until, idle) {
            return Some(idle);
        }
        let showing = |instance| surplus_for >= PATIENCE && activity(instance) == Activity::Showing;
        self.holdings.hand_over(until, showing)
    }
}
