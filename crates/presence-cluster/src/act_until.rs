//! Until when this node may act, for any thread to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

/// A moment that is put off again and again as long as all is well. A process that was stopped finds it past
/// before anything else of it runs.
pub(crate) struct ActUntil {
    clock: Arc<Clock>,
    origin: Instant,
    /// Milliseconds after the origin.
    until: AtomicU64,
}

impl ActUntil {
    /// It is past.
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        Self {
            origin: clock.now(),
            clock,
            until: AtomicU64::new(0),
        }
    }

    /// `None`: it is past.
    pub(crate) fn set(&self, until: Option<Instant>) {
        let until = until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(self.origin)
        });
        self.until.store(as_millis(until), Ordering::Release);
    }

    pub(crate) fn is_ahead(&self) -> bool {
        let now = self.clock.now().saturating_duration_since(self.origin);
        as_millis(now) < self.until.load(Ordering::Acquire)
    }
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_past_until_it_is_put_off() {
        let until = ActUntil::new(Arc::new(Clock::new()));
        assert!(!until.is_ahead());
        until.set(Some(Instant::now() + Duration::from_secs(2)));
        assert!(until.is_ahead());
        advance(Duration::from_secs(2)).await;
        assert!(!until.is_ahead());
        until.set(Some(Instant::now() + Duration::from_secs(1)));
        assert!(until.is_ahead());
        until.set(None);
        assert!(!until.is_ahead());
    }
}
