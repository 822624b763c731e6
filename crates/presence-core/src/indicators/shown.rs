//! What is shown, for those who watch.

use std::time::Instant;

use crate::{ChatJid, Hold, Indicator};

/// An indicator that is up in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub indicator: Indicator,
    /// For how long it was asked for; `None` when the phone is left to hide it.
    pub hold: Option<Hold>,
    /// When it is over, unless something ends it before. Without a hold, the latest time at which the phone
    /// hides it.
    pub until: Instant,
}

/// What a chat shows is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownChange {
    /// The chat, by the name that stanzas go to.
    pub chat: ChatJid,
    /// What it shows from now on; `None` when that is nothing.
    pub shown: Option<Shown>,
}
