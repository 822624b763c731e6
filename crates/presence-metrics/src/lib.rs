//! What a service counts of itself, for monitoring.
//!
//! Counting takes an atomic addition or two, never a lock and never an allocation, so that it may be done wherever
//! something happens. The histogram of prometheus-client takes a lock, which all requests would share. What the
//! counts are called, and how they are told to whoever asks, is `presence-api`'s concern.
//!
//! ```
//! use std::time::Duration;
//! use presence_metrics::{Counter, Histogram};
//!
//! let requests = Counter::default();
//! requests.inc();
//! assert_eq!(requests.get(), 1);
//!
//! const BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(1)];
//! let took = Histogram::new(&BOUNDS);
//! took.record(Duration::from_millis(20));
//! assert_eq!(took.buckets().map(|bucket| bucket.count).collect::<Vec<_>>(), [0, 1, 0]);
//! ```

mod histogram;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub use histogram::{Bucket, Histogram};

/// How often something has happened.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// It has happened once more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has happened so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are of something.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// There are this many more, or fewer.
    pub fn add(&self, difference: i64) {
        self.0.fetch_add(difference, Ordering::Relaxed);
    }

    /// How many there are now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
