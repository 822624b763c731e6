//! The life of one instance: when a session is opened, why it is closed, what follows its end. Pure.

use presence_core::PhoneNumber;
use rand::Rng;
use tokio::time::Instant;

use super::job::{Action, Answer, Beginning, Job, JobDone, Keys};
use super::open_budget::OpenBudget;
use super::session_end::{History, Next, WaitReason};
use crate::error::{ConnectError, ReconnectError};
use crate::login_limiter::Priority;
use crate::pairing::PairWith;
use crate::session::{End, Identity, SessionState};
use crate::settings::FleetSettings;
use crate::status::{InstanceState, Reason};

/// Everything that is decided about the sessions of one instance.
///
/// It is a state machine without input or output, in the shape of
/// [`Indicators`](presence_core::Indicators). It holds a *goal*, what its owner and WhatsApp want of the
/// instance, and *facts*: the session that is open, the keys, what is written down. From the two it follows
/// which *job* comes next, one at a time. Whoever drives it:
///
/// 1. tells it what is asked (`handle_connect` and the like), what the session says
///    ([`handle_session`](Self::handle_session)), how a job ended ([`handle_job`](Self::handle_job)), and that
///    time has passed ([`handle_timeout`](Self::handle_timeout));
/// 2. after each of these calls [`poll_action`](Self::poll_action) until it is `None`, beginning a job or
///    abandoning the one that is under way, and then answers who waits ([`poll_answer`](Self::poll_answer));
/// 3. sleeps until [`poll_timeout`](Self::poll_timeout), and ends when [`is_over`](Self::is_over).
///
/// While a session is open it is told whatever the session's state becomes; the end of a session
/// ([`SessionState::Ended`]) is told exactly once, and after a [`Job::Close`] or [`Job::Unlink`] before the
/// job's own end.
///
/// `now` is the caller's and never goes back. Chance comes in as an argument too.
///
/// # What always holds
/// - Whatever happens, the instance ends up online, waiting with a deadline, or stopped with a reason.
/// - It opens at most [`opens_a_minute`](crate::RetrySettings::opens_a_minute) sessions in a minute.
/// - Keys are wiped only after WhatsApp has unlinked the device, a pairing of it has failed, or its owner asked.
#[derive(Debug)]
pub(super) struct Lifecycle {
    settings: FleetSettings,
    goal: Goal,
    session: Option<OpenSession>,
    keys: Keys,
    registry: Recorded,
    job: Option<Job>,
    /// A turn of the login limiter is held for the next session, or by one that logs in.
    holds_turn: bool,
    history: History,
    /// How a client asked to pair, and until when a pairing is begun for it.
    wanted: Option<(PairWith, Instant)>,
    budget: OpenBudget,
    wipe_failed: Option<WipeFailed>,
    /// Clients wait to hear of these.
    asked: Asked,
    shutting_down: bool,
    now: Instant,
}

/// What clients wait to be told.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    reconnect: Option<Reconnect>,
    logout: bool,
    remove: bool,
}

/// How far an answer to a wish to reconnect is.
#[derive(Clone, Copy, Debug)]
enum Reconnect {
    /// The keys have to be read first.
    Unknown,
    Known(Result<(), ReconnectError>),
}

/// What is wanted of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Online(Priority),
    Wait {
        until: Instant,
        why: WaitReason,
    },
    RefreshVersion,
    Stopped(Option<Reason>),
    LoggedOut {
        reason: Option<Reason>,
        /// WhatsApp has to be told.
        unlink: bool,
        /// A client waited for the connection that turned out to be unlinked: a pairing is begun for it.
        then_pair: bool,
    },
    Removed,
    Shutdown,
}

/// A session that is open, or was told to close.
#[derive(Clone, Debug)]
struct OpenSession {
    progress: SessionProgress,
    /// Why it is to be closed though it has not ended.
    leaving: Option<Leaving>,
    said_farewell: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionProgress {
    LoggingIn { until: Instant },
    Pairing,
    Linked,
    Online { since: Instant },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Leaving {
    /// It is of no use any more; the text is for the log.
    Faulty(&'static str),
    /// A fresh one is wanted.
    Reopen,
}

/// What the registry says of the instance.
#[derive(Clone, Copy, Debug)]
struct Recorded {
    pairing: bool,
    logged_out: bool,
    ban: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct WipeFailed {
    again: Instant,
    times: u32,
}

impl Lifecycle {
    pub(super) fn new(now: Instant, settings: FleetSettings, beginning: Beginning) -> Self {
        let Beginning {
            keys,
            logged_out,
            banned_until,
            resume,
        } = beginning;
        let goal = if logged_out {
            Goal::LoggedOut {
                reason: None,
                unlink: false,
                then_pair: false,
            }
        } else if let Some(until) = banned_until.filter(|until| resume && now < *until) {
            Goal::Wait {
                until,
                why: WaitReason::Banned,
            }
        } else if resume {
            Goal::Online(Priority::Background)
        } else {
            Goal::Stopped(None)
        };
        // Whatever keys a logged-out device has are of before.
        let keys = match keys {
            Keys::Unknown | Keys::Paired(_) if logged_out => Keys::Useless,
            keys => keys,
        };
        Self {
            budget: OpenBudget::new(&settings.retry),
            settings,
            goal,
            session: None,
            keys,
            registry: Recorded {
                pairing: false,
                logged_out,
                ban: banned_until,
            },
            job: None,
            holds_turn: false,
            history: History::default(),
            wanted: None,
            wipe_failed: None,
            asked: Asked::default(),
            shutting_down: false,
            now,
        }
    }

    /// As [`new`](Self::new), after the task that drove the machine has panicked: nothing is opened before
    /// `until`.
    pub(super) fn after_panic(
        now: Instant,
        settings: FleetSettings,
        beginning: Beginning,
        until: Instant,
    ) -> Self {
        let mut lifecycle = Self::new(now, settings, beginning);
        if let Goal::Online(_) = lifecycle.goal {
            lifecycle.goal = Goal::Wait {
                until,
                why: WaitReason::Crashed,
            };
        }
        lifecycle
    }

    /// A client wants the instance online, or what a phone needs to link it. `Ok`: it is on its way, and its
    /// status and codes tell.
    pub(super) fn handle_connect(&mut self, now: Instant, how: PairWith) -> Result<(), ConnectError> {
        self.now = now;
        let wanted = Some((how, now + self.settings.pairing_wanted_for));
        match self.goal {
            Goal::Online(_) if self.is_online() => {}
            Goal::Online(_) | Goal::RefreshVersion => self.wanted = wanted,
            Goal::Wait { why, .. } => match why {
                // Clients ask again and again while they show a QR code; that must neither disturb a ban nor
                // cut a back-off short.
                WaitReason::Banned => return Err(ConnectError::Stopped(self.status().1)),
                WaitReason::Refused(_) | WaitReason::Outdated if !self.may_reopen() => {
                    return Err(ConnectError::Stopped(self.status().1));
                }
                WaitReason::Refused(_) | WaitReason::Outdated => {
                    self.wanted = wanted;
                    self.reopen();
                }
                _ => self.wanted = wanted,
            },
            Goal::Stopped(Some(Reason::Replaced)) if !self.may_reopen() => {
                return Err(ConnectError::Stopped(self.status().1));
            }
            Goal::Stopped(reason) => {
                self.wanted = wanted;
                if reason == Some(Reason::Replaced) {
                    self.budget.note_reopen(now);
                }
                self.history.handle_asked();
                self.goal = Goal::Online(Priority::Asked);
            }
            Goal::LoggedOut { reason, unlink, .. } => {
                self.wanted = wanted;
                self.history.handle_asked();
                self.goal = Goal::LoggedOut {
                    reason,
                    unlink,
                    then_pair: true,
                };
            }
            Goal::Removed | Goal::Shutdown => return Err(ConnectError::Gone),
        }
        Ok(())
    }

    /// A client wants a fresh connection. Answered by [`poll_answer`](Self::poll_answer).
    pub(super) fn handle_reconnect(&mut self, now: Instant) {
        self.now = now;
        let answer = match (&self.keys, self.goal) {
            (_, Goal::Removed | Goal::Shutdown) => Reconnect::Known(Err(ReconnectError::Gone)),
            (Keys::Nothing | Keys::Unpaired | Keys::Useless, _) | (_, Goal::LoggedOut { .. }) => {
                Reconnect::Known(Err(ReconnectError::NoSavedSession))
            }
            (Keys::Unknown, _) => Reconnect::Unknown,
            (Keys::Paired(_), _) => {
                self.reconnect();
                Reconnect::Known(Ok(()))
            }
        };
        self.asked.reconnect = Some(answer);
    }

    fn reconnect(&mut self) {
        match self.goal {
            Goal::Online(_) if self.is_online() && self.may_reopen() => {
                self.budget.note_reopen(self.now);
                self.leave(Leaving::Reopen);
                self.goal = Goal::Online(Priority::Asked);
            }
            Goal::Stopped(_)
            | Goal::Wait {
                why: WaitReason::Refused(_) | WaitReason::Outdated,
                ..
            } => self.reopen(),
            // It connects by itself, or was opened a moment ago.
            _ => {}
        }
    }

    /// The owner wants the device unlinked. Answered by [`poll_answer`](Self::poll_answer).
    pub(super) fn handle_logout(&mut self, now: Instant) {
        self.now = now;
        self.asked.logout = true;
        // The last word counts: nobody wants to pair any more.
        self.wanted = None;
        self.goal = match self.goal {
            Goal::LoggedOut { reason, unlink, .. } => Goal::LoggedOut {
                reason,
                unlink,
                then_pair: false,
            },
            goal @ (Goal::Removed | Goal::Shutdown) => goal,
            _ => Goal::LoggedOut {
                reason: None,
                unlink: true,
                then_pair: false,
            },
        };
    }

    /// The owner wants the instance gone. Answered by [`poll_answer`](Self::poll_answer).
    pub(super) fn handle_remove(&mut self, now: Instant) {
        self.now = now;
        self.asked.remove = true;
        self.goal = Goal::Removed;
        self.wanted = None;
        self.wipe_failed = None;
    }

    /// The process ends: the session is closed, and nothing is unlinked or wiped, except what its owner has
    /// asked for and was promised.
    pub(super) fn handle_shutdown(&mut self, now: Instant) {
        self.now = now;
        self.shutting_down = true;
        if !matches!(self.goal, Goal::Removed | Goal::LoggedOut { .. }) {
            self.goal = Goal::Shutdown;
        }
    }

    /// The session is in another state.
    pub(super) fn handle_session(&mut self, now: Instant, state: &SessionState, rng: &mut impl Rng) {
        self.now = now;
        let Some(session) = &mut self.session else { return };
        match state {
            SessionState::Connecting => {}
            SessionState::Pairing(_) => {
                session.progress = SessionProgress::Pairing;
                self.holds_turn = false;
            }
            SessionState::Linked => {
                session.progress = SessionProgress::Linked;
                self.holds_turn = false;
            }
            SessionState::Online(online) => {
                if !matches!(session.progress, SessionProgress::Online { .. }) {
                    session.progress = SessionProgress::Online { since: now };
                }
                self.holds_turn = false;
                self.wanted = None;
                self.history.handle_online();
                self.keys = Keys::Paired(online.identity.clone());
            }
            SessionState::Ended(end) => self.end_session(end, rng),
        }
    }

    /// The session is of no use any more: a stanza could not be written.
    pub(super) fn handle_faulty_session(&mut self, now: Instant) {
        self.now = now;
        self.leave(Leaving::Faulty("a stanza could not be written"));
    }

    /// The job that was under way has ended. Returns which one that was.
    pub(super) fn handle_job(&mut self, now: Instant, done: JobDone, rng: &mut impl Rng) -> Option<Job> {
        self.now = now;
        let job = self.job.take()?;
        match (job, done) {
            (Job::TakeTurn(_), JobDone::Done) => self.holds_turn = true,
            (Job::LoadKeys, JobDone::Loaded(identity)) => {
                self.keys = identity.map_or(Keys::Unpaired, Keys::Paired);
                if self.asked.reconnect.is_some() {
                    self.handle_reconnect(now);
                }
            }
            (Job::LoadKeys, _) => {
                if let Some(reconnect) = &mut self.asked.reconnect {
                    *reconnect = Reconnect::Known(Err(ReconnectError::Keys));
                }
                self.retry_later(rng);
            }
            (Job::RecordPairing, JobDone::Done) => {
                self.registry.pairing = true;
                self.registry.logged_out = false;
            }
            (Job::RecordPairing, _) => {
                self.wanted = None;
                if let Goal::Online(_) = self.goal {
                    self.goal = Goal::Stopped(Some(Reason::NotRecorded));
                }
            }
            (Job::Open, JobDone::Done) => {
                let until = now + self.settings.login_timeout;
                self.session = Some(OpenSession {
                    progress: SessionProgress::LoggingIn { until },
                    leaving: None,
                    said_farewell: false,
                });
            }
            (Job::Open, _) => {
                self.holds_turn = false;
                self.retry_later(rng);
            }
            (Job::SayFarewell, _) => {
                if let Some(session) = &mut self.session {
                    session.said_farewell = true;
                }
            }
            // The session was told to be over before; if it was not, nothing more can be done for it.
            (Job::Unlink | Job::Close, _) => self.end_session(&End::Closed, rng),
            // An error was logged; the keys of a device that is not linked are of no use all the same.
            (Job::RecordLogout, _) => {
                self.registry.logged_out = true;
                self.registry.pairing = false;
                self.registry.ban = None;
            }
            (Job::RecordBan(until), _) => self.registry.ban = until,
            (Job::WipeKeys, JobDone::Done) => {
                self.keys = Keys::Nothing;
                self.wipe_failed = None;
            }
            (Job::WipeKeys, _) => {
                self.keys = Keys::Useless;
                let times = self.wipe_failed.map_or(0, |failed| failed.times);
                // At least half of it, so that a full disk is not tried all the time.
                let backoff = self.settings.retry.rejection_backoff;
                self.wipe_failed = Some(WipeFailed {
                    again: now + backoff.ceiling(times) / 2 + backoff.delay(times, rng) / 2,
                    times: times.saturating_add(1),
                });
            }
            (Job::RefreshVersion, done) => {
                let refreshed = match done {
                    JobDone::Refreshed(changed) => Ok(changed),
                    _ => Err(()),
                };
                let next = self
                    .history
                    .after_refresh(now, refreshed, &self.settings.retry, rng);
                if self.goal == Goal::RefreshVersion {
                    self.follow(next, Priority::Background);
                }
            }
            (Job::TakeTurn(_), _) => {}
        }
        Some(job)
    }

    /// Time has passed. An early or extra call does nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if let Some(OpenSession {
            progress: SessionProgress::LoggingIn { until },
            ..
        }) = self.session
            && until <= now
        {
            self.leave(Leaving::Faulty("the login did not finish in time"));
        }
        if let Goal::Wait { until, why } = self.goal
            && until <= now
        {
            self.goal = match why {
                WaitReason::Outdated => Goal::RefreshVersion,
                _ => Goal::Online(Priority::Background),
            };
        }
    }

    /// What to do now; `None` when there is nothing to do for now.
    #[must_use]
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.pass_over();
        let wanted = self.next_job();
        match self.job {
            None => {
                let job = wanted?;
                self.begin(job);
                Some(Action::Begin(job))
            }
            Some(Job::TakeTurn(_) | Job::RefreshVersion) if self.job != wanted => {
                self.job = None;
                Some(Action::Abandon)
            }
            Some(_) => None,
        }
    }

    /// What to tell those who wait; `None` when there is nothing to tell for now.
    #[must_use]
    pub(super) fn poll_answer(&mut self) -> Option<Answer> {
        if let Some(Reconnect::Known(answer)) = self.asked.reconnect {
            self.asked.reconnect = None;
            return Some(Answer::Reconnect(answer));
        }
        let at_rest = self.session.is_none() && self.job.is_none() && self.next_job().is_none();
        let logged_out = match self.goal {
            Goal::LoggedOut { then_pair, .. } => at_rest || then_pair,
            _ => true,
        };
        if logged_out && std::mem::take(&mut self.asked.logout) {
            return Some(Answer::LoggedOut);
        }
        if at_rest && std::mem::take(&mut self.asked.remove) {
            let wiped = self.keys == Keys::Nothing;
            return Some(Answer::Removed { wiped });
        }
        None
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` when nothing is waited for.
    #[must_use]
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let login = self.session.as_ref().and_then(|session| match session.progress {
            SessionProgress::LoggingIn { until } if session.leaving.is_none() => Some(until),
            _ => None,
        });
        let goal = match self.goal {
            Goal::Wait { until, .. } => Some(until),
            Goal::Online(_) if self.session.is_none() && self.job.is_none() => {
                self.budget.opens_again_at(self.now)
            }
            _ => None,
        };
        let wiping = matches!(self.goal, Goal::Online(_) | Goal::LoggedOut { .. })
            && self.keys == Keys::Useless
            && self.session.is_none()
            && self.job.is_none();
        let wipe = self
            .wipe_failed
            .filter(|failed| wiping && self.now < failed.again)
            .map(|failed| failed.again);
        [login, goal, wipe].into_iter().flatten().min()
    }

    /// Nothing is left to do, ever.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        let ends = match self.goal {
            Goal::Removed | Goal::Shutdown => true,
            Goal::LoggedOut { .. } => self.shutting_down,
            _ => false,
        };
        ends && self.session.is_none() && self.job.is_none() && self.next_job().is_none()
    }

    /// State and reason, as a person reads them.
    pub(super) fn status(&self) -> (InstanceState, Option<Reason>) {
        match self.goal {
            Goal::Online(_) => match self.session.as_ref().map(|session| session.progress) {
                Some(SessionProgress::Online { .. }) if !self.is_leaving() => {
                    (InstanceState::Connected, None)
                }
                Some(SessionProgress::Pairing) => (InstanceState::Connecting, Some(Reason::WaitingForPhone)),
                Some(SessionProgress::Linked) => (InstanceState::Connecting, Some(Reason::Registering)),
                _ => (InstanceState::Connecting, None),
            },
            Goal::RefreshVersion => (InstanceState::Connecting, None),
            Goal::Wait { until, why } => match why {
                WaitReason::Lost => (InstanceState::Connecting, Some(Reason::Retrying(until))),
                WaitReason::ProxyFailed(fault) => (
                    InstanceState::Connecting,
                    Some(Reason::ProxyFailed { fault, next: until }),
                ),
                WaitReason::Registering => (InstanceState::Connecting, Some(Reason::Registering)),
                WaitReason::Rejected(code) => (
                    InstanceState::Connecting,
                    Some(Reason::Rejected { code, next: until }),
                ),
                WaitReason::Crashed => (InstanceState::Connecting, Some(Reason::Crashed(until))),
                WaitReason::Refused(code) => (
                    InstanceState::Disconnected,
                    Some(Reason::Refused { code, next: until }),
                ),
                WaitReason::Outdated => (
                    InstanceState::Disconnected,
                    Some(Reason::Outdated { next: until }),
                ),
                WaitReason::Banned => (InstanceState::Disconnected, Some(Reason::Banned(until))),
            },
            Goal::Stopped(reason) => (InstanceState::Disconnected, reason),
            Goal::LoggedOut { then_pair: true, .. } => (InstanceState::Connecting, None),
            Goal::LoggedOut { reason, .. } => (InstanceState::LoggedOut, reason),
            Goal::Removed | Goal::Shutdown if self.registry.logged_out => (InstanceState::LoggedOut, None),
            Goal::Removed | Goal::Shutdown => (InstanceState::Disconnected, None),
        }
    }

    /// Who the device is paired with, as far as is known.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match &self.keys {
            Keys::Paired(identity) => Some(identity),
            Keys::Unknown | Keys::Nothing | Keys::Unpaired | Keys::Useless => None,
        }
    }

    /// The number whose owner is to type a link code, while the session waits for a phone.
    pub(super) fn link_code_wanted(&self) -> Option<PhoneNumber> {
        match (self.wanted, &self.session) {
            (
                Some((PairWith::LinkCode(phone), _)),
                Some(OpenSession {
                    progress: SessionProgress::Pairing,
                    leaving: None,
                    ..
                }),
            ) => Some(phone),
            _ => None,
        }
    }

    /// Whether a session is online, and not about to be closed.
    pub(super) fn is_online(&self) -> bool {
        matches!(
            self.session,
            Some(OpenSession {
                progress: SessionProgress::Online { .. },
                leaving: None,
                ..
            })
        ) && matches!(self.goal, Goal::Online(_))
    }

    /// Whether a turn of the login limiter is held.
    pub(super) fn holds_turn(&self) -> bool {
        self.holds_turn
    }

    fn is_leaving(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.leaving.is_some())
    }

    /// The work that brings the instance nearer to its goal.
    fn next_job(&self) -> Option<Job> {
        if let Some(Reconnect::Unknown) = self.asked.reconnect {
            return Some(Job::LoadKeys);
        }
        match (self.goal, &self.session) {
            (Goal::Online(_), Some(session)) => match (&session.leaving, session.progress) {
                (Some(_), _) => Some(Job::Close),
                (None, SessionProgress::Online { .. }) if self.registry.ban.is_some() => {
                    Some(Job::RecordBan(None))
                }
                (None, _) => None,
            },
            (Goal::Online(priority), None) => self.opening_job(priority),
            (Goal::LoggedOut { unlink: true, .. } | Goal::Removed, Some(session)) => {
                Some(farewell_of(session).unwrap_or(Job::Unlink))
            }
            (Goal::Shutdown, Some(session)) => Some(farewell_of(session).unwrap_or(Job::Close)),
            (_, Some(_)) => Some(Job::Close),
            (Goal::RefreshVersion, None) => Some(Job::RefreshVersion),
            (
                Goal::Wait {
                    until,
                    why: WaitReason::Banned,
                },
                None,
            ) if self.registry.ban != Some(until) => Some(Job::RecordBan(Some(until))),
            (Goal::LoggedOut { .. }, None) if !self.registry.logged_out => Some(Job::RecordLogout),
            (Goal::LoggedOut { .. }, None) => self.wiping_job(),
            // Once: what is left over is remembered by the registry.
            (Goal::Removed, None) if self.wipe_failed.is_none() => self.wiping_job(),
            (Goal::Removed | Goal::Wait { .. } | Goal::Stopped(_) | Goal::Shutdown, None) => None,
        }
    }

    fn opening_job(&self, priority: Priority) -> Option<Job> {
        match self.keys {
            Keys::Useless => self.wiping_job(),
            Keys::Unknown => Some(Job::LoadKeys),
            Keys::Nothing | Keys::Unpaired if !self.is_pairing_wanted() => None,
            Keys::Nothing | Keys::Unpaired if !self.registry.pairing => Some(Job::RecordPairing),
            _ if self.budget.opens_again_at(self.now).is_some() => None,
            _ if !self.holds_turn => Some(Job::TakeTurn(priority)),
            _ => Some(Job::Open),
        }
    }

    fn wiping_job(&self) -> Option<Job> {
        let too_early = self
            .wipe_failed
            .is_some_and(|failed| self.now < failed.again && self.goal != Goal::Removed);
        (self.keys != Keys::Nothing && !too_early).then_some(Job::WipeKeys)
    }

    fn begin(&mut self, job: Job) {
        self.job = Some(job);
        match job {
            Job::Open => {
                self.budget.note_open(self.now);
                if self.keys == Keys::Nothing {
                    self.keys = Keys::Unpaired;
                }
            }
            // From here on they are of no use, whether that succeeds or not.
            Job::WipeKeys => self.keys = Keys::Useless,
            _ => {}
        }
    }

    /// Follows what needs no work.
    fn pass_over(&mut self) {
        let idle = self.session.is_none() && self.job.is_none();
        if let Goal::LoggedOut { then_pair: true, .. } = self.goal
            && idle
            && self.keys == Keys::Nothing
            && self.next_job().is_none()
            && !self.shutting_down
        {
            self.goal = Goal::Online(Priority::Asked);
        }
        if let Goal::Online(_) = self.goal
            && idle
            && matches!(self.keys, Keys::Nothing | Keys::Unpaired)
            && !self.is_pairing_wanted()
        {
            let reason = self.wanted.take().map(|_| Reason::PairingExpired);
            self.goal = Goal::Stopped(reason);
        }
        if !matches!(self.goal, Goal::Online(_)) {
            self.holds_turn = false;
        }
    }

    fn leave(&mut self, why: Leaving) {
        if let Some(session) = &mut self.session {
            session.leaving.get_or_insert(why);
        }
    }

    fn end_session(&mut self, end: &End, rng: &mut impl Rng) {
        let Some(session) = self.session.take() else {
            return;
        };
        self.holds_turn = false;
        if let SessionProgress::Online { since } = session.progress
            && self.now >= since + self.settings.retry.stable_after
        {
            self.history.handle_stable();
        }
        if *end == End::Paired || session.progress == SessionProgress::Linked {
            // The registry knows that it may be there; what it is, the keys say.
            self.keys = Keys::Unknown;
        }
        if !matches!(self.goal, Goal::Online(_)) {
            return;
        }
        // A failed stanza may be noticed a moment before the reason that WhatsApp gave.
        let end = match (session.leaving, end) {
            (Some(Leaving::Reopen), End::Closed) => return,
            (Some(Leaving::Faulty(cause)), End::Closed) => &End::Lost(cause.to_owned()),
            (_, end) => end,
        };
        if let End::Lost(cause) | End::PairingFailed(cause) = end {
            tracing::debug!(cause, "a session ended");
        }
        let was_paired = matches!(self.keys, Keys::Paired(_));
        let pairing_wanted = self.is_pairing_wanted();
        let next = self.history.after(self.now, end, &self.settings.retry, rng);
        self.follow(next, Priority::Asked);
        if let Goal::LoggedOut { then_pair, .. } = &mut self.goal {
            // Unlinked while a client waits for this very connection: what it needs is a new pairing.
            *then_pair = matches!(end, End::LoggedOut { .. }) && was_paired && pairing_wanted;
        }
    }

    fn follow(&mut self, next: Next, priority: Priority) {
        self.goal = match next {
            Next::Open => Goal::Online(priority),
            Next::Wait { until, why } => Goal::Wait { until, why },
            Next::RefreshVersion => Goal::RefreshVersion,
            Next::Stop(reason) => Goal::Stopped(Some(reason)),
            Next::LogOut(reason) => {
                self.registry.logged_out = false;
                self.keys = Keys::Useless;
                Goal::LoggedOut {
                    reason: Some(reason),
                    unlink: false,
                    then_pair: false,
                }
            }
        };
        match self.goal {
            Goal::Stopped(_)
            | Goal::Wait {
                why: WaitReason::Banned,
                ..
            } => self.wanted = None,
            _ => {}
        }
    }

    fn retry_later(&mut self, rng: &mut impl Rng) {
        if matches!(self.goal, Goal::Online(_)) {
            let end = End::Lost("the device keys could not be read".to_owned());
            let next = self.history.after(self.now, &end, &self.settings.retry, rng);
            self.follow(next, Priority::Background);
        }
    }

    /// Opens a session because a client asked for it: now, or when the last one that was asked for is old
    /// enough.
    fn reopen(&mut self) {
        self.history.handle_asked();
        self.goal = match self.budget.reopens_again_at(self.now) {
            Some(until) => Goal::Wait {
                until,
                why: WaitReason::Lost,
            },
            None => {
                self.budget.note_reopen(self.now);
                Goal::Online(Priority::Asked)
            }
        };
    }

    fn may_reopen(&self) -> bool {
        self.budget.reopens_again_at(self.now).is_none()
    }

    fn is_pairing_wanted(&self) -> bool {
        self.wanted.is_some_and(|(_, until)| self.now < until)
    }
}

/// What an online session shows is paused before it is closed on purpose.
fn farewell_of(session: &OpenSession) -> Option<Job> {
    let online = matches!(session.progress, SessionProgress::Online { .. });
    (online && !session.said_farewell && session.leaving.is_none()).then_some(Job::SayFarewell)
}

#[cfg(test)]
mod tests;
