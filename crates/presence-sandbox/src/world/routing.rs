//! The way of messages and receipts from a device to phones and other devices.

use std::collections::BTreeSet;
use std::time::Duration;

use super::delivery::{Message, Push, Receipt};
use super::request::{ForPhone, Sent, SentReceipt};
use super::{Address, Device, DeviceJid, Number, PhoneReceipt, Place, User, World};

/// Why a phone could not send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Nobody has this number or LID.
    #[error("not on WhatsApp, or another spelling of a number that is")]
    NotOnWhatsApp,
    /// Nobody set this group up.
    #[error("no such group")]
    NoSuchGroup,
    /// The phone is not in the group.
    #[error("the phone is not in this group")]
    NotAMember,
}

impl World {
    /// Passes a message on to the devices that it was encrypted for. What is for phones is returned.
    pub(super) fn route_message(
        &mut self,
        now: Duration,
        from: Device,
        message: Sent,
    ) -> Vec<(Number, ForPhone)> {
        let mut phones = Vec::new();
        let mut reached = BTreeSet::new();
        let group = match message.to {
            Address::Group(place) => Some(place),
            _ => None,
        };
        for (jid, own) in &message.devices {
            let Some(number) = self.number_of_user(jid.user) else {
                continue;
            };
            let to = Device { number, id: jid.id };
            reached.insert(to);
            let sealed = [own.clone()].into_iter().chain(message.shared.clone());
            let passed = Message {
                sealed: sealed.collect(),
                ..self.passed_on(now, from, number, &message)
            };
            self.pass_on(to, passed, &mut phones);
        }
        if let (Some(place), Some(shared)) = (group, &message.shared) {
            let members = self.groups.get(place).map(|group| group.members.clone());
            for number in members.unwrap_or_default() {
                let ids = [0].into_iter().chain(self.accounts.device_ids(number));
                for to in ids.map(|id| Device { number, id }) {
                    if to != from && !reached.contains(&to) {
                        let passed = Message {
                            sealed: vec![shared.clone()],
                            ..self.passed_on(now, from, number, &message)
                        };
                        self.pass_on(to, passed, &mut phones);
                    }
                }
            }
        }
        phones
    }

    /// Passes a receipt on to the device whose message it is about. What is for a phone is returned.
    pub(super) fn route_receipt(
        &mut self,
        now: Duration,
        from: Device,
        receipt: SentReceipt,
    ) -> Option<(Number, ForPhone)> {
        if let Some(mailbox) = self.accounts.mailbox(from) {
            mailbox.acknowledge(&receipt.id);
            for id in &receipt.more {
                mailbox.acknowledge(id);
            }
        }
        let to = receipt.to?;
        let number = self.number_of_user(to.user)?;
        let passed = Receipt {
            id: receipt.id,
            kind: receipt.kind,
            from: DeviceJid {
                user: self.name_for(number, from.number),
                id: from.id,
            },
            group: receipt.group,
            more: receipt.more,
            retry: receipt.retry,
            at: now,
        };
        // A retry is between two devices; the others are told to all devices of the sender.
        let all = passed.retry.is_none();
        let push = Push::Receipt(passed.clone());
        self.push_to(number, &push, |connection| {
            connection.device != Some(from)
                && (all || connection.device.is_some_and(|device| device.id == to.id))
        });
        (all || to.id == 0).then_some((number, ForPhone::Receipt(passed)))
    }

    /// A receipt from the phone of `from`, for the device or phone whose message it got; all devices of that account
    /// hear of it, unless it asks that one to repeat the message.
    pub(crate) fn deliver_receipt(&mut self, to: Device, from: Number, mut receipt: Receipt) {
        let all = receipt.retry.is_none();
        receipt.from.user = self.name_for(to.number, from);
        if to.id == 0 {
            let got = PhoneReceipt {
                id: receipt.id.clone(),
                from,
                device: receipt.from.id,
                kind: receipt.kind.clone().unwrap_or_else(|| "delivered".to_owned()),
                at: receipt.at,
            };
            self.phone_got(to.number, got);
        }
        self.push_to(to.number, &Push::Receipt(receipt), |connection| {
            all || connection.device == Some(to)
        });
    }

    fn pass_on(&mut self, to: Device, message: Message, phones: &mut Vec<(Number, ForPhone)>) {
        if to.id == 0 {
            phones.push((to.number, ForPhone::Message(message)));
        } else {
            self.deliver_message(to, message);
        }
    }

    /// The message as a device of `reader` is told of it, without its contents.
    fn passed_on(&self, now: Duration, from: Device, reader: Number, message: &Sent) -> Message {
        let user = self.name_for(reader, from.number);
        let recipient = message.to.user().and_then(|user| self.number_of_user(user));
        let recipient = recipient
            .filter(|_| reader == from.number)
            .map(|recipient| self.name_for(reader, recipient));
        Message {
            id: message.id.clone(),
            kind: message.kind.clone(),
            from: DeviceJid { user, id: from.id },
            group: match message.to {
                Address::Group(place) => Some(place),
                _ => None,
            },
            recipient,
            recipient_alias: recipient.and_then(|recipient| self.alias_of(recipient)),
            alias: self.alias_of(user),
            category: message.category.clone(),
            sealed: Vec::new(),
            device_identity: message.device_identity.clone(),
            at: now,
            offline: false,
        }
    }

    /// The devices to which a phone sends a message: those of the recipient, or of all in the group, and its
    /// own, without itself; each under the name that the sender uses.
    pub(crate) fn recipients(&self, from: Number, to: Place) -> Result<Vec<(Device, User)>, SendError> {
        let mut numbers: BTreeSet<Number> = match to {
            Place::Phone(to) if self.numbers.canonical(to) == Some(to) => [to].into(),
            Place::Phone(_) => return Err(SendError::NotOnWhatsApp),
            Place::Group(..) => {
                let group = self.groups.get(to).ok_or(SendError::NoSuchGroup)?;
                group.members.clone()
            }
        };
        if matches!(to, Place::Group(..)) && !numbers.contains(&from) {
            return Err(SendError::NotAMember);
        }
        numbers.insert(from);
        let devices = numbers.into_iter().flat_map(|number| {
            let ids = [0].into_iter().chain(self.accounts.device_ids(number));
            ids.map(move |id| Device { number, id })
        });
        let others = devices.filter(|device| *device != Device { number: from, id: 0 });
        Ok(others
            .map(|device| (device, self.name_for(from, device.number)))
            .collect())
    }
}
