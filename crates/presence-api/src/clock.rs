//! The one place that reads the wall clock.

use std::time::SystemTime;

use chrono::{DateTime, Utc};

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
