//! What the rest of the service asks of a WhatsApp session, and what a session tells it.
//!
//! A [`Session`] is one connection: it is opened, may pair, comes online, and ends once, with a reason. It
//! never reconnects by itself. Opening the next one is the fleet's decision, taken from [`End`], so that the
//! back-off policy lives in one place.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use presence_core::{Availability, ChatJid, ChatState, PhoneNumber};
use tokio::sync::watch;

use crate::pairing::{LinkCode, PairError, PairingUpdate};

/// The number under which an instance's device keys are kept. Positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub i32);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Opens sessions and keeps their device keys.
///
/// At most one session of a device may be open at a time: WhatsApp ends the older of two.
#[cfg_attr(any(test, feature = "mock"), mockall::automock(type Session = MockSession;))]
pub trait Connector: Send + Sync + 'static {
    /// What [`open`](Self::open) opens.
    type Session: Session;

    /// Starts a connection for `device` and returns at once; the session's [`state`](Session::state) tells
    /// how far it is. A device without a saved pairing starts to pair by QR code.
    ///
    /// # Errors
    /// [`OpenError`] when the device's keys cannot be read or created. No failure of the network is reported
    /// here.
    fn open(&self, device: DeviceId) -> impl Future<Output = Result<Self::Session, OpenError>> + Send;

    /// Who `device` is paired with, from its saved keys; `None` when it is not paired.
    fn saved(&self, device: DeviceId) -> impl Future<Output = Result<Option<Identity>, OpenError>> + Send;

    /// Wipes every key of `device`. Doing it again is no error.
    fn forget(&self, device: DeviceId) -> impl Future<Output = Result<(), OpenError>> + Send;

    /// Called when WhatsApp refused the client of `device` as too old ([`End::Outdated`]): looks the current
    /// client version up again, past any cache. `Ok(true)` when it differs from the one that was refused.
    ///
    /// # Errors
    /// [`VersionError`] when nobody could be asked.
    fn refresh_version(&self, device: DeviceId) -> impl Future<Output = Result<bool, VersionError>> + Send;
}

/// One connection to WhatsApp.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait Session: Send + Sync + 'static {
    /// Shows `state` in `chat`. `Ok` means that the stanza was handed to the socket: WhatsApp never
    /// acknowledges a chat state, so there is no later answer to wait for.
    ///
    /// It may take as long as the peer takes to read; the caller bounds it.
    ///
    /// # Errors
    /// [`SendError::Offline`] unless the session is [`SessionState::Online`].
    fn send_chat_state(
        &self,
        chat: &ChatJid,
        state: ChatState,
    ) -> impl Future<Output = Result<(), SendError>> + Send;

    /// Tells WhatsApp that this device is in use (`available`) or not. While available, the account's phone
    /// stays silent.
    ///
    /// # Errors
    /// As [`send_chat_state`](Self::send_chat_state); [`SendError::NoPushName`] when WhatsApp has not told
    /// the account's name yet, without which it takes no `available`.
    fn set_availability(
        &self,
        availability: Availability,
    ) -> impl Future<Output = Result<(), SendError>> + Send;

    /// Asks WhatsApp for the canonical chat of `number`; `None` when it knows none. May take a minute: the
    /// caller bounds it.
    ///
    /// # Errors
    /// As [`send_chat_state`](Self::send_chat_state).
    fn resolve(
        &self,
        number: &PhoneNumber,
    ) -> impl Future<Output = Result<Option<ChatJid>, SendError>> + Send;

    /// Asks for a link code that the owner of `phone` types into the phone instead of scanning a QR code.
    /// Asked again for the same phone, it gives the same code, as long as there is time left to enter it;
    /// another phone's code becomes void.
    ///
    /// # Errors
    /// [`PairError`] when the session is paired already, or WhatsApp refuses.
    fn request_link_code(
        &self,
        phone: &PhoneNumber,
    ) -> impl Future<Output = Result<LinkCode, PairError>> + Send;

    /// How far the session is. The channel closes only after [`SessionState::Ended`] was seen in it.
    fn state(&self) -> watch::Receiver<SessionState>;

    /// Unlinks this device from the account (best effort, bounded by `patience`) and ends the session. The
    /// keys stay until [`Connector::forget`].
    fn logout(&self, patience: Duration) -> impl Future<Output = ()> + Send;

    /// Ends the session and returns when nothing of it runs any more, so that the device can be opened
    /// again. Doing it again is no error.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// How far a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// Dialling, shaking hands, logging in.
    Connecting,
    /// Waiting for a phone to link this device.
    Pairing(PairingUpdate),
    /// Logged in: a chat state sent now would be written.
    Online(Identity),
    /// Over. Final.
    Ended(End),
}

/// Who a session is, as WhatsApp told it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `<digits>@s.whatsapp.net`, without the device part.
    pub jid: String,
    /// The account's name, once WhatsApp has told it.
    pub push_name: Option<String>,
}

/// Why a session ended; what the fleet decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// [`Session::close`] or [`Session::logout`] was called.
    Closed,
    /// The connection broke, was never made, or WhatsApp asked to come back later. Retried with back-off;
    /// the text is for the log.
    Lost(String),
    /// A phone linked this device. Opening again logs in.
    Paired,
    /// WhatsApp asked for a new connection at once (stream error 515).
    Restart,
    /// No phone scanned the last QR code, or entered the link code, in time.
    PairingExpired,
    /// Pairing failed; the keys are useless.
    PairingFailed(String),
    /// The device was unlinked, or the account locked. The keys are useless.
    LoggedOut,
    /// The same device connected elsewhere.
    Replaced,
    /// Banned for this long; `None` when WhatsApp did not say.
    Banned(Option<Duration>),
    /// WhatsApp no longer takes this client version.
    Outdated,
    /// Refused for good, with WhatsApp's failure code.
    Refused(u16),
}

/// A stanza that could not be written.
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
#[error("device {device}: {doing}")]
pub struct OpenError {
    /// Whose keys.
    pub device: DeviceId,
    /// What was tried, for the log.
    pub doing: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// The current client version could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("the current client version could not be looked up")]
pub struct VersionError(#[source] pub Box<dyn Error + Send + Sync>);
