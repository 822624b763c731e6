//! Notices tasks that keep panicking: one panic is started over and forgotten, many are a defect at work.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::health::{Finding, HealthCheck};

/// The check `tasks`: warns of panics in the last ten minutes, and fails when they were five or more.
pub struct TaskPanics {
    /// How many there were since the start.
    count: Box<dyn Fn() -> u64 + Send + Sync>,
    seen: Mutex<Seen>,
}

/// Panics by when they were noticed, the latest last. At most [`TOO_MANY`] are kept.
#[derive(Debug, Default)]
struct Seen {
    total: u64,
    recent: VecDeque<Instant>,
}

/// How long a panic is held against the service.
const RECENT: Duration = Duration::from_secs(600);
/// From here on it is no accident any more.
const TOO_MANY: usize = 5;

impl TaskPanics {
    /// Watches `count`, which tells how many panics there were since the start and never falls.
    #[must_use]
    pub fn new(count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            count: Box::new(count),
            seen: Mutex::default(),
        }
    }
}

#[async_trait]
impl HealthCheck for TaskPanics {
    fn name(&self) -> &'static str {
        "tasks"
    }

    async fn check(&self) -> Finding {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.observe((self.count)(), Instant::now()) {
            0 => Finding::Ok,
            TOO_MANY.. => Finding::Failed("tasks keep panicking".to_owned()),
            _ => Finding::Warning("a task panicked in the last 10 minutes".to_owned()),
        }
    }
}

impl Seen {
    /// How many panics there were of late, up to [`TOO_MANY`].
    fn observe(&mut self, total: u64, now: Instant) -> usize {
        let new = usize::try_from(total.saturating_sub(self.total)).unwrap_or(usize::MAX);
        self.total = total;
        self.recent.extend(std::iter::repeat_n(now, new.min(TOO_MANY)));
        while self.recent.len() > TOO_MANY
            || self
                .recent
                .front()
                .is_some_and(|at| now.saturating_duration_since(*at) >= RECENT)
        {
            self.recent.pop_front();
        }
        self.recent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_count_for_ten_minutes_each() {
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let mut seen = Seen::default();
        let rows = [
            (0, 0, 0),
            (1, 1, 1),
            (5, 3, 3),
            (11, 3, 2),
            (12, 1_000_000, TOO_MANY),
            (21, 1_000_000, TOO_MANY),
            (22, 1_000_000, 0),
        ];
        for (minute, total, expected) in rows {
            assert_eq!(seen.observe(total, at(minute)), expected, "minute {minute}");
        }
    }

    #[tokio::test]
    async fn one_panic_is_a_warning_and_many_are_a_failure() {
        for (total, failure) in [(0, false), (1, false), (4, false), (5, true)] {
            let check = TaskPanics::new(move || total);
            let finding = check.check().await;
            assert_eq!(finding.is_failure(), failure, "{total}");
            assert_eq!(finding == Finding::Ok, total == 0);
        }
    }
}
