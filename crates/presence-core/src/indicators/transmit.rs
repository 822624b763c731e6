//! What comes out of the indicators.

use crate::{ChatJid, ChatState};

/// A stanza to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Show `state` in a chat.
    ChatState {
        /// The address to write to, verbatim: the chat's, or for a `paused` the one that its last indicator
        /// was sent to, when that was another name of it.
        chat: ChatJid,
        /// What its phone is to show.
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
