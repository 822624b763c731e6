//! The other names of chats.

use std::collections::HashMap;

use super::policy::MAX_CHATS;
use crate::ChatJid;

/// Which names mean another chat. Names are followed from one to the next until there is none, and come back
/// to no name that they came by.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// At most [`MAX_CHATS`].
    next: HashMap<ChatJid, ChatJid>,
}

impl Aliases {
    /// The chat that `name` means: itself, unless it is an alias.
    pub(super) fn resolve<'a>(&'a self, mut name: &'a ChatJid) -> &'a ChatJid {
        // A map that is empty is not even hashed for.
        while let Some(next) = self.next.get(name) {
            name = next;
        }
        name
    }

    /// `alias` means `chat` from now on, whatever either meant before. When there is no room, those are
    /// forgotten whose chat is not `in_use`; and when there is still none, nothing is remembered.
    pub(super) fn add(&mut self, alias: ChatJid, chat: ChatJid, in_use: impl Fn(&ChatJid) -> bool) {
        self.next.remove(&alias);
        if *self.resolve(&chat) == alias {
            // The last word wins: `chat` is an alias no longer. That leaves no way back to `alias`.
            self.next.remove(&chat);
        }
        if alias == chat {
            return;
        }
        if self.next.len() == MAX_CHATS {
            self.keep_only(in_use);
        }
        if self.next.len() < MAX_CHATS {
            self.next.insert(alias, chat);
        }
    }

    fn keep_only(&mut self, in_use: impl Fn(&ChatJid) -> bool) {
        // The names on the way to one chat are all in use, or none is: no way is cut in the middle.
        let unused = self.next.keys().filter(|name| !in_use(self.resolve(name)));
        let unused: Vec<ChatJid> = unused.cloned().collect();
        for name in &unused {
            self.next.remove(name);
        }
    }
}

#[cfg(test)]
impl Aliases {
    pub(in crate::indicators) fn len(&self) -> usize {
        self.next.len()
    }
}
