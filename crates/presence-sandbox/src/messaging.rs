//! Phones send messages and read them: between the world, which knows who has which devices, and the
//! cryptography, which knows nothing of it.

use std::sync::PoisonError;

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

use crate::app_state::key_share;
use crate::hub::Hub;
use crate::phone::Phone;
use crate::signal::{Signal, SignalError};
use crate::world::{
    Device, DeviceJid, ForPhone, KeysOf, Message, Number, PhoneMessage, PhoneReceipt, PhoneSent, Place,
    Receipt, Retry, Sealed, SendError, User,
};

/// How often a message is encrypted anew for a device that cannot read it, as on WhatsApp.
const MAX_RETRIES: u32 = 5;

impl Hub {
    /// The owner of `from` sends a text. Returns the message's id and the number of devices it is on its way to.
    pub(crate) fn send_from_phone(
        &self,
        from: Number,
        to: Place,
        text: &str,
    ) -> Result<(String, usize), SendError> {
        let devices = self.look(|world| world.recipients(from, to))?;
        let id = format!("3EB0{:016X}", self.clock.stanza_id());
        let sent = PhoneSent {
            id: id.clone(),
            to,
            text: text.to_owned(),
        };
        self.change(|world, _| world.phone_sent(from, sent.clone()));
        let mut shared = None;
        if let Some(group) = to.group_id() {
            let sealed = self.signal().seal_for_group(from, &group, &conversation(text));
            match sealed {
                Ok(sealed) => shared = Some(sealed),
                Err(error) => tracing::warn!(%error, "a phone could not encrypt for a group"),
            }
        }
        let mut reached = 0;
        for (device, _) in devices {
            match self.send_to(from, device, &sent, shared.as_ref()) {
                Ok(()) => reached += 1,
                Err(error) => tracing::debug!(%error, "a phone could not encrypt for a device"),
            }
        }
        Ok((id, reached))
    }

    /// Something reaches the phone of `number`.
    pub(crate) fn phone_takes(&self, number: Number, what: ForPhone) {
        match what {
            ForPhone::Message(message) => self.phone_reads(number, message),
            ForPhone::Receipt(receipt) => self.phone_hears(number, receipt),
            ForPhone::KeyWanted { device } => {
                let device = Device { number, id: device };
                if let Err(error) = self.share_key(device) {
                    tracing::warn!(%error, "a phone could not share the key to the app state");
                }
            }
        }
    }

    /// The phone of a device's account shares the key to its app state with the device.
    fn share_key(&self, device: Device) -> Result<(), SignalError> {
        let number = device.number;
        self.ensure_session(number, device)?;
        let content = key_share(&Phone::of(number, &self.secret));
        let sealed = self.signal().seal(number, device, &content)?;
        let message = Message {
            id: format!("3EB0{:016X}", self.clock.stanza_id()),
            kind: "text".to_owned(),
            from: DeviceJid {
                user: User::Number(number),
                id: 0,
            },
            group: None,
            recipient: None,
            recipient_alias: None,
            alias: self.look(|world| world.alias_of(User::Number(number))),
            category: Some("peer".to_owned()),
            sealed: vec![sealed],
            device_identity: None,
            at: self.clock.now(),
            offline: false,
        };
        self.change(|world, _| world.deliver_message(device, message));
        Ok(())
    }

    fn ensure_session(&self, from: Number, to: Device) -> Result<(), SignalError> {
        if self.signal().has_session(from, to) {
            return Ok(());
        }
        let user = User::Number(to.number);
        let bundle = match self.change(|world, _| world.keys_of(DeviceJid { user, id: to.id })) {
            KeysOf::Phone { number, one_time } => Phone::of(number, &self.secret).bundle(one_time),
            KeysOf::Device { bundle, .. } => *bundle,
            KeysOf::Unknown => return Err(SignalError::NoKeys),
        };
        self.signal().begin(from, to, &bundle)
    }

    fn send_to(
        &self,
        from: Number,
        to: Device,
        sent: &PhoneSent,
        shared: Option<&(wa::Message, Sealed)>,
    ) -> Result<(), SignalError> {
        self.ensure_session(from, to)?;
        let (content, recipient) = match (sent.to, shared) {
            (Place::Group(..), Some((key, _))) => (key.clone(), None),
            (Place::Phone(recipient), _) if to.number == from && recipient != from => {
                (self.for_own(recipient, &sent.text), Some(recipient))
            }
            (Place::Phone(recipient), _) => (
                conversation(&sent.text),
                Some(recipient).filter(|_| to.number == from),
            ),
            (Place::Group(..), None) => return Err(SignalError::Kind),
        };
        let own = self.signal().seal(from, to, &content)?;
        let sealed = [own]
            .into_iter()
            .chain(shared.map(|(_, sealed)| sealed.clone()))
            .collect();
        let message = self.look(|world| {
            let user = world.name_for(to.number, from);
            let recipient = recipient.map(|recipient| world.name_for(to.number, recipient));
            Message {
                id: sent.id.clone(),
                kind: "text".to_owned(),
                from: DeviceJid { user, id: 0 },
                group: Some(sent.to).filter(|to| to.group_id().is_some()),
                recipient,
                recipient_alias: recipient.and_then(|recipient| world.alias_of(recipient)),
                alias: world.alias_of(user),
                category: None,
                sealed,
                device_identity: None,
                at: self.clock.now(),
                offline: false,
            }
        });
        if to.id == 0 {
            self.phone_reads(to.number, message);
        } else {
            self.change(|world, _| world.deliver_message(to, message));
        }
        Ok(())
    }

    fn phone_reads(&self, number: Number, message: Message) {
        let Some(sender) = self.look(|world| world.number_of_user(message.from.user)) else {
            return;
        };
        let from = Device {
            number: sender,
            id: message.from.id,
        };
        let group = message.group.and_then(Place::group_id);
        let mut content = None;
        for sealed in &message.sealed {
            match self.signal().open(number, from, group.as_deref(), sealed) {
                Ok(opened) => content = Some(opened),
                Err(error) => {
                    tracing::debug!(%error, "a phone could not read a message");
                    content = None;
                    break;
                }
            }
        }
        let receipt = |kind: Option<&str>, retry| Receipt {
            id: message.id.clone(),
            kind: kind.map(str::to_owned),
            from: DeviceJid {
                user: User::Number(number),
                id: 0,
            },
            group: message.group,
            more: Vec::new(),
            retry,
            at: self.clock.now(),
        };
        let Some(content) = content else {
            let registration = Phone::of(number, &self.secret).registration();
            let retry = Retry {
                count: 1,
                registration: registration.to_be_bytes().to_vec(),
            };
            let receipt = receipt(Some("retry"), Some(retry));
            return self.change(|world, _| world.deliver_receipt(from, number, receipt));
        };
        let (to, text) = self.text_of(content);
        let read = PhoneMessage {
            id: message.id.clone(),
            from: sender,
            device: from.id,
            group,
            to,
            text,
            at: self.clock.now(),
        };
        let receipt = receipt(Some("sender").filter(|_| sender == number), None);
        self.change(|world, _| {
            world.phone_read(number, read);
            world.deliver_receipt(from, number, receipt);
        });
    }

    fn phone_hears(&self, number: Number, receipt: Receipt) {
        let Some(sender) = self.look(|world| world.number_of_user(receipt.from.user)) else {
            return;
        };
        let device = Device {
            number: sender,
            id: receipt.from.id,
        };
        let kind = receipt.kind.clone().unwrap_or_else(|| "delivered".to_owned());
        self.change(|world, now| {
            for id in [&receipt.id].into_iter().chain(&receipt.more) {
                let got = PhoneReceipt {
                    id: id.clone(),
                    from: sender,
                    device: device.id,
                    kind: kind.clone(),
                    at: now,
                };
                world.phone_got(number, got);
            }
        });
        let Some(retry) = receipt.retry.filter(|retry| retry.count <= MAX_RETRIES) else {
            return;
        };
        let Some(sent) = self.look(|world| world.sent_by_phone(number, &receipt.id)) else {
            return;
        };
        tracing::debug!(retry.count, "a device could not read a phone's message");
        self.signal().forget(number, device);
        let mut shared = None;
        if let Some(group) = sent.to.group_id() {
            shared = self
                .signal()
                .seal_for_group(number, &group, &conversation(&sent.text))
                .ok();
        }
        if let Err(error) = self.send_to(number, device, &sent, shared.as_ref()) {
            tracing::debug!(%error, "a phone could not encrypt for a device again");
        }
    }

    /// What the account's own devices get of a message to somebody else.
    fn for_own(&self, recipient: Number, text: &str) -> wa::Message {
        let sent = wa::message::DeviceSentMessage {
            destination_jid: Some(format!("{recipient}@s.whatsapp.net")),
            message: MessageField::some(conversation(text)),
            ..Default::default()
        };
        wa::Message {
            device_sent_message: MessageField::some(sent),
            ..Default::default()
        }
    }

    /// The text of a message, and to whom it was sent when another device of the account sent it.
    fn text_of(&self, message: wa::Message) -> (Option<Number>, Option<String>) {
        let mut to = None;
        let mut message = message;
        if let Some(sent) = message.device_sent_message.into_option() {
            let jid = sent.destination_jid.unwrap_or_default();
            let user = jid.split(['@', ':']).next().unwrap_or_default();
            to = match jid.ends_with("@lid") {
                true => user
                    .parse()
                    .ok()
                    .and_then(|lid| self.look(|world| world.number_of_user(User::Lid(lid)))),
                false => user.parse().ok(),
            };
            message = sent.message.into_option().unwrap_or_default();
        }
        let text = message.conversation.or_else(|| {
            message
                .extended_text_message
                .into_option()
                .and_then(|text| text.text)
        });
        (to, text)
    }

    fn signal(&self) -> std::sync::MutexGuard<'_, Signal> {
        // Its stores are consistent between calls.
        self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn conversation(text: &str) -> wa::Message {
    wa::Message {
        conversation: Some(text.to_owned()),
        ..Default::default()
    }
}
