//! A change of what an instance shows.

use std::time::Duration;

use presence_core::{ChatJid, Shown};

/// What a chat of an instance shows is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The chat, by the name that stanzas go to.
    pub chat: ChatJid,
    /// What it shows from now on; `None` when that is nothing.
    pub shown: Option<Shown>,
    /// From the request's arrival to its stanza on the socket, where a request was what changed it.
    pub took: Option<Duration>,
}
