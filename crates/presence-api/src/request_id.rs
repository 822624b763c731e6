//! The name of a request, by which a client's log and ours can be laid beside each other.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// On every answer: the client's, if it has sent a sane one, or else one of ours.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken over from a client.
const MAX_LENGTH: usize = 128;

/// What a caller that traces its requests sends along (W3C Trace Context).
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The request's name: the client's, when that is 1 to 128 visible ASCII characters; or else the trace's that it is
/// a part of; or else a new one.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(given) if is_sane(given.as_bytes()) => given.clone(),
        _ => {
            let trace = headers
                .get(TRACE_PARENT)
                .and_then(|parent| trace_id(parent.as_bytes()));
            let name = trace.map_or_else(|| HeaderValue::try_from(new()), HeaderValue::from_str);
            name.expect("hexadecimal digits are header text")
        }
    }
}

/// The trace's id in `<version>-<trace-id>-<parent-id>-<flags>`, of hexadecimal digits: 2, 32, 16 and 2. Versions
/// to come may add to it. An id of zeros is none.
fn trace_id(parent: &[u8]) -> Option<&str> {
    let mut fields = std::str::from_utf8(parent).ok()?.split('-');
    let mut hex = |digits: usize| {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        fields
            .next()
            .filter(|field| field.len() == digits && field.bytes().all(is_hex))
    };
    let (version, trace, span, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_known = version != "ff" && (version != "00" || fields.next().is_none());
    let is_set = |id: &str| id.bytes().any(|byte| byte != b'0');
    (is_known && is_set(trace) && is_set(span)).then_some(trace)
}

/// A name that no other request of this service has, also not after a restart.
pub(crate) fn new() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    let (process, request) = (*PROCESS, REQUESTS.fetch_add(1, Ordering::Relaxed));
    // Of its length from the start: text that grows is moved, and this is made for each request.
    let digits = (request.ilog2() / 4 + 1) as usize;
    let mut name = String::with_capacity(16 + 1 + digits);
    write!(name, "{process:016x}-{request:x}").expect("text takes all that is written to it");
    name
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

    #[test]
    fn a_request_without_a_name_has_that_of_its_trace() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        let rows = [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
            (
                "42-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
                true,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
                false,
            ),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false),
            ("00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01", false),
            ("", false),
        ];
        for (parent, taken) in rows {
            let mut headers = HeaderMap::from_iter([(TRACE_PARENT, HeaderValue::from_static(parent))]);
            assert_eq!(of(&headers) == TRACE, taken, "{parent}");
            headers.insert(REQUEST_ID, HeaderValue::from_static("mine"));
            assert_eq!(of(&headers), "mine");
        }
    }
}
