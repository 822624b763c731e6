//! How many requests a token may make, and how many wrong tokens an address may try (contract, section 6).
//!
//! A fixed window of a minute, in memory. In a cluster each token is counted at one node, see
//! [`Nodes`](crate::nodes::Nodes).

mod known_tokens;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use presence_core::InstanceId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::known_tokens::KnownTokens;
use crate::client_address::subscriber;
use crate::clock::Time;
use crate::scope::Scope;
use crate::settings::Limits;

/// How long a window is. Contract, not configuration.
const WINDOW: Duration = Duration::from_secs(60);
/// Requests by one pairing link. Its page makes 20, and a person who asks for codes some more.
const PAIRINGS: u32 = 60;
/// Most keys counted one by one; those beyond share a window. A key takes about 50 bytes.
const MAX_KEYS: usize = 1 << 18;
/// Requests of different keys rarely meet at one lock.
const SHARDS: usize = 16;

pub(crate) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Counts requests.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    requests: Windows<Scope>,
    new_instances: Windows<Scope>,
    failures: Windows<IpAddr>,
    pairings: Windows<InstanceId>,
    known: KnownTokens,
}

/// Which of a token's windows a request counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Bucket {
    Requests,
    NewInstances,
}

/// Where a caller stands in its window, this request counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    /// Unix seconds.
    reset: i64,
    /// Whole seconds until the window ends, when this request is refused.
    retry_after: Option<u64>,
}

impl RateLimiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            requests: Windows::new(limits.requests),
            new_instances: Windows::new(limits.new_instances),
            failures: Windows::new(limits.failures),
            pairings: Windows::new(PAIRINGS),
            known: KnownTokens::new(),
        }
    }

    /// Counts a request of whoever has this scope, and not by the token, so that a rotation gives no second
    /// allowance; `None` when its kind is not limited.
    pub(crate) fn count(&self, scope: Scope, bucket: Bucket, time: Time) -> Option<Standing> {
        self.windows(bucket).count(scope, time)
    }

    /// Whether requests of this kind are limited.
    pub(crate) fn limits(&self, bucket: Bucket) -> bool {
        self.windows(bucket).limit > 0
    }

    fn windows(&self, bucket: Bucket) -> &Windows<Scope> {
        match bucket {
            Bucket::Requests => &self.requests,
            Bucket::NewInstances => &self.new_instances,
        }
    }

    /// Whether a token from `address` is not even to be tried, because too many from there were wrong: else the
    /// one guess that is right would learn so. Tokens that were right from there in the last hour are tried:
    /// behind one proxy, a client with a wrong token must not lock out those with a right one.
    pub(crate) fn refuses(&self, address: IpAddr, token: Option<&str>, time: Time) -> Option<Standing> {
        let address = subscriber(address);
        let standing = self.failures.refusal(&address, time)?;
        let is_known = token.is_some_and(|token| self.known.contains(address, token, time.now));
        (!is_known).then_some(standing)
    }

    /// Remembers that `token` was right from `address`.
    pub(crate) fn succeeded(&self, address: IpAddr, token: &str, now: Instant) {
        if self.failures.limit > 0 {
            self.known.insert(subscriber(address), token, now);
        }
    }

    /// Counts a request by the pairing link of `instance`.
    pub(crate) fn count_pairing(&self, instance: InstanceId, time: Time) -> Option<Standing> {
        self.pairings.count(instance, time)
    }

    /// Counts a request from `address` without a valid token; `None` when those are not limited.
    pub(crate) fn count_failure(&self, address: IpAddr, time: Time) -> Option<Standing> {
        self.failures.count(subscriber(address), time)
    }
}

impl Standing {
    /// Whether this request is one too many.
    pub(crate) fn is_refused(&self) -> bool {
        self.retry_after.is_some()
    }

    /// Whether the next request will be one too many.
    pub(crate) fn is_used_up(&self) -> bool {
        self.remaining == 0
    }

    /// Tells the client.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

/// The windows of one limit. Its memory is bounded by [`MAX_KEYS`].
#[derive(Debug)]
struct Windows<K> {
    limit: u32,
    capacity: usize,
    hasher: RandomState,
    shards: [Mutex<Shard<K>>; SHARDS],
}

#[derive(Debug)]
struct Shard<K> {
    windows: HashMap<K, Window>,
    /// Shared by the keys that found no room.
    overflow: Option<Window>,
    /// No window of this shard ends before: a sweep until then would be in vain.
    sweep_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    ends: Instant,
    reset: i64,
    used: u32,
}

impl<K: Eq + Hash> Windows<K> {
    fn new(limit: u32) -> Self {
        Self::with_capacity(limit, MAX_KEYS)
    }

    fn with_capacity(limit: u32, capacity: usize) -> Self {
        Self {
            limit,
            capacity: capacity / SHARDS,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(Shard::default())),
        }
    }

    fn count(&self, key: K, time: Time) -> Option<Standing> {
        if self.limit == 0 {
            return None;
        }
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        Some(shard.window(key, self.capacity, time).count(self.limit, time.now))
    }

    /// What `key` would be told now if its window is used up; counts nothing.
    fn refusal(&self, key: &K, time: Time) -> Option<Standing> {
        if self.limit == 0 {
            return None;
        }
        let shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let full = shard.windows.len() >= self.capacity;
        let window = match shard.windows.get(key) {
            Some(window) => Some(window),
            None if full => shard.overflow.as_ref(),
            None => None,
        }?;
        (time.now < window.ends && window.used >= self.limit)
            .then(|| window.standing(self.limit, time.now, true))
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K>> {
        &self.shards[usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()]
    }
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self {
            windows: HashMap::new(),
            overflow: None,
            sweep_at: None,
        }
    }
}

impl<K: Eq + Hash> Shard<K> {
    /// The window that `key` counts in now.
    fn window(&mut self, key: K, capacity: usize, time: Time) -> &mut Window {
        if self.windows.len() >= capacity && self.sweep_at.is_none_or(|at| at <= time.now) {
            self.windows.retain(|_, window| time.now < window.ends);
            self.sweep_at = self.windows.values().map(|window| window.ends).min();
        }
        let full = self.windows.len() >= capacity && !self.windows.contains_key(&key);
        let window = if full {
            self.overflow.get_or_insert_with(|| Window::starting(time))
        } else {
            self.windows.entry(key).or_insert_with(|| Window::starting(time))
        };
        if window.ends <= time.now {
            *window = Window::starting(time);
        }
        window
    }
}

impl Window {
    fn starting(time: Time) -> Self {
        // Rounded up, so that at the second which the client is told the window is over.
        let ends = time.wall + WINDOW;
        let reset = ends.timestamp() + i64::from(ends.timestamp_subsec_nanos() > 0);
        Self {
            ends: time.now + WINDOW,
            reset,
            used: 0,
        }
    }

    fn count(&mut self, limit: u32, now: Instant) -> Standing {
        let refused = self.used >= limit;
        if !refused {
            self.used += 1;
        }
        self.standing(limit, now, refused)
    }

    fn standing(&self, limit: u32, now: Instant, refused: bool) -> Standing {
        let left = self.ends.saturating_duration_since(now);
        Standing {
            limit,
            remaining: limit - self.used,
            reset: self.reset,
            retry_after: refused.then(|| left.as_secs() + u64::from(left.subsec_nanos() > 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Time comes in as a value, so a minute costs nothing.

    use chrono::DateTime;

    use super::*;

    fn start() -> Time {
        Time {
            now: Instant::now(),
            wall: DateTime::from_timestamp(1_000_000, 500_000_000).unwrap(),
        }
    }

    fn later(time: Time, by: Duration) -> Time {
        Time {
            now: time.now + by,
            wall: time.wall + by,
        }
    }

    #[test]
    fn remaining_is_zero_exactly_when_the_next_is_refused() {
        let windows = Windows::new(3);
        let time = start();
        let standings: Vec<_> = (0..5).map(|_| windows.count("token", time).unwrap()).collect();
        let remaining: Vec<_> = standings.iter().map(|standing| standing.remaining).collect();
        let refused: Vec<_> = standings.iter().map(Standing::is_refused).collect();
        assert_eq!(remaining, [2, 1, 0, 0, 0]);
        assert_eq!(refused, [false, false, false, true, true]);
    }

    #[test]
    fn a_window_ends_a_minute_after_it_began_and_says_so() {
        let windows = Windows::new(1);
        let time = start();
        assert_eq!(windows.count("token", time).unwrap().reset, 1_000_061);
        let refused = windows
            .count("token", later(time, Duration::from_millis(59_500)))
            .unwrap();
        assert_eq!((refused.reset, refused.retry_after), (1_000_061, Some(1)));
        let next = windows.count("token", later(time, WINDOW)).unwrap();
        assert_eq!((next.is_refused(), next.reset), (false, 1_000_121));
    }

    #[test]
    fn each_key_has_a_window_of_its_own_and_zero_is_no_limit() {
        let windows = Windows::new(1);
        let time = start();
        assert!(!windows.count("one", time).unwrap().is_refused());
        assert!(!windows.count("two", time).unwrap().is_refused());
        assert!(windows.count("one", time).unwrap().is_refused());
        assert_eq!(Windows::new(0).count("one", time), None);
    }

    #[test]
    fn after_too_many_failures_only_tokens_that_were_right_before_are_tried() {
        let limits = RateLimiter::new(Limits {
            failures: 2,
            ..Limits::default()
        });
        let (here, there): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let time = start();
        limits.succeeded(here, "right", time.now);
        let refused = |address, token, time| limits.refuses(address, token, time).is_some();
        limits.count_failure(here, time);
        assert!(!refused(here, Some("guess"), time));
        assert!(limits.count_failure(here, time).unwrap().is_used_up());
        assert!(refused(here, Some("guess"), time) && refused(here, None, time));
        assert!(!refused(here, Some("right"), time) && !refused(there, Some("guess"), time));
        // Looking counts nothing, and the minute ends.
        assert!(!refused(here, Some("guess"), later(time, WINDOW)));
        // It was right from somewhere else, or long ago.
        for _ in 0..2 {
            limits.count_failure(there, time);
        }
        assert!(refused(there, Some("right"), time));
        let long_after = later(time, Duration::from_secs(3601));
        for _ in 0..2 {
            limits.count_failure(here, long_after);
        }
        assert!(refused(here, Some("right"), long_after));
    }

    #[test]
    fn a_flood_of_keys_is_counted_together_and_forgotten_after_its_minute() {
        let windows = Windows::with_capacity(5, 2 * SHARDS);
        let time = start();
        let refused = (0..10_000)
            .filter(|key| windows.count(*key, time).unwrap().is_refused())
            .count();
        assert!(
            refused > 9_000,
            "{refused} of those beyond the capacity were refused"
        );
        let held: usize = windows
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().windows.len())
            .sum();
        assert!(held <= 2 * SHARDS, "{held}");

        let minute_later = later(time, WINDOW);
        // Two have a window of their own in each shard and five share the next: seven fit wherever they fall.
        assert!((10_000..10_007).all(|key| !windows.count(key, minute_later).unwrap().is_refused()));
    }
}
