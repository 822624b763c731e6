//! A WhatsApp that a test holds in its hands: every session that is opened, and what was written to it.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use presence_core::{Availability, ChatJid, ChatState, PhoneNumber};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::pairing::{LinkCode, PairError, PairingUpdate};
use crate::session::{
    Connector, DeviceId, End, Identity, OpenError, SendError, Session, SessionState, VersionError,
};

/// What a session does when it is opened.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Comes online at once.
    Online,
    /// Comes online, and ends like this after a while.
    OnlineThen(Duration, End),
    /// Never gets anywhere.
    Hangs,
    /// Ends at once.
    Ends(End),
    /// Shows a QR code.
    Qr,
    /// Its keys cannot be read.
    NoKeys,
}

/// The world of all fake sessions.
#[derive(Default)]
pub(crate) struct World {
    state: Mutex<State>,
}

/// What is in it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) saved: HashMap<DeviceId, Identity>,
    /// What the next sessions of a device do. By default: online if it is paired, else a QR code.
    pub(crate) scripts: HashMap<DeviceId, VecDeque<Script>>,
    /// When each session was opened.
    pub(crate) opened: Vec<(Instant, DeviceId)>,
    pub(crate) written: Vec<Written>,
    /// The last session of each device.
    pub(crate) sessions: HashMap<DeviceId, FakeSession>,
    /// Devices whose socket takes nothing.
    pub(crate) stalled: Vec<DeviceId>,
    /// What happened besides stanzas, in order: `forget`, `logout`, ledger lines, …
    pub(crate) deeds: Vec<String>,
    /// How many link codes were given or refused.
    pub(crate) link_codes: u32,
    /// The link code that can be entered now.
    pub(crate) link_code: Option<(PhoneNumber, LinkCode)>,
    pub(crate) refuse_link_codes: bool,
    pub(crate) refreshes: VecDeque<bool>,
    /// Why the next session that is closed says it ended.
    pub(crate) last_words: Option<End>,
    pub(crate) lookups: Vec<PhoneNumber>,
    pub(crate) answers: HashMap<PhoneNumber, Answer>,
}

/// A stanza that was written.
pub(crate) struct Written {
    pub(crate) at: Instant,
    pub(crate) device: DeviceId,
    pub(crate) what: String,
}

/// How a look-up ends.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) after: Duration,
    /// An error when `None`.
    pub(crate) chat: Option<Option<ChatJid>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pairs `device` with a number made of its id.
    pub(crate) fn pair(&self, device: DeviceId) {
        self.lock().saved.insert(device, identity(device));
    }

    pub(crate) fn script(&self, device: DeviceId, script: impl IntoIterator<Item = Script>) {
        self.lock().scripts.entry(device).or_default().extend(script);
    }

    /// The last session of `device`.
    pub(crate) fn session(&self, device: DeviceId) -> FakeSession {
        self.lock()
            .sessions
            .get(&device)
            .expect("a session was opened")
            .clone()
    }

    /// What was written for `device` since `start`, as `0 available, 0 composing 5511…, 5 paused 5511…`:
    /// times in seconds, chats by their last two digits.
    pub(crate) fn timeline(&self, device: DeviceId, start: Instant) -> String {
        let state = self.lock();
        let lines = state
            .written
            .iter()
            .filter(|line| line.device == device && line.at >= start);
        let lines = lines.map(|line| format!("{} {}", (line.at - start).as_secs_f64(), line.what));
        lines.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn opened(&self, device: DeviceId) -> Vec<Instant> {
        self.lock()
            .opened
            .iter()
            .filter(|(_, d)| *d == device)
            .map(|(at, _)| *at)
            .collect()
    }

    pub(crate) fn deeds(&self) -> String {
        self.lock().deeds.join(", ")
    }
}

pub(crate) fn identity(device: DeviceId) -> Identity {
    Identity {
        jid: format!("4917000000{device:0>3}@s.whatsapp.net"),
        push_name: Some("Tester".to_owned()),
    }
}

/// Opens the sessions of a [`World`].
pub(crate) struct FakeConnector(pub(crate) Arc<World>);

impl Connector for FakeConnector {
    type Session = FakeSession;

    async fn open(&self, device: DeviceId) -> Result<FakeSession, OpenError> {
        let mut state = self.0.lock();
        state.opened.push((Instant::now(), device));
        if let Some(session) = state.sessions.get(&device) {
            assert!(
                matches!(*session.state.borrow(), SessionState::Ended(_)),
                "two sessions of one device"
            );
        }
        let paired = state.saved.contains_key(&device);
        let usual = if paired { Script::Online } else { Script::Qr };
        let script = state
            .scripts
            .get_mut(&device)
            .and_then(VecDeque::pop_front)
            .unwrap_or(usual);
        let session = FakeSession {
            device,
            world: Arc::clone(&self.0),
            state: Arc::new(watch::Sender::new(SessionState::Connecting)),
        };
        match script {
            Script::Online => session.come_online(),
            Script::OnlineThen(wait, end) => {
                session.come_online();
                let session = session.clone();
                tokio::spawn(async move {
                    sleep(wait).await;
                    session.end(end);
                });
            }
            Script::Hangs => {}
            Script::Ends(end) => session.end(end),
            Script::Qr => session.show_qr("2@first"),
            Script::NoKeys => {
                return Err(OpenError {
                    device,
                    doing: "reading the keys",
                    source: "broken".into(),
                });
            }
        }
        state.sessions.insert(device, session.clone());
        Ok(session)
    }

    async fn saved(&self, device: DeviceId) -> Result<Option<Identity>, OpenError> {
        Ok(self.0.lock().saved.get(&device).cloned())
    }

    async fn forget(&self, device: DeviceId) -> Result<(), OpenError> {
        let mut state = self.0.lock();
        state.saved.remove(&device);
        state.deeds.push("forget".to_owned());
        Ok(())
    }

    async fn refresh_version(&self, _device: DeviceId) -> Result<bool, VersionError> {
        let mut state = self.0.lock();
        state.deeds.push("refresh".to_owned());
        Ok(state.refreshes.pop_front().unwrap_or(false))
    }
}

/// A session that does what its test says.
#[derive(Clone)]
pub(crate) struct FakeSession {
    device: DeviceId,
    world: Arc<World>,
    state: Arc<watch::Sender<SessionState>>,
}

impl FakeSession {
    /// A session of `device` that is online, for tests without a connector.
    pub(crate) fn online(device: DeviceId, world: &Arc<World>) -> Self {
        let state = Arc::new(watch::Sender::new(SessionState::Online(identity(device))));
        Self {
            device,
            world: Arc::clone(world),
            state,
        }
    }

    pub(crate) fn come_online(&self) {
        self.state
            .send_replace(SessionState::Online(identity(self.device)));
    }

    /// WhatsApp tells the account's name.
    pub(crate) fn rename(&self, name: Option<&str>) {
        let identity = Identity {
            push_name: name.map(str::to_owned),
            ..identity(self.device)
        };
        self.state.send_replace(SessionState::Online(identity));
    }

    pub(crate) fn show_qr(&self, code: &str) {
        let update = PairingUpdate::Qr {
            code: code.to_owned(),
            valid_for: Duration::from_secs(20),
        };
        self.state.send_replace(SessionState::Pairing(update));
    }

    pub(crate) fn end(&self, end: End) {
        self.state.send_if_modified(|state| {
            let first = !matches!(state, SessionState::Ended(_));
            if first {
                *state = SessionState::Ended(end);
            }
            first
        });
    }

    /// A phone links the device.
    pub(crate) fn scan(&self) {
        self.world.pair(self.device);
        self.end(End::Paired);
    }

    async fn write(&self, what: String) -> Result<(), SendError> {
        if !matches!(*self.state.borrow(), SessionState::Online(_)) {
            return Err(SendError::Offline);
        }
        if self.world.lock().stalled.contains(&self.device) {
            pending::<()>().await;
        }
        self.world.lock().written.push(Written {
            at: Instant::now(),
            device: self.device,
            what,
        });
        Ok(())
    }
}

impl Session for FakeSession {
    async fn send_chat_state(&self, chat: &ChatJid, state: ChatState) -> Result<(), SendError> {
        let word = match state {
            ChatState::Composing => "composing",
            ChatState::Recording => "recording",
            ChatState::Paused => "paused",
        };
        let user = chat.user();
        self.write(format!("{word} {}", &user[user.len() - 2..])).await
    }

    async fn set_availability(&self, availability: Availability) -> Result<(), SendError> {
        let word = match availability {
            Availability::Available => "available",
            Availability::Unavailable => "unavailable",
        };
        self.write(word.to_owned()).await
    }

    async fn resolve(&self, number: &PhoneNumber) -> Result<Option<ChatJid>, SendError> {
        let answer = {
            let mut state = self.world.lock();
            state.lookups.push(*number);
            state.answers.get(number).cloned()
        };
        let Some(answer) = answer else { return Ok(None) };
        sleep(answer.after).await;
        answer
            .chat
            .ok_or_else(|| SendError::Client("usync failed".into()))
    }

    async fn request_link_code(&self, phone: &PhoneNumber) -> Result<LinkCode, PairError> {
        let mut state = self.world.lock();
        if let Some((_, code)) = state.link_code.as_ref().filter(|(of, _)| of == phone) {
            return Ok(code.clone());
        }
        state.link_codes += 1;
        if state.refuse_link_codes {
            return Err(PairError::Refused("too many".into()));
        }
        let digits = phone.as_str();
        let code = format!("CODE{}{:02}", &digits[digits.len() - 2..], state.link_codes);
        let code = LinkCode::new(&code);
        state.link_code = Some((*phone, code.clone()));
        Ok(code)
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    async fn logout(&self, _patience: Duration) {
        self.world.lock().deeds.push("logout".to_owned());
        self.end(End::LoggedOut);
    }

    async fn close(&self) {
        let last_words = self.world.lock().last_words.take();
        self.end(last_words.unwrap_or(End::Closed));
    }
}
