//! How long things took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Counter;

/// How long things took, counted in buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what took longer than all.
    counts: Box<[Counter]>,
    /// The sum of all. It lasts for half a million years.
    micros: AtomicU64,
}

/// What took longer than the bucket before allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The longest that is counted here; `None` is no limit.
    pub at_most: Option<Duration>,
    /// How often.
    pub count: u64,
}

impl Histogram {
    /// With these upper bounds, in ascending order.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        debug_assert!(bounds.is_sorted());
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| Counter::default()).collect(),
            micros: AtomicU64::new(0),
        }
    }

    /// Something took this long.
    pub fn record(&self, took: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < took);
        self.counts[bucket].inc();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Every bucket, the shortest first; the last has no limit.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(&self.counts).map(|(at_most, count)| Bucket {
            at_most,
            count: count.get(),
        })
    }

    /// How long all took together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Duration; 3] = [
        Duration::from_micros(100),
        Duration::from_millis(1),
        Duration::from_secs(1),
    ];

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_than_all_is_counted_too() {
        let rows = [
            (Duration::ZERO, [1, 0, 0, 0]),
            (Duration::from_micros(100), [1, 0, 0, 0]),
            (Duration::from_nanos(100_001), [0, 1, 0, 0]),
            (Duration::from_secs(1), [0, 0, 1, 0]),
            (Duration::from_secs(2), [0, 0, 0, 1]),
            (Duration::MAX, [0, 0, 0, 1]),
        ];
        for (took, expected) in rows {
            let histogram = Histogram::new(&BOUNDS);
            histogram.record(took);
            let counts: Vec<_> = histogram.buckets().map(|bucket| bucket.count).collect();
            assert_eq!(counts, expected, "{took:?}");
        }
    }

    #[test]
    fn the_sum_is_of_all() {
        let histogram = Histogram::new(&BOUNDS);
        for millis in [1, 20, 3_000] {
            histogram.record(Duration::from_millis(millis));
        }
        assert_eq!(histogram.sum(), Duration::from_millis(3_021));
        let bounds: Vec<_> = histogram.buckets().map(|bucket| bucket.at_most).collect();
        assert_eq!(bounds, [Some(BOUNDS[0]), Some(BOUNDS[1]), Some(BOUNDS[2]), None]);
    }
}
