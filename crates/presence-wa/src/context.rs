//! What the tasks of all instances share.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counters::FleetCounters;
use crate::login_limiter::LoginLimiter;
use crate::pairing_record::PairingRecord;
use crate::session::Connector;
use crate::settings::FleetSettings;

/// What the tasks of all instances share.
pub(crate) struct FleetContext {
    pub(crate) settings: FleetSettings,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) record: Arc<dyn PairingRecord>,
    pub(crate) logins: LoginLimiter,
    /// When a session last logged in without a proxy: those that wait because they did not reach WhatsApp on the
    /// same way look at it. Only they do, and each once in an outage, so that ten thousand logins do not wake ten
    /// thousand instances each.
    pub(crate) reached: watch::Sender<Option<Instant>>,
    /// Keys are wiped a few devices at a time, so that a thousand of them do not keep the disk from the rest.
    pub(crate) wipes: Semaphore,
    /// Every task says farewell and ends.
    pub(crate) stop: CancellationToken,
    /// Every task ends where it stands.
    pub(crate) kill: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) counters: FleetCounters,
}

/// How many devices' keys are wiped at a time.
const WIPES_AT_ONCE: usize = 2;

impl FleetContext {
    pub(crate) fn new(
        connector: Arc<dyn Connector>,
        record: Arc<dyn PairingRecord>,
        settings: FleetSettings,
    ) -> Self {
        Self {
            logins: LoginLimiter::new(settings.max_concurrent_logins, settings.login_interval),
            reached: watch::Sender::new(None),
            settings,
            connector,
            record,
            wipes: Semaphore::new(WIPES_AT_ONCE),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
            counters: FleetCounters::default(),
        }
    }
}
