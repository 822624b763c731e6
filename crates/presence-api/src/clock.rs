//! The one place that reads the wall clock.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// The time of day, for what people and clients read: `createdAt`, `timestamp`, `X-RateLimit-Reset`. What is
/// measured or waited for is read from tokio's clock, which never goes back and which tests can pause.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge of the service, where the wall clock comes in"
)]
#[must_use]
pub fn utc_now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// One moment on both clocks: `now` measures, `wall` is what clients are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) now: Instant,
    pub(crate) wall: DateTime<Utc>,
}

impl Time {
    pub(crate) fn read() -> Self {
        Self {
            now: Instant::now(),
            wall: utc_now(),
        }
    }

    /// The time of day at `at`.
    pub(crate) fn wall_at(&self, at: Instant) -> DateTime<Utc> {
        let before = self.now.saturating_duration_since(at);
        self.wall + at.saturating_duration_since(self.now) - before
    }
}
