//! What the server does about a client's stanza.

use std::time::Duration;

use super::connection::Connection;
use super::fault::{Answer, Strike};
use super::keys::{InvalidKeys, Keys};
use super::request::Reaction;
use super::{
    Address, Asked, ConnectionId, Device, Farewell, ForPhone, KeysOf, Number, Place, Push, Refused, Reply,
    Request, Text, Treatment, Upload, World,
};

/// When a device has fewer one-time keys than this, it is told.
const FEW_KEYS: usize = 5;

impl World {
    /// A stanza came. `text` is what the journal shows of it.
    pub(crate) fn receive(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        text: Text,
        request: Request,
    ) -> Reaction {
        let Some(sender) = self.connections.get(connection) else {
            return Reaction::default();
        };
        let device = sender.device;
        let from = device.map(|device| device.number);
        let refused = self.refusal(now, connection, sender, &request);
        self.journal.write(now, from, text, refused);

        let mut reaction = Reaction::default();
        match (request, refused) {
            (Request::Ask { id, asked }, refused) => {
                self.answer(now, connection, id, asked, refused, &mut reaction);
            }
            (Request::PairSigned { .. }, Some(_)) => {
                self.pair_refused(connection, "it did not sign what it confirmed".to_owned());
            }
            (request, Some(refused)) => nack(request, refused, &mut reaction),
            (request, None) => self.carry_out(now, connection, device, request, &mut reaction),
        }
        match self.faults.on_stanza(from) {
            Some(Strike::Dismiss(farewell)) => reaction.farewell = Some(farewell),
            Some(Strike::Stall) => self.stall(connection),
            None => {}
        }
        reaction
    }

    fn carry_out(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        device: Option<Device>,
        request: Request,
        reaction: &mut Reaction,
    ) {
        let from = device.map(|device| device.number);
        match request {
            Request::ChatState { to, state, .. } => {
                if let (Some(from), Some(place)) = (from, self.place(to)) {
                    match state {
                        Some(state) => self.screens.show(now, place, from, state),
                        None => self.screens.pause(now, place, from),
                    }
                    self.deliver_chat_state(place, from, state);
                }
            }
            Request::Presence { available } => self.set_available(now, connection, available),
            Request::Subscribe { to, on } => {
                if let Some(of) = to.user().and_then(|user| self.number_of_user(user)) {
                    self.subscribe(connection, of, on);
                }
            }
            Request::Message(message) => {
                let treatment = self.faults.treatment(Answer::Ack, from);
                let ack = Reply::Ack {
                    class: "message",
                    id: message.id.clone(),
                    to: message.jid.clone(),
                    kind: None,
                };
                reply(reaction, treatment, ack);
                if let Some(device) = device {
                    reaction.phones.extend(self.route_message(now, device, message));
                }
            }
            Request::Receipt(receipt) => {
                let treatment = self.faults.treatment(Answer::Ack, from);
                let ack = Reply::Ack {
                    class: "receipt",
                    id: receipt.id.clone(),
                    to: receipt.jid.clone(),
                    kind: receipt.kind.clone(),
                };
                reply(reaction, treatment, ack);
                if let Some(device) = device {
                    reaction.phones.extend(self.route_receipt(now, device, receipt));
                }
            }
            Request::Taken { id } => {
                if let Some(mailbox) = device.and_then(|device| self.accounts.mailbox(device)) {
                    mailbox.acknowledge(&id);
                }
            }
            Request::PairSigned { device_identity } => self.pair_signed(now, connection, device_identity),
            Request::PairRefused(text) => self.pair_refused(connection, text),
            // An answer of its own takes care of the first.
            Request::Ask { .. } | Request::Other => {}
        }
    }

    fn answer(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        id: String,
        asked: Asked,
        refused: Option<Refused>,
        reaction: &mut Reaction,
    ) {
        let device = self.connections.get(connection).and_then(|c| c.device);
        let from = device.map(|device| device.number);
        let treatment = self.faults.treatment(asked.answer(), from);
        let rejected = matches!(treatment, Treatment::Reject { .. });
        let went_active = asked == Asked::Passive { active: true };
        if let (Asked::Passive { active }, Some(sender)) = (&asked, self.connections.get_mut(connection)) {
            sender.active = *active;
        }
        let answer = match asked {
            _ if refused.is_some() => Reply::error(id, 406, "not-acceptable"),
            Asked::Props => Reply::Props {
                id,
                lid_migrated: from.is_some_and(|from| self.is_lid_migrated(from)),
            },
            Asked::Blocklist => Reply::Blocklist { id },
            Asked::Privacy => Reply::Privacy { id },
            Asked::PreKeys(_) | Asked::Rotate(_) if rejected => Reply::Done { id },
            Asked::PreKeys(Some(upload)) => {
                let first = self.take_upload(device, upload);
                if let (true, Some(device)) = (first && self.settings.app_state, device) {
                    let wanted = ForPhone::KeyWanted { device: device.id };
                    reaction.phones.push((device.number, wanted));
                }
                Reply::Done { id }
            }
            Asked::Rotate(Some(signed)) => {
                let keys = device.and_then(|device| self.accounts.device_mut(device)?.keys.as_mut());
                match keys.map(|keys| keys.rotate(signed)) {
                    Some(Ok(())) => Reply::Done { id },
                    Some(Err(_)) | None => Reply::error(id, 406, "not-acceptable"),
                }
            }
            Asked::PreKeys(None) | Asked::Rotate(None) => Reply::error(id, 400, "bad-request"),
            Asked::PreKeyCount => {
                let keys = device.and_then(|device| self.accounts.device(device)?.keys.as_ref());
                let left = keys.map_or(0, Keys::left);
                Reply::PreKeyCount { id, left }
            }
            Asked::Digest => {
                let keys = device.and_then(|device| self.accounts.device(device)?.keys.as_ref());
                match keys.map(Keys::digest) {
                    Some(digest) => Reply::Digest {
                        id,
                        digest: Box::new(digest),
                    },
                    None => Reply::error(id, 404, "item-not-found"),
                }
            }
            Asked::KeysOf(devices) => {
                let keys = devices.into_iter().map(|jid| (jid, self.keys_of(jid)));
                Reply::Keys {
                    id,
                    keys: keys.collect(),
                }
            }
            Asked::Usync {
                users,
                contact,
                lid,
                devices,
            } => Reply::Usync {
                id,
                users: users.into_iter().map(|question| self.look_up(question)).collect(),
                contact,
                lid,
                devices,
            },
            Asked::TooMany => Reply::error(id, 400, "bad-request"),
            Asked::Groups(Some(place)) => match self.groups.get(place) {
                Some(group) => Reply::Groups {
                    id,
                    groups: vec![(place, group.clone())],
                    list: false,
                },
                None => Reply::error(id, 404, "item-not-found"),
            },
            Asked::Groups(None) => {
                let own = from.into_iter().flat_map(|from| self.groups.of(from));
                let mut groups: Vec<_> = own.map(|(place, group)| (place, group.clone())).collect();
                groups.sort_by_key(|(place, _)| *place);
                Reply::Groups {
                    id,
                    groups,
                    list: true,
                }
            }
            Asked::AppState { collections } => Reply::AppState {
                id,
                collections,
                of: from.filter(|_| self.settings.app_state),
            },
            Asked::LinkCode {
                number,
                wrapped_ephemeral,
            } if !rejected => {
                let reference = self.wait_for_link(now, connection, number, *wrapped_ephemeral);
                Reply::LinkCode { id, reference }
            }
            Asked::LinkFinish(finish) => {
                self.finish_link(connection, finish);
                Reply::Done { id }
            }
            Asked::Logout => {
                if let (Some(device), false) = (device, rejected) {
                    self.accounts.unlink(device);
                    self.devices_changed(device);
                    reaction.farewell = Some(Farewell::Conflict("device_removed"));
                }
                Reply::Done { id }
            }
            _ => Reply::Done { id },
        };
        reply(reaction, treatment, answer);
        if went_active {
            self.give_what_waited(device, reaction);
        }
    }

    /// What came while the device was away, then the end of that.
    fn give_what_waited(&mut self, device: Option<Device>, reaction: &mut Reaction) {
        let waited = device.map_or_else(Vec::new, |device| self.waiting_for(device));
        let count = waited.len();
        let pushes = waited
            .into_iter()
            .map(|message| Reply::Waited(Box::new(Push::Message(message))));
        let from = device.map(|device| device.number);
        let treatment = self.faults.treatment(Answer::Offline, from);
        for answer in pushes.chain([Reply::Offline { count }]) {
            reply(reaction, treatment.clone(), answer);
        }
    }

    /// Returns whether it is the device's first.
    fn take_upload(&mut self, device: Option<Device>, upload: Upload) -> bool {
        let Some(linked) = device.and_then(|device| self.accounts.device_mut(device)) else {
            return false;
        };
        let first = linked.keys.is_none();
        // It was found good before.
        if let Ok(keys) = Keys::upload(linked.keys.clone(), upload) {
            linked.keys = Some(keys);
        }
        first
    }

    /// The keys of a device, of which a one-time key is used up.
    pub(crate) fn keys_of(&mut self, jid: super::DeviceJid) -> KeysOf {
        let Some(number) = self.number_of_user(jid.user) else {
            return KeysOf::Unknown;
        };
        if jid.id == 0 {
            return match self.accounts.next_phone_key(number) {
                Some(one_time) => KeysOf::Phone { number, one_time },
                None => KeysOf::Unknown,
            };
        }
        let device = Device { number, id: jid.id };
        let Some(linked) = self.accounts.device_mut(device) else {
            return KeysOf::Unknown;
        };
        let Some(keys) = &mut linked.keys else {
            return KeysOf::Unknown;
        };
        let bundle = Box::new(keys.take());
        let left = keys.left();
        let device_identity = linked.device_identity.clone();
        if left < FEW_KEYS {
            let push = Push::FewKeys { left };
            self.push_to(number, &push, |connection| connection.device == Some(device));
        }
        KeysOf::Device {
            bundle,
            device_identity,
        }
    }

    /// Why a stanza has no effect, if it has none.
    fn refusal(
        &self,
        now: Duration,
        connection: ConnectionId,
        sender: &Connection,
        request: &Request,
    ) -> Option<Refused> {
        let to = match request {
            Request::ChatState { to, .. } => Some(*to),
            Request::Message(message) => Some(message.to),
            Request::Presence { .. } => None,
            Request::PairSigned { device_identity } => {
                let confirmed = self.is_confirmed(connection, device_identity);
                return (!confirmed).then_some(Refused::WrongSignature);
            }
            Request::Ask {
                asked: Asked::PreKeys(Some(upload)),
                ..
            } => return self.refusal_of_upload(sender.device, upload),
            _ => return None,
        };
        let logged_in = sender.welcomed_at.is_some_and(|welcomed| welcomed <= now);
        match sender.device {
            Some(device) if logged_in && sender.active => {
                to.and_then(|to| self.refusal_of_address(device.number, to))
            }
            Some(_) if logged_in => Some(Refused::Passive),
            _ => Some(Refused::NotLoggedIn),
        }
    }

    fn refusal_of_upload(&self, device: Option<Device>, upload: &Upload) -> Option<Refused> {
        let Some(linked) = device.and_then(|device| self.accounts.device(device)) else {
            return Some(Refused::NotLoggedIn);
        };
        if linked.identity != upload.identity {
            return Some(Refused::WrongIdentity);
        }
        match Keys::upload(linked.keys.clone(), upload.clone()) {
            Ok(_) => None,
            Err(InvalidKeys::Signature) => Some(Refused::WrongSignature),
            Err(InvalidKeys::Used) => Some(Refused::PreKeyUsed),
        }
    }

    /// WhatsApp takes each person under one address only: the LID from accounts whose chats have moved, as far
    /// as the person has one, and the number from the others. The account itself is taken under both.
    fn refusal_of_address(&self, from: Number, to: Address) -> Option<Refused> {
        let moved = self.is_lid_migrated(from);
        if to.user().and_then(|user| self.number_of_user(user)) == Some(from) {
            return None;
        }
        match to {
            Address::Lid(_) if !moved => Some(Refused::LidOfUnmoved),
            _ if self.place(to).is_none() => Some(Refused::NoRecipient),
            Address::Number(number) if moved && self.lid_of(number).is_some() => Some(Refused::NumberOfMoved),
            _ => None,
        }
    }

    /// Where a chat state shows. One to a number that is not the canonical one goes nowhere, as it does on
    /// WhatsApp.
    fn place(&self, to: Address) -> Option<Place> {
        match to {
            Address::Group(place) => Some(place),
            other => self.number_of_user(other.user()?).map(Place::Phone),
        }
    }
}

/// What a refused stanza is answered, if anything: the others are dropped without a word.
fn nack(request: Request, refused: Refused, reaction: &mut Reaction) {
    if refused != Refused::LidOfUnmoved {
        return;
    }
    let (class, id, to) = match request {
        Request::ChatState { id, jid, .. } => ("chatstate", id, jid),
        Request::Message(message) => ("message", Some(message.id), message.jid),
        _ => return,
    };
    let nack = Reply::Nack {
        class,
        id,
        to,
        code: 400,
    };
    reaction.replies.push((Duration::ZERO, nack));
}

fn reply(reaction: &mut Reaction, treatment: Treatment, answer: Reply) {
    match (treatment, answer.id()) {
        (Treatment::Give, _) => reaction.replies.push((Duration::ZERO, answer)),
        (Treatment::Delay(by), _) => reaction.replies.push((by, answer)),
        (Treatment::Reject { code, text }, Some(id)) => {
            let error = Reply::error(id.to_owned(), code, &text);
            reaction.replies.push((Duration::ZERO, error));
        }
        (Treatment::Withhold | Treatment::Reject { .. }, _) => {}
    }
}
