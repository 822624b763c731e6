//! A WhatsApp that a test holds in its hands: every session that is opened, and what was written to it.

mod under_way;

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use presence_core::{Availability, ChatJid, ChatState, InstanceId, PhoneNumber};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use self::under_way::UnderWay;
use crate::pairing::{LinkCode, PairError, PairingUpdate};
use crate::session::{
    Connector, Contact, End, Identity, KeysError, Online, OwnMessage, SendError, Session, SessionState,
    VersionError,
};

/// What a session does when it is opened.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Comes online at once.
    Online,
    /// Comes online, and ends like this after a while.
    OnlineThen(Duration, End),
    /// Never gets anywhere, and is lost after a while.
    Lost(Duration),
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
    pub(crate) saved: HashMap<InstanceId, Identity>,
    /// What the next sessions of a device do. By default: online if it is paired, else a QR code.
    pub(crate) scripts: HashMap<InstanceId, VecDeque<Script>>,
    /// When each session was opened.
    pub(crate) opened: Vec<(Instant, InstanceId)>,
    pub(crate) written: Vec<Written>,
    /// The last session of each device.
    pub(crate) sessions: HashMap<InstanceId, FakeSession>,
    /// Nobody reaches WhatsApp; who tries to is told so after this time. See [`World::cut_off`].
    pub(crate) cut_off: Option<Duration>,
    /// Devices that have a proxy.
    pub(crate) proxied: Vec<InstanceId>,
    /// Devices whose socket takes nothing.
    pub(crate) stalled: Vec<InstanceId>,
    /// The socket takes each stanza when the test says so.
    pub(crate) holds_stanzas: bool,
    /// Those that are under way then, in the order in which they were begun.
    pub(crate) under_way: Vec<UnderWay>,
    /// What happened besides stanzas, in order: `wipe`, `logout`, lines of the record, …
    pub(crate) events: Vec<String>,
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
    /// What devices have learnt without asking.
    pub(crate) local: HashMap<ChatJid, Contact>,
    /// Accounts are moved to LIDs.
    pub(crate) moved_to_lids: bool,
    /// The next stanzas make the session panic.
    pub(crate) panics: u32,
}

impl State {
    fn takes_panic(&mut self) -> bool {
        let panics = self.panics > 0;
        self.panics = self.panics.saturating_sub(1);
        panics
    }
}

/// A stanza that was written.
pub(crate) struct Written {
    pub(crate) at: Instant,
    pub(crate) device: InstanceId,
    pub(crate) what: String,
}

/// How a look-up ends.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) after: Duration,
    /// An error when `None`.
    pub(crate) contact: Option<Option<Contact>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pairs `device` with a number made of its id.
    pub(crate) fn pair(&self, device: InstanceId) {
        self.lock().saved.insert(device, identity(device));
    }

    pub(crate) fn script(&self, device: InstanceId, script: impl IntoIterator<Item = Script>) {
        self.lock().scripts.entry(device).or_default().extend(script);
    }

    /// Ends every session, and has every next one fail so long after it was opened, until `cut_off` is `None`.
    pub(crate) fn cut_off(&self, noticed_after: Duration) {
        let sessions: Vec<_> = {
            let mut state = self.lock();
            state.cut_off = Some(noticed_after);
            state.sessions.values().cloned().collect()
        };
        for session in sessions {
            session.end(End::Lost("cut off".to_owned()));
        }
    }

    /// The last session of `device`.
    pub(crate) fn session(&self, device: InstanceId) -> FakeSession {
        self.lock()
            .sessions
            .get(&device)
            .expect("a session was opened")
            .clone()
    }

    /// What was written for `device` since `start`, as `0 available, 0 composing 5511…, 5 paused 5511…`:
    /// times in seconds, chats by their last two digits.
    pub(crate) fn timeline(&self, device: InstanceId, start: Instant) -> String {
        let state = self.lock();
        let lines = state
            .written
            .iter()
            .filter(|line| line.device == device && line.at >= start);
        let lines = lines.map(|line| format!("{} {}", (line.at - start).as_secs_f64(), line.what));
        lines.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn opened(&self, device: InstanceId) -> Vec<Instant> {
        self.lock()
            .opened
            .iter()
            .filter(|(_, d)| *d == device)
            .map(|(at, _)| *at)
            .collect()
    }

    pub(crate) fn events(&self) -> String {
        self.lock().events.join(", ")
    }
}

pub(crate) fn identity(device: InstanceId) -> Identity {
    Identity {
        jid: format!("4917000000{:0>3}@s.whatsapp.net", device.get()),
        push_name: Some("Tester".to_owned()),
    }
}

/// Opens the sessions of a [`World`].
pub(crate) struct FakeConnector(pub(crate) Arc<World>);

#[async_trait]
impl Connector for FakeConnector {
    async fn paired(&self) -> Result<Vec<(InstanceId, Identity)>, KeysError> {
        Ok(self.0.lock().saved.clone().into_iter().collect())
    }

    async fn open(&self, device: InstanceId) -> Result<Box<dyn Session>, KeysError> {
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
        let script = state.cut_off.map_or(script, Script::Lost);
        let session = FakeSession {
            device,
            direct: !state.proxied.contains(&device),
            moved: state.moved_to_lids,
            world: Arc::clone(&self.0),
            state: Arc::new(watch::Sender::new(SessionState::Connecting)),
            own_messages: Arc::new(Mutex::new(mpsc::channel(16))),
        };
        match script {
            Script::Lost(after) => session.end_after(after),
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
                return Err(KeysError {
                    instance: Some(device),
                    doing: "reading the keys",
                    source: "broken".into(),
                });
            }
        }
        state.sessions.insert(device, session.clone());
        Ok(Box::new(session))
    }

    async fn saved(&self, device: InstanceId) -> Result<Option<Identity>, KeysError> {
        Ok(self.0.lock().saved.get(&device).cloned())
    }

    async fn wipe(&self, device: InstanceId) -> Result<(), KeysError> {
        let mut state = self.0.lock();
        state.saved.remove(&device);
        state.events.push("wipe".to_owned());
        Ok(())
    }

    async fn forget(&self, instance: InstanceId) {
        self.0.lock().events.push(format!("forget {instance}"));
    }

    async fn refresh_version(&self, _device: InstanceId) -> Result<bool, VersionError> {
        let mut state = self.0.lock();
        state.events.push("refresh".to_owned());
        Ok(state.refreshes.pop_front().unwrap_or(false))
    }
}

/// A session that does what its test says.
#[derive(Clone)]
pub(crate) struct FakeSession {
    device: InstanceId,
    direct: bool,
    moved: bool,
    world: Arc<World>,
    state: Arc<watch::Sender<SessionState>>,
    own_messages: Arc<Mutex<(mpsc::Sender<OwnMessage>, mpsc::Receiver<OwnMessage>)>>,
}

impl FakeSession {
    pub(crate) fn come_online(&self) {
        let identity = identity(self.device);
        self.tell(|online| online.identity = identity);
    }

    /// Says what of a session that is online has changed.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut Online)) {
        let mut online = match &*self.state.borrow() {
            SessionState::Online(online) => online.clone(),
            _ => Online {
                moved_to_lids: self.moved,
                ..Online::default()
            },
        };
        change(&mut online);
        self.state.send_replace(SessionState::Online(online));
    }

    /// WhatsApp tells the account's name.
    pub(crate) fn rename(&self, name: Option<&str>) {
        let identity = Identity {
            push_name: name.map(str::to_owned),
            ..identity(self.device)
        };
        self.tell(|online| online.identity = identity);
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

    fn end_after(&self, time: Duration) {
        let session = self.clone();
        tokio::spawn(async move {
            sleep(time).await;
            session.end(End::Lost("no answer".to_owned()));
        });
    }

    /// Another device of the account sends a message.
    pub(crate) fn send_elsewhere(&self, chat: &str, other_name: Option<&str>) {
        let message = OwnMessage {
            chat: chat.parse().unwrap(),
            other_name: other_name.map(|name| name.parse().unwrap()),
        };
        self.own_messages.lock().unwrap().0.try_send(message).unwrap();
    }

    /// Somebody listens to what is sent elsewhere.
    pub(crate) fn is_told_of_messages(&self) -> bool {
        !self.own_messages.lock().unwrap().0.is_closed()
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
        if self.world.lock().takes_panic() {
            panic!("a fake session panics as it was told to");
        }
        if self.world.lock().stalled.contains(&self.device) {
            pending::<()>().await;
        }
        let held = self.world.lock().hold(&what);
        if let Some(end) = held {
            end.await
                .unwrap_or_else(|_| Err(SendError::Client("cut".into())))?;
        }
        self.world.lock().written.push(Written {
            at: Instant::now(),
            device: self.device,
            what,
        });
        Ok(())
    }
}

#[async_trait]
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

    async fn local_contact(&self, person: &ChatJid) -> Result<Contact, SendError> {
        let state = self.world.lock();
        Ok(state.local.get(person).cloned().unwrap_or_default())
    }

    async fn query_contact(&self, number: &PhoneNumber) -> Result<Option<Contact>, SendError> {
        let answer = {
            let mut state = self.world.lock();
            state.lookups.push(*number);
            state.answers.get(number).cloned()
        };
        let Some(answer) = answer else { return Ok(None) };
        sleep(answer.after).await;
        answer
            .contact
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

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    fn own_messages(&self) -> mpsc::Receiver<OwnMessage> {
        let (_, closed) = mpsc::channel(1);
        std::mem::replace(&mut self.own_messages.lock().unwrap().1, closed)
    }

    async fn logout(&self, _limit: Duration) {
        self.world.lock().events.push("logout".to_owned());
        self.end(End::LoggedOut { at_login: false });
    }

    async fn close(&self) {
        let last_words = self.world.lock().last_words.take();
        self.end(last_words.unwrap_or(End::Closed));
    }
}
