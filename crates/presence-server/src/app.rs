//! What every request shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use presence_store::{Instance, Registry};
use presence_wa::{DeviceId, Fleet, InstanceState};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::HttpSettings;
use crate::cors::Cors;
use crate::metrics::Metrics;
use crate::rate_limit::RateLimiter;
use crate::sessions::Sessions;

/// The service, as its handlers see it.
pub(crate) struct App {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) fleet: Fleet,
    /// Keeps the fleet in step with the registry.
    pub(crate) sessions: Sessions,
    pub(crate) limits: RateLimiter,
    pub(crate) cors: Cors,
    pub(crate) metrics: Metrics,
    pub(crate) settings: HttpSettings,
    /// Cancelled when the service begins to stop.
    pub(crate) stopping: CancellationToken,
    /// What outlives its request.
    pub(crate) tasks: TaskTracker,
    started: Instant,
    requests: AtomicU64,
    /// When the store was last looked at, and whether it was well.
    store_checked: Mutex<Option<(Instant, bool)>>,
}

/// How long an answer to "is the store well" stands, so that probes cannot keep the disk busy.
const STORE_CHECK_LASTS: Duration = Duration::from_secs(1);
/// A store that takes longer is not well.
const STORE_CHECK_PATIENCE: Duration = Duration::from_secs(2);

impl App {
    pub(crate) fn new(registry: Arc<dyn Registry>, fleet: Fleet, settings: HttpSettings) -> Self {
        Self {
            sessions: Sessions::new(Arc::clone(&registry), fleet.clone()),
            registry,
            fleet,
            limits: RateLimiter::new(settings.limits),
            cors: Cors::new(settings.cors_origins.clone()),
            metrics: Metrics::default(),
            settings,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            started: Instant::now(),
            requests: AtomicU64::new(0),
            store_checked: Mutex::default(),
        }
    }

    /// Numbers requests in the log, from 1.
    pub(crate) fn next_request_id(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Whether accounts and instances can be read and written. At most a second old.
    pub(crate) async fn store_is_healthy(&self) -> bool {
        let mut checked = self.store_checked.lock().await;
        if let Some((at, well)) = *checked
            && at.elapsed() < STORE_CHECK_LASTS
        {
            return well;
        }
        let well = matches!(
            timeout(STORE_CHECK_PATIENCE, self.registry.check()).await,
            Ok(Ok(()))
        );
        *checked = Some((Instant::now(), well));
        well
    }

    /// How many instances are in each state.
    pub(crate) fn instance_states(&self) -> [(InstanceState, usize); 4] {
        use InstanceState::{Connected, Connecting, Disconnected, LoggedOut};
        let mut states = [Connected, Connecting, Disconnected, LoggedOut].map(|state| (state, 0));
        for instance in self.registry.all_instances() {
            let state = self
                .fleet
                .status(device(&instance))
                .map_or(Disconnected, |status| status.state);
            for (_, count) in states.iter_mut().filter(|(counted, _)| *counted == state) {
                *count += 1;
            }
        }
        states
    }
}

/// The fleet knows an instance by the number of its device keys.
pub(crate) fn device(instance: &Instance) -> DeviceId {
    DeviceId(instance.id.get())
}
