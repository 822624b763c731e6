//! Those who follow what an instance shows.

use std::time::Duration;

use presence_core::{ChatJid, ShownChange};
use tokio::sync::mpsc;

use crate::presence_change::PresenceChange;

/// Where changes are told. Whoever is too slow to take one is told nothing any more, and sees by the end of its
/// queue that it has to ask anew.
#[derive(Default)]
pub(super) struct Observers(Vec<mpsc::Sender<PresenceChange>>);

impl Observers {
    pub(super) fn add(&mut self, observer: mpsc::Sender<PresenceChange>) {
        self.0.push(observer);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Tells `change`; where a command in `answered` was what changed it, also how long that took.
    pub(super) fn tell(&mut self, change: ShownChange, answered: Option<(&ChatJid, Duration)>) {
        let took = answered.filter(|(chat, _)| **chat == change.chat);
        let change = PresenceChange {
            chat: change.chat,
            shown: change.shown,
            took: took.map(|(_, took)| took),
        };
        self.0
            .retain(|observer| observer.try_send(change.clone()).is_ok());
    }
}
