//! The failures, one function each: what is done, and what must hold.

mod database;
mod nodes;
mod partitions;
mod shares;

pub(super) use nodes::faketime;

use std::time::Duration;

use super::measure::Outcome;
use super::town::Town;

/// Where a lost node's sessions have to be online again elsewhere by.
const LOST: Duration = Duration::from_secs(15);
/// The same of a node that was asked to stop.
const DRAINED: Duration = Duration::from_secs(2);

/// Something that goes wrong, or is done on purpose.
pub(super) struct Failure {
    pub(super) name: &'static str,
    /// What is done.
    pub(super) what: &'static str,
    /// Whether it is part of the quick run.
    pub(super) is_quick: bool,
    pub(super) needs: Needs,
    /// Does it, and looks at what must hold while it lasts.
    pub(super) run: fn(&Town) -> anyhow::Result<Outcome>,
}

/// What a failure cannot be made without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// A PostgreSQL that may be stopped.
    OurServer,
    /// The library that tells a process another time.
    Faketime,
}

/// All of them, in the order in which they are run.
pub(super) const ALL: [Failure; 20] = [
    Failure {
        name: "idle",
        what: "nothing, for 20 s",
        is_quick: false,
        needs: Needs::Nothing,
        run: database::idle,
    },
    Failure {
        name: "kill",
        what: "kill -9 of a node whose sessions hold indicators",
        is_quick: true,
        needs: Needs::Nothing,
        run: nodes::kill,
    },
    Failure {
        name: "stop",
        what: "SIGTERM of a node whose sessions hold indicators",
        is_quick: true,
        needs: Needs::Nothing,
        run: nodes::stop,
    },
    Failure {
        name: "freeze",
        what: "SIGSTOP of a node for 30 s, then SIGCONT",
        is_quick: true,
        needs: Needs::Nothing,
        run: nodes::freeze,
    },
    Failure {
        name: "freeze-shortly",
        what: "SIGSTOP of a node for 5 s, less than its lease",
        is_quick: false,
        needs: Needs::Nothing,
        run: nodes::freeze_shortly,
    },
    Failure {
        name: "rolling-restart",
        what: "three nodes restarted one after another",
        is_quick: false,
        needs: Needs::Nothing,
        run: nodes::rolling_restart,
    },
    Failure {
        name: "database-cut",
        what: "one node cut off from the database for 40 s",
        is_quick: false,
        needs: Needs::Nothing,
        run: partitions::database_cut,
    },
    Failure {
        name: "database-silent",
        what: "the database silent for one node for 40 s",
        is_quick: false,
        needs: Needs::Nothing,
        run: partitions::database_silent,
    },
    Failure {
        name: "node-cut",
        what: "one node out of the others' reach for 20 s",
        is_quick: false,
        needs: Needs::Nothing,
        run: partitions::node_cut,
    },
    Failure {
        name: "nodes-silent",
        what: "no node answers another one for 20 s",
        is_quick: false,
        needs: Needs::Nothing,
        run: partitions::nodes_silent,
    },
    Failure {
        name: "whatsapp-cut",
        what: "one node cut off from WhatsApp for 30 s",
        is_quick: false,
        needs: Needs::Nothing,
        run: partitions::whatsapp_cut,
    },
    Failure {
        name: "database-restart",
        what: "PostgreSQL away for 10 s",
        is_quick: true,
        needs: Needs::OurServer,
        run: database::restart,
    },
    Failure {
        name: "database-failover",
        what: "PostgreSQL crashes, and is there again at once",
        is_quick: false,
        needs: Needs::OurServer,
        run: database::failover,
    },
    Failure {
        name: "database-full",
        what: "PostgreSQL out of connections for 15 s",
        is_quick: false,
        needs: Needs::OurServer,
        run: database::full,
    },
    Failure {
        name: "database-slow",
        what: "2 s for each statement, for 30 s",
        is_quick: false,
        needs: Needs::Nothing,
        run: database::slow,
    },
    Failure {
        name: "claims",
        what: "two nodes claim 1,000 instances at once",
        is_quick: false,
        needs: Needs::Nothing,
        run: shares::claims,
    },
    Failure {
        name: "grow",
        what: "a fourth node comes, and goes",
        is_quick: false,
        needs: Needs::Nothing,
        run: shares::grow,
    },
    Failure {
        name: "hearsay",
        what: "instances made at one node, and used at another at once",
        is_quick: true,
        needs: Needs::Nothing,
        run: shares::hearsay,
    },
    Failure {
        name: "outsider",
        what: "somebody outside logs in as a session's device",
        is_quick: false,
        needs: Needs::Nothing,
        run: partitions::outsider,
    },
    Failure {
        name: "clock",
        what: "the clock of one node is a minute off",
        is_quick: false,
        needs: Needs::Faketime,
        run: nodes::clock,
    },
];
