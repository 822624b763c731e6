//! Which chat is due first.

use std::time::Instant;

use super::Slots;

/// How many children an entry has. Four lie in two cache lines, and the heap is half as high as a binary one.
const CHILDREN: usize = 4;

/// A heap of slots by `(due, chat)` in which each may be moved or taken out. Times lie in the heap, and places
/// beside each other: an entry finds its place without a look into the slots, unless two are due at the same
/// time.
#[derive(Debug, Default)]
pub(super) struct Heap {
    entries: Vec<Entry>,
    /// Of each slot, where its entry is.
    places: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Instant,
    slot: u32,
}

impl Heap {
    /// The slot that is due first; of those due at the same time, the first by JID.
    pub(super) fn first(&self) -> Option<u32> {
        self.entries.first().map(|entry| entry.slot)
    }

    /// Takes in the last of the slots, which is new.
    pub(super) fn push(&mut self, slots: &Slots) {
        let slot = number(slots.len() - 1);
        let due = slots[slot as usize].due;
        let place = self.entries.len();
        self.entries.push(Entry { due, slot });
        self.places.push(number(place));
        self.rise(place, slots);
    }

    /// Moves a slot that may be due at another time now.
    pub(super) fn update(&mut self, slot: u32, slots: &Slots) {
        let place = self.places[slot as usize] as usize;
        self.entries[place].due = slots[slot as usize].due;
        self.sift(place, slots);
    }

    /// Takes out a slot, which is still in `slots`. The last of them gets its number.
    pub(super) fn swap_remove(&mut self, slot: u32, slots: &Slots) {
        let place = self.places[slot as usize] as usize;
        self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places[moved.slot as usize] = number(place);
            self.sift(place, slots);
        }
        self.places.swap_remove(slot as usize);
        if let Some(&place) = self.places.get(slot as usize) {
            self.entries[place as usize].slot = slot;
        }
    }

    /// Any of the slots may be due at another time now: O(n).
    pub(super) fn update_all(&mut self, slots: &Slots) {
        for entry in &mut self.entries {
            entry.due = slots[entry.slot as usize].due;
        }
        for place in (0..self.entries.len()).rev() {
            self.sink(place, slots);
        }
    }

    pub(super) fn shrink_to(&mut self, least: usize) {
        self.entries.shrink_to(least);
        self.places.shrink_to(least);
    }

    /// Moves what is at `place` up or down to where it belongs.
    fn sift(&mut self, place: usize, slots: &Slots) {
        let place = self.rise(place, slots);
        self.sink(place, slots);
    }

    /// Moves what is at `place` up, and says where it is then.
    fn rise(&mut self, mut place: usize, slots: &Slots) -> usize {
        let entry = self.entries[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if !entry.is_before(&self.entries[parent], slots) {
                break;
            }
            self.put(place, self.entries[parent]);
            place = parent;
        }
        self.put(place, entry);
        place
    }

    /// Moves what is at `place` down.
    fn sink(&mut self, mut place: usize, slots: &Slots) {
        let entry = self.entries[place];
        loop {
            let first = CHILDREN * place + 1;
            let children = first..self.entries.len().min(first + CHILDREN);
            let least = children.reduce(|a, b| {
                if self.entries[b].is_before(&self.entries[a], slots) {
                    b
                } else {
                    a
                }
            });
            let Some(child) = least.filter(|&child| self.entries[child].is_before(&entry, slots)) else {
                break;
            };
            self.put(place, self.entries[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.entries[place] = entry;
        self.places[entry.slot as usize] = number(place);
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.places.capacity() * size_of::<u32>()
    }
}

impl Entry {
    fn is_before(&self, other: &Self, slots: &Slots) -> bool {
        let chat = |entry: &Self| slots.get_index(entry.slot as usize).map(|(chat, _)| chat);
        let order = self.due.cmp(&other.due);
        order.then_with(|| chat(self).cmp(&chat(other))).is_lt()
    }
}

/// The number of a slot or a place.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("there are at most MAX_CHATS")
}
