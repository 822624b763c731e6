//! The life of one instance: when a session is opened, why it is closed, what follows its end. Pure.

mod commands;
mod events;
mod next_job;
mod view;

use tokio::time::Instant;

use super::job::{Action, Answer, Beginning, Job, Keys};
use super::open_budget::OpenBudget;
use super::session_end::{History, WaitReason};
use crate::error::ReconnectError;
use crate::login_limiter::Priority;
use crate::pairing::PairWith;
use crate::settings::FleetSettings;
use crate::status::Reason;

/// Everything that is decided about the sessions of one instance.
///
/// It is a state machine without input or output, in the shape of
/// [`Indicators`](presence_core::Indicators). It holds a *goal*, what its owner and WhatsApp want of the
/// instance, and *facts*: the session that is open, the keys, what is written down. From the two it follows
/// which *job* comes next, one at a time. Whoever drives it:
///
/// 1. tells it what is asked (`handle_connect` and the like), what the session says
///    ([`handle_session`](Self::handle_session)), how a job ended ([`handle_job`](Self::handle_job)), that time
///    has passed ([`handle_timeout`](Self::handle_timeout)), and while it [waits](Self::waits_for_whatsapp) for
///    that, that another instance has logged in ([`handle_reached`](Self::handle_reached));
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
    /// From when on it says something to this instance that another one reaches WhatsApp: since its last session
    /// began, or was lost. `None` when that one had a proxy: others did not take its way.
    unreached_since: Option<Instant>,
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
    /// When it was opened.
    since: Instant,
    /// It has no proxy.
    direct: bool,
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
            unreached_since: None,
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
        let at_rest = self.is_at_rest();
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
        if let Goal::Wait { until, .. } = self.goal {
            return Some(until);
        }
        match (&self.session, self.job) {
            (Some(session), _) => match session.progress {
                SessionProgress::LoggingIn { until } if session.leaving.is_none() => Some(until),
                _ => None,
            },
            (None, Some(_)) => None,
            (None, None) => match self.goal {
                Goal::Online(_) => self.budget.opens_again_at(self.now),
                Goal::LoggedOut { .. } => self.wipes_again_at(),
                _ => None,
            },
        }
    }

    /// Nothing is left to do, ever.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        let ends = match self.goal {
            Goal::Removed | Goal::Shutdown => true,
            Goal::LoggedOut { .. } => self.shutting_down,
            _ => false,
        };
        ends && self.is_at_rest()
    }

    /// Nothing is under way, and nothing is to be done for now.
    fn is_at_rest(&self) -> bool {
        self.session.is_none() && self.job.is_none() && self.next_job().is_none()
    }
}

#[cfg(test)]
mod tests;
