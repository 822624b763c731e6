//! What the tasks of all instances share, and how they are started.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::driver::{Driver, DriverSettings, Line};
use crate::fleet::ask::Ask;
use crate::fleet::entry::Entry;
use crate::fleet::gate::Gate;
use crate::fleet::keeper::Keeper;
use crate::fleet::ledger::Ledger;
use crate::fleet::policy::History;
use crate::fleet::settings::FleetSettings;
use crate::session::{Connector, Session};

/// What the tasks of all instances share.
pub(super) struct Shared {
    pub(super) settings: FleetSettings,
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) gate: Gate,
    /// Every keeper says farewell and ends.
    pub(super) stop: CancellationToken,
    /// Every task ends where it stands.
    pub(super) kill: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn spawn(&self, kill: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        let kill = kill.clone();
        self.tasks.spawn(async move {
            kill.run_until_cancelled(task).await;
        });
    }

    /// Starts the instance's driver unless it runs already.
    pub(super) fn start_driver<S: Session>(&self, entry: &Entry, line: &watch::Sender<Line<S>>) {
        entry.inbox.get_or_init(|| {
            let (inbox, requests) = mpsc::channel(self.settings.inbox.max(1));
            let settings = DriverSettings {
                timing: self.settings.timing,
                raise_availability: self.settings.raise_availability,
                send_timeout: self.settings.send_timeout,
            };
            let (keep_online, available) = (entry.keep_online.subscribe(), Arc::clone(&entry.available));
            let driver = Driver::new(
                entry.device,
                settings,
                line.subscribe(),
                requests,
                keep_online,
                available,
            );
            self.spawn(&entry.kill, driver.run());
            inbox
        });
    }
}

/// Starts keepers without naming the type of their connector.
pub(super) trait StartKeeper: Send + Sync {
    fn start(&self, entry: Arc<Entry>, asks: mpsc::Receiver<Ask>);
}

pub(super) struct Starter<C> {
    pub(super) connector: Arc<C>,
    pub(super) shared: Arc<Shared>,
}

impl<C: Connector> StartKeeper for Starter<C> {
    fn start(&self, entry: Arc<Entry>, asks: mpsc::Receiver<Ask>) {
        let (kill, leftovers) = (entry.kill.clone(), entry.leftovers);
        let keeper = Keeper {
            connector: Arc::clone(&self.connector),
            shared: Arc::clone(&self.shared),
            entry,
            asks,
            line: watch::Sender::new(Line::Down),
            history: History::default(),
            wanted: None,
            wanted_until: Instant::now(),
            pairing: 0,
            leftovers,
        };
        self.shared.spawn(&kill, keeper.run());
    }
}
