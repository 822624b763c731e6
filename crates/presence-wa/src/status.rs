//! How an instance is: values, for whoever shows them. The words for people are made by the HTTP API.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::proxy::ProxyFault;
use crate::wire;

/// The contract's four states of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstanceState {
    /// A chat state sent now would be written.
    Connected,
    /// On the way: logging in, waiting for a phone, or about to retry.
    Connecting,
    /// Not connected, and not trying for now.
    Disconnected,
    /// Unlinked from its account; its keys are wiped.
    LoggedOut,
}

impl InstanceState {
    /// All there are.
    pub const ALL: [Self; 4] = [
        Self::Connected,
        Self::Connecting,
        Self::Disconnected,
        Self::LoggedOut,
    ];

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// The state.
    pub state: InstanceState,
    /// Why it is in that state, where the state alone does not say.
    pub reason: Option<Reason>,
    /// Since when it is in that state; the start of the service is the earliest.
    #[serde(with = "wire::instant")]
    pub since: Instant,
    /// The account's JID, `<digits>@s.whatsapp.net`, while it is paired.
    pub jid: Option<String>,
    /// The account's name, once WhatsApp told it.
    pub push_name: Option<String>,
    /// Whether WhatsApp takes the account for online because of this session.
    pub available: bool,
}

impl InstanceStatus {
    /// Whether people should be told of it who were told of `before`. That an attempt to connect begins, and fails
    /// like the one before, is no news.
    #[must_use]
    pub fn is_news_after(&self, before: &Self) -> bool {
        is_news((before.state, before.reason), (self.state, self.reason))
    }
}

/// [`InstanceStatus::is_news_after`], of states and reasons.
pub(crate) fn is_news(
    (state_before, reason_before): (InstanceState, Option<Reason>),
    (state, reason): (InstanceState, Option<Reason>),
) -> bool {
    let label = reason.map(Reason::label);
    state != state_before || label.is_some() && label != reason_before.map(Reason::label)
}

/// Why an instance is not simply connected or disconnected. It holds no number, name or code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reason {
    /// A phone must scan the QR code, or its owner type the link code.
    WaitingForPhone,
    /// A phone has linked the device, and WhatsApp is registering it.
    Registering,
    /// The connection was lost or not made; the next attempt is at this time.
    Retrying(#[serde(with = "wire::instant")] Instant),
    /// The connection was not made through the instance's proxy.
    ProxyFailed {
        /// What went wrong with it.
        fault: ProxyFault,
        /// The next attempt.
        #[serde(with = "wire::instant")]
        next: Instant,
    },
    /// WhatsApp refused the session for now.
    Rejected {
        /// WhatsApp's code, if it gave one.
        code: Option<u16>,
        /// The next attempt.
        #[serde(with = "wire::instant")]
        next: Instant,
    },
    /// WhatsApp refused the session for good, with this code.
    Refused {
        /// WhatsApp's code.
        code: u16,
        /// When it is tried once more all the same.
        #[serde(with = "wire::instant")]
        next: Instant,
    },
    /// WhatsApp takes this client version no longer. When there is a newer one is looked up at this time.
    Outdated {
        /// The next look-up.
        #[serde(with = "wire::instant")]
        next: Instant,
    },
    /// Banned; the next attempt is at this time.
    Banned(#[serde(with = "wire::instant")] Instant),
    /// No phone linked the device in time.
    PairingExpired,
    /// The pairing failed.
    PairingFailed,
    /// The device was unlinked, from the phone or by WhatsApp.
    Unlinked,
    /// The same device connected elsewhere.
    Replaced,
    /// What happened could not be written down, so the pairing was not begun.
    NotRecorded,
    /// The task of the instance failed, which is a fault of this service; it starts again at this time.
    Crashed(#[serde(with = "wire::instant")] Instant),
}

impl Reason {
    /// The word of this reason in a log line, without times.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::WaitingForPhone => "waiting for a phone",
            Self::Registering => "registering",
            Self::Retrying(_) => "connection lost",
            Self::ProxyFailed { .. } => "proxy failed",
            Self::Rejected { .. } => "rejected",
            Self::Refused { .. } => "refused",
            Self::Outdated { .. } => "client outdated",
            Self::Banned(_) => "banned",
            Self::PairingExpired => "pairing expired",
            Self::PairingFailed => "pairing failed",
            Self::Unlinked => "unlinked",
            Self::Replaced => "replaced",
            Self::NotRecorded => "not recorded",
            Self::Crashed(_) => "crashed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_have_read_already_is_no_news() {
        use InstanceState::{Connected, Connecting};
        let [soon, later] = [1, 2].map(|seconds| Instant::now() + std::time::Duration::from_secs(seconds));
        let lost = Some(Reason::Retrying(soon));
        let rejected = Reason::Rejected {
            code: None,
            next: later,
        };
        let rows = [
            ((Connected, None), (Connected, None), false),
            ((Connected, None), (Connecting, lost), true),
            // The next attempt begins, and fails like the one before.
            ((Connecting, lost), (Connecting, None), false),
            (
                (Connecting, lost),
                (Connecting, Some(Reason::Retrying(later))),
                false,
            ),
            ((Connecting, lost), (Connecting, Some(rejected)), true),
            ((Connecting, lost), (Connected, None), true),
            (
                (Connecting, None),
                (Connecting, Some(Reason::WaitingForPhone)),
                true,
            ),
        ];
        for (before, now, news) in rows {
            assert_eq!(is_news(before, now), news, "{before:?}, {now:?}");
        }
    }
}
