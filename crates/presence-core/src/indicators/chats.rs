//! The chats of a session, by JID and by what is due first.

use std::collections::HashMap;
use std::time::Instant;

use crate::{ChatJid, Indicator};

/// What is kept of a chat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// What happens at `due`.
    pub(super) timer: Timer,
    /// When the timer is due.
    pub(super) due: Instant,
    /// When the indicator is over; for [`Timer::Pause`], the earliest time that it may be sent.
    pub(super) end: Instant,
    /// What is shown.
    pub(super) indicator: Indicator,
    /// A stanza has gone out for this chat: its phone may show something.
    pub(super) seen: bool,
    /// The last stanza was a re-send, not the command's first.
    pub(super) renewed: bool,
}

impl Entry {
    /// A `paused` that is to be sent at `due`, and on a new connection from `end` on.
    pub(super) fn owed(end: Instant, due: Instant) -> Self {
        // Nothing is shown, so the indicator is of no matter.
        Self {
            timer: Timer::Pause,
            due,
            end,
            indicator: Indicator::Typing,
            seen: true,
            renewed: false,
        }
    }
}

/// What happens next in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The first stanza of an indicator that is held.
    Hold,
    /// The only stanza of an indicator that is not held.
    Flash,
    /// A held indicator is sent again.
    Renew,
    /// A held indicator is over.
    End,
    /// The phone has hidden an indicator that was not held.
    Forget,
    /// As `Forget`, for a stanza of a connection before this one: nobody stays available for it.
    Fade,
    /// A `paused` is owed. No indicator counts as shown.
    Pause,
}

impl Timer {
    /// Whether the chat's indicator is one to be available for.
    pub(super) fn is_shown(self) -> bool {
        !matches!(self, Self::Fade | Self::Pause)
    }
}

/// A map from chats to [`Entry`]s whose first entry by `(due, chat)` is at hand: a hash index into slots, and
/// a binary heap of slot numbers whose slots know their place in it. Every operation is O(log n) at most, and
/// changing an entry moves it in the heap without allocating, which neither a `BinaryHeap` (stale entries
/// pile up) nor a `BTreeSet` (nodes split) could promise.
#[derive(Debug, Default)]
pub(super) struct Chats {
    index: HashMap<ChatJid, u32>,
    slots: Vec<Slot>,
    heap: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    chat: ChatJid,
    entry: Entry,
    /// Where `heap` has this slot's number.
    place: u32,
}

/// Room kept when the last chat has ended; what a burst of chats took beyond it is given back.
const SPARE: usize = 16;

impl Chats {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn get(&self, chat: &ChatJid) -> Option<Entry> {
        self.index.get(chat).map(|&slot| self.slots[slot as usize].entry)
    }

    /// The chat whose timer is due first; of those due at the same time, the first by JID.
    pub(super) fn first(&self) -> Option<(&ChatJid, Entry)> {
        let slot = &self.slots[*self.heap.first()? as usize];
        Some((&slot.chat, slot.entry))
    }

    /// Sets what is kept of `chat`.
    pub(super) fn set(&mut self, chat: ChatJid, entry: Entry) {
        if let Some(&slot) = self.index.get(&chat) {
            let slot = &mut self.slots[slot as usize];
            slot.entry = entry;
            let place = slot.place as usize;
            self.settle(place);
            return;
        }
        let number = u32::try_from(self.slots.len()).expect("there are at most MAX_CHATS");
        self.index.insert(chat.clone(), number);
        self.slots.push(Slot {
            chat,
            entry,
            place: number,
        });
        self.heap.push(number);
        self.settle(number as usize);
    }

    pub(super) fn remove(&mut self, chat: &ChatJid) -> Option<Entry> {
        let number = self.index.remove(chat)?;
        let place = self.slots[number as usize].place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.note_place(place);
            self.settle(place);
        }
        let removed = self.slots.swap_remove(number as usize);
        if let Some(moved) = self.slots.get(number as usize) {
            self.heap[moved.place as usize] = number;
            *self
                .index
                .get_mut(&moved.chat)
                .expect("every slot's chat is in the index") = number;
        }
        if self.slots.is_empty() {
            self.index.shrink_to(SPARE);
            self.slots.shrink_to(SPARE);
            self.heap.shrink_to(SPARE);
        }
        Some(removed.entry)
    }

    /// Changes every entry, in O(n).
    pub(super) fn change_all(&mut self, change: impl Fn(&mut Entry)) {
        self.slots.iter_mut().for_each(|slot| change(&mut slot.entry));
        for place in (0..self.heap.len() / 2).rev() {
            self.sink(place);
        }
    }

    /// How many of the entries are shown, in O(n).
    pub(super) fn count_shown(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.entry.timer.is_shown())
            .count()
    }

    /// Moves what is at `place` up or down to where it belongs.
    fn settle(&mut self, mut place: usize) {
        while place > 0 && self.is_before(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        self.sink(place);
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = (2 * place + 1)..self.heap.len().min(2 * place + 3);
            let first = children.reduce(|a, b| if self.is_before(b, a) { b } else { a });
            let Some(child) = first.filter(|&child| self.is_before(child, place)) else {
                return;
            };
            self.swap(place, child);
            place = child;
        }
    }

    fn is_before(&self, a: usize, b: usize) -> bool {
        let key = |place: usize| {
            let slot = &self.slots[self.heap[place] as usize];
            (slot.entry.due, &slot.chat)
        };
        key(a) < key(b)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note_place(a);
        self.note_place(b);
    }

    fn note_place(&mut self, place: usize) {
        let number = self.heap[place];
        self.slots[number as usize].place = u32::try_from(place).expect("there are at most MAX_CHATS");
    }
}

#[cfg(test)]
mod tests;
