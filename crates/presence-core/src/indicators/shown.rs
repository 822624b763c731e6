//! What is shown, for those who watch.

use std::time::Instant;

use super::Indicators;
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

/// # What is shown
impl Indicators {
    /// In how many chats an indicator is up. One without a hold counts for
    /// [`Timing::display`](super::Timing::display); one that an earlier connection sent and this one did not, no
    /// more.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.shown
    }

    /// Whether an indicator is up in `chat`, by any of its names, as [`shown`](Self::shown) counts them.
    #[must_use]
    pub fn is_shown(&self, chat: &ChatJid) -> bool {
        let chat = self.aliases.resolve(chat);
        self.chats.get(chat).is_some_and(|schedule| schedule.is_shown())
    }

    /// Whether an indicator in `chat`, by any of its names, has yet to end: one that is up, or one that is not
    /// brought up again for its last second.
    #[must_use]
    pub fn has_yet_to_end(&self, chat: &ChatJid) -> bool {
        let schedule = self.chats.get(self.aliases.resolve(chat));
        schedule
            .zip(self.now)
            .is_some_and(|(schedule, now)| schedule.has_yet_to_end(now))
    }

    /// What is up at `now`, in no order: what [`shown`](Self::shown) counts, less what is over by its time and
    /// has yet to be ended. O(n).
    pub fn shown_at(&self, now: Instant) -> impl Iterator<Item = (&ChatJid, Shown)> {
        let shown = self
            .chats
            .iter()
            .filter_map(|(chat, schedule)| Some((chat, schedule.shown()?)));
        shown.filter(move |(_, shown)| shown.until > now)
    }

    /// Whether [`poll_change`](Self::poll_change) has anything to tell. It costs a set of the chats that have
    /// changed since it was last polled. Off by default.
    pub fn watch_changes(&mut self, on: bool) {
        self.chats.note_changes(on);
    }

    /// A chat that shows something else than when this was last asked; `None` when there is none left. Of
    /// several changes of one chat only what came of them is told. That an indicator is over by its time is
    /// told only where its end can be sent: whoever watches goes by [`Shown::until`] too.
    pub fn poll_change(&mut self) -> Option<ShownChange> {
        let chat = self.chats.next_changed(|_| true)?;
        Some(self.change_of(chat))
    }

    /// As [`poll_change`](Self::poll_change), of chats whose last command cannot fail any more. The changes of
    /// the others are kept.
    pub fn poll_settled_change(&mut self) -> Option<ShownChange> {
        let open = &self.open_commands;
        let chat = self.chats.next_changed(|chat| !open.is_open(chat))?;
        Some(self.change_of(chat))
    }

    fn change_of(&self, chat: ChatJid) -> ShownChange {
        let shown = self.chats.get(&chat).and_then(|schedule| schedule.shown());
        ShownChange { chat, shown }
    }
}
