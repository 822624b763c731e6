//! Why the fleet did not do what it was asked.

use serde::{Deserialize, Serialize};

use crate::status::Reason;

/// An indicator that was not shown, or not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ShowError {
    /// There is no live session, or it did not take the stanza in time.
    #[error("the instance is not connected")]
    NotConnected,
    /// The session shows something in as many chats as it may.
    #[error("the instance shows something in too many chats")]
    TooManyChats,
    /// More requests wait for this session than may.
    #[error("too many requests wait for the instance")]
    Busy,
}

/// A connection that was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The attempt is over; the reason says why, and whether there will be another by itself.
    #[error("the instance does not connect")]
    Stopped(Option<Reason>),
    /// WhatsApp gave no link code for this number.
    #[error("WhatsApp refused to give a link code")]
    LinkCodeRefused,
    /// Another caller asked for a link code with another number; that one counts.
    #[error("another link code was asked for meanwhile")]
    Superseded,
    /// No such instance, it was removed meanwhile, or the fleet shuts down.
    #[error("no such instance")]
    Gone,
}

/// A session that was not reopened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ReconnectError {
    /// The instance is not paired.
    #[error("the instance has no saved session")]
    NoSavedSession,
    /// The keys of the instance cannot be read; the log says why.
    #[error("the instance's keys cannot be read")]
    Keys,
    /// No such instance, it was removed meanwhile, or the fleet shuts down.
    #[error("no such instance")]
    Gone,
}
