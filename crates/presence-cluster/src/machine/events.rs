//! What happens to a node of the cluster.

use std::time::Duration;

use presence_core::InstanceId;
use presence_store::{Epoch, LedgerNews, NodeId, Ownership};
use tokio::time::Instant;

use super::{Leaving, Machine};
use crate::action::{Answer, Statement};
use crate::membership::RETRY;

/// How soon the next claim follows: what one node takes at once is little enough for several to take alike of what
/// a lost one had.
const CLAIM_PAUSE: Duration = Duration::from_millis(100);

impl Machine {
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
        self.copy.forget(self.now, instance);
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
}
