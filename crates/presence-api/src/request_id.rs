//! The name of a request, by which a client's log and ours can be laid beside each other.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// On every answer: the request's own, if it has a sane one, or else one of ours.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken over from a client.
const MAX_LENGTH: usize = 128;

/// The request's name: the client's, when that is 1 to 128 visible ASCII characters, or else a new one.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(given) if is_sane(given.as_bytes()) => given.clone(),
        _ => HeaderValue::from_str(&new()).expect("hexadecimal digits are header text"),
    }
}

/// A name that no other request of this service has, also not after a restart.
pub(crate) fn new() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    format!("{:016x}-{:x}", *PROCESS, REQUESTS.fetch_add(1, Ordering::Relaxed))
}

fn is_sane(id: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_name_is_taken_over_and_anything_else_replaced() {
        let longest = "x".repeat(MAX_LENGTH);
        let rows: [(&[u8], bool); 7] = [
            (b"a", true),
            (b"3f2c-77/ab:1", true),
            (longest.as_bytes(), true),
            (b"", false),
            (b"a b", false),
            (b"caf\xc3\xa9", false),
            (&[b'x'; MAX_LENGTH + 1], false),
        ];
        for (given, taken) in rows {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(given).unwrap())]);
            assert_eq!(of(&headers).as_bytes() == given, taken, "{given:?}");
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
