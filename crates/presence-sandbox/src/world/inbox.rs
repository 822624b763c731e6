//! What phones got and sent: messages as their owners read them, and what became of their own.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::screen::as_millis;
use super::{Number, Place, World};

/// How many messages, and how many receipts, a phone remembers.
const MAX_MESSAGES: usize = 1000;

/// How many phones remember anything.
const MAX_PHONES: usize = 100_000;

/// A message that a phone could read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhoneMessage {
    /// The message's id, which its sender chose.
    pub id: String,
    /// The sender's number.
    pub from: Number,
    /// The sender's device; 0 is the phone.
    pub device: u16,
    /// The group it was sent to, without `@g.us`; `None` in a chat of two.
    pub group: Option<String>,
    /// The number it was sent to, when it comes from a device of the phone's own account and not from a group.
    pub to: Option<Number>,
    /// Its text; `None` when it has none.
    pub text: Option<String>,
    /// When it was read: milliseconds since the sandbox started.
    #[serde(rename = "at_ms", serialize_with = "as_millis")]
    pub at: Duration,
}

/// What a device said about a message that a phone sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhoneReceipt {
    /// The message's id.
    pub id: String,
    /// Whose device it was.
    pub from: Number,
    /// Which device.
    pub device: u16,
    /// `delivered`, `inactive`, `read`, `retry`, `sender` or whatever else the device wrote.
    pub kind: String,
    /// When it came: milliseconds since the sandbox started.
    #[serde(rename = "at_ms", serialize_with = "as_millis")]
    pub at: Duration,
}

/// A message that a phone sent, for those who could not read it.
#[derive(Clone, Debug)]
pub(crate) struct PhoneSent {
    pub(crate) id: String,
    pub(crate) to: Place,
    pub(crate) text: String,
}

#[derive(Debug, Default)]
pub(super) struct Inboxes {
    phones: HashMap<Number, Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<PhoneMessage>,
    receipts: VecDeque<PhoneReceipt>,
    sent: VecDeque<PhoneSent>,
}

impl World {
    /// The messages that the phone of `number` got and could read, oldest first; the last 1000.
    #[must_use]
    pub fn messages(&self, number: Number) -> Vec<PhoneMessage> {
        let inbox = self.inboxes.phones.get(&number);
        inbox.map_or_else(Vec::new, |inbox| inbox.messages.iter().cloned().collect())
    }

    /// The receipts that the phone of `number` got for what it sent, oldest first; the last 1000.
    #[must_use]
    pub fn receipts(&self, number: Number) -> Vec<PhoneReceipt> {
        let inbox = self.inboxes.phones.get(&number);
        inbox.map_or_else(Vec::new, |inbox| inbox.receipts.iter().cloned().collect())
    }

    pub(crate) fn phone_read(&mut self, number: Number, message: PhoneMessage) {
        self.keep(number, |inbox| push(&mut inbox.messages, message));
    }

    pub(crate) fn phone_got(&mut self, number: Number, receipt: PhoneReceipt) {
        self.keep(number, |inbox| push(&mut inbox.receipts, receipt));
    }

    pub(crate) fn phone_sent(&mut self, number: Number, sent: PhoneSent) {
        self.keep(number, |inbox| push(&mut inbox.sent, sent));
    }

    /// What the phone of `number` sent under this id.
    pub(crate) fn sent_by_phone(&self, number: Number, id: &str) -> Option<PhoneSent> {
        let inbox = self.inboxes.phones.get(&number)?;
        inbox.sent.iter().find(|sent| sent.id == id).cloned()
    }

    fn keep(&mut self, number: Number, keep: impl FnOnce(&mut Inbox)) {
        if self.inboxes.phones.len() < MAX_PHONES || self.inboxes.phones.contains_key(&number) {
            keep(self.inboxes.phones.entry(number).or_default());
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= MAX_MESSAGES {
        queue.pop_front();
    }
    queue.push_back(item);
}
