//! Looks at what others write, of which one answers many.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Looks, one at a time. Each answers all who asked before it began, and nobody who asked later: it may have passed
/// what they ask for before that was there. They are told apart by their numbers, since a clock may give two moments
/// the same time.
#[derive(Default)]
pub(super) struct Looks {
    /// How many were begun.
    begun: AtomicU64,
    /// The number of the last that ended well; held by whoever looks.
    seen: Mutex<u64>,
}

impl Looks {
    /// Waits for a look that begins from now on, or takes it; whether it ended well. Dropped, one that was under way is
    /// given up, and whoever waits for it takes another.
    pub(super) async fn look(&self, look: impl AsyncFnOnce() -> bool) -> bool {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut seen = self.seen.lock().await;
        if *seen > asked {
            return true;
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let well = look().await;
        if well {
            *seen = number;
        }
        well
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const LOOK: Duration = Duration::from_secs(1);

    /// What others wrote, which a look copies when it begins and has read a second later.
    #[derive(Default)]
    struct Town {
        looks: Looks,
        written: AtomicU64,
        read: AtomicU64,
        fails: AtomicU64,
    }

    impl Town {
        /// What is known once a look from now on has ended; `None` when it failed.
        async fn look(&self) -> Option<u64> {
            let copy = async || {
                let there = self.written.load(Ordering::SeqCst);
                sleep(LOOK).await;
                if self.fails.load(Ordering::SeqCst) > 0 {
                    self.fails.fetch_sub(1, Ordering::SeqCst);
                    return false;
                }
                self.read.store(there, Ordering::SeqCst);
                true
            };
            let well = self.looks.look(copy).await;
            well.then(|| self.read.load(Ordering::SeqCst))
        }

        fn write(&self) {
            self.written.fetch_add(1, Ordering::SeqCst);
        }

        fn begun(&self) -> u64 {
            self.looks.begun.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_is_under_way_answers_nobody_who_asks_meanwhile_not_even_at_the_same_time() {
        let town = Town::default();
        let first = town.look();
        let second = async {
            // The first has begun, and this clock has not moved.
            town.write();
            town.look().await
        };
        assert_eq!(tokio::join!(first, second), (Some(0), Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_while_one_looks_have_one_look() {
        let town = Town::default();
        let asked = Instant::now();
        let many = async {
            town.write();
            join_all((0..100).map(|_| town.look())).await
        };
        let (_, many) = tokio::join!(town.look(), many);
        assert_eq!(many, [Some(1); 100]);
        assert_eq!((town.begun(), asked.elapsed()), (2, LOOK * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_or_fails_takes_nobody_with_him() {
        let town = Town::default();
        let given_up = timeout(LOOK / 2, town.look());
        let (gone, waits) = tokio::join!(given_up, town.look());
        assert!(gone.is_err());
        assert_eq!(waits, Some(0));

        town.fails.store(1, Ordering::SeqCst);
        town.write();
        assert_eq!(tokio::join!(town.look(), town.look()), (None, Some(1)));
    }
}
