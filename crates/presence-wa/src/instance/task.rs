//! The one task of an instance: everything that happens to it, in one loop.

mod codes;
mod presences;
mod session;
mod told;

use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use presence_core::{ChatJid, Indicators, InstanceId, Policy, Shown};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::active_indicators::ActiveIndicators;
use super::alarm::Alarm;
use super::job::{Action, Job, JobDone};
use super::jobs::{self, JobContext, JobEnd};
use super::lifecycle::Lifecycle;
use super::link_code::CodeRequest;
use super::lookups::LookUp;
use super::message::{BegunRequest, Message, PresenceRequest};
use super::numbers::{NumberSettings, Numbers};
use super::observers::Observers;
use super::open_session::{OpenSession, SessionEvent, session_event};
use super::published::Published;
use super::stanza::{MAX_UNDER_WAY, StanzaWrites};
use crate::context::FleetContext;
use crate::error::ReconnectError;
use crate::login_limiter::LoginTurn;
use crate::pairing::PairWith;
use crate::session::SessionState;
use crate::status::{InstanceState, Reason};

/// Owns all there is of one instance, and does one thing after the other.
///
/// What happens comes in through one `select!`: a message, a change of the session, the end of stanzas'
/// writes, of a job or of a look-up, a deadline. What follows is decided by three machines, and carried out by
/// [`step`](Self::step): [`Lifecycle`] opens and closes sessions, [`Indicators`] says what to write, [`Numbers`]
/// where to. Nothing in the loop waits, so a stalled socket or a slow disk delays no message; at most it lets tasks go
/// first that are ready to run.
pub(super) struct InstanceTask {
    instance: InstanceId,
    fleet: Arc<FleetContext>,
    published: watch::Sender<Published>,
    keep_online: watch::Receiver<bool>,
    /// When others last reached WhatsApp.
    reached: watch::Receiver<Option<Instant>>,
    /// Set when a stanza was written.
    wrote: Arc<AtomicBool>,
    lifecycle: Lifecycle,
    indicators: Indicators,
    active: ActiveIndicators,
    numbers: Numbers,
    session: Option<OpenSession>,
    job: Option<BoxFuture<'static, JobEnd>>,
    /// The longest that the indicators may take to be paused before the session is closed.
    farewell_until: Option<Instant>,
    turn: Option<LoginTurn>,
    /// Requests whose address is known, in the order in which they are carried out.
    ready: VecDeque<PresenceRequest>,
    /// The request whose command was given to the indicators, and whose stanza they have yet to give.
    begun: Option<BegunRequest>,
    writes: StanzaWrites,
    /// What is due, and what is asked for, waits for those that are under way.
    held_up: bool,
    /// How many more requests may come alone until it is no crowd any more that asks.
    crowd: u8,
    /// People of whom names are known that the indicators were not yet told, for the same reason.
    unjoined: Vec<ChatJid>,
    look_ups: FuturesUnordered<LookUp>,
    code: Option<CodeRequest>,
    waiting: Waiting,
    observers: Observers,
    /// A session of it has been online.
    was_online: bool,
    /// The state and reason that were published last.
    shown: (InstanceState, Option<Reason>),
    /// What the log was told of them last.
    logged: (InstanceState, Option<Reason>),
    alarm: Alarm,
    /// Why the session ended, for the next line of the log.
    cause: Option<String>,
    /// Something else that is published may have changed.
    changed: bool,
    stopping: bool,
}

/// In a crowd, too, so many requests may come alone one after the other.
const LULL: u8 = 32;

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
        wrote: Arc<AtomicBool>,
        lifecycle: Lifecycle,
    ) -> Self {
        let settings = &fleet.settings;
        let numbers = NumberSettings {
            resolve: settings.resolve_numbers,
            timeout: settings.lookup_timeout,
        };
        let indicators = new_indicators(&fleet, *keep_online.borrow());
        let shown = lifecycle.status();
        let logged = {
            let published = published.borrow();
            (published.state, published.reason)
        };
        Self {
            instance,
            indicators,
            active: ActiveIndicators::new(Arc::clone(&fleet)),
            reached: fleet.reached.subscribe(),
            fleet,
            published,
            keep_online,
            wrote,
            lifecycle,
            numbers: Numbers::new(numbers),
            session: None,
            job: None,
            farewell_until: None,
            turn: None,
            ready: VecDeque::new(),
            begun: None,
            writes: StanzaWrites::default(),
            held_up: false,
            crowd: 0,
            unjoined: Vec::new(),
            look_ups: FuturesUnordered::new(),
            code: None,
            waiting: Waiting::default(),
            observers: Observers::default(),
            was_online: false,
            shown,
            logged,
            alarm: Alarm::default(),
            cause: None,
            changed: true,
            stopping: false,
        }
    }

    /// What the instance showed at another process goes on here. It is told before anything else is: a message of
    /// the account ends what is known by then.
    pub(super) fn take_over(&mut self, shown: Vec<(ChatJid, Shown)>) {
        for (chat, shown) in shown {
            self.indicators.handle_taken_over(now(), &chat, shown);
            // It is to be kept for the next one.
            self.wrote.store(true, Ordering::Relaxed);
        }
    }

    /// Runs until the instance is removed or told to stop.
    pub(super) async fn run(&mut self, mailbox: &mut mpsc::Receiver<Message>, stop: &CancellationToken) {
        // One for all turns: most of them move the deadline a little or not at all, which takes no timer anew.
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            self.step();
            if self.lifecycle.is_over() {
                return;
            }
            let deadline = self.deadline();
            if let Some(deadline) = deadline.filter(|deadline| *deadline != timer.deadline()) {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.stopping => self.stop(),
                () = self.writes.some_ended() => self.handle_ended_writes(),
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
                Ok(()) = self.reached.changed(), if self.lifecycle.waits_for_whatsapp() => {
                    let at = *self.reached.borrow_and_update();
                    if let Some(at) = at {
                        self.lifecycle.handle_reached(Instant::now(), at, &mut rand::rng());
                    }
                }
                message = mailbox.recv() => match message {
                    Some(message) => self.handle_messages(message, mailbox).await,
                    None => self.stop(),
                },
                () = &mut timer, if deadline.is_some() => {}
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
        self.active.set(self.indicators.shown());
        self.tell_observers(None);
        let due = self.alarm.handle_timeout(now);
        self.log_notice(due);
        // In this order: who was told of something looks at it next.
        self.publish();
        self.answer();
    }

    /// Takes in a message, and with a request those that wait behind it, so that their stanzas leave together.
    ///
    /// This task runs as soon as the first of many requests has come. In a crowd, the tasks that are about to ask have
    /// their turn first.
    async fn handle_messages(&mut self, mut message: Message, mailbox: &mut mpsc::Receiver<Message>) {
        if self.crowd > 0 {
            yield_now().await;
        }
        self.crowd = match self.writes.is_empty() {
            true => self.crowd.saturating_sub(1),
            false => LULL,
        };
        for _ in 1..MAX_UNDER_WAY {
            if !matches!(message, Message::Presence(_)) {
                break;
            }
            self.handle_message(message);
            self.pump_stanzas();
            let Ok(next) = mailbox.try_recv() else { return };
            self.crowd = LULL;
            message = next;
        }
        self.handle_message(message);
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

    fn handle_job(&mut self, ended: JobEnd) {
        self.changed = true;
        let now = Instant::now();
        let done = match ended {
            JobEnd::Turn(turn) => {
                self.turn = Some(turn);
                JobDone::Done
            }
            JobEnd::Opened(session) => {
                let direct = session.is_direct();
                let state = session.state();
                let ends = self.fleet.settings.end_on_message;
                let own_messages = Some(session.own_messages()).filter(|_| ends);
                self.session = Some(OpenSession {
                    session: Arc::from(session),
                    state,
                    own_messages,
                    online: None,
                });
                JobDone::Opened { direct }
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

    fn stop(&mut self) {
        self.stopping = true;
        self.changed = true;
        self.lifecycle.handle_shutdown(Instant::now());
    }

    fn deadline(&self) -> Option<Instant> {
        let indicators = self.indicators.poll_timeout().map(Instant::from_std);
        [
            self.lifecycle.poll_timeout(),
            // What waits for a stanza that is under way is looked at again when that is written.
            indicators.filter(|_| !self.held_up),
            self.writes.poll_timeout(),
            self.numbers.poll_timeout(),
            self.farewell_until,
            self.alarm.poll_timeout(),
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

async fn some<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(pending_work) = work else {
        return pending().await;
    };
    let done = pending_work.await;
    *work = None;
    done
}

/// The only place that reads a clock for the indicators; it is tokio's, which tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
