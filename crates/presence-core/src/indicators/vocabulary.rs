//! What goes into the indicators, and what comes out.

use crate::{ChatJid, ChatState};

/// How many chats one session may show something in at a time, including those that are owed a `paused`.
/// Nobody types in so many; it bounds a session to some 16 MB whatever its clients ask for.
pub const MAX_CHATS: usize = 65_536;

/// A stanza to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Show `state` in `chat`.
    ChatState {
        /// To whom.
        chat: ChatJid,
        /// What.
        state: ChatState,
    },
    /// Tell WhatsApp whether this device is in use.
    Availability(Availability),
}

/// Whether this device is in use. While it is, the account's phone stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Availability {
    /// In use.
    Available,
    /// Not in use.
    Unavailable,
}

/// What an instance sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Be available while something is shown. On by default.
    pub raise_availability: bool,
    /// Be available all the time. Off by default.
    pub keep_online: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            raise_availability: true,
            keep_online: false,
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The session is down or closing.
    #[error("the session takes no commands now")]
    Offline,
    /// [`MAX_CHATS`] show something already.
    #[error("{MAX_CHATS} chats show something already")]
    TooManyChats,
}
