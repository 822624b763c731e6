//! Which tokens were right, from where, and when: these go on being tried while guesses from there are not.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

/// How long a token stays known from an address.
const LASTS: Duration = Duration::from_secs(60 * 60);
/// Most that are remembered, about 100 bytes each; beyond, those used least go first.
const CAPACITY: usize = 1 << 16;

/// Tokens are remembered as hashes under a key of this process, so that its memory tells none.
#[derive(Debug)]
pub(super) struct KnownTokens {
    hasher: RandomState,
    seen: Cache<(IpAddr, u64), Instant>,
}

impl KnownTokens {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            seen: Cache::new(CAPACITY),
        }
    }

    pub(super) fn insert(&self, address: IpAddr, token: &str, now: Instant) {
        self.seen.insert((address, self.hasher.hash_one(token)), now);
    }

    pub(super) fn contains(&self, address: IpAddr, token: &str, now: Instant) -> bool {
        let seen = self.seen.get(&(address, self.hasher.hash_one(token)));
        seen.is_some_and(|at| now.saturating_duration_since(at) < LASTS)
    }
}
