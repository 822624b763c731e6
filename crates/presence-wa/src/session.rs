//! What the rest of the service asks of a WhatsApp session, and what a session tells it.
//!
//! A [`Session`] is one connection: it is opened, may pair, comes online, and ends once, with a reason. It
//! never reconnects by itself. Opening the next one is the instance's decision, taken from [`End`], so that
//! the whole policy lives in one place.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use presence_core::{Availability, ChatJid, ChatState, InstanceId, PhoneNumber};
use tokio::sync::{mpsc, watch};

use crate::pairing::{LinkCode, PairError, PairingUpdate};
use crate::proxy::ProxyFault;

/// Opens sessions and keeps their device keys.
///
/// At most one session of an instance may be open at a time: WhatsApp ends the older of two.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Every instance that is paired, and with whom: what a start resumes. Read once, for all of them.
    ///
    /// # Errors
    /// [`KeysError`] when the device keys cannot be read.
    async fn paired(&self) -> Result<Vec<(InstanceId, Identity)>, KeysError>;

    /// Who `instance` is paired with, from its saved keys; `None` when it is not paired.
    ///
    /// # Errors
    /// [`KeysError`] when its keys cannot be read.
    async fn saved(&self, instance: InstanceId) -> Result<Option<Identity>, KeysError>;

    /// Starts a connection for `instance` and returns at once; the session's [`state`](Session::state) tells
    /// how far it is. A device without a saved pairing starts to pair by QR code.
    ///
    /// # Errors
    /// [`KeysError`] when the device's keys cannot be read or created. No failure of the network is reported
    /// here.
    async fn open(&self, instance: InstanceId) -> Result<Box<dyn Session>, KeysError>;

    /// Wipes every key of `instance`. Doing it again is no error.
    ///
    /// # Errors
    /// [`KeysError`] when they could not be wiped, or not all of them.
    async fn wipe(&self, instance: InstanceId) -> Result<(), KeysError>;

    /// Lets go of what is in memory of the keys of `instance`, of which no session is open: another process may
    /// have it from now on.
    async fn forget(&self, instance: InstanceId);

    /// Called when WhatsApp refused the client of `instance` as too old ([`End::Outdated`]): looks the current
    /// client version up again, past any cache. `Ok(true)` when it differs from the one that was refused.
    ///
    /// # Errors
    /// [`VersionError`] when nobody could be asked.
    async fn refresh_version(&self, instance: InstanceId) -> Result<bool, VersionError>;
}

/// One connection to WhatsApp. Dropping it closes it in the background.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// Shows `state` in the chat `to`, written to that address as it is. `Ok` means that the stanza was handed
    /// to the socket: WhatsApp never acknowledges a chat state, so there is no later answer to wait for.
    ///
    /// It waits for nothing but the peer to read; the caller bounds it.
    ///
    /// # Errors
    /// [`SendError::Offline`] unless the session is [`SessionState::Online`].
    async fn send_chat_state(&self, to: &ChatJid, state: ChatState) -> Result<(), SendError>;

    /// Tells WhatsApp that this device is in use (`available`) or not. While available, the account's phone
    /// stays silent.
    ///
    /// # Errors
    /// As [`send_chat_state`](Self::send_chat_state); [`SendError::NoPushName`] when WhatsApp has not told
    /// the account's name yet, without which it takes no `available`.
    async fn set_availability(&self, availability: Availability) -> Result<(), SendError>;

    /// What this device has learnt of `person`, a number or a LID, without asking WhatsApp. It may wait for a
    /// disk: the caller bounds it.
    ///
    /// # Errors
    /// [`SendError::Client`] when the device's store cannot be read.
    async fn local_contact(&self, person: &ChatJid) -> Result<Contact, SendError>;

    /// Asks WhatsApp (usync) who has `number`; `None` when it knows no such number. May take a minute: the
    /// caller bounds it, and how often it is asked: WhatsApp bans for many.
    ///
    /// # Errors
    /// As [`send_chat_state`](Self::send_chat_state).
    async fn query_contact(&self, number: &PhoneNumber) -> Result<Option<Contact>, SendError>;

    /// Asks for a link code that the owner of `phone` types into the phone instead of scanning a QR code.
    /// Asked again for the same phone, it gives the same code, as long as there is time left to enter it;
    /// another phone's code becomes void.
    ///
    /// # Errors
    /// [`PairError`] when the session is paired already, or WhatsApp refuses.
    async fn request_link_code(&self, phone: &PhoneNumber) -> Result<LinkCode, PairError>;

    /// Whether it connects to WhatsApp without a proxy, as all sessions of the process do that have none: when one of
    /// them logs in, the others can.
    fn is_direct(&self) -> bool;

    /// How far the session is. The channel closes only after [`SessionState::Ended`] was seen in it.
    fn state(&self) -> watch::Receiver<SessionState>;

    /// The messages that other devices of the account send, from the login on: first those that were sent while
    /// this device was away, which are all told before the session says that it is
    /// [`Online`](SessionState::Online), unless WhatsApp takes too long to deliver them. When more wait here
    /// than it holds, the rest is dropped. Asked once; a second channel is empty and closed. Nobody is told
    /// when the channel is dropped.
    fn own_messages(&self) -> mpsc::Receiver<OwnMessage>;

    /// Unlinks this device from the account (best effort, bounded by `limit`) and ends the session. The keys
    /// stay until [`Connector::wipe`].
    async fn logout(&self, limit: Duration);

    /// Ends the session and returns when nothing of it runs any more, so that the device can be opened
    /// again. Doing it again is no error.
    async fn close(&self);
}

/// How far a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// Dialling, shaking hands, logging in.
    Connecting,
    /// Waiting for a phone to link this device.
    Pairing(PairingUpdate),
    /// A phone has linked this device, and WhatsApp is registering it: the connection stays until WhatsApp
    /// ends it. A login before that would be refused as one of an unlinked device.
    Linked,
    /// Logged in: a chat state sent now would be written.
    Online(Online),
    /// Over. Final.
    Ended(End),
}

/// That a device of the account has sent a message; nothing of the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnMessage {
    /// The chat it was sent in.
    pub chat: ChatJid,
    /// The other name of the person whose chat it is, where WhatsApp has told it: the LID for a number, the
    /// number for a LID.
    pub other_name: Option<ChatJid>,
}

/// What is known of a session that is online. Published anew whenever something of it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Online {
    /// Whose session it is.
    pub identity: Identity,
    /// WhatsApp has moved the account to LIDs: people are addressed by LID, and a stanza to a number whose
    /// LID exists is not shown. For an account that was not moved it is the other way round.
    pub moved_to_lids: bool,
    /// How often the client library told WhatsApp an availability of its own since the session came online.
    /// Each time, what it was told before does not hold any more.
    pub self_announced: u32,
}

/// Who a session is, as WhatsApp told it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `<digits>@s.whatsapp.net`, without the device part.
    pub jid: String,
    /// The account's name, once WhatsApp has told it.
    pub push_name: Option<String>,
}

/// The names of one person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// The number, in the spelling that WhatsApp uses.
    pub number: Option<ChatJid>,
    /// The LID.
    pub lid: Option<ChatJid>,
}

/// Why a session ended; what the instance decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// [`Session::close`] or [`Session::logout`] was called.
    Closed,
    /// The connection broke or was never made; the text is for the log.
    Lost(String),
    /// The instance has a proxy, and the connection was not made through it. It is made in no other way.
    ProxyFailed {
        /// What went wrong with it.
        fault: ProxyFault,
        /// For the log.
        cause: String,
    },
    /// A phone linked this device. Opening again logs in.
    Paired,
    /// WhatsApp asked for a new connection at once (stream error 515).
    Restart,
    /// No phone scanned the last QR code, or entered the link code, in time.
    PairingExpired,
    /// Pairing failed; the keys are useless.
    PairingFailed(String),
    /// The device is not linked, or the account is locked.
    LoggedOut {
        /// WhatsApp refused the login with a `<failure>`; otherwise it ended a session that was online, or
        /// offered a pairing to a device that was paired. A login soon after a pairing may be refused
        /// although the device is linked, see [`SessionState::Linked`].
        at_login: bool,
    },
    /// The same device connected elsewhere.
    Replaced,
    /// Banned for this long; `None` when WhatsApp did not say.
    Banned(Option<Duration>),
    /// WhatsApp no longer takes this client version.
    Outdated,
    /// WhatsApp refused the session with this failure or stream error code, `None` without one, and none of
    /// the above says what it means. Whether that is for good is the instance's decision.
    Rejected(Option<u16>),
}

/// A stanza that could not be written, or a question that could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session is not online.
    #[error("the session is not online")]
    Offline,
    /// The account's name is not known yet, so WhatsApp takes no `available`.
    #[error("the account's push name is not known yet")]
    NoPushName,
    /// The client failed.
    #[error("the WhatsApp client failed")]
    Client(#[source] Box<dyn Error + Send + Sync>),
}

/// Device keys that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("device keys{}: {doing}", of_instance(*instance))]
pub struct KeysError {
    /// Whose keys; `None` for those of all instances.
    pub instance: Option<InstanceId>,
    /// What was tried, for the log.
    pub doing: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

fn of_instance(instance: Option<InstanceId>) -> String {
    instance
        .map(|instance| format!(" of instance {instance}"))
        .unwrap_or_default()
}

/// The current client version could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("the current client version could not be looked up")]
pub struct VersionError(#[source] pub Box<dyn Error + Send + Sync>);
