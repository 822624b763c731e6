//! One connection: what the service asks of it, mapped onto the client.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::pair_code::PairCodeOptions;
use ::whatsapp_rust::wacore::iq::usync::{
    IsOnWhatsAppQueryType, IsOnWhatsAppResult, IsOnWhatsAppSpec, IsOnWhatsAppUser,
};
use ::whatsapp_rust::wacore::pair_code::PairCodeUtils;
use ::whatsapp_rust::wacore::types::lid_pn::LearningSource;
use ::whatsapp_rust::{ChatStateError, ChatStateType, Client, ClientError, Jid, NodeBuilder};
use async_trait::async_trait;
use presence_core::{Availability, ChatJid, ChatState, PhoneNumber};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::device::Device;
use super::jid::{chat, jid};
use super::progress::OutstandingCode;
use super::runtime::SessionRuntime;
use super::tracker::Tracker;
use crate::pairing::{LinkCode, PairError};
use crate::session::{Contact, OwnMessage, SendError, Session, SessionState};

/// A link code is not handed out again when it is about to expire: somebody still has to type it.
const CODE_MARGIN: Duration = Duration::from_secs(20);

/// One connection of the WhatsApp client. Dropping it closes it in the background.
pub(super) struct Connection {
    pub(super) client: Arc<Client>,
    pub(super) device: Device,
    pub(super) tracker: Arc<Tracker>,
    pub(super) runtime: SessionRuntime,
    pub(super) proxied: bool,
    pub(super) state: watch::Receiver<SessionState>,
    /// Closed once it was taken.
    pub(super) own_messages: Mutex<mpsc::Receiver<OwnMessage>>,
    pub(super) stop: CancellationToken,
    pub(super) _close_on_drop: DropGuard,
    /// Link codes are asked for one at a time.
    pub(super) link_code_turn: tokio::sync::Mutex<()>,
}

#[async_trait]
impl Session for Connection {
    async fn send_chat_state(&self, to: &ChatJid, state: ChatState) -> Result<(), SendError> {
        self.check_online()?;
        let state = match state {
            ChatState::Composing => ChatStateType::Composing,
            ChatState::Recording => ChatStateType::Recording,
            ChatState::Paused => ChatStateType::Paused,
        };
        self.tracker.sent.fetch_add(1, Ordering::Relaxed);
        self.client
            .chatstate()
            .send(&jid(to), state)
            .await
            .map_err(|error| match error {
                ChatStateError::Client(error) => not_sent(error),
                error => SendError::Client(Box::new(error)),
            })
    }

    async fn set_availability(&self, availability: Availability) -> Result<(), SendError> {
        self.check_online()?;
        // The client has a call for this, which refuses because the name is hidden from it.
        let name = self.device.push_name().ok_or(SendError::NoPushName)?;
        let available = availability == Availability::Available;
        let kind = if available { "available" } else { "unavailable" };
        let presence = NodeBuilder::new("presence")
            .attr("type", kind)
            .attr("name", name)
            .build();
        // As the client's own call does: a device in use confirms messages as one.
        self.client.set_force_active_delivery_receipts(available);
        self.tracker.sent.fetch_add(1, Ordering::Relaxed);
        self.client.send_node(presence).await.map_err(not_sent)
    }

    async fn local_contact(&self, person: &ChatJid) -> Result<Contact, SendError> {
        let entry = self
            .client
            .get_lid_pn_entry(&jid(person))
            .await
            .map_err(|error| SendError::Client(error.into()))?;
        Ok(entry.map_or_else(Contact::default, |entry| Contact {
            number: chat(&Jid::pn(&*entry.phone_number)),
            lid: chat(&Jid::lid(&*entry.lid)),
        }))
    }

    async fn query_contact(&self, number: &PhoneNumber) -> Result<Option<Contact>, SendError> {
        self.check_online()?;
        let asked = IsOnWhatsAppUser {
            jid: Jid::pn(number.as_str()),
            known_lid: None,
        };
        // The client has a call for this, which answers only when the mapping is saved.
        let query = IsOnWhatsAppSpec::new(
            vec![asked],
            format!("{}.{}-1", rand::random::<u16>(), rand::random::<u16>()),
            IsOnWhatsAppQueryType::Pn,
        );
        let answers = self.client.execute(query).await;
        let answers = answers.map_err(|error| not_sent(ClientError::Iq(error)))?;
        let Some(answer) = answers.into_iter().next() else {
            return Ok(None);
        };
        if !answer.is_registered {
            return match answer.contact_error {
                Some(_) => Err(SendError::Client("WhatsApp did not look the number up".into())),
                None => Ok(None),
            };
        }
        let (pn, lid) = names(&answer);
        if let (Some(pn), Some(lid)) = (pn, lid) {
            self.learn(pn, lid);
        }
        Ok(Some(Contact {
            number: pn.and_then(chat),
            lid: lid.and_then(chat),
        }))
    }

    async fn request_link_code(&self, phone: &PhoneNumber) -> Result<LinkCode, PairError> {
        let _turn = self.link_code_turn.lock().await;
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

    fn is_direct(&self) -> bool {
        !self.proxied
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    fn own_messages(&self) -> mpsc::Receiver<OwnMessage> {
        let (_, closed) = mpsc::channel(1);
        let mut own_messages = self.own_messages.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut own_messages, closed)
    }

    async fn logout(&self, limit: Duration) {
        // WhatsApp confirms by ending the stream as if the phone had unlinked this device.
        self.tracker.progress().handle_closing();
        if self.is_logged_in() {
            let told = tokio::time::timeout(limit, self.client.logout()).await;
            if told.is_err() {
                tracing::warn!("WhatsApp did not confirm the logout; the phone may still list this device");
            }
        }
        self.close().await;
    }

    async fn close(&self) {
        self.stop.cancel();
        // An error means that the monitor is gone, and everything with it.
        let _ = self
            .state
            .clone()
            .wait_for(|state| matches!(state, SessionState::Ended(_)))
            .await;
    }
}

impl Connection {
    fn check_online(&self) -> Result<(), SendError> {
        if self.is_logged_in() && self.tracker.progress().is_online() {
            Ok(())
        } else {
            Err(SendError::Offline)
        }
    }

    /// The client checks neither when it sends; it would write to a socket on which WhatsApp listens to
    /// nothing.
    fn is_logged_in(&self) -> bool {
        self.client.is_connected() && self.client.is_logged_in() && !self.stop.is_cancelled()
    }

    /// Has the client remember the two names of a person, without waiting for it: it holds the lock of its
    /// mappings while it writes lists of devices to its store.
    fn learn(&self, pn: &Jid, lid: &Jid) {
        let (pn, lid) = (pn.user.to_string(), lid.user.to_string());
        let client = Arc::clone(&self.client);
        self.runtime.start(async move {
            let learnt = client.add_lid_pn_mapping(&lid, &pn, LearningSource::Usync).await;
            if let Err(error) = learnt {
                tracing::debug!(%error, "a LID could not be saved");
            }
        });
    }

    async fn await_pairing(&self) -> Result<(), PairError> {
        let mut state = self.state.clone();
        let connected = state.wait_for(|state| *state != SessionState::Connecting).await;
        match connected.as_deref() {
            Ok(SessionState::Pairing(_)) => Ok(()),
            _ => Err(PairError::NotPairing),
        }
    }
}

/// The number and the LID that an answer names. Which of them comes first depends on the account.
fn names(answer: &IsOnWhatsAppResult) -> (Option<&Jid>, Option<&Jid>) {
    let names = [Some(&answer.jid), answer.pn_jid.as_ref(), answer.lid.as_ref()];
    let mut named = names.into_iter().flatten();
    let pn = named.clone().find(|jid| jid.is_pn());
    (pn, named.find(|jid| jid.is_lid()))
}

fn not_sent(error: ClientError) -> SendError {
    if error.is_transport_unavailable() {
        SendError::Offline
    } else {
        SendError::Client(Box::new(error))
    }
}
