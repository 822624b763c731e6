//! What `displayStatus` says: the state of an instance and why, in words for people. The words of an answer
//! about a refused session are the same.

use std::fmt;
use std::time::Duration;

use presence_wa::{InstanceState, ProxyFault, Reason};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

/// The state in words, with its reason: `disconnected: banned, next attempt in 2 h 5 min`.
pub(crate) fn display_status(state: InstanceState, reason: Option<Reason>, now: Instant) -> String {
    match reason {
        Some(reason) => format!("{state}: {}", why(reason, now)),
        None => state.to_string(),
    }
}

/// Why an instance is in its state, in a word for programs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReasonCode {
    WaitingForPhone,
    Registering,
    ConnectionLost,
    ProxyFailed,
    Rejected,
    Refused,
    Outdated,
    Banned,
    PairingExpired,
    PairingFailed,
    Unlinked,
    Replaced,
    NotRecorded,
    Crashed,
    Other,
}

/// A reason in a word for programs, and when the next attempt is, where one is waited for.
pub(crate) fn reason_code(reason: Reason) -> (ReasonCode, Option<Instant>) {
    match reason {
        Reason::WaitingForPhone => (ReasonCode::WaitingForPhone, None),
        Reason::Registering => (ReasonCode::Registering, None),
        Reason::Retrying(at) => (ReasonCode::ConnectionLost, Some(at)),
        Reason::ProxyFailed { next, .. } => (ReasonCode::ProxyFailed, Some(next)),
        Reason::Rejected { next, .. } => (ReasonCode::Rejected, Some(next)),
        Reason::Refused { next, .. } => (ReasonCode::Refused, Some(next)),
        Reason::Outdated { next } => (ReasonCode::Outdated, Some(next)),
        Reason::Banned(until) => (ReasonCode::Banned, Some(until)),
        Reason::PairingExpired => (ReasonCode::PairingExpired, None),
        Reason::PairingFailed => (ReasonCode::PairingFailed, None),
        Reason::Unlinked => (ReasonCode::Unlinked, None),
        Reason::Replaced => (ReasonCode::Replaced, None),
        Reason::NotRecorded => (ReasonCode::NotRecorded, None),
        Reason::Crashed(at) => (ReasonCode::Crashed, Some(at)),
        _ => (ReasonCode::Other, None),
    }
}

/// A reason in words. It holds no number, name or code of a person.
pub(crate) fn why(reason: Reason, now: Instant) -> String {
    let text = match reason {
        Reason::WaitingForPhone => "waiting for a phone to link this device",
        Reason::Retrying(at) => {
            return format!("connection lost, next attempt in {}", Remaining::until(at, now));
        }
        Reason::ProxyFailed { fault, next } => {
            let what = proxy_fault(fault);
            return format!("{what}, next attempt in {}", Remaining::until(next, now));
        }
        Reason::Banned(until) => return format!("banned, next attempt in {}", Remaining::until(until, now)),
        Reason::PairingExpired => "no phone linked this device in time",
        Reason::PairingFailed => "pairing failed",
        Reason::Unlinked => "unlinked from the account",
        Reason::Replaced => "replaced by another connection of the same device",
        Reason::Registering => "linked, WhatsApp is registering this device",
        Reason::Outdated { next } => {
            let left = Remaining::until(next, now);
            return format!("client version no longer accepted by WhatsApp, looked up again in {left}");
        }
        Reason::Rejected { code, next } => {
            let left = Remaining::until(next, now);
            return match code {
                Some(code) => format!("refused by WhatsApp for now (code {code}), next attempt in {left}"),
                None => format!("refused by WhatsApp for now, next attempt in {left}"),
            };
        }
        Reason::Refused { code, next } => {
            let left = Remaining::until(next, now);
            return format!("refused by WhatsApp with code {code}, tried once more in {left}");
        }
        Reason::Crashed(at) => {
            return format!(
                "a fault of this service, next attempt in {}",
                Remaining::until(at, now)
            );
        }
        Reason::NotRecorded => "pairing not begun: the registry could not be written",
        _ => "not connected",
    };
    text.to_owned()
}

/// What is wrong with a proxy, in words.
fn proxy_fault(fault: ProxyFault) -> &'static str {
    match fault {
        ProxyFault::Unreachable => "the proxy does not answer",
        ProxyFault::Credentials => "the proxy refused the username and password",
        ProxyFault::Refused => "the proxy gave no connection to WhatsApp",
        ProxyFault::Forbidden => "the proxy is at an address that this service may not use",
        ProxyFault::Unreadable => "the proxy cannot be read, set it again",
        _ => "the proxy failed",
    }
}

/// A wait in its two largest units: `2 h 5 min`, `40 s`.
struct Remaining(u64);

impl Remaining {
    fn until(instant: Instant, now: Instant) -> Self {
        let left = instant.saturating_duration_since(now);
        Self(left.saturating_add(Duration::from_millis(999)).as_secs())
    }
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seconds) = *self;
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {} s", seconds % 60),
            (0, ..) => write!(f, "{hours} h {minutes} min"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    //! The words, reason by reason.

    use super::*;

    #[test]
    fn every_reason_has_its_words() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let rows = [
            (None, "connecting"),
            (
                Some(Reason::WaitingForPhone),
                "connecting: waiting for a phone to link this device",
            ),
            (
                Some(Reason::Retrying(later(4))),
                "connecting: connection lost, next attempt in 4 s",
            ),
            (
                Some(Reason::Banned(later(7500))),
                "connecting: banned, next attempt in 2 h 5 min",
            ),
            (
                Some(Reason::PairingExpired),
                "connecting: no phone linked this device in time",
            ),
            (
                Some(Reason::ProxyFailed {
                    fault: ProxyFault::Unreachable,
                    next: later(4),
                }),
                "connecting: the proxy does not answer, next attempt in 4 s",
            ),
            (
                Some(Reason::ProxyFailed {
                    fault: ProxyFault::Credentials,
                    next: later(4),
                }),
                "connecting: the proxy refused the username and password, next attempt in 4 s",
            ),
            (
                Some(Reason::ProxyFailed {
                    fault: ProxyFault::Refused,
                    next: later(4),
                }),
                "connecting: the proxy gave no connection to WhatsApp, next attempt in 4 s",
            ),
            (
                Some(Reason::ProxyFailed {
                    fault: ProxyFault::Forbidden,
                    next: later(4),
                }),
                "connecting: the proxy is at an address that this service may not use, next attempt in 4 s",
            ),
            (
                Some(Reason::ProxyFailed {
                    fault: ProxyFault::Unreadable,
                    next: later(4),
                }),
                "connecting: the proxy cannot be read, set it again, next attempt in 4 s",
            ),
            (Some(Reason::PairingFailed), "connecting: pairing failed"),
            (Some(Reason::Unlinked), "connecting: unlinked from the account"),
            (
                Some(Reason::Replaced),
                "connecting: replaced by another connection of the same device",
            ),
            (
                Some(Reason::Outdated { next: later(3600) }),
                "connecting: client version no longer accepted by WhatsApp, looked up again in 1 h 0 min",
            ),
            (
                Some(Reason::Refused {
                    code: 409,
                    next: later(3600),
                }),
                "connecting: refused by WhatsApp with code 409, tried once more in 1 h 0 min",
            ),
            (
                Some(Reason::Rejected {
                    code: Some(429),
                    next: later(120),
                }),
                "connecting: refused by WhatsApp for now (code 429), next attempt in 2 min 0 s",
            ),
            (
                Some(Reason::Rejected {
                    code: None,
                    next: later(3),
                }),
                "connecting: refused by WhatsApp for now, next attempt in 3 s",
            ),
            (
                Some(Reason::Registering),
                "connecting: linked, WhatsApp is registering this device",
            ),
            (
                Some(Reason::Crashed(later(2))),
                "connecting: a fault of this service, next attempt in 2 s",
            ),
            (
                Some(Reason::NotRecorded),
                "connecting: pairing not begun: the registry could not be written",
            ),
        ];
        for (reason, text) in rows {
            assert_eq!(display_status(InstanceState::Connecting, reason, now), text);
        }
        assert_eq!(display_status(InstanceState::LoggedOut, None, now), "loggedout");
    }

    #[test]
    fn a_wait_reads_in_its_two_largest_units_and_never_too_short() {
        let now = Instant::now();
        let rows = [
            (0, "0 s"),
            (1, "1 s"),
            (58_001, "59 s"),
            (61_000, "1 min 1 s"),
            (7_500_000, "2 h 5 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (ms, text) in rows {
            let until = now + Duration::from_millis(ms);
            assert_eq!(Remaining::until(until, now).to_string(), text);
        }
        assert_eq!(
            Remaining::until(now, now + Duration::from_secs(9)).to_string(),
            "0 s"
        );
    }
}
