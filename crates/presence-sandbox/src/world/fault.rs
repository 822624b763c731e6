//! What can go wrong on purpose: the vocabulary. What comes of it is in `faults`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Farewell, Number, REPLACED};

/// How many faults can stand at a time.
pub(super) const MAX_FAULTS: usize = 1024;

/// The longest delay or ban. More than that could overflow a clock.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The number of a fault that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FaultId(pub(super) u64);

/// Something that goes wrong.
///
/// It concerns every account unless [`on`](Self::on) names one, and stands until it is cleared unless
/// [`times`](Self::times) or [`lasting`](Self::lasting) limit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) when: When,
    pub(super) account: Option<Number>,
    pub(super) times: Option<u32>,
    pub(super) lasts: Option<Duration>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FaultKind {
    /// `<stream:error code>`; then the server hangs up, or just leaves the connection open.
    StreamError {
        /// For example 429 or 503.
        code: u16,
        /// Whether the server hangs up after it, which it does unless told otherwise.
        #[serde(default = "yes")]
        hang_up: bool,
    },
    /// `<stream:error>` with `<conflict type="replaced">`, as when the device connected elsewhere.
    Replaced,
    /// `<stream:error code="401">` with `<conflict type="device_removed">`. The device stays linked, unlike
    /// after an unlinking.
    DeviceRemoved,
    /// `<failure reason>`, then the server hangs up.
    Failure {
        /// Any: for example 400, 401, 403, 405, 409, 429, 501, 502, 503 or 504.
        reason: u16,
        /// What the failure says besides, if anything.
        #[serde(default)]
        message: Option<String>,
    },
    /// `<failure>` that gives no reason, then the server hangs up.
    FailureWithoutReason,
    /// `<xmlstreamend>`, then the server hangs up.
    StreamEnd,
    /// The server hangs up without a word.
    Drop,
    /// The server neither reads nor writes any more, but keeps the connection.
    Stall,
    /// Connections are hung up on: before the first byte is answered when the fault concerns all accounts,
    /// after the handshake when it concerns one.
    Refuse,
    /// Some answers are never given.
    Withhold {
        /// Which.
        answers: Vec<Answer>,
    },
    /// Some answers come late.
    Delay {
        /// Which.
        answers: Vec<Answer>,
        /// How late. As JSON, whole milliseconds.
        #[serde(rename = "delay_ms", with = "millis")]
        by: Duration,
    },
    /// Some queries are answered with an error.
    Reject {
        /// The queries, by the name of their answer.
        answers: Vec<Answer>,
        /// For example 429.
        code: u16,
        /// What the error says besides.
        #[serde(default)]
        text: String,
    },
    /// Every login fails with 402 until the ban ends, and those who are in are thrown out.
    Ban {
        /// WhatsApp's reason for the ban; 101 to 104 and 106 are known.
        #[serde(default = "too_many_strangers")]
        code: u16,
        /// How long it lasts, from when the fault is set. As JSON, whole milliseconds. The failure tells
        /// what is left of it in whole seconds, rounded up.
        #[serde(rename = "lasts_ms", with = "millis")]
        lasts: Duration,
    },
}

/// When it goes wrong. Has a meaning only for what happens to a connection at one moment: stream errors,
/// conflicts, failures, stream ends, drops and stalls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// At once, to those who are connected; nothing stands afterwards.
    #[default]
    Now,
    /// When a device logs in, instead of `<success>`.
    Login,
    /// When the concerned accounts have sent so many more stanzas, together; then again after as many.
    AfterStanzas(u32),
}

/// The answers that can be withheld, delayed or refused, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// `<success>`, after the handshake of a linked device.
    Success,
    /// `<ib><offline>`, after which a client thinks itself connected.
    Offline,
    /// The result of going active.
    Passive,
    /// The result of a ping.
    Ping,
    /// The result of a pre-key upload.
    PreKeys,
    /// The number of pre-keys.
    PreKeyCount,
    /// The result of a key digest check.
    Digest,
    /// The keys of others' devices.
    Keys,
    /// The A/B properties.
    Props,
    /// The block list.
    Blocklist,
    /// The privacy settings.
    Privacy,
    /// The result of a usync query.
    Usync,
    /// The result of an app state sync.
    AppState,
    /// What is known of groups.
    Groups,
    /// The result of a logout. A withheld or late one still unlinks the device; a refused one does not.
    Logout,
    /// The QR references.
    PairDevice,
    /// The answer to a request for a link code.
    LinkCode,
    /// The answer to the device's last word about a link code.
    LinkFinish,
    /// Acknowledgements of receipts and messages.
    Ack,
    /// The result of any other query.
    Other,
}

/// A fault that makes no sense, or one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFault {
    /// Only what happens at one moment can be timed.
    #[error("this fault stands until it is cleared: it takes no 'when' and no 'after_stanzas'")]
    NotTimed,
    /// Zero times, or after zero stanzas.
    #[error("'times' and 'after_stanzas' are 1 or more")]
    Zero,
    /// No answer is named.
    #[error("'answers' names none")]
    NoAnswers,
    /// A time of more than a year.
    #[error("a time of more than a year")]
    TooLong,
    /// Only what stands can last.
    #[error("this fault strikes once, at once: it takes no 'for_ms'")]
    NothingLasts,
    /// Too many faults stand.
    #[error("{MAX_FAULTS} faults stand already")]
    TooMany,
}

impl Fault {
    /// `kind`, at once, for all accounts.
    #[must_use]
    pub const fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            when: When::Now,
            account: None,
            times: None,
            lasts: None,
        }
    }

    /// A stream error after which the server hangs up.
    #[must_use]
    pub const fn stream_error(code: u16) -> Self {
        Self::new(FaultKind::StreamError { code, hang_up: true })
    }

    /// A failure.
    #[must_use]
    pub const fn failure(reason: u16) -> Self {
        Self::new(FaultKind::Failure {
            reason,
            message: None,
        })
    }

    /// A connection on which nothing is read or written any more.
    #[must_use]
    pub const fn stall() -> Self {
        Self::new(FaultKind::Stall)
    }

    /// Connections are refused.
    #[must_use]
    pub const fn refuse() -> Self {
        Self::new(FaultKind::Refuse)
    }

    /// An answer that is never given.
    #[must_use]
    pub fn withhold(answer: Answer) -> Self {
        Self::new(FaultKind::Withhold {
            answers: vec![answer],
        })
    }

    /// An answer that comes late.
    #[must_use]
    pub fn delay(answer: Answer, by: Duration) -> Self {
        Self::new(FaultKind::Delay {
            answers: vec![answer],
            by,
        })
    }

    /// A temporary ban.
    #[must_use]
    pub const fn ban(lasts: Duration) -> Self {
        Self::new(FaultKind::Ban {
            code: too_many_strangers(),
            lasts,
        })
    }

    /// What goes wrong.
    #[must_use]
    pub const fn kind(&self) -> &FaultKind {
        &self.kind
    }

    /// The account it concerns; `None` for all.
    #[must_use]
    pub const fn account(&self) -> Option<Number> {
        self.account
    }

    /// When it happens.
    #[must_use]
    pub const fn moment(&self) -> When {
        self.when
    }

    /// How many times it will still happen; `None` for any number of times.
    #[must_use]
    pub const fn remaining(&self) -> Option<u32> {
        self.times
    }

    /// How long it stands from when it is set; `None` without such a limit.
    #[must_use]
    pub const fn duration(&self) -> Option<Duration> {
        self.lasts
    }

    /// Concerns only this account.
    #[must_use]
    pub const fn on(mut self, account: Number) -> Self {
        self.account = Some(account);
        self
    }

    /// Happens at this moment.
    #[must_use]
    pub const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// Happens so many times, then no more.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Stands so long from when it is set, at most, then is cleared: up to a year.
    #[must_use]
    pub const fn lasting(mut self, time: Duration) -> Self {
        self.lasts = Some(time);
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidFault> {
        if self.times == Some(0) || self.when == When::AfterStanzas(0) {
            return Err(InvalidFault::Zero);
        }
        match &self.kind {
            FaultKind::Withhold { answers }
            | FaultKind::Delay { answers, .. }
            | FaultKind::Reject { answers, .. }
                if answers.is_empty() =>
            {
                return Err(InvalidFault::NoAnswers);
            }
            FaultKind::Delay { by: time, .. } | FaultKind::Ban { lasts: time, .. } if *time > YEAR => {
                return Err(InvalidFault::TooLong);
            }
            _ => {}
        }
        if self.lasts.is_some_and(|time| time > YEAR) {
            return Err(InvalidFault::TooLong);
        }
        let timed = self.kind.strike().is_some();
        match self.when {
            When::Now if timed && self.lasts.is_some() => Err(InvalidFault::NothingLasts),
            When::Login | When::AfterStanzas(_) if !timed => Err(InvalidFault::NotTimed),
            _ => Ok(()),
        }
    }

    pub(super) fn concerns(&self, account: Option<Number>) -> bool {
        self.account.is_none() || self.account == account
    }
}

/// What a fault does to one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    Dismiss(Farewell),
    Stall,
}

impl FaultKind {
    /// What it does to a connection, for those that happen at one moment.
    pub(super) fn strike(&self) -> Option<Strike> {
        Some(Strike::Dismiss(match self {
            Self::StreamError { code, hang_up } => Farewell::StreamError {
                code: *code,
                hang_up: *hang_up,
            },
            Self::Replaced => REPLACED,
            Self::DeviceRemoved => Farewell::Conflict("device_removed"),
            Self::Failure { reason, message } => Farewell::Failure {
                reason: Some(*reason),
                code: None,
                expire_secs: None,
                message: message.clone(),
            },
            Self::FailureWithoutReason => Farewell::Failure {
                reason: None,
                code: None,
                expire_secs: None,
                message: None,
            },
            Self::StreamEnd => Farewell::StreamEnd,
            Self::Drop => Farewell::Cut,
            Self::Stall => return Some(Strike::Stall),
            Self::Refuse
            | Self::Withhold { .. }
            | Self::Delay { .. }
            | Self::Reject { .. }
            | Self::Ban { .. } => {
                return None;
            }
        }))
    }
}

const fn yes() -> bool {
    true
}

/// "Sent too many messages to people who do not have the number."
const fn too_many_strangers() -> u16 {
    101
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        crate::world::screen::as_millis(time, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
