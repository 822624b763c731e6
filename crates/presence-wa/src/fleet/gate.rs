//! How many sessions log in at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Why a session logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// A client asked and waits. Not held up by a thousand sessions that come back after a restart.
    Asked,
    /// By itself: at start, or after a connection was lost.
    Background,
}

/// Lets a bounded number of sessions log in at a time, and those in the background one after the other, so
/// that neither this machine nor WhatsApp sees a thousand handshakes in the same moment.
#[derive(Debug)]
pub(super) struct Gate {
    asked: Arc<Semaphore>,
    background: Arc<Semaphore>,
    stagger: Duration,
    next: Mutex<Instant>,
}

impl Gate {
    pub(super) fn new(concurrent: usize, stagger: Duration) -> Self {
        let permits = concurrent.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            asked: Arc::new(Semaphore::new(permits)),
            background: Arc::new(Semaphore::new(permits)),
            stagger,
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for a turn. The login lasts until the permit is dropped.
    pub(super) async fn pass(&self, lane: Lane) -> OwnedSemaphorePermit {
        let semaphore = match lane {
            Lane::Asked => &self.asked,
            Lane::Background => &self.background,
        };
        let permit = Arc::clone(semaphore)
            .acquire_owned()
            .await
            .expect("the gate never closes");
        if lane == Lane::Background {
            sleep_until(self.slot()).await;
        }
        permit
    }

    fn slot(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Instant::now().max(*next);
        *next = slot + self.stagger;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test(start_paused = true)]
    async fn background_logins_are_bounded_and_staggered_and_asked_ones_pass_them() {
        let gate = Gate::new(2, Duration::from_millis(20));
        let start = Instant::now();
        let first = gate.pass(Lane::Background).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        let _second = gate.pass(Lane::Background).await;
        assert_eq!(start.elapsed(), Duration::from_millis(20));
        assert!(gate.pass(Lane::Background).now_or_never().is_none());
        let _asked = gate
            .pass(Lane::Asked)
            .now_or_never()
            .expect("has a lane of its own");
        drop(first);
        let _third = gate.pass(Lane::Background).await;
        assert!(start.elapsed() >= Duration::from_millis(40));
    }
}
