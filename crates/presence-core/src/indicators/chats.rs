//! The chats of a session, by JID and by what is due first.

use std::collections::{BTreeSet, HashMap};

use super::schedule::Schedule;
use crate::ChatJid;

/// A map from chats to [`Schedule`]s whose first by `(due, chat)` is at hand: a hash index into slots, and a
/// binary heap of slot numbers whose slots know their place in it. Every operation is O(log n) at most, and
/// changing a schedule moves it in the heap without allocating, which neither a `BinaryHeap` (stale items
/// pile up) nor a `BTreeSet` (nodes split) could promise.
#[derive(Debug, Default)]
pub(super) struct Chats {
    index: HashMap<ChatJid, u32>,
    slots: Vec<Slot>,
    heap: Vec<u32>,
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

#[derive(Debug)]
struct Slot {
    chat: ChatJid,
    schedule: Schedule,
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

    pub(super) fn get(&self, chat: &ChatJid) -> Option<Schedule> {
        self.index
            .get(chat)
            .map(|&slot| self.slots[slot as usize].schedule)
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
        let slot = &self.slots[*self.heap.first()? as usize];
        Some((&slot.chat, slot.schedule))
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
        if let Some(&slot) = self.index.get(&chat) {
            let slot = &mut self.slots[slot as usize];
            note_changed(&mut self.changed, &chat, slot.schedule, schedule);
            slot.schedule = schedule;
            let place = slot.place as usize;
            self.sift(place);
            return;
        }
        if let Some(changed) = &mut self.changed
            && schedule.is_shown()
        {
            changed.insert(chat.clone());
        }
        let number = u32::try_from(self.slots.len()).expect("there are at most MAX_CHATS");
        self.index.insert(chat.clone(), number);
        self.slots.push(Slot {
            chat,
            schedule,
            place: number,
        });
        self.heap.push(number);
        self.sift(number as usize);
    }

    /// The last indicator of `chat` was sent to the chat itself.
    pub(super) fn forget_address(&mut self, chat: &ChatJid) {
        self.take_address(chat);
    }

    /// Forgets `chat`, and says what was kept of it.
    pub(super) fn remove(&mut self, chat: &ChatJid) -> Option<ChatRecord> {
        let number = self.index.remove(chat)?;
        let place = self.slots[number as usize].place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.note_place(place);
            self.sift(place);
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
            self.addresses.shrink_to(SPARE);
        }
        if let Some(changed) = &mut self.changed
            && removed.schedule.is_shown()
        {
            changed.insert(removed.chat);
        }
        Some(ChatRecord {
            schedule: removed.schedule,
            address: self.take_address(chat),
        })
    }

    /// Changes every schedule, in O(n).
    pub(super) fn change_all(&mut self, change: impl Fn(&mut Schedule)) {
        for slot in &mut self.slots {
            let before = slot.schedule;
            change(&mut slot.schedule);
            note_changed(&mut self.changed, &slot.chat, before, slot.schedule);
        }
        for place in (0..self.heap.len()).rev() {
            self.sift_down(place);
        }
    }

    /// Forgets every chat.
    pub(super) fn clear(&mut self) {
        let mut changed = self.changed.take();
        if let Some(changed) = &mut changed {
            let shown = self.slots.drain(..).filter(|slot| slot.schedule.is_shown());
            changed.extend(shown.map(|slot| slot.chat));
        }
        *self = Self {
            changed,
            ..Self::default()
        };
    }

    /// Every chat, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ChatJid, &Schedule)> {
        self.slots.iter().map(|slot| (&slot.chat, &slot.schedule))
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
        self.slots.iter().filter(|slot| slot.schedule.is_shown()).count()
    }

    fn take_address(&mut self, chat: &ChatJid) -> Option<ChatJid> {
        // Nearly always there is none, and no need to hash for it.
        if self.addresses.is_empty() {
            None
        } else {
            self.addresses.remove(chat)
        }
    }

    /// Moves what is at `place` up or down to where it belongs.
    fn sift(&mut self, mut place: usize) {
        while place > 0 && self.is_before(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        self.sift_down(place);
    }

    fn sift_down(&mut self, mut place: usize) {
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
            (slot.schedule.due, &slot.chat)
        };
        key(a).cmp(&key(b)).is_lt()
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

fn note_changed(changed: &mut Option<BTreeSet<ChatJid>>, chat: &ChatJid, before: Schedule, now: Schedule) {
    if let Some(changed) = changed
        && before.shown() != now.shown()
    {
        changed.insert(chat.clone());
    }
}

#[cfg(test)]
mod tests;
