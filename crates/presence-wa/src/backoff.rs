//! How long to wait before connecting again.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Capped exponential back-off with full jitter: the wait before attempt *n* is anything between nothing
/// and `base` doubled *n* times, at most `cap`.
///
/// Full jitter, because the sessions of one process tend to fail together: an equal wait would bring them
/// back together too, and together they would be refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the first retry. Default 1 s.
    pub base: Duration,
    /// The longest wait before any retry. Default 2 min.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(120),
        }
    }
}

impl Backoff {
    /// The longest wait after `failures` failures in a row before the one that is retried now.
    pub(crate) fn ceiling(&self, failures: u32) -> Duration {
        // 2^31 times any base that makes sense is past every cap that does.
        self.base.saturating_mul(1 << failures.min(31)).min(self.cap)
    }

    /// A wait drawn from `rng`, evenly between zero and the ceiling.
    pub fn delay(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        rng.random_range(Duration::ZERO..=self.ceiling(failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(120),
    };

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_never_overflows() {
        let ceilings = [0, 1, 2, 3, 6, 7, 8, 31, 32, u32::MAX].map(|n| BACKOFF.ceiling(n).as_secs());
        assert_eq!(ceilings, [1, 2, 4, 8, 64, 120, 120, 120, 120, 120]);
        let endless = Backoff {
            base: Duration::MAX,
            cap: Duration::MAX,
        };
        assert_eq!(endless.ceiling(31), Duration::MAX);
    }

    #[test]
    fn delays_spread_evenly_between_zero_and_the_ceiling() {
        let mut rng = StdRng::seed_from_u64(7);
        for failures in [0, 3, 7, 40] {
            let ceiling = BACKOFF.ceiling(failures);
            let mut quarters = [0_u32; 4];
            for _ in 0..4000 {
                let delay = BACKOFF.delay(failures, &mut rng);
                assert!(delay <= ceiling);
                quarters[((delay.as_secs_f64() / ceiling.as_secs_f64() * 4.0) as usize).min(3)] += 1;
            }
            assert!(
                quarters.iter().all(|n| (850..1150).contains(n)),
                "{failures}: {quarters:?}"
            );
        }
    }

    #[test]
    fn no_base_means_no_wait() {
        let at_once = Backoff {
            base: Duration::ZERO,
            cap: Duration::ZERO,
        };
        assert_eq!(at_once.delay(9, &mut StdRng::seed_from_u64(1)), Duration::ZERO);
    }
}
