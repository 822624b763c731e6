//! What a client may ask of the server, and what it may be answered: the vocabulary.

use std::time::Duration;

use super::fault::Answer;
use super::{
    Bundle, CompanionFinish, DeviceJid, Digest, Farewell, Group, Lid, Message, Number, Place, Push, Receipt,
    Retry, Sealed, SignedKey, State, Upload, User,
};

/// A client's stanza, as far as the sandbox understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// `<chatstate>`; `None` is `<paused/>`.
    ChatState {
        id: Option<String>,
        to: Address,
        jid: Option<String>,
        state: Option<State>,
    },
    /// `<presence>` of the client itself.
    Presence { available: bool },
    /// `<presence type="subscribe">`, or `unsubscribe`.
    Subscribe { to: Address, on: bool },
    /// A message for others.
    Message(Sent),
    /// What became of somebody's message.
    Receipt(SentReceipt),
    /// A message or another stanza of the server's was taken.
    Taken { id: String },
    /// An `<iq>` that waits for an answer.
    Ask { id: String, asked: Asked },
    /// The answer to `pair-success`: the device signed.
    PairSigned { device_identity: Vec<u8> },
    /// The answer to `pair-success`: the device refused.
    PairRefused(String),
    /// Anything else.
    Other,
}

/// Whom a stanza is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Number(Number),
    Lid(Lid),
    Group(Place),
    /// Nobody the sandbox knows.
    Nowhere,
}

impl Address {
    /// The account it names, if it is one.
    pub(crate) fn user(self) -> Option<User> {
        match self {
            Self::Number(number) => Some(User::Number(number)),
            Self::Lid(lid) => Some(User::Lid(lid)),
            Self::Group(_) | Self::Nowhere => None,
        }
    }
}

/// A message as its sender wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) to: Address,
    /// The address as it was written, for the acknowledgement.
    pub(crate) jid: Option<String>,
    pub(crate) kind: String,
    pub(crate) category: Option<String>,
    /// For each device what was encrypted for it alone.
    pub(crate) devices: Vec<(DeviceJid, Sealed)>,
    /// What was encrypted for all of a group.
    pub(crate) shared: Option<Sealed>,
    pub(crate) device_identity: Option<Vec<u8>>,
}

/// A receipt as its sender wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentReceipt {
    pub(crate) id: String,
    /// To whose device it goes; in a group, the participant.
    pub(crate) to: Option<DeviceJid>,
    pub(crate) group: Option<Place>,
    /// The address as it was written, for the acknowledgement.
    pub(crate) jid: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) more: Vec<String>,
    pub(crate) retry: Option<Retry>,
}

/// What an `<iq>` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Ping,
    Passive {
        active: bool,
    },
    /// `None` when it makes no sense.
    PreKeys(Option<Upload>),
    /// A new signed pre-key; `None` when it makes no sense.
    Rotate(Option<SignedKey>),
    PreKeyCount,
    Digest,
    /// The keys of others' devices.
    KeysOf(Vec<DeviceJid>),
    Props,
    Blocklist,
    Privacy,
    Usync {
        users: Vec<UsyncQuestion>,
        contact: bool,
        lid: bool,
        devices: bool,
    },
    /// A look-up of more people than one query may ask about.
    TooMany,
    /// Each with the version that the client has.
    AppState {
        collections: Vec<(String, u64)>,
    },
    /// One group, or all that the account is in.
    Groups(Option<Place>),
    Logout,
    /// A device asks for a link code for `number`.
    LinkCode {
        number: Number,
        wrapped_ephemeral: Box<[u8; 80]>,
    },
    LinkFinish(CompanionFinish),
    Other,
}

/// Whom a usync query asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsyncQuestion {
    pub(crate) user: User,
    /// The number as it was written, when it was asked for by `<contact>`: the answer repeats it.
    pub(crate) contact: Option<String>,
}

/// What a usync query learns about one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsyncAnswer {
    /// Whom it is about: under the canonical number when there is one.
    pub(crate) user: User,
    /// The number as it was asked for.
    pub(crate) contact: Option<String>,
    /// The phone number behind a LID that was asked about.
    pub(crate) number: Option<Number>,
    /// The number it really is; `None` when it is not on WhatsApp.
    pub(crate) owner: Option<Number>,
    pub(crate) lid: Option<Lid>,
    /// The linked devices; the phone, 0, is not among them.
    pub(crate) devices: Vec<u16>,
}

/// The keys of a device that was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeysOf {
    /// A phone's keys follow from its number; `one_time` is the one to give out.
    Phone { number: Number, one_time: u32 },
    Device {
        bundle: Box<Bundle>,
        device_identity: Vec<u8>,
    },
    /// There is no such device, or it has no keys here.
    Unknown,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A result without content.
    Done {
        id: String,
    },
    /// Whether the account's chats have moved to LIDs is one of them.
    Props {
        id: String,
        lid_migrated: bool,
    },
    Blocklist {
        id: String,
    },
    Privacy {
        id: String,
    },
    PreKeyCount {
        id: String,
        left: usize,
    },
    Digest {
        id: String,
        digest: Box<Digest>,
    },
    Keys {
        id: String,
        keys: Vec<(DeviceJid, KeysOf)>,
    },
    /// Which protocols were asked for decides what is told about each user.
    Usync {
        id: String,
        users: Vec<UsyncAnswer>,
        contact: bool,
        lid: bool,
        devices: bool,
    },
    AppState {
        id: String,
        collections: Vec<(String, u64)>,
        /// Whose state it is; `None` when it has none.
        of: Option<Number>,
    },
    /// One group, or the list of several.
    Groups {
        id: String,
        groups: Vec<(Place, Group)>,
        list: bool,
    },
    LinkCode {
        id: String,
        reference: String,
    },
    Error {
        id: String,
        code: u16,
        text: String,
    },
    Ack {
        class: &'static str,
        id: String,
        to: Option<String>,
        kind: Option<String>,
    },
    /// "That was not taken."
    Nack {
        class: &'static str,
        id: Option<String>,
        to: Option<String>,
        code: u16,
    },
    /// Something that waited for the device.
    Waited(Box<Push>),
    /// "That was all that came while you were offline."
    Offline {
        count: usize,
    },
}

/// What happens to an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Treatment {
    #[default]
    Give,
    Withhold,
    Delay(Duration),
    Reject {
        code: u16,
        text: String,
    },
}

/// What follows from a stanza for the connection it came on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reaction {
    /// What to answer, each after how long.
    pub(crate) replies: Vec<(Duration, Reply)>,
    /// What reaches phones, which have their cryptography elsewhere.
    pub(crate) phones: Vec<(Number, ForPhone)>,
    /// How the connection ends, after the replies that are due at once.
    pub(crate) farewell: Option<Farewell>,
}

/// What reaches a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ForPhone {
    Message(Message),
    Receipt(Receipt),
    /// A device that can be written to now wants the key to the account's app state.
    KeyWanted {
        device: u16,
    },
}

impl Asked {
    pub(super) fn answer(&self) -> Answer {
        match self {
            Self::Ping => Answer::Ping,
            Self::Passive { .. } => Answer::Passive,
            Self::PreKeys(_) | Self::Rotate(_) => Answer::PreKeys,
            Self::PreKeyCount => Answer::PreKeyCount,
            Self::Digest => Answer::Digest,
            Self::KeysOf(_) => Answer::Keys,
            Self::Props => Answer::Props,
            Self::Blocklist => Answer::Blocklist,
            Self::Privacy => Answer::Privacy,
            Self::Usync { .. } | Self::TooMany => Answer::Usync,
            Self::AppState { .. } => Answer::AppState,
            Self::Groups(_) => Answer::Groups,
            Self::Logout => Answer::Logout,
            Self::LinkCode { .. } => Answer::LinkCode,
            Self::LinkFinish(_) => Answer::LinkFinish,
            Self::Other => Answer::Other,
        }
    }
}

impl Reply {
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Done { id }
            | Self::Props { id, .. }
            | Self::Blocklist { id }
            | Self::Privacy { id }
            | Self::PreKeyCount { id, .. }
            | Self::Digest { id, .. }
            | Self::Keys { id, .. }
            | Self::Usync { id, .. }
            | Self::AppState { id, .. }
            | Self::Groups { id, .. }
            | Self::LinkCode { id, .. }
            | Self::Error { id, .. } => Some(id),
            // None answers a query, so none can be refused.
            Self::Ack { .. } | Self::Nack { .. } | Self::Waited(_) | Self::Offline { .. } => None,
        }
    }

    pub(super) fn error(id: String, code: u16, text: &str) -> Self {
        Self::Error {
            id,
            code,
            text: text.to_owned(),
        }
    }
}
