//! What comes out of the indicators.

use std::time::Instant;

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
        /// Why.
        cause: Cause,
    },
    /// Tell WhatsApp whether this device is in use.
    Availability(Availability),
}

/// What is to be sent beside stanzas that are under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextTransmit {
    /// This, now.
    Now(Transmit),
    /// Something that has to wait until one that is under way is written.
    Waits,
    /// Nothing for now.
    Nothing,
}

/// Why a chat state is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is the stanza of the latest command.
    Command,
    /// What is shown is kept up: as time passes, or on a new connection.
    Hold,
    /// The time of what was shown is up, since then.
    Deadline(Instant),
    /// The account has sent a message in the chat.
    OwnMessage,
    /// The session is about to be closed.
    Shutdown,
}

/// Whether this device is in use. While it is, the account's phone stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Availability {
    /// In use.
    Available,
    /// Not in use.
    Unavailable,
}
