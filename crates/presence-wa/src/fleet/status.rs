//! How an instance is, for people and for the rest of the service.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// The contract's four states of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// A chat state sent now would be written.
    Connected,
    /// On the way: logging in, waiting for a phone, or about to retry.
    Connecting,
    /// Not connected, and not trying.
    Disconnected,
    /// Unlinked from its account; its keys are wiped.
    LoggedOut,
}

impl InstanceState {
    /// The word the contract uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Disconnected => "disconnected",
            Self::LoggedOut => "loggedout",
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An instance at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// The state.
    pub state: InstanceState,
    /// Why it is in that state, where the state alone does not say.
    pub reason: Option<Reason>,
    /// The account's JID, `<digits>@s.whatsapp.net`, while it is paired.
    pub jid: Option<String>,
    /// The account's name, once WhatsApp told it.
    pub push_name: Option<String>,
    /// Whether WhatsApp takes the account for online because of this session.
    pub available: bool,
}

/// Why an instance is not simply connected or disconnected. Its `Display` is short and for people; it holds
/// no number, name or code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A phone must scan the QR code, or its owner type the link code.
    WaitingForPhone,
    /// The connection was lost or not made; the next attempt is at this time.
    Retrying(Instant),
    /// Banned; the next attempt is at this time.
    Banned(Instant),
    /// No phone linked the device in time.
    PairingExpired,
    /// The pairing failed.
    PairingFailed,
    /// The device was unlinked, from the phone or by WhatsApp.
    Unlinked,
    /// The same device connected elsewhere.
    Replaced,
    /// WhatsApp takes this client version no longer.
    Outdated,
    /// WhatsApp refused the session for good, with this code.
    Refused(u16),
    /// What happened could not be written down, so the pairing was not begun.
    NotRecorded,
}

impl Reason {
    /// The word of this reason in a log line, without times.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::WaitingForPhone => "waiting for a phone",
            Self::Retrying(_) => "connection lost",
            Self::Banned(_) => "banned",
            Self::PairingExpired => "pairing expired",
            Self::PairingFailed => "pairing failed",
            Self::Unlinked => "unlinked",
            Self::Replaced => "replaced",
            Self::Outdated => "client outdated",
            Self::Refused(_) => "refused",
            Self::NotRecorded => "not recorded",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitingForPhone => f.write_str("waiting for a phone to link this device"),
            Self::Retrying(at) => write!(f, "connection lost, next attempt in {}", Remaining::until(*at)),
            Self::Banned(until) => write!(f, "banned, next attempt in {}", Remaining::until(*until)),
            Self::PairingExpired => f.write_str("no phone linked this device in time"),
            Self::PairingFailed => f.write_str("pairing failed"),
            Self::Unlinked => f.write_str("unlinked from the account"),
            Self::Replaced => f.write_str("replaced by another connection of the same device"),
            Self::Outdated => f.write_str("client version no longer accepted by WhatsApp"),
            Self::Refused(code) => write!(f, "refused by WhatsApp with code {code}"),
            Self::NotRecorded => f.write_str("pairing not begun: the registry could not be written"),
        }
    }
}

/// A wait in its two largest units: `2 h 5 min`, `40 s`.
struct Remaining(u64);

impl Remaining {
    fn until(instant: Instant) -> Self {
        let left = instant.saturating_duration_since(Instant::now());
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
    use super::*;

    #[test]
    fn a_wait_reads_in_its_two_largest_units() {
        let rows = [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (7500, "2 h 5 min"),
            (90_000, "1 d 1 h"),
        ];
        for (seconds, text) in rows {
            assert_eq!(Remaining(seconds).to_string(), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ban_tells_how_long_it_still_lasts() {
        let ban = Reason::Banned(Instant::now() + Duration::from_secs(7200));
        assert_eq!(ban.to_string(), "banned, next attempt in 2 h 0 min");
        tokio::time::advance(Duration::from_secs(7199)).await;
        assert_eq!(ban.to_string(), "banned, next attempt in 1 s");
    }
}
