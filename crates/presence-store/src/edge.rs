//! Which WhatsApp a data directory belongs to.

use std::fmt;

use crate::error::StoreError;

/// Where sessions connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The real one.
    WhatsApp,
    /// A sandbox.
    Sandbox,
}

impl Edge {
    /// Refuses `self` where a pairing was made with another edge: real keys must not be shown to a sandbox,
    /// nor a sandbox's to WhatsApp. `pinned` is [`Registry::edge`](crate::Registry::edge).
    ///
    /// # Errors
    /// [`EdgeMismatch`] when `pinned` is another edge.
    pub fn check(self, pinned: Option<Self>) -> Result<(), EdgeMismatch> {
        match pinned {
            Some(pinned) if pinned != self => Err(EdgeMismatch { pinned, wanted: self }),
            _ => Ok(()),
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::WhatsApp => "whatsapp",
            Self::Sandbox => "sandbox",
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        [Self::WhatsApp, Self::Sandbox]
            .into_iter()
            .find(|edge| edge.as_str().as_bytes() == bytes)
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WhatsApp => "the real WhatsApp",
            Self::Sandbox => "a sandbox",
        })
    }
}

/// The data directory holds pairings with another edge than the one that is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this data directory holds pairings with {pinned}, so it cannot be used with {wanted}")]
pub struct EdgeMismatch {
    /// With which its pairings were made.
    pub pinned: Edge,
    /// Which was asked for.
    pub wanted: Edge,
}

/// An edge that could not be pinned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinEdgeError {
    /// Another one is.
    #[error(transparent)]
    Mismatch(#[from] EdgeMismatch),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
