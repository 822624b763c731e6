//! The chats against a plain map.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::indicators::schedule::{CommandNumber, PauseCause};

#[derive(Clone, Debug)]
enum Operation {
    Set(u8, u64),
    Remove(u8),
    RemoveFirst,
    /// All that are due before this move to it.
    Raise(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0_u8..24, 0_u64..12).prop_map(|(chat, due)| Operation::Set(chat, due)),
        2 => (0_u8..24).prop_map(Operation::Remove),
        2 => Just(Operation::RemoveFirst),
        1 => (0_u64..12).prop_map(Operation::Raise),
    ]
}

fn chat(number: u8) -> ChatJid {
    format!("{}@lid", 100 + u32::from(number)).parse().unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to make some instant"
)]
fn start() -> Instant {
    Instant::now()
}

fn owed(due: Instant) -> Schedule {
    Schedule::paused(PauseCause::Command, due, due, CommandNumber::default())
}

proptest! {
    /// The model keeps the same in sorted maps.
    #[test]
    fn the_first_is_the_first_by_time_then_jid(operations in prop::collection::vec(operation(), 0..200)) {
        let start = start();
        let at = |secs| start + Duration::from_secs(secs);
        let mut chats = Chats::default();
        let mut model: BTreeMap<ChatJid, Instant> = BTreeMap::new();
        for operation in operations {
            match operation {
                Operation::Set(number, due) => {
                    chats.set(chat(number), owed(at(due)));
                    model.insert(chat(number), at(due));
                }
                Operation::Remove(number) => {
                    let removed = chats.remove(&chat(number)).map(|record| record.schedule.due);
                    prop_assert_eq!(removed, model.remove(&chat(number)));
                }
                Operation::RemoveFirst => {
                    if let Some(first) = chats.first().map(|(chat, _)| chat.clone()) {
                        chats.remove(&first);
                        model.remove(&first);
                    }
                }
                Operation::Raise(due) => {
                    chats.change_all(|schedule| schedule.due = schedule.due.max(at(due)));
                    model.values_mut().for_each(|known| *known = at(due).max(*known));
                }
            }
            let first = model.iter().map(|(chat, due)| (*due, chat)).min();
            prop_assert_eq!(chats.first().map(|(chat, schedule)| (schedule.due, chat)), first);
            prop_assert_eq!((chats.len(), chats.is_empty()), (model.len(), model.is_empty()));
            for (chat, due) in &model {
                prop_assert_eq!(chats.get(chat).map(|schedule| schedule.due), Some(*due));
            }
        }
    }
}

impl Chats {
    /// What the allocator was asked for, JIDs not counted. An `IndexMap` keeps a hash with each item, and a byte
    /// and a number for each of a power of two of buckets, of which it fills 7 in 8.
    pub(in crate::indicators) fn allocated(&self) -> usize {
        let capacity = self.slots.capacity();
        let buckets = (capacity * 8 / 7).next_power_of_two();
        buckets * (size_of::<usize>() + 1)
            + capacity * (size_of::<u64>() + size_of::<(ChatJid, Schedule)>())
            + self.heap.allocated()
    }
}

#[test]
fn a_chat_costs_less_than_200_bytes_at_every_number_of_chats() {
    let (start, mut chats) = (start(), Chats::default());
    for count in 1..=4_000_usize {
        let chat = format!("{count}@lid").parse().unwrap();
        chats.set(chat, owed(start));
        // Few chats share the room that is kept for a burst.
        let cost = chats.allocated() / count.max(2 * SPARE);
        assert!(cost <= 200, "{cost} bytes for each of {count} chats");
    }
}

#[test]
fn a_burst_of_chats_gives_its_room_back() {
    let (start, mut chats) = (start(), Chats::default());
    let name = |count: u32| -> ChatJid { format!("{count}@lid").parse().unwrap() };
    for count in 0..10_000 {
        chats.set(name(count), owed(start));
    }
    let full = chats.allocated();
    for count in 0..10_000 {
        chats.remove(&name(count));
    }
    assert!(
        chats.allocated() * 100 < full,
        "{} of {full} bytes",
        chats.allocated()
    );
}
