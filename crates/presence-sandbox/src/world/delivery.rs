//! What reaches which device: chat states and presences those who are there, messages also those who are not.

use std::collections::VecDeque;
use std::time::Duration;

use super::connection::Connection;
use super::{ConnectionId, Device, DeviceJid, Effect, Number, Place, State, User, World};

/// How many messages wait for a device that is away. When there are more, the oldest is lost.
const MAX_WAITING: usize = 1000;

/// What the server sends a device of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    ChatState(ChatStateOf),
    /// Whether an account is available, for those who subscribed to it.
    Presence {
        of: User,
        available: bool,
        /// When it last was, if it ever was: time since the sandbox started.
        last: Option<Duration>,
    },
    Message(Message),
    Receipt(Receipt),
    /// The account's own linked devices, when they have changed.
    OwnDevices {
        of: User,
        ids: Vec<u16>,
    },
    /// Few one-time keys are left.
    FewKeys {
        left: usize,
    },
}

/// Who shows what, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChatStateOf {
    pub(crate) from: User,
    /// `None` in a chat of two.
    pub(crate) group: Option<Place>,
    /// `None` is paused.
    pub(crate) state: Option<State>,
}

/// A message on its way to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// `text` or another of WhatsApp's kinds.
    pub(crate) kind: String,
    pub(crate) from: DeviceJid,
    pub(crate) group: Option<Place>,
    /// Whom it was for, when it comes from another device of the own account.
    pub(crate) recipient: Option<User>,
    /// The other name of whom it was for.
    pub(crate) recipient_alias: Option<User>,
    /// The other name of the sender's account, when it has one.
    pub(crate) alias: Option<User>,
    pub(crate) category: Option<String>,
    pub(crate) sealed: Vec<Sealed>,
    /// The phone's word for the sending device, with the first message of a session.
    pub(crate) device_identity: Option<Vec<u8>>,
    /// When it was sent: time since the sandbox started.
    pub(crate) at: Duration,
    /// Whether it waited for the device.
    pub(crate) offline: bool,
}

/// An encrypted content: `<enc>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// `pkmsg`, `msg` or `skmsg`.
    pub(crate) kind: String,
    pub(crate) bytes: Vec<u8>,
}

/// That a device got messages, or that its user read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) id: String,
    /// `None` says that it was delivered.
    pub(crate) kind: Option<String>,
    pub(crate) from: DeviceJid,
    pub(crate) group: Option<Place>,
    /// Further messages it is about.
    pub(crate) more: Vec<String>,
    /// How often decryption was tried, and with which registration, for a retry.
    pub(crate) retry: Option<Retry>,
    pub(crate) at: Duration,
}

/// What a device that could not decrypt a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) count: u32,
    pub(crate) registration: Vec<u8>,
}

/// Messages that a device has not acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Mailbox {
    waiting: VecDeque<Message>,
}

/// How many people's presence one connection can subscribe to.
const MAX_SUBSCRIBED: usize = 10_000;

impl Mailbox {
    fn put(&mut self, message: Message) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message);
    }

    /// The device has it, whatever it made of it.
    pub(super) fn acknowledge(&mut self, id: &str) {
        self.waiting.retain(|message| message.id != id);
    }
}

impl World {
    /// Tells the devices of those concerned what `from` shows in `place`.
    pub(super) fn deliver_chat_state(&mut self, place: Place, from: Number, state: Option<State>) {
        let (group, readers) = match place {
            Place::Phone(reader) => (None, vec![reader]),
            Place::Group(..) => {
                let group = self.groups.get(place);
                let members = group.map(|group| group.members.iter().copied().collect());
                (Some(place), members.unwrap_or_default())
            }
        };
        for reader in readers.into_iter().filter(|reader| *reader != from) {
            let push = Push::ChatState(ChatStateOf {
                from: self.name_for(reader, from),
                group,
                state,
            });
            // WhatsApp tells only devices that said they are available.
            self.push_to(reader, &push, |connection| connection.available);
        }
    }

    /// `connection` subscribes to the presence of `of`, and is told it as it is; or does not want it any more.
    pub(super) fn subscribe(&mut self, connection: ConnectionId, of: Number, on: bool) {
        let Some(subscriber) = self.connections.get_mut(connection) else {
            return;
        };
        let Some(device) = subscriber.device else { return };
        if !on {
            subscriber.subscribed.remove(&of);
            return;
        }
        if subscriber.subscribed.len() >= MAX_SUBSCRIBED {
            return;
        }
        subscriber.subscribed.insert(of);
        let push = self.presence_for(device.number, of);
        self.effects.push_back(Effect::Push(connection, push));
    }

    /// Tells those who subscribed that the availability of `of` has changed.
    pub(super) fn deliver_presence(&mut self, of: Number) {
        let subscribers: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.subscribed.contains(&of))
            .filter_map(|(id, connection)| Some((id, connection.device?.number)))
            .collect();
        for (id, reader) in subscribers {
            let push = self.presence_for(reader, of);
            self.effects.push_back(Effect::Push(id, push));
        }
    }

    /// Passes a message to one device: at once, or when it comes.
    pub(crate) fn deliver_message(&mut self, to: Device, message: Message) {
        let Some(mailbox) = self.accounts.mailbox(to) else {
            return;
        };
        mailbox.put(message.clone());
        if let Some(id) = self.connections.of_device(to)
            && self
                .connections
                .get(id)
                .is_some_and(|connection| connection.active)
        {
            self.effects.push_back(Effect::Push(id, Push::Message(message)));
        }
    }

    /// What waited for `device`, oldest first. It is kept until the device acknowledges it.
    pub(super) fn waiting_for(&mut self, device: Device) -> Vec<Message> {
        let mailbox = self.accounts.mailbox(device);
        let waiting = mailbox.map(|mailbox| mailbox.waiting.iter().cloned().collect());
        let mut waiting: Vec<Message> = waiting.unwrap_or_default();
        for message in &mut waiting {
            message.offline = true;
        }
        waiting
    }

    /// Pushes to each connection of `number` that is active and that `suits`.
    pub(super) fn push_to(&mut self, number: Number, push: &Push, suits: impl Fn(&Connection) -> bool) {
        for id in self.connections.of(number) {
            let reached = self
                .connections
                .get(*id)
                .is_some_and(|connection| connection.active && suits(connection));
            if reached {
                self.effects.push_back(Effect::Push(*id, push.clone()));
            }
        }
    }

    /// The other name of an account, told along with the one that is used.
    pub(crate) fn alias_of(&self, user: User) -> Option<User> {
        match user {
            User::Number(number) => self.lid_of(number).map(User::Lid),
            User::Lid(lid) => self.number_of(lid).map(User::Number),
        }
    }

    fn presence_for(&self, reader: Number, of: Number) -> Push {
        Push::Presence {
            of: self.name_for(reader, of),
            available: self.is_available(of),
            last: self.accounts.last_available(of),
        }
    }
}
