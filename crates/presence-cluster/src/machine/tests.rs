//! The machine against a ledger whose answers a test gives, one by one.

mod leases;
mod ownership;

use std::time::Duration;

use presence_core::InstanceId;
use presence_store::{Epoch, LedgerNews, LedgerVersion, Node, NodeId, Ownership};
use tokio::time::Instant;

use super::Machine;
use crate::action::{Action, Answer, Statement, StatementKind};
use crate::sessions::Activity;
use crate::settings::ClusterSettings;

const SECOND: Duration = Duration::from_secs(1);

fn instance(number: i32) -> InstanceId {
    InstanceId::new(number).unwrap()
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn owned(number: i32, owner: Option<u8>, epoch: i64) -> Ownership {
    Ownership {
        instance: instance(number),
        node: owner.map(node),
        epoch: Epoch(epoch),
    }
}

/// A driver that does nothing by itself but write down what it is told to do.
struct Driver {
    machine: Machine,
    begun: Instant,
    now: Instant,
    wanted: usize,
    /// What was given to the machine last.
    run: u8,
    version: i64,
    under_way: Vec<Statement>,
    /// What was done, and after how many milliseconds.
    done: Vec<(u128, Action)>,
}

impl Driver {
    fn new() -> Self {
        let now = Instant::now();
        let mut driver = Self {
            machine: Machine::new(now, ClusterSettings::new("http://10.0.0.5:7070")),
            begun: now,
            now,
            wanted: 0,
            run: 0,
            version: 0,
            under_way: Vec::new(),
            done: Vec::new(),
        };
        driver.poll();
        driver
    }

    /// One that has entered as node 1, with these instances, which it has taken.
    fn with(instances: i32) -> Self {
        let mut driver = Self::new();
        driver.wanted = instances as usize;
        driver.answer(StatementKind::Enter, Answer::Done);
        driver.read(&[1], &[]);
        let free: Vec<Ownership> = (1..=instances).map(|number| owned(number, None, 0)).collect();
        driver.read(&[1], &free);
        if instances > 0 {
            let claimed = (1..=instances).map(|number| owned(number, Some(1), 1));
            driver.answer(StatementKind::Claim, Answer::Claimed(claimed.collect()));
        }
        driver.done.clear();
        driver
    }

    fn poll(&mut self) {
        self.machine.handle_time(self.now, self.wanted);
        while let Some(action) = self.machine.poll_action(&|_| Activity::Idle) {
            match &action {
                Action::ChooseId => {
                    self.run += 1;
                    self.machine.handle_id(Some(node(self.run)));
                }
                Action::Begin(statement) => self.under_way.push(statement.clone()),
                _ => {}
            }
            self.done.push(((self.now - self.begun).as_millis(), action));
        }
    }

    /// Time passes, and nothing is answered.
    fn pass(&mut self, long: Duration) {
        let until = self.now + long;
        while self.now < until {
            self.now = self.machine.poll_timeout().clamp(self.now, until);
            self.poll();
        }
    }

    /// Time passes, and these are answered at once.
    fn pass_answering(&mut self, long: Duration, kinds: &[StatementKind]) {
        let until = self.now + long;
        while self.now < until {
            self.now = self.machine.poll_timeout().clamp(self.now, until);
            self.poll();
            for kind in kinds {
                if !self.is_under_way(*kind) {
                    continue;
                }
                match kind {
                    StatementKind::Read => self.read(&[self.run], &[]),
                    StatementKind::StrikeOff => self.answer(*kind, Answer::StruckOff(Vec::new())),
                    _ => self.answer(*kind, Answer::Done),
                }
            }
        }
    }

    fn is_under_way(&self, kind: StatementKind) -> bool {
        self.under_way.iter().any(|statement| statement.kind() == kind)
    }

    fn answer(&mut self, kind: StatementKind, answer: Answer) {
        let at = self
            .under_way
            .iter()
            .position(|statement| statement.kind() == kind);
        let at = at.unwrap_or_else(|| panic!("no {kind:?} is under way but {:?}", self.under_way));
        let statement = self.under_way.remove(at);
        self.machine.handle_time(self.now, self.wanted);
        self.machine.handle_answer(&statement, answer);
        self.poll();
    }

    /// A read answers who lives, and what changed.
    fn read(&mut self, nodes: &[u8], changed: &[Ownership]) {
        if !self.is_under_way(StatementKind::Read) {
            self.machine.handle_hint();
            self.poll();
        }
        self.version += 1;
        let nodes = nodes.iter().map(|number| Node {
            id: node(*number),
            address: String::new(),
        });
        let news = LedgerNews {
            version: LedgerVersion(self.version),
            nodes: nodes.collect(),
            changed: changed.to_vec(),
            is_everything: false,
        };
        self.answer(StatementKind::Read, Answer::News(news));
    }

    fn given_up(&mut self, numbers: &[i32]) {
        let instances: Vec<InstanceId> = numbers.iter().copied().map(instance).collect();
        self.machine.handle_given_up(&instances);
        self.poll();
    }

    /// What was done since this was asked last, but for statements.
    fn told(&mut self) -> Vec<Action> {
        let done = std::mem::take(&mut self.done).into_iter();
        let told = done.filter(|(_, action)| !matches!(action, Action::Begin(_)));
        told.map(|(_, action)| action).collect()
    }

    /// When statements of this kind began, in milliseconds.
    fn begun(&self, kind: StatementKind) -> Vec<u128> {
        let of_kind =
            |action: &Action| matches!(action, Action::Begin(statement) if statement.kind() == kind);
        let begun = self.done.iter().filter(|(_, action)| of_kind(action));
        begun.map(|(at, _)| *at).collect()
    }

    fn acts(&self) -> bool {
        self.machine.acts_until().is_some_and(|until| self.now < until)
    }
}
