//! Keeps a log line that many events would write to one a minute.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets one event a minute through.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Mutex<Option<Instant>>,
}

const PERIOD: Duration = Duration::from_secs(60);

impl Throttle {
    /// Whether this event is the first for a minute.
    pub(crate) fn lets_through(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let lets = last.is_none_or(|last| now.saturating_duration_since(last) >= PERIOD);
        if lets {
            *last = Some(now);
        }
        lets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_event_a_minute_is_let_through() {
        let throttle = Throttle::default();
        let mut let_through = 0;
        for _ in 0..300 {
            let_through += usize::from(throttle.lets_through());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(let_through, 5);
    }
}
