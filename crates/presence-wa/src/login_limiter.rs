//! How many sessions log in at once, and how fast one after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Lets a bounded number of sessions log in at a time, one after the other, and slowly when WhatsApp says that
/// it is too much. All logins of a process come through here, whoever asked for them.
#[derive(Debug)]
pub(crate) struct LoginLimiter {
    asked: Arc<Semaphore>,
    background: Arc<Semaphore>,
    pace: Mutex<LoginPace>,
}

/// Why a session logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// A client asked and waits. Not held up by a thousand sessions that come back after a restart.
    Asked,
    /// By itself: at start, or after a connection was lost.
    Background,
}

/// The right to log in, until it is dropped.
#[derive(Debug)]
pub(crate) struct LoginTurn {
    _permit: OwnedSemaphorePermit,
}

impl LoginLimiter {
    /// At most `concurrent` logins in the background and as many that clients asked for, at least `interval`
    /// apart.
    pub(crate) fn new(concurrent: usize, interval: Duration) -> Self {
        let permits = concurrent.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            asked: Arc::new(Semaphore::new(permits)),
            background: Arc::new(Semaphore::new(permits)),
            pace: Mutex::new(LoginPace::new(interval)),
        }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self, priority: Priority) -> LoginTurn {
        let semaphore = match priority {
            Priority::Asked => &self.asked,
            Priority::Background => &self.background,
        };
        let permit = Arc::clone(semaphore).acquire_owned().await;
        let turn = LoginTurn {
            _permit: permit.expect("the semaphore is never closed"),
        };
        let waiting = (priority == Priority::Asked).then(|| AskedWaits::new(self));
        loop {
            let next = self.pace().take(Instant::now(), priority);
            match next {
                None => break,
                Some(next) => sleep_until(next).await,
            }
        }
        drop(waiting);
        turn
    }

    /// WhatsApp accepted a login.
    pub(crate) fn handle_accepted(&self) {
        self.pace().handle_accepted();
    }

    /// WhatsApp asked for fewer logins: it refused one with 429 or 5xx.
    pub(crate) fn handle_throttled(&self) {
        self.pace().handle_throttled();
    }

    fn pace(&self) -> MutexGuard<'_, LoginPace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts who waits because a client asked, also when the wait is dropped.
struct AskedWaits<'a>(&'a LoginLimiter);

impl<'a> AskedWaits<'a> {
    fn new(limiter: &'a LoginLimiter) -> Self {
        limiter.pace().asked_waiting += 1;
        Self(limiter)
    }
}

impl Drop for AskedWaits<'_> {
    fn drop(&mut self) {
        self.0.pace().asked_waiting -= 1;
    }
}

/// When the next login may begin. Pure.
#[derive(Debug)]
struct LoginPace {
    /// While WhatsApp answers.
    fast: Duration,
    /// Now.
    interval: Duration,
    /// How many logins were accepted since the interval last changed.
    accepted: u32,
    next: Option<Instant>,
    asked_waiting: usize,
}

/// The interval once WhatsApp has asked for fewer logins: two a second.
const THROTTLED: Duration = Duration::from_millis(500);
/// After so many accepted logins the interval is halved again.
const RECOVER_AFTER: u32 = 10;

impl LoginPace {
    fn new(fast: Duration) -> Self {
        Self {
            fast,
            interval: fast,
            accepted: 0,
            next: None,
            asked_waiting: 0,
        }
    }

    /// Takes the next slot, or says when to ask again. Who is asked for comes first.
    fn take(&mut self, now: Instant, priority: Priority) -> Option<Instant> {
        match self.next.filter(|next| now < *next) {
            Some(next) => Some(next),
            None if priority == Priority::Background && self.asked_waiting > 0 => {
                Some(now + self.interval.max(Duration::from_millis(1)))
            }
            None => {
                self.next = Some(now + self.interval);
                None
            }
        }
    }

    fn handle_accepted(&mut self) {
        self.accepted += 1;
        if self.accepted >= RECOVER_AFTER {
            self.accepted = 0;
            self.interval = (self.interval / 2).max(self.fast);
        }
    }

    fn handle_throttled(&mut self) {
        self.accepted = 0;
        self.interval = self.fast.max(THROTTLED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const FAST: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn logins_are_bounded_and_one_after_the_other_and_asked_ones_have_room_of_their_own() {
        let limiter = LoginLimiter::new(2, Duration::from_millis(20));
        let start = Instant::now();
        let first = limiter.turn(Priority::Background).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        let _second = limiter.turn(Priority::Background).await;
        assert_eq!(start.elapsed(), Duration::from_millis(20));
        sleep_until(start + Duration::from_secs(1)).await;
        assert!(limiter.turn(Priority::Background).now_or_never().is_none());
        let _asked = limiter
            .turn(Priority::Asked)
            .now_or_never()
            .expect("has room of its own");
        drop(first);
        let _third = limiter.turn(Priority::Background).await;
        assert_eq!(start.elapsed(), Duration::from_millis(1020));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_for_comes_before_all_that_wait_by_themselves() {
        let limiter = Arc::new(LoginLimiter::new(64, FAST));
        limiter.handle_throttled();
        let _first = limiter.turn(Priority::Background).await;
        let start = Instant::now();
        let background: Vec<_> = (0..50)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move {
                    limiter.turn(Priority::Background).await;
                    start.elapsed()
                })
            })
            .collect();
        tokio::task::yield_now().await;
        for _ in 0..4 {
            limiter.turn(Priority::Asked).await;
        }
        assert_eq!(start.elapsed(), 4 * THROTTLED);
        let mut waited = Vec::new();
        for task in background {
            waited.push(task.await.unwrap());
        }
        // Those that waited longest saw up to four go before them; none starves.
        assert_eq!(waited.iter().max(), Some(&(54 * THROTTLED)));
    }

    #[test]
    fn whatsapp_sets_the_pace() {
        let now = Instant::now();
        let mut pace = LoginPace::new(FAST);
        assert_eq!(pace.take(now, Priority::Background), None);
        assert_eq!(pace.take(now, Priority::Background), Some(now + FAST));
        pace.handle_throttled();
        assert_eq!(pace.take(now + FAST, Priority::Background), None);
        assert_eq!(
            pace.take(now + FAST, Priority::Background),
            Some(now + FAST + THROTTLED)
        );
        // 500 ms, 250, 125, …: back at 1 ms after nine times ten logins that were accepted.
        for _ in 0..89 {
            pace.handle_accepted();
        }
        assert!(pace.interval > FAST);
        pace.handle_accepted();
        assert_eq!(pace.interval, FAST);
    }
}
