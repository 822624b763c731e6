//! The one task of an instance: everything that happens to it, in one loop.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use presence_core::{
    Availability, ChatJid, Indicators, InstanceId, PhoneNumber, Policy, Refused, Shown, Transmit,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::job::{Action, Answer, Job, JobDone};
use super::jobs::{self, JobContext, JobEnd};
use super::lifecycle::Lifecycle;
use super::link_code::CodeRequest;
use super::lookups::{LookUp, look_up};
use super::message::{Message, PresenceRequest, ShownIn};
use super::numbers::{Address, Found, NumberSettings, Numbers, Route};
use super::observers::Observers;
use super::published::{GivenCode, Published, QrCode};
use super::stanza::{StanzaWrite, WriteError, Written};
use crate::context::FleetContext;
use crate::error::{ReconnectError, ShowError};
use crate::login_limiter::LoginTurn;
use crate::pairing::{PairWith, PairingUpdate};
use crate::session::{End, Online, OwnMessage, SendError, Session, SessionState};
use crate::status::{InstanceState, Reason};

/// Owns all there is of one instance, and does one thing after the other.
///
/// What happens comes in through one `select!`: a message, a change of the session, the end of a stanza's
/// write, of a job or of a look-up, a deadline. What follows is decided by three machines, and carried out by
/// [`step`](Self::step): [`Lifecycle`] opens and closes sessions, [`Indicators`] says what to write, [`Numbers`]
/// where to. Nothing in the loop waits, so a stalled socket or a slow disk delays no message.
pub(super) struct InstanceTask {
    instance: InstanceId,
    fleet: Arc<FleetContext>,
    published: watch::Sender<Published>,
    keep_online: watch::Receiver<bool>,
    lifecycle: Lifecycle,
    indicators: Indicators,
    numbers: Numbers,
    session: Option<OpenSession>,
    job: Option<BoxFuture<'static, JobEnd>>,
    /// The longest that the indicators may take to be paused before the session is closed.
    farewell_until: Option<Instant>,
    turn: Option<LoginTurn>,
    /// Requests whose address is known, in the order in which they are carried out.
    ready: VecDeque<PresenceRequest>,
    /// The request whose command was given to the indicators, and whose stanza is not yet written.
    begun: Option<(PresenceRequest, Address)>,
    write: Option<StanzaWrite>,
    look_ups: FuturesUnordered<LookUp>,
    code: Option<CodeRequest>,
    waiting: Waiting,
    observers: Observers,
    /// The state and reason that were published last.
    shown: (InstanceState, Option<Reason>),
    /// Something else that is published may have changed.
    changed: bool,
    stopping: bool,
}

struct OpenSession {
    session: Arc<dyn Session>,
    state: watch::Receiver<SessionState>,
    /// `None` when they end nothing.
    own_messages: Option<mpsc::Receiver<OwnMessage>>,
    online: Option<Online>,
}

/// What a session tells.
enum SessionEvent {
    State(SessionState),
    OwnMessage(OwnMessage),
}

/// Who waits for an answer of the lifecycle.
#[derive(Default)]
struct Waiting {
    reconnect: Vec<oneshot::Sender<Result<(), ReconnectError>>>,
    logout: Vec<oneshot::Sender<()>>,
    remove: Vec<oneshot::Sender<bool>>,
}

impl InstanceTask {
    pub(super) fn new(
        instance: InstanceId,
        fleet: Arc<FleetContext>,
        published: watch::Sender<Published>,
        keep_online: watch::Receiver<bool>,
        lifecycle: Lifecycle,
    ) -> Self {
        let settings = &fleet.settings;
        let numbers = NumberSettings {
            resolve: settings.resolve_numbers,
            timeout: settings.lookup_timeout,
        };
        let indicators = new_indicators(&fleet, *keep_online.borrow());
        let shown = lifecycle.status();
        Self {
            instance,
            indicators,
            fleet,
            published,
            keep_online,
            lifecycle,
            numbers: Numbers::new(numbers),
            session: None,
            job: None,
            farewell_until: None,
            turn: None,
            ready: VecDeque::new(),
            begun: None,
            write: None,
            look_ups: FuturesUnordered::new(),
            code: None,
            waiting: Waiting::default(),
            observers: Observers::default(),
            shown,
            changed: true,
            stopping: false,
        }
    }

    /// Runs until the instance is removed or the fleet stops.
    pub(super) async fn run(&mut self, mailbox: &mut mpsc::Receiver<Message>) {
        let stop = self.fleet.stop.clone();
        loop {
            self.step();
            if self.lifecycle.is_over() {
                return;
            }
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.stopping => self.stop(),
                written = StanzaWrite::done(&mut self.write) => self.handle_written(written),
                event = session_event(&mut self.session) => match event {
                    SessionEvent::State(state) => self.handle_session(&state),
                    SessionEvent::OwnMessage(message) => self.handle_own_message(&message),
                },
                ended = some(&mut self.job) => self.handle_job(ended),
                Some((person, found)) = self.look_ups.next() => self.handle_found(&person, found),
                given = CodeRequest::given(&mut self.code) => self.handle_code(given),
                Ok(()) = self.keep_online.changed() => {
                    let keep = *self.keep_online.borrow_and_update();
                    self.indicators.handle_keep_online(now(), keep);
                }
                message = mailbox.recv() => match message {
                    Some(message) => self.handle_message(message),
                    None => self.stop(),
                },
                () = sleep_until_some(deadline) => {}
            }
        }
    }

    /// Carries out all that can be without waiting.
    fn step(&mut self) {
        let now = Instant::now();
        self.lifecycle.handle_timeout(now);
        self.indicators.handle_timeout(now.into_std());
        let released = self.numbers.handle_timeout(now);
        self.ready.extend(released);
        loop {
            self.pump_stanzas();
            let Some(action) = self.lifecycle.poll_action() else {
                break;
            };
            self.changed = true;
            match action {
                Action::Begin(Job::SayFarewell) => {
                    self.indicators.handle_shutdown(now.into_std());
                    self.farewell_until = Some(now + self.fleet.settings.farewell_timeout);
                }
                Action::Begin(job) => {
                    let context = JobContext {
                        instance: self.instance,
                        fleet: Arc::clone(&self.fleet),
                        session: self.session.as_ref().map(|open| Arc::clone(&open.session)),
                    };
                    self.job = Some(jobs::begin(job, context));
                }
                Action::Abandon => self.job = None,
            }
        }
        if !self.lifecycle.holds_turn() {
            self.turn = None;
        }
        self.ask_for_code();
        // What was only begun may fail yet.
        if self.begun.is_none() {
            self.tell_observers(None);
        }
        // In this order: who was told of something looks at it next.
        self.publish();
        self.answer();
    }

    /// Begins the next stanza's write, if none is under way: what the indicators want sent, then what the next
    /// request asks for.
    fn pump_stanzas(&mut self) {
        while self.write.is_none() {
            let Some(session) = self.session.as_ref().map(|open| &open.session) else {
                return self.refuse_all();
            };
            let commanded = self.indicators.has_unpolled_command();
            if let Some(transmit) = self.indicators.poll_transmit() {
                // Known by the command and not by its address: a `paused` goes where the indicator was.
                let is_commands = commanded && !self.indicators.has_unpolled_command();
                let limit = self.fleet.settings.send_timeout;
                self.write = Some(StanzaWrite::begin(
                    Arc::clone(session),
                    transmit,
                    is_commands,
                    limit,
                ));
                return;
            }
            if let Some((request, _)) = self.begun.take() {
                request.answer(Err(ShowError::NotConnected));
            }
            if self.farewell_until.is_some() {
                return self.end_farewell();
            }
            let Some(request) = self.ready.pop_front() else {
                return;
            };
            self.begin_request(request);
        }
        if self.farewell_until.is_some_and(|until| until <= Instant::now()) {
            warn!(instance.id = %self.instance, "pausing the indicators took too long");
            self.end_farewell();
        }
    }

    fn end_farewell(&mut self) {
        self.farewell_until = None;
        self.write = None;
        self.indicators.handle_session_down(now());
        self.lifecycle
            .handle_job(Instant::now(), JobDone::Done, &mut rand::rng());
    }

    /// Gives a request's command to the indicators. Its stanza is polled next.
    fn begin_request(&mut self, request: PresenceRequest) {
        if request.is_given_up(Instant::now()) {
            return;
        }
        if !self.lifecycle.is_online() {
            return request.answer(Err(ShowError::NotConnected));
        }
        let address = self.numbers.address(&request.recipient, self.is_moved_to_lids());
        let given = self
            .indicators
            .handle_command(now(), address.to.clone(), request.command);
        match given {
            Ok(()) => self.begun = Some((request, address)),
            Err(Refused::TooManyChats) => request.answer(Err(ShowError::TooManyChats)),
            Err(_) => request.answer(Err(ShowError::NotConnected)),
        }
    }

    /// No session is open: nothing that waits can be carried out.
    fn refuse_all(&mut self) {
        let waiting = self.numbers.handle_session_down();
        for request in self.ready.drain(..).chain(waiting) {
            request.answer(Err(ShowError::NotConnected));
        }
    }

    fn handle_message(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            Message::Presence(request) => self.handle_presence(now, request),
            Message::Connect { reply, .. } if reply.is_closed() => {}
            Message::Connect { how, reply } => {
                if let PairWith::LinkCode(phone) = how {
                    self.forget_code(phone);
                }
                let begun = self.lifecycle.handle_connect(now, how);
                // The caller watches from here on, and must not see what was before.
                self.publish();
                let _ = reply.send(begun);
            }
            Message::Reconnect { reply } => {
                self.waiting.reconnect.push(reply);
                self.lifecycle.handle_reconnect(now);
                self.changed = true;
            }
            Message::Logout { reply } => {
                self.waiting.logout.push(reply);
                self.lifecycle.handle_logout(now);
                self.changed = true;
            }
            Message::Remove { reply } => {
                self.waiting.remove.push(reply);
                self.lifecycle.handle_remove(now);
                self.changed = true;
            }
            Message::Shown { reply } => drop(reply.send(self.shown_now(now))),
            Message::Watch { changes, reply } => {
                // Those who watch already are told first what is not news to the new one.
                self.tell_observers(None);
                if reply.send(self.shown_now(now)).is_ok() {
                    self.observers.add(changes);
                }
                self.indicators.watch_changes(!self.observers.is_empty());
            }
        }
    }

    fn handle_presence(&mut self, now: Instant, request: PresenceRequest) {
        #[cfg(feature = "panic-hook")]
        super::panic_hook::panic_if_asked(&request.recipient.chat());
        if !self.lifecycle.is_online() {
            return request.answer(Err(ShowError::NotConnected));
        }
        if self.ready.len() + self.numbers.waiting() >= self.fleet.settings.inbox.max(1) {
            return request.answer(Err(ShowError::Busy));
        }
        match self.numbers.handle_request(now, request, self.is_moved_to_lids()) {
            Route::Go(request) => self.ready.push_back(request),
            Route::Waits => {}
            Route::Ask(question) => {
                if let Some(open) = &self.session {
                    self.look_ups.push(look_up(Arc::clone(&open.session), question));
                }
            }
        }
    }

    fn handle_found(&mut self, person: &ChatJid, found: Option<Found>) {
        let found = found.unwrap_or(Found::Failed);
        let released = self.numbers.handle_found(Instant::now(), person, found);
        self.ready.extend(released);
        self.join_names(person);
    }

    /// Tells the indicators which names are one person's.
    fn join_names(&mut self, person: &ChatJid) {
        let (names, to) = self.numbers.names(person, self.is_moved_to_lids());
        for name in names {
            self.indicators.handle_alias(now(), name, to.clone());
        }
    }

    fn handle_written(&mut self, stanza: Written) {
        let Written {
            transmit,
            is_commands,
            written,
        } = stanza;
        match (written, &transmit) {
            (Ok(()), Transmit::ChatState { .. }) => {
                if let Some((request, address)) = self.begun.take_if(|_| is_commands) {
                    let took = request.age(Instant::now(), self.fleet.settings.send_timeout);
                    self.tell_observers(Some((&address.to, took)));
                    request.answer(Ok(ShownIn {
                        chat: address.chat,
                        unknown: address.unknown,
                    }));
                }
            }
            (Ok(()), Transmit::Availability(_)) => self.changed = true,
            // It is told again as soon as the account's name is known.
            (Err(WriteError::Failed(SendError::NoPushName)), Transmit::Availability(_)) => {
                debug!(instance.id = %self.instance, "the account's name is not known yet: nothing is said of its availability");
            }
            (Err(error), _) => {
                warn!(instance.id = %self.instance, error = &error as &dyn std::error::Error, "a stanza could not be written");
                self.fail_write(&transmit, is_commands);
                self.lifecycle.handle_faulty_session(Instant::now());
                self.changed = true;
            }
        }
    }

    /// The session takes no stanza any more, and did not take `transmit`. What a client asked for with it, or
    /// was about to, is void.
    fn fail_write(&mut self, transmit: &Transmit, is_commands: bool) {
        let begun = self.begun.take();
        if let Some((_, address)) = &begun {
            self.indicators.handle_failure(now(), &address.to);
        }
        if let Transmit::ChatState { chat, .. } = transmit
            && !is_commands
        {
            self.indicators.handle_failure(now(), chat);
        }
        self.indicators.handle_session_down(now());
        if let Some((request, _)) = begun {
            request.answer(Err(ShowError::NotConnected));
        }
    }

    fn handle_session(&mut self, state: &SessionState) {
        let now = Instant::now();
        self.changed = true;
        match state {
            SessionState::Ended(End::Lost(cause) | End::PairingFailed(cause)) => {
                info!(instance.id = %self.instance, cause, "the session ended");
            }
            SessionState::Ended(End::ProxyFailed { fault, cause }) => {
                info!(instance.id = %self.instance, %fault, cause, "no connection through the instance's proxy");
            }
            _ => {}
        }
        self.lifecycle.handle_session(now, state, &mut rand::rng());
        match state {
            SessionState::Connecting => {}
            SessionState::Linked => self.forget_codes(),
            SessionState::Pairing(update) => self.show_code(now, update),
            SessionState::Online(online) => self.come_online(online),
            SessionState::Ended(end) => {
                if let End::Rejected(Some(429 | 500..=599)) = end {
                    self.fleet.logins.handle_throttled();
                }
                self.drop_session();
            }
        }
    }

    fn come_online(&mut self, online: &Online) {
        let Some(open) = &mut self.session else { return };
        let before = open.online.replace(online.clone());
        let Some(before) = before else {
            self.fleet.logins.handle_accepted();
            // What was sent while there was no session is not to be shown again.
            while let Some(message) = self.take_own_message() {
                self.handle_own_message(&message);
            }
            if self.lifecycle.is_online() {
                self.indicators.handle_session_up(now());
            }
            return;
        };
        let named = before.identity.push_name.is_none() && online.identity.push_name.is_some();
        if named || before.self_announced != online.self_announced {
            self.indicators.handle_availability_lost(now());
        }
        if before.moved_to_lids != online.moved_to_lids {
            for person in self.numbers.people() {
                self.join_names(&person);
            }
        }
    }

    fn take_own_message(&mut self) -> Option<OwnMessage> {
        let open = self.session.as_mut()?;
        open.own_messages.as_mut()?.try_recv().ok()
    }

    /// The account has sent a message, from any of its devices.
    fn handle_own_message(&mut self, message: &OwnMessage) {
        let names = [Some(&message.chat), message.other_name.as_ref()];
        for name in names.into_iter().flatten() {
            self.indicators.handle_own_message(now(), name);
        }
    }

    /// What belongs to one session only is over with it.
    fn drop_session(&mut self) {
        self.session = None;
        if let Some(write) = self.write.take() {
            self.fail_write(&write.transmit, write.is_commands);
        }
        self.indicators.handle_session_down(now());
        if self.farewell_until.is_some() {
            self.end_farewell();
        }
        self.look_ups.clear();
        self.forget_codes();
        self.refuse_all();
    }

    fn handle_job(&mut self, ended: JobEnd) {
        self.changed = true;
        let now = Instant::now();
        let done = match ended {
            JobEnd::Turn(turn) => {
                self.turn = Some(turn);
                JobDone::Done
            }
            JobEnd::Opened(session) => {
                let state = session.state();
                let ends = self.fleet.settings.end_on_message;
                let own_messages = Some(session.own_messages()).filter(|_| ends);
                self.session = Some(OpenSession {
                    session: Arc::from(session),
                    state,
                    own_messages,
                    online: None,
                });
                JobDone::Done
            }
            JobEnd::Closed => {
                // Why it ended may have been said in the same moment.
                let state = self
                    .session
                    .as_mut()
                    .map(|open| open.state.borrow_and_update().clone());
                if let Some(state @ SessionState::Ended(_)) = state {
                    self.handle_session(&state);
                }
                JobDone::Done
            }
            JobEnd::Plain(done) => done,
        };
        let wiped = self.lifecycle.handle_job(now, done, &mut rand::rng());
        match wiped {
            Some(Job::Open) => {
                // What the session says already counts as well.
                if let Some(open) = &mut self.session {
                    open.state.mark_changed();
                }
            }
            Some(Job::Close | Job::Unlink) if self.session.is_some() => self.drop_session(),
            // What the account before showed is nothing to the next one.
            Some(Job::WipeKeys) => {
                self.indicators = new_indicators(&self.fleet, *self.keep_online.borrow());
                // They ask anew.
                self.observers.clear();
                self.numbers.forget();
            }
            _ => {}
        }
    }

    fn handle_code(&mut self, given: GivenCode) {
        self.published
            .send_modify(|published| published.link_code = Some(given));
    }

    fn show_code(&mut self, now: Instant, update: &PairingUpdate) {
        // A link code is shown to whoever asked for it, by the answer to that.
        if let PairingUpdate::Qr { code, valid_for } = update {
            // A peer's number must not overflow our clock.
            let until = now + (*valid_for).min(Duration::from_secs(3600));
            self.published.send_if_modified(|published| {
                let new = published.qr.as_ref().is_none_or(|qr| qr.code != *code);
                if new {
                    published.qr = Some(QrCode {
                        code: code.clone(),
                        until,
                    });
                }
                new
            });
        }
    }

    /// Asks for a link code, if one is wanted and neither there nor on its way.
    fn ask_for_code(&mut self) {
        let (Some(phone), None, Some(open)) = (self.lifecycle.link_code_wanted(), &self.code, &self.session)
        else {
            return;
        };
        if self.published.borrow().link_code.is_some() {
            return;
        }
        let (instance, session) = (self.instance, Arc::clone(&open.session));
        let limit = self.fleet.settings.login_timeout;
        self.code = Some(CodeRequest::begin(instance, session, phone, limit));
    }

    /// Nobody can scan or enter the codes any more.
    fn forget_codes(&mut self) {
        self.code = None;
        // Whoever waits for another one is told by what is published next.
        self.published.send_if_modified(|published| {
            (published.qr, published.link_code) = (None, None);
            false
        });
    }

    /// Forgets the link code that was given, now that `phone` asks for one: the session is asked again, and it
    /// alone knows whether the code before can still be entered.
    fn forget_code(&mut self, phone: PhoneNumber) {
        if self.code.as_ref().is_some_and(|code| code.phone != phone) {
            self.code = None;
        }
        self.published
            .send_if_modified(|published| published.link_code.take().is_some());
    }

    fn answer(&mut self) {
        while let Some(answer) = self.lifecycle.poll_answer() {
            match answer {
                Answer::Reconnect(answer) => {
                    for reply in self.waiting.reconnect.drain(..) {
                        let _ = reply.send(answer);
                    }
                }
                Answer::LoggedOut => {
                    for reply in self.waiting.logout.drain(..) {
                        let _ = reply.send(());
                    }
                }
                Answer::Removed { wiped } => {
                    for reply in self.waiting.remove.drain(..) {
                        let _ = reply.send(wiped);
                    }
                }
            }
        }
    }

    /// What is shown now, what ends first at the front.
    fn shown_now(&self, now: Instant) -> Vec<(ChatJid, Shown)> {
        let shown = self.indicators.shown_at(now.into_std());
        let mut shown: Vec<_> = shown.map(|(chat, shown)| (chat.clone(), shown)).collect();
        shown.sort_unstable_by(|(a, one), (b, other)| (one.until, a).cmp(&(other.until, b)));
        shown
    }

    /// Tells what has changed. A command that changed it is `answered` now, after so long.
    fn tell_observers(&mut self, answered: Option<(&ChatJid, Duration)>) {
        if self.observers.is_empty() {
            return;
        }
        while let Some(change) = self.indicators.poll_change() {
            self.observers.tell(change, answered);
        }
        if self.observers.is_empty() {
            self.indicators.watch_changes(false);
        }
    }

    /// Publishes how the instance is, and logs it if its state is another.
    fn publish(&mut self) {
        let (state, reason) = self.lifecycle.status();
        if self.shown != (state, reason) {
            self.changed = true;
            self.shown = (state, reason);
        }
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let identity = self.lifecycle.identity();
        let named = identity.is_some_and(|identity| identity.push_name.is_some());
        let available = named && self.indicators.availability() == Some(Availability::Available);
        let session = self.session.as_ref().map(|open| open.state.clone());
        let before = self.published.borrow();
        let log = (before.state, before.reason.map(Reason::label)) != (state, reason.map(Reason::label));
        drop(before);
        self.published.send_modify(|published| {
            (published.state, published.reason) = (state, reason);
            (published.available, published.session) = (available, session);
            if published.identity.as_ref() != identity {
                published.identity = identity.cloned();
            }
        });
        if log {
            let reason = reason.map(Reason::label);
            info!(instance.id = %self.instance, state = %state, reason, "instance state changed");
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.changed = true;
        self.lifecycle.handle_shutdown(Instant::now());
    }

    fn is_moved_to_lids(&self) -> bool {
        let online = self.session.as_ref().and_then(|open| open.online.as_ref());
        online.is_some_and(|online| online.moved_to_lids)
    }

    fn deadline(&self) -> Option<Instant> {
        let indicators = self.indicators.poll_timeout().map(Instant::from_std);
        [
            self.lifecycle.poll_timeout(),
            // While a stanza is being written, the next has to wait for it.
            indicators.filter(|_| self.write.is_none()),
            self.numbers.poll_timeout(),
            self.farewell_until,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

fn new_indicators(fleet: &FleetContext, keep_online: bool) -> Indicators {
    let policy = Policy {
        raise_availability: fleet.settings.raise_availability,
        keep_online,
    };
    Indicators::new(fleet.settings.timing, policy)
}

async fn session_event(session: &mut Option<OpenSession>) -> SessionEvent {
    let Some(open) = session else {
        return pending().await;
    };
    tokio::select! {
        biased;
        changed = open.state.changed() => SessionEvent::State(match changed {
            Ok(()) => open.state.borrow_and_update().clone(),
            Err(_) => SessionState::Ended(End::Lost("the session vanished".to_owned())),
        }),
        message = next_own_message(&mut open.own_messages) => SessionEvent::OwnMessage(message),
    }
}

async fn next_own_message(own_messages: &mut Option<mpsc::Receiver<OwnMessage>>) -> OwnMessage {
    let message = match own_messages {
        Some(own_messages) => own_messages.recv().await,
        None => None,
    };
    match message {
        Some(message) => message,
        // The session has ended, or nobody wants to know.
        None => pending().await,
    }
}

async fn some<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(pending_work) = work else {
        return pending().await;
    };
    let done = pending_work.await;
    *work = None;
    done
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// The only place that reads a clock for the indicators; it is tokio's, which tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
