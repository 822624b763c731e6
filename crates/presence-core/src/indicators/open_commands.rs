//! The commands that may still turn out void.

use super::chats::{ChatRecord, merge};
use super::policy::MAX_OPEN_COMMANDS;
use super::schedule::Schedule;
use crate::ChatJid;

/// Commands whose stanzas are not known to be written, in the order in which they were given; of each chat its
/// latest at most.
#[derive(Debug, Default)]
pub(super) struct OpenCommands(Vec<OpenCommand>);

/// A command, and what its chat was before it.
#[derive(Debug)]
pub(super) struct OpenCommand {
    pub(super) chat: ChatJid,
    /// What would be kept of the chat now if the command had never been given.
    pub(super) before: Option<ChatRecord>,
    /// Where its stanza was sent, once that was polled.
    pub(super) address: Option<ChatJid>,
}

impl OpenCommands {
    /// `command` was given. What was given before it in its chat cannot fail any more, and of too many neither
    /// can the earliest.
    pub(super) fn add(&mut self, command: OpenCommand) {
        self.0.retain(|open| open.chat != command.chat);
        if self.0.len() == MAX_OPEN_COMMANDS {
            self.0.remove(0);
        }
        self.0.push(command);
    }

    pub(super) fn is_open(&self, chat: &ChatJid) -> bool {
        self.0.iter().any(|open| open.chat == *chat)
    }

    /// A stanza of `chat` was polled: that of its open command, for which this is true, or one after which that
    /// cannot fail any more. Names that were taken for one person's and are not may share an address.
    pub(super) fn note_polled(&mut self, chat: &ChatJid, address: &ChatJid) -> bool {
        let mut is_commands = false;
        self.0.retain_mut(|open| match &open.address {
            None if open.chat == *chat => {
                open.address = Some(address.clone());
                is_commands = true;
                true
            }
            Some(sent) => open.chat != *chat && sent != address,
            None => true,
        });
        is_commands
    }

    /// Takes out the command that was last given in `chat`. Of a chat that is gone it may be known by the
    /// `address` alone.
    pub(super) fn take(&mut self, chat: &ChatJid, address: &ChatJid, is_gone: bool) -> Option<OpenCommand> {
        let is_of =
            |open: &OpenCommand| open.chat == *chat || is_gone && open.address.as_ref() == Some(address);
        let place = self.0.iter().position(is_of)?;
        Some(self.0.remove(place))
    }

    /// `chat` has changed for another reason than time, and would have without its command too.
    pub(super) fn change(&mut self, chat: &ChatJid, change: impl Fn(&mut Schedule)) {
        for open in self.0.iter_mut().filter(|open| open.chat == *chat) {
            open.change(&change);
        }
    }

    /// The same, of every chat.
    pub(super) fn change_all(&mut self, change: impl Fn(&mut Schedule)) {
        for open in &mut self.0 {
            open.change(&change);
        }
    }

    /// Whatever was shown is forgotten, and would be without the commands too.
    pub(super) fn clear_chats(&mut self) {
        for open in &mut self.0 {
            open.before = None;
        }
    }

    /// `from` and `to` are one chat, `to`. What is kept of them is as it is with their commands, of which the
    /// earlier cannot fail any more.
    pub(super) fn rename(
        &mut self,
        (from, record): (&ChatJid, Option<&ChatRecord>),
        (to, known): (&ChatJid, Option<&ChatRecord>),
    ) {
        for open in &mut self.0 {
            if open.chat == *from {
                open.before = merge((from, open.before.take()), (to, known.cloned()));
                open.chat = to.clone();
            } else if open.chat == *to {
                open.before = merge((from, record.cloned()), (to, open.before.take()));
            }
        }
        let is_there = |open: &OpenCommand| open.chat == *to;
        let ends = (
            self.0.iter().position(is_there),
            self.0.iter().rposition(is_there),
        );
        if let (Some(earlier), Some(later)) = ends
            && earlier != later
        {
            self.0.remove(earlier);
        }
    }

    #[cfg(test)]
    pub(super) fn has_unpolled(&self) -> bool {
        self.0.iter().any(|open| open.address.is_none())
    }
}

impl OpenCommand {
    fn change(&mut self, change: impl Fn(&mut Schedule)) {
        if let Some(before) = &mut self.before {
            change(&mut before.schedule);
        }
    }
}
