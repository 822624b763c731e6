//! The chats of a session, by JID and by what is due first.

use std::collections::{BTreeSet, HashMap};

use indexmap::IndexMap;
use indexmap::map::Entry;

use self::heap::{Heap, number};
use super::schedule::Schedule;
use crate::ChatJid;

mod heap;

/// A map from chats to [`Schedule`]s whose first by `(due, chat)` is at hand: a hash map with numbered slots, and
/// a heap of their numbers that knows each slot's place. Every operation is O(log n) at most, and changing a
/// schedule moves it in the heap without allocating, which neither a `BinaryHeap` (stale items pile up) nor a
/// `BTreeSet` (nodes split) could promise.
#[derive(Debug, Default)]
pub(super) struct Chats {
    slots: Slots,
    heap: Heap,
    /// For the few chats that got another name after their last indicator was sent: the address that it was
    /// sent to. Their `paused` goes there.
    addresses: HashMap<ChatJid, ChatJid>,
    /// The chats that show something else since they were last asked for; `None` while nobody wants to know.
    changed: Option<BTreeSet<ChatJid>>,
}

/// All that is kept of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChatRecord {
    pub(super) schedule: Schedule,
    /// Where the last indicator was sent, when that was not to the chat itself.
    pub(super) address: Option<ChatJid>,
}

impl ChatRecord {
    /// The same, of a chat that is called `to` and no longer `from`.
    fn renamed(self, from: &ChatJid, to: &ChatJid) -> Self {
        let Self { schedule, address } = self;
        // What no phone has seen yet will be sent to the new name only.
        let address = address.or_else(|| schedule.seen.then(|| from.clone()));
        Self {
            schedule,
            address: address.filter(|address| address != to),
        }
    }

    /// What is left of two chats that turn out to be one person's: the later command. The other needs no end
    /// of its own, as a phone shows one indicator.
    fn merged(self, other: Self) -> Self {
        let (mut later, earlier) = if self.schedule.command.is_after(other.schedule.command) {
            (self, other)
        } else {
            (other, self)
        };
        if !later.schedule.seen {
            later.schedule.seen = earlier.schedule.seen;
            later.address = earlier.address;
        }
        later
    }
}

/// What is left for `to` of what was kept for it and for `from`, which are one chat.
pub(super) fn merge(
    (from, record): (&ChatJid, Option<ChatRecord>),
    (to, known): (&ChatJid, Option<ChatRecord>),
) -> Option<ChatRecord> {
    let renamed = record.map(|record| record.renamed(from, to));
    match (renamed, known) {
        (Some(renamed), Some(known)) => Some(renamed.merged(known)),
        (renamed, known) => renamed.or(known),
    }
}

type Slots = IndexMap<ChatJid, Schedule>;

/// Room kept when the last chat has ended; what a burst of chats took beyond it is given back.
const SPARE: usize = 16;

impl Chats {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn get(&self, chat: &ChatJid) -> Option<Schedule> {
        self.slots.get(chat).copied()
    }

    /// All that is kept of `chat`.
    pub(super) fn record(&self, chat: &ChatJid) -> Option<ChatRecord> {
        self.get(chat).map(|schedule| ChatRecord {
            schedule,
            address: self.address(chat).cloned(),
        })
    }

    /// Where the last indicator of `chat` was sent, when that was not to the chat itself.
    pub(super) fn address(&self, chat: &ChatJid) -> Option<&ChatJid> {
        // Nearly always there is none, and no need to hash for it.
        if self.addresses.is_empty() {
            None
        } else {
            self.addresses.get(chat)
        }
    }

    /// The chat whose timer is due first; of those due at the same time, the first by JID.
    pub(super) fn first(&self) -> Option<(&ChatJid, Schedule)> {
        let (chat, schedule) = self.slots.get_index(self.heap.first()? as usize)?;
        Some((chat, *schedule))
    }

    /// Sets all that is kept of `chat`.
    pub(super) fn put(&mut self, chat: ChatJid, record: ChatRecord) {
        match record.address {
            Some(address) => self.addresses.insert(chat.clone(), address),
            None => self.addresses.remove(&chat),
        };
        self.set(chat, record.schedule);
    }

    /// Sets what `chat` shows and does next, and leaves the address of its last indicator alone.
    pub(super) fn set(&mut self, chat: ChatJid, schedule: Schedule) {
        let vacant = match self.slots.entry(chat) {
            Entry::Occupied(occupied) => {
                let slot = number(occupied.index());
                return self.update(slot, schedule);
            }
            Entry::Vacant(vacant) => vacant,
        };
        if let Some(changed) = &mut self.changed
            && schedule.is_shown()
        {
            changed.insert(vacant.key().clone());
        }
        vacant.insert(schedule);
        self.heap.push(&self.slots);
    }

    /// As [`set`](Self::set), of the [`first`](Self::first) chat.
    pub(super) fn set_first(&mut self, schedule: Schedule) {
        if let Some(slot) = self.heap.first() {
            self.update(slot, schedule);
        }
    }

    fn update(&mut self, slot: u32, schedule: Schedule) {
        let (chat, known) = self
            .slots
            .get_index_mut(slot as usize)
            .expect("it is the number of a slot");
        note_changed(&mut self.changed, chat, *known, schedule);
        *known = schedule;
        self.heap.update(slot, &self.slots);
    }

    /// The last indicator of `chat` was sent to the chat itself.
    pub(super) fn forget_address(&mut self, chat: &ChatJid) {
        self.take_address(chat);
    }

    /// Forgets `chat`, and says what was kept of it.
    pub(super) fn remove(&mut self, chat: &ChatJid) -> Option<ChatRecord> {
        let slot = self.slots.get_index_of(chat)?;
        self.heap.swap_remove(number(slot), &self.slots);
        let (chat, schedule) = self.slots.swap_remove_index(slot)?;
        if self.slots.is_empty() {
            self.slots.shrink_to(SPARE);
            self.heap.shrink_to(SPARE);
            self.addresses.shrink_to(SPARE);
        }
        let address = self.take_address(&chat);
        if let Some(changed) = &mut self.changed
            && schedule.is_shown()
        {
            changed.insert(chat);
        }
        Some(ChatRecord { schedule, address })
    }

    /// Changes every schedule, in O(n).
    pub(super) fn change_all(&mut self, change: impl Fn(&mut Schedule)) {
        for (chat, schedule) in &mut self.slots {
            let before = *schedule;
            change(schedule);
            note_changed(&mut self.changed, chat, before, *schedule);
        }
        self.heap.update_all(&self.slots);
    }

    /// Forgets every chat.
    pub(super) fn clear(&mut self) {
        let mut changed = self.changed.take();
        if let Some(changed) = &mut changed {
            let shown = self.slots.drain(..).filter(|(_, schedule)| schedule.is_shown());
            changed.extend(shown.map(|(chat, _)| chat));
        }
        *self = Self {
            changed,
            ..Self::default()
        };
    }

    /// Every chat, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ChatJid, &Schedule)> {
        self.slots.iter()
    }

    /// Whether it is noted which chats show something else.
    pub(super) fn note_changes(&mut self, on: bool) {
        if on != self.changed.is_some() {
            self.changed = on.then(BTreeSet::new);
        }
    }

    /// The first chat like this that shows something else since this was last asked.
    pub(super) fn next_changed(&mut self, is_wanted: impl Fn(&ChatJid) -> bool) -> Option<ChatJid> {
        let changed = self.changed.as_mut()?;
        let chat = changed.iter().find(|chat| is_wanted(chat))?.clone();
        changed.take(&chat)
    }

    /// In how many chats an indicator is up, in O(n).
    pub(super) fn count_shown(&self) -> usize {
        self.slots.values().filter(|schedule| schedule.is_shown()).count()
    }

    fn take_address(&mut self, chat: &ChatJid) -> Option<ChatJid> {
        // Nearly always there is none, and no need to hash for it.
        if self.addresses.is_empty() {
            None
        } else {
            self.addresses.remove(chat)
        }
    }
}

fn note_changed(changed: &mut Option<BTreeSet<ChatJid>>, chat: &ChatJid, before: Schedule, now: Schedule) {
    if let Some(changed) = changed
        && before.shown() != now.shown()
    {
        changed.insert(chat.clone());
    }
}

#[cfg(test)]
mod tests;
