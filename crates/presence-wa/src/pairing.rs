//! Linking a device to an account: by a QR code that the phone scans, or a code that its owner types.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use presence_core::PhoneNumber;
use serde::{Deserialize, Serialize};

/// A step of a pairing that the owner of the phone must act on.
///
/// Its `Debug` shows no code: a code is a secret while it is valid.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairingUpdate {
    /// A QR code to show. It replaces the one before.
    Qr {
        /// The text that the QR code carries (`2@…`).
        code: String,
        /// How long it can be scanned.
        valid_for: Duration,
    },
    /// A code to type on the phone.
    Code(LinkCode),
}

impl fmt::Debug for PairingUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qr { valid_for, .. } => f
                .debug_struct("Qr")
                .field("valid_for", valid_for)
                .finish_non_exhaustive(),
            Self::Code(_) => f.write_str("Code(..)"),
        }
    }
}

/// Eight characters that the owner of the account types into the phone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCode(String);

impl LinkCode {
    /// Takes the eight characters as WhatsApp gives them, with or without the hyphen.
    #[must_use]
    pub fn new(code: &str) -> Self {
        let plain: String = code.chars().filter(|c| *c != '-').collect();
        match plain.split_at_checked(4) {
            Some((head, tail)) => Self(format!("{head}-{tail}")),
            None => Self(plain),
        }
    }

    /// `ABCD-EFGH`, as the phone shows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkCode(..)")
    }
}

/// A link code that was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The session is not waiting for a phone.
    #[error("the session is not waiting to be paired")]
    NotPairing,
    /// WhatsApp refused, for example because of too many attempts.
    #[error("WhatsApp refused to give a link code")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}

/// How a phone links the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairWith {
    /// It scans a QR code.
    Qr,
    /// The owner of this number types a code into the phone.
    LinkCode(PhoneNumber),
}

/// What [`Fleet::connect`](crate::Fleet::connect) came to. Its `Debug` shows no code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
