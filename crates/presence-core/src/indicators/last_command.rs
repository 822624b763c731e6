//! The latest command, while it may turn out void.

use super::chats::{ChatRecord, merge};
use super::schedule::Schedule;
use crate::ChatJid;

/// The latest command, and what its chat was before it.
#[derive(Debug)]
pub(super) struct LastCommand {
    pub(super) chat: ChatJid,
    /// What would be kept of the chat now if the command had never been given.
    pub(super) before: Option<ChatRecord>,
    /// Where its stanza was sent, once that was polled.
    pub(super) address: Option<ChatJid>,
}

impl LastCommand {
    /// The chat has changed for another reason than time, and would have without the command too.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Schedule)) {
        if let Some(before) = &mut self.before {
            change(&mut before.schedule);
        }
    }

    /// `from` and `to` are one chat, `to`. What is kept of them is as it is with the command.
    pub(super) fn rename(
        &mut self,
        (from, record): (&ChatJid, Option<ChatRecord>),
        (to, known): (&ChatJid, Option<ChatRecord>),
    ) {
        if self.chat == *from {
            self.before = merge((from, self.before.take()), (to, known));
            self.chat = to.clone();
        } else if self.chat == *to {
            self.before = merge((from, record), (to, self.before.take()));
        }
    }
}
