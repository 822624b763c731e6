//! What the fleet counts of itself, for monitoring.

use std::time::Duration;

use enum_map::{Enum, EnumMap};
use presence_core::PresenceState;
use presence_metrics::{Counter, Gauge, Histogram};

use crate::error::ShowError;
use crate::session::End;

/// What all instances have done since the fleet began, and do now.
#[derive(Debug)]
#[non_exhaustive]
pub struct FleetCounters {
    /// Presences that were asked for, by what became of them.
    pub presences: EnumMap<PresenceOutcome, ByState>,
    /// Indicators that were sent again, to be held or on a new connection.
    pub resends: Counter,
    /// How late, after its deadline, the `paused` of an indicator was on the socket.
    pub auto_pause_lateness: Histogram,
    /// Indicators that were ended before their time.
    pub ended_early: EnumMap<EarlyEnd, Counter>,
    /// Indicators that are up, or come up again with the next connection.
    pub indicators_active: Gauge,
    /// Sessions that came online.
    pub logins: Counter,
    /// Those of them whose instance had been online before.
    pub reconnects: Counter,
    /// Sessions that ended.
    pub session_ends: EnumMap<SessionEnd, Counter>,
    /// People who were looked up.
    pub look_ups: EnumMap<LookUpResult, Counter>,
    /// Tasks of instances that panicked.
    pub task_panics: Counter,
}

/// A counter for each state that can be asked for.
#[derive(Debug, Default)]
pub struct ByState {
    typing: Counter,
    recording: Counter,
    pause: Counter,
}

/// What became of a presence that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[non_exhaustive]
pub enum PresenceOutcome {
    /// Its stanza is on the socket.
    Written,
    /// There was no live session, or it failed.
    NotConnected,
    /// The session did not take the stanza in time.
    TimedOut,
    /// Too many requests waited for the session.
    Busy,
    /// The session shows something in as many chats as it may.
    TooManyChats,
    /// Whoever asked did not wait.
    Abandoned,
}

/// What ended an indicator before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[non_exhaustive]
pub enum EarlyEnd {
    /// A client.
    Pause,
    /// A newer indicator in the same chat.
    Newer,
    /// A message that the account sent there.
    Message,
    /// The session was closed on purpose.
    Shutdown,
}

/// Why a session ended; see [`End`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[non_exhaustive]
#[expect(missing_docs, reason = "as those of `End`")]
pub enum SessionEnd {
    Closed,
    /// It was closed because it was of no use any more.
    Faulty,
    Lost,
    ProxyFailed,
    Paired,
    Restart,
    PairingExpired,
    PairingFailed,
    LoggedOut,
    Replaced,
    Banned,
    Outdated,
    Rejected,
}

/// What came of a look-up of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[non_exhaustive]
pub enum LookUpResult {
    /// A name that stanzas can go to.
    Found,
    /// Nobody has it.
    Unknown,
    /// No answer.
    Failed,
}

/// Timers are exact to about a millisecond; 10 s is when phones have hidden everything; beyond that, the session
/// was away.
const LATENESS: [Duration; 11] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

impl Default for FleetCounters {
    fn default() -> Self {
        Self {
            presences: EnumMap::default(),
            resends: Counter::default(),
            auto_pause_lateness: Histogram::new(&LATENESS),
            ended_early: EnumMap::default(),
            indicators_active: Gauge::default(),
            logins: Counter::default(),
            reconnects: Counter::default(),
            session_ends: EnumMap::default(),
            look_ups: EnumMap::default(),
            task_panics: Counter::default(),
        }
    }
}

impl ByState {
    /// The counter of `state`.
    #[must_use]
    pub fn of(&self, state: PresenceState) -> &Counter {
        match state {
            PresenceState::Typing => &self.typing,
            PresenceState::Recording => &self.recording,
            PresenceState::Pause => &self.pause,
        }
    }
}

impl PresenceOutcome {
    /// Its word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::NotConnected => "not_connected",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::TooManyChats => "too_many_chats",
            Self::Abandoned => "abandoned",
        }
    }

    pub(crate) fn of<T>(shown: &Result<T, ShowError>) -> Self {
        match shown {
            Ok(_) => Self::Written,
            Err(ShowError::NotConnected) => Self::NotConnected,
            Err(ShowError::Busy) => Self::Busy,
            Err(ShowError::TooManyChats) => Self::TooManyChats,
        }
    }
}

impl EarlyEnd {
    /// Its word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Newer => "newer",
            Self::Message => "message",
            Self::Shutdown => "shutdown",
        }
    }
}

impl SessionEnd {
    /// Its word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Faulty => "faulty",
            Self::Lost => "lost",
            Self::ProxyFailed => "proxy_failed",
            Self::Paired => "paired",
            Self::Restart => "restart",
            Self::PairingExpired => "pairing_expired",
            Self::PairingFailed => "pairing_failed",
            Self::LoggedOut => "logged_out",
            Self::Replaced => "replaced",
            Self::Banned => "banned",
            Self::Outdated => "outdated",
            Self::Rejected => "rejected",
        }
    }
}

impl From<&End> for SessionEnd {
    fn from(end: &End) -> Self {
        match end {
            End::Closed => Self::Closed,
            End::Lost(_) => Self::Lost,
            End::ProxyFailed { .. } => Self::ProxyFailed,
            End::Paired => Self::Paired,
            End::Restart => Self::Restart,
            End::PairingExpired => Self::PairingExpired,
            End::PairingFailed(_) => Self::PairingFailed,
            End::LoggedOut { .. } => Self::LoggedOut,
            End::Replaced => Self::Replaced,
            End::Banned(_) => Self::Banned,
            End::Outdated => Self::Outdated,
            End::Rejected(_) => Self::Rejected,
        }
    }
}

impl LookUpResult {
    /// Its word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

/// A presence that was asked for. Its outcome is counted once: as abandoned, when it is dropped without one.
pub(crate) struct AskedPresence<'a> {
    counters: &'a FleetCounters,
    state: PresenceState,
    outcome: PresenceOutcome,
}

impl<'a> AskedPresence<'a> {
    pub(crate) fn new(counters: &'a FleetCounters, state: PresenceState) -> Self {
        Self {
            counters,
            state,
            outcome: PresenceOutcome::Abandoned,
        }
    }

    pub(crate) fn end(mut self, outcome: PresenceOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for AskedPresence<'_> {
    fn drop(&mut self) {
        self.counters.presences[self.outcome].of(self.state).inc();
    }
}
