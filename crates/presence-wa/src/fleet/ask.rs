//! What a keeper can be asked.

use std::fmt;
use std::time::Duration;

use presence_core::PhoneNumber;
use tokio::sync::oneshot;

use crate::fleet::error::{ConnectError, ReconnectError};
use crate::pairing::LinkCode;

/// How a phone links the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairWith {
    /// It scans a QR code.
    Qr,
    /// The owner of this number types a code into the phone.
    LinkCode(PhoneNumber),
}

/// What [`Fleet::connect`](crate::Fleet::connect) came to. Its `Debug` shows no code.
#[derive(Clone, PartialEq, Eq)]
pub enum Connected {
    /// The instance is online.
    Already,
    /// A QR code to show.
    Qr {
        /// The text that the QR code carries (`2@…`).
        code: String,
        /// How long it can still be scanned.
        valid_for: Duration,
    },
    /// A code to type on the phone.
    LinkCode(LinkCode),
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Already => f.write_str("Already"),
            Self::Qr { valid_for, .. } => f
                .debug_struct("Qr")
                .field("valid_for", valid_for)
                .finish_non_exhaustive(),
            Self::LinkCode(_) => f.write_str("LinkCode(..)"),
        }
    }
}

/// A message to a keeper.
pub(super) enum Ask {
    /// Reopen the saved session in the background, if there is one.
    Resume,
    /// Get online, or begin to pair. Answered when the keeper is at it; what comes of it is in the phase.
    Connect {
        how: PairWith,
        reply: oneshot::Sender<Result<(), ConnectError>>,
    },
    /// Close the session if it is open, and open it anew.
    Reconnect {
        reply: oneshot::Sender<Result<(), ReconnectError>>,
    },
    /// Unlink the device and wipe its keys.
    Logout { reply: oneshot::Sender<()> },
    /// The same, and end.
    Remove { reply: oneshot::Sender<()> },
}
