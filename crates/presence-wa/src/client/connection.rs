//! One connection: what the service asks of it, mapped onto the client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::pair_code::PairCodeOptions;
use ::whatsapp_rust::types::events::{Event, EventHandler, EventInterest, EventKind};
use ::whatsapp_rust::wacore::pair_code::PairCodeUtils;
use ::whatsapp_rust::{
    ChatStateError, ChatStateType, Client, ClientError, ContactError, Jid, PresenceError, PresenceStatus,
};
use presence_core::{Availability, ChatJid, ChatKind, ChatState, PhoneNumber};
use quick_cache::sync::Cache;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::progress::{OutstandingCode, Progress, Signal};
use crate::pairing::{LinkCode, PairError};
use crate::session::{SendError, Session, SessionState};

/// How many chats' addresses a session remembers.
const ADDRESSES: usize = 512;
/// A link code is not handed out again when it is about to expire: somebody still has to type it.
const CODE_MARGIN: Duration = Duration::from_secs(20);

/// One connection of the WhatsApp client. Dropping it closes it in the background.
pub struct Connection {
    pub(super) client: Arc<Client>,
    pub(super) tracker: Arc<Tracker>,
    pub(super) state: watch::Receiver<SessionState>,
    pub(super) stop: CancellationToken,
    pub(super) _close_on_drop: DropGuard,
    /// Whether a person is addressed by LID where the account and the mapping allow it.
    pub(super) use_lids: bool,
    /// Where each chat's states go. It stays the same for the life of the connection, so that `paused`
    /// reaches what `composing` reached.
    pub(super) addresses: OnceLock<Cache<ChatJid, Jid>>,
    /// Link codes are asked for one at a time.
    pub(super) linking: tokio::sync::Mutex<()>,
}

/// What the connection, its supervisor and the client's events share. The client owns the handler of its
/// events, so nothing in here may own the client.
pub(super) struct Tracker {
    progress: Mutex<Progress>,
    /// What was asked for last, told or not. Locked while WhatsApp is told, so that what it hears last is what
    /// was asked for last.
    pub(super) availability: tokio::sync::Mutex<Option<Availability>>,
    /// How many presences were sent.
    pub(super) sent: AtomicU64,
    pub(super) changed: Notify,
}

impl Tracker {
    pub(super) fn new(progress: Progress) -> Self {
        Self {
            progress: Mutex::new(progress),
            availability: tokio::sync::Mutex::default(),
            sent: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventHandler for Tracker {
    fn handle_event(&self, event: Arc<Event>) {
        if let Some(signal) = Signal::of_event(&event) {
            self.progress().handle_signal(Instant::now(), signal);
            self.changed.notify_one();
        }
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::ClientOutdated,
            EventKind::ConnectFailure,
            EventKind::Connected,
            EventKind::Disconnected,
            EventKind::LoggedOut,
            EventKind::PairError,
            EventKind::PairSuccess,
            EventKind::PairingCodeError,
            EventKind::PairingCodeRefresh,
            EventKind::PairingQrCode,
            EventKind::PairingQrCodesExhausted,
            EventKind::SelfPushNameUpdated,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
        ])
    }
}

impl Session for Connection {
    async fn send_chat_state(&self, chat: &ChatJid, state: ChatState) -> Result<(), SendError> {
        self.check_online()?;
        let to = self.address(chat).await;
        let state = match state {
            ChatState::Composing => ChatStateType::Composing,
            ChatState::Recording => ChatStateType::Recording,
            ChatState::Paused => ChatStateType::Paused,
        };
        self.tracker.sent.fetch_add(1, Ordering::Relaxed);
        self.client
            .chatstate()
            .send(&to, state)
            .await
            .map_err(|error| match error {
                ChatStateError::Client(error) => not_sent(error),
                error => SendError::Client(Box::new(error)),
            })
    }

    async fn set_availability(&self, availability: Availability) -> Result<(), SendError> {
        let mut wanted = self.tracker.availability.lock().await;
        *wanted = Some(availability);
        self.check_online()?;
        self.tracker.sent.fetch_add(1, Ordering::Relaxed);
        tell(&self.client, availability).await
    }

    async fn resolve(&self, number: &PhoneNumber) -> Result<Option<ChatJid>, SendError> {
        self.check_online()?;
        let asked = [Jid::pn(number.as_str())];
        let answers = self
            .client
            .contacts()
            .is_on_whatsapp(&asked)
            .await
            .map_err(|error| match error {
                ContactError::Iq(error) => not_sent(ClientError::Iq(error)),
                error => SendError::Client(Box::new(error)),
            })?;
        let Some(answer) = answers.into_iter().find(|answer| answer.is_registered) else {
            return Ok(None);
        };
        let number = [Some(&answer.jid), answer.pn_jid.as_ref()]
            .into_iter()
            .flatten()
            .find(|jid| jid.is_pn());
        let chat = match number {
            Some(number) => number.clone(),
            None => self.number_of(&answer.jid).await.unwrap_or(answer.jid),
        };
        let chat = chat.to_non_ad().to_string().parse::<ChatJid>().ok();
        if let (Some(chat), Some(addresses)) = (&chat, self.addresses.get()) {
            // The answer may have brought a LID that was not known before.
            addresses.remove(chat);
        }
        Ok(chat)
    }

    async fn request_link_code(&self, phone: &PhoneNumber) -> Result<LinkCode, PairError> {
        let _one_at_a_time = self.linking.lock().await;
        self.await_pairing().await?;
        let asked = Instant::now();
        if let Some(code) = self.tracker.progress().code_for(phone, asked + CODE_MARGIN) {
            return Ok(code.clone());
        }
        // A phone that still holds the code before would otherwise be answered with keys it cannot open.
        self.tracker.progress().set_code(None);
        self.client.cancel_pair_code().await;
        let options = PairCodeOptions {
            phone_number: phone.as_str().to_owned(),
            ..PairCodeOptions::default()
        };
        let code = self
            .client
            .pair_with_code(options)
            .await
            .map_err(|error| PairError::Refused(error.into()))?;
        let code = LinkCode::new(&code);
        self.tracker.progress().set_code(Some(OutstandingCode {
            code: code.clone(),
            phone: *phone,
            until: asked + PairCodeUtils::code_validity(),
        }));
        self.tracker.changed.notify_one();
        Ok(code)
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    async fn logout(&self, patience: Duration) {
        // WhatsApp confirms by ending the stream as if the phone had unlinked this device.
        self.tracker.progress().handle_closing();
        if self.check_online().is_ok() {
            let told = tokio::time::timeout(patience, self.client.logout()).await;
            if told.is_err() {
                tracing::warn!("WhatsApp did not confirm the logout; the phone may still list this device");
            }
        }
        self.close().await;
    }

    async fn close(&self) {
        self.stop.cancel();
        // An error means that the supervisor is gone, and everything with it.
        let _ = self
            .state
            .clone()
            .wait_for(|state| matches!(state, SessionState::Ended(_)))
            .await;
    }
}

impl Connection {
    fn check_online(&self) -> Result<(), SendError> {
        // The client checks neither; it would write to a socket on which WhatsApp listens to nothing.
        let online = self.client.is_connected() && self.client.is_logged_in() && !self.stop.is_cancelled();
        if online { Ok(()) } else { Err(SendError::Offline) }
    }

    /// Where states of `chat` go. WhatsApp moves accounts from phone numbers to LIDs one by one; a person is
    /// addressed by LID once our account has moved and theirs is known.
    async fn address(&self, chat: &ChatJid) -> Jid {
        let jid = match chat.kind() {
            ChatKind::User => Jid::pn(chat.user()),
            ChatKind::Lid => return Jid::lid(chat.user()),
            ChatKind::Group => return Jid::group(chat.user()),
        };
        if !self.use_lids || !self.client.is_lid_migrated().await {
            return jid;
        }
        let addresses = self.addresses.get_or_init(|| Cache::new(ADDRESSES));
        if let Some(known) = addresses.get(chat) {
            return known;
        }
        match self.client.get_lid_pn_entry(&jid).await {
            Ok(entry) => {
                let address = entry.map_or(jid, |entry| Jid::lid(&*entry.lid));
                addresses.insert(chat.clone(), address.clone());
                address
            }
            Err(error) => {
                tracing::debug!(%error, "a LID could not be looked up; using the number");
                jid
            }
        }
    }

    async fn number_of(&self, lid: &Jid) -> Option<Jid> {
        let entry = self.client.get_lid_pn_entry(lid).await.ok().flatten()?;
        Some(Jid::pn(&*entry.phone_number))
    }

    async fn await_pairing(&self) -> Result<(), PairError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| *state != SessionState::Connecting).await;
        match settled.as_deref() {
            Ok(SessionState::Pairing(_)) => Ok(()),
            _ => Err(PairError::NotPairing),
        }
    }
}

/// Tells WhatsApp whether this device is in use.
pub(super) async fn tell(client: &Client, availability: Availability) -> Result<(), SendError> {
    let status = match availability {
        Availability::Available => PresenceStatus::Available,
        Availability::Unavailable => PresenceStatus::Unavailable,
    };
    client.presence().set(status).await.map_err(|error| match error {
        PresenceError::PushNameEmpty => SendError::NoPushName,
        PresenceError::Client(error) => not_sent(error),
        error => SendError::Client(Box::new(error)),
    })
}

fn not_sent(error: ClientError) -> SendError {
    if error.is_transport_unavailable() {
        SendError::Offline
    } else {
        SendError::Client(Box::new(error))
    }
}
