//! The time of a node, of which it loses none.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use crate::membership::ASLEEP;

/// Tokio's clock, and whatever time it has lost.
///
/// It stands still while the machine is suspended, and others do not. Afterwards the wall clock is ahead of it by
/// more than before. So is it when somebody sets the wall clock forward; that costs no more than a renewal of the
/// lease, and whether the wall clock is right does not matter.
pub(crate) struct Clock {
    /// By how many milliseconds the wall clock is ahead of the machine's own.
    lead: Box<dyn Fn() -> i64 + Send + Sync>,
    /// By how many it was when it was looked at last.
    seen: AtomicI64,
    /// How many milliseconds were lost until then.
    lost: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self::with(wall_clock())
    }

    fn with(lead: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            seen: AtomicI64::new(lead()),
            lead: Box::new(lead),
            lost: AtomicU64::new(0),
        }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Instant {
        let lost = self.lost.load(Ordering::Acquire) + self.lost_since((self.lead)());
        Instant::now() + Duration::from_millis(lost)
    }

    /// What time it is, for whoever looks again and again. Only the task of the cluster does.
    pub(crate) fn look(&self) -> Instant {
        let lead = (self.lead)();
        // In this order: who reads in between finds it later than it is, never earlier.
        self.lost.fetch_add(self.lost_since(lead), Ordering::AcqRel);
        self.seen.store(lead, Ordering::Release);
        self.now()
    }

    /// When it is that time by tokio's clock, if no more is lost.
    pub(crate) fn on_tokios(&self, at: Instant) -> Instant {
        let lost = Duration::from_millis(self.lost.load(Ordering::Acquire));
        at.checked_sub(lost).unwrap_or_else(Instant::now)
    }

    /// A little is how the two clocks are read one after the other, and how they are kept right.
    fn lost_since(&self, lead: i64) -> u64 {
        let ahead = lead.saturating_sub(self.seen.load(Ordering::Acquire));
        let lost = u64::try_from(ahead).unwrap_or(0);
        match u128::from(lost) > ASLEEP.as_millis() {
            true => lost,
            false => 0,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tokio's clock, which tests can pause, does not show what the machine's own has lost"
)]
fn wall_clock() -> impl Fn() -> i64 {
    let origin = std::time::Instant::now();
    move || {
        let own = origin.elapsed().as_millis();
        let wall = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = wall.unwrap_or_default().as_millis();
        let millis = |millis: u128| i64::try_from(millis).unwrap_or(i64::MAX);
        millis(wall) - millis(own)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_that_the_machine_was_suspended_is_counted() {
        let lead = Arc::new(AtomicI64::new(-7_000));
        let clock = Clock::with({
            let lead = Arc::clone(&lead);
            move || lead.load(Ordering::Relaxed)
        });
        let start = Instant::now();
        // By how much the lead changes, and how much is lost in all.
        let rows = [
            (0, 0),
            (30_000, 30_000),
            // The wall clock is set right.
            (500, 30_000),
            (-60_000, 30_000),
            (2_001, 32_001),
        ];
        for (change, lost) in rows {
            lead.fetch_add(change, Ordering::Relaxed);
            let lost = Duration::from_millis(lost);
            assert_eq!(clock.now() - start, lost, "to whoever asks first");
            assert_eq!(clock.look() - start, lost);
            assert_eq!(clock.now() - start, lost);
            assert_eq!(clock.on_tokios(clock.now()), start);
        }
    }

    #[tokio::test]
    async fn the_wall_clock_loses_nothing_while_nothing_sleeps() {
        let clock = Clock::new();
        let before = Instant::now();
        assert!(clock.look() - before < ASLEEP);
    }
}
