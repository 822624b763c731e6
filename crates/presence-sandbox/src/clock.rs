//! The sandbox's time, and the time of day that stanzas carry.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Time since the sandbox started, on tokio's clock, which tests can pause.
pub(crate) struct Clock {
    start: Instant,
    start_unix: Duration,
    stanzas: AtomicU64,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "stanzas carry the time of day; this is where it is read, once"
    )]
    pub(crate) fn start() -> Self {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            start: Instant::now(),
            start_unix: unix.unwrap_or_default(),
            stanzas: AtomicU64::new(0),
        }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// When it is `at` since the start.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.start + at
    }

    /// A number for a query or a notification of the server's; none is given twice.
    pub(crate) fn stanza_id(&self) -> u64 {
        self.stanzas.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Seconds since 1970, when it is `at` since the start.
    pub(crate) fn unix_secs(&self, at: Duration) -> u64 {
        (self.start_unix + at).as_secs()
    }
}
