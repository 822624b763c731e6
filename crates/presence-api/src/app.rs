//! What every request shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::Connections;
use crate::cors::Cors;
use crate::error::ApiError;
use crate::events::Events;
use crate::health::Health;
use crate::instances::Instances;
use crate::metrics::HttpCounters;
use crate::pairing_links::PairingLinks;
use crate::rate_limit::RateLimiter;
use crate::refusal_log::RefusalLog;
use crate::settings::HttpSettings;
use crate::webhook::WebhookCounters;

/// The service, as its handlers see it.
pub(crate) struct App {
    /// Empty while the service starts.
    pub(crate) instances: OnceLock<Instances>,
    pub(crate) limits: RateLimiter,
    pub(crate) cors: Cors,
    pub(crate) events: Events,
    pub(crate) metrics: HttpCounters,
    pub(crate) webhooks: Arc<WebhookCounters>,
    pub(crate) refusals: RefusalLog,
    pub(crate) pairing_links: PairingLinks,
    pub(crate) health: Health,
    pub(crate) settings: HttpSettings,
    pub(crate) connections: Arc<Connections>,
    /// Connections of clients that are being served.
    pub(crate) serving: TaskTracker,
    /// Set when the service is about to stop, and says so.
    stop_is_announced: AtomicBool,
    /// Cancelled when the service begins to stop.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when requests that have not finished are dropped.
    pub(crate) cut: CancellationToken,
    /// Cancelled when the service has stopped: until then, probes are answered.
    pub(crate) stopped: CancellationToken,
    started: Instant,
}

/// Where the service is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Stores are being opened.
    Starting,
    Ready,
    Stopping,
}

impl App {
    pub(crate) fn new(settings: HttpSettings) -> Self {
        let (most, per_client) = (settings.max_connections, settings.max_connections_per_client);
        let stopping = CancellationToken::new();
        Self {
            instances: OnceLock::new(),
            limits: RateLimiter::new(settings.limits),
            cors: Cors::new(settings.cors_origins.clone()),
            events: Events::new(most, stopping.clone()),
            metrics: HttpCounters::default(),
            webhooks: Arc::default(),
            refusals: RefusalLog::default(),
            pairing_links: PairingLinks::default(),
            health: Health::default(),
            settings,
            connections: Arc::new(Connections::new(most, per_client, stopping.clone())),
            serving: TaskTracker::new(),
            stop_is_announced: AtomicBool::new(false),
            stopping,
            cut: CancellationToken::new(),
            stopped: CancellationToken::new(),
            started: Instant::now(),
        }
    }

    /// The door to the instances.
    ///
    /// # Errors
    /// [`ApiError::Starting`] while the service has none.
    pub(crate) fn instances(&self) -> Result<&Instances, ApiError> {
        self.instances.get().ok_or(ApiError::Starting)
    }

    pub(crate) fn readiness(&self) -> Readiness {
        if self.stopping.is_cancelled() || self.is_leaving() {
            Readiness::Stopping
        } else if self.instances.get().is_none() {
            Readiness::Starting
        } else {
            Readiness::Ready
        }
    }

    /// From here on whoever asks is told that the service is about to stop.
    pub(crate) fn announce_stop(&self) {
        self.stop_is_announced.store(true, Ordering::Relaxed);
    }

    /// Whether the service is about to stop: it does its work, but nobody should come back to it.
    pub(crate) fn is_leaving(&self) -> bool {
        self.stop_is_announced.load(Ordering::Relaxed)
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Readiness {
    /// A word for probes.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ok",
            Self::Stopping => "stopping",
        }
    }
}
