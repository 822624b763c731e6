//! How far a session is, decided from what the client tells and from what can be seen of it.
//!
//! Neither is enough: several failures raise no event, and what can be seen does not say why. Both go in
//! here with the time, and the state, the deadline and at last the [`End`] come out; nothing in here waits.

use std::time::Duration;

use ::whatsapp_rust::wacore::types::events::{ConnectFailureReason, Event};
use presence_core::PhoneNumber;
use tokio::time::Instant;

use crate::pairing::{LinkCode, PairingUpdate};
use crate::session::{End, Online, SessionState};

/// How long WhatsApp may take to register a device that a phone has linked. In practice it ends the connection
/// within a second.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(10);

/// What the client told.
#[derive(Debug, PartialEq)]
pub(super) enum Signal {
    /// A QR code to show.
    Qr { code: String, valid_for: Duration },
    /// There are no more QR codes; `alone`: nor is there a link code, and the client hangs up.
    QrsOver { alone: bool },
    /// The link code can no longer be used.
    CodeOver,
    /// A phone has linked this device, and the client has confirmed it.
    Linked,
    /// The client has finished what it does after a login.
    Ready,
    /// The client may have told WhatsApp `available` by itself.
    SelfAnnounced,
    /// The connection broke, and this is how.
    Dropped(String),
    /// What ends the session.
    End(End),
}

impl Signal {
    /// What `event` means here, if anything.
    pub(super) fn of_event(event: &Event) -> Option<Self> {
        Some(match event {
            Event::PairingQrCode(qr) => Self::Qr {
                code: qr.code.clone(),
                valid_for: qr.timeout,
            },
            Event::PairingQrCodesExhausted(over) => Self::QrsOver {
                alone: over.disconnected,
            },
            Event::PairingCodeRefresh(_) | Event::PairingCodeError(_) => Self::CodeOver,
            Event::PairSuccess(_) => Self::Linked,
            Event::PairError(failure) => Self::End(End::PairingFailed(failure.error.clone())),
            Event::Connected(_) => Self::Ready,
            Event::Disconnected(dropped) => Self::Dropped(dropped.reason.to_string()),
            Event::LoggedOut(logout) => Self::End(End::LoggedOut {
                at_login: logout.on_connect,
            }),
            Event::StreamReplaced(_) => Self::End(End::Replaced),
            Event::TemporaryBan(ban) => Self::End(End::Banned(ban.expire.to_std().ok())),
            Event::ClientOutdated(_) => Self::End(End::Outdated),
            Event::ConnectFailure(failure) => Self::End(of_failure(failure.reason)),
            _ => return None,
        })
    }

    /// What a stream error means that the client raises no event for, or goes on after.
    pub(super) fn of_stream_error(code: &str) -> Option<Self> {
        match code {
            "515" => Some(Self::End(End::Restart)),
            // These raise events.
            "401" | "409" | "516" => None,
            // One without a code is about a stanza and not about the session.
            code => Some(Self::End(End::Rejected(Some(code.parse().ok()?)))),
        }
    }
}

fn of_failure(reason: ConnectFailureReason) -> End {
    match reason {
        // A ban that did not say for how long.
        ConnectFailureReason::TempBanned => End::Banned(None),
        // The client's word for a failure that named no reason.
        ConnectFailureReason::Unknown(0) => End::Rejected(None),
        reason => End::Rejected(u16::try_from(reason.code()).ok()),
    }
}

/// What can be seen of the client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    /// Its task has not ended.
    pub(super) running: bool,
    /// The noise handshake is done and the socket is there.
    pub(super) connected: bool,
    /// WhatsApp accepted the login, and has not taken it back.
    pub(super) logged_in: bool,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the handshake to the answer to the login: a success, a failure, or QR codes.
    pub(super) login: Duration,
    /// From the login to the end of what the client does after it.
    pub(super) ready: Duration,
}

/// A link code that was given and may still be entered.
#[derive(Debug)]
pub(super) struct OutstandingCode {
    pub(super) code: LinkCode,
    pub(super) phone: PhoneNumber,
    pub(super) until: Instant,
}

/// How far a session is.
pub(super) struct Progress {
    limits: Limits,
    /// Whether the device was linked when the session began.
    paired: bool,
    phase: Phase,
    /// How often the client told an availability of its own.
    self_announced: u32,
    dropped: Option<String>,
    closing: bool,
    end: Option<End>,
}

#[derive(Debug)]
enum Phase {
    /// No handshake yet.
    Dialling,
    /// WhatsApp has to answer the login until then.
    LoggingIn { until: Instant },
    /// A phone may link this device.
    Pairing {
        /// The QR code to show; `None` when there are no more.
        qr: Option<PairingUpdate>,
        code: Option<OutstandingCode>,
    },
    /// A phone has linked it, and WhatsApp registers it.
    Linked { until: Instant },
    /// WhatsApp accepted the login. The client has something to do first, which is waited for until then.
    LoggedIn { until: Instant },
    /// Stanzas may be sent.
    Online,
}

impl Progress {
    pub(super) fn new(limits: Limits, paired: bool) -> Self {
        Self {
            limits,
            paired,
            phase: Phase::Dialling,
            self_announced: 0,
            dropped: None,
            closing: false,
            end: None,
        }
    }

    /// Takes in what the client told at `now`.
    pub(super) fn handle_signal(&mut self, now: Instant, signal: Signal) {
        match signal {
            // A linked device that is offered a pairing is not linked any more.
            Signal::Qr { .. } if self.paired => self.finish(End::LoggedOut { at_login: false }),
            Signal::Qr { code, valid_for } => self.show_qr(PairingUpdate::Qr { code, valid_for }),
            Signal::QrsOver { alone } => {
                if let Phase::Pairing { qr, code } = &mut self.phase {
                    *qr = None;
                    if alone || code.is_none() {
                        self.finish(End::PairingExpired);
                    }
                }
            }
            Signal::CodeOver => {
                self.set_code(None);
                self.expire_pairing(now);
            }
            Signal::Linked => {
                self.phase = Phase::Linked {
                    until: now + REGISTRATION_TIMEOUT,
                };
            }
            Signal::Ready => self.phase = Phase::Online,
            Signal::SelfAnnounced => self.self_announced += 1,
            Signal::Dropped(why) => self.dropped = Some(why),
            Signal::End(end) => self.finish(end),
        }
    }

    /// Takes in what can be seen of the client at `now`.
    pub(super) fn handle_sight(&mut self, now: Instant, sight: Sight) {
        match self.phase {
            Phase::LoggedIn { .. } | Phase::Online if !sight.connected => self.lose("the connection broke"),
            Phase::LoggedIn { .. } | Phase::Online if !sight.logged_in => {
                self.lose("WhatsApp took the login back");
            }
            Phase::Dialling | Phase::LoggingIn { .. } if sight.connected && sight.logged_in => {
                self.phase = Phase::LoggedIn {
                    until: now + self.limits.ready,
                };
            }
            Phase::Dialling if sight.connected => {
                self.phase = Phase::LoggingIn {
                    until: now + self.limits.login,
                };
            }
            Phase::Dialling if !sight.running => {
                self.lose("the Noise handshake failed; is it the edge with the configured key?");
            }
            _ if !sight.running => self.lose("the connection broke"),
            _ => {}
        }
        self.handle_timeout(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::LoggingIn { until } if now >= until => self.lose("WhatsApp did not answer the login"),
            Phase::LoggedIn { until } if now >= until => self.phase = Phase::Online,
            Phase::Linked { until } if now >= until => self.finish(End::Paired),
            Phase::Pairing { .. } => self.expire_pairing(now),
            _ => {}
        }
    }

    fn show_qr(&mut self, shown: PairingUpdate) {
        match &mut self.phase {
            Phase::Pairing { qr, .. } => *qr = Some(shown),
            Phase::Dialling | Phase::LoggingIn { .. } => {
                self.phase = Phase::Pairing {
                    qr: Some(shown),
                    code: None,
                };
            }
            Phase::Linked { .. } | Phase::LoggedIn { .. } | Phase::Online => {}
        }
    }

    fn expire_pairing(&mut self, now: Instant) {
        if let Phase::Pairing { qr, code } = &mut self.phase {
            code.take_if(|code| now >= code.until);
            if qr.is_none() && code.is_none() {
                self.finish(End::PairingExpired);
            }
        }
    }

    /// From now on the session ends as [`End::Closed`], whatever WhatsApp says about it.
    pub(super) fn handle_closing(&mut self) {
        self.closing = true;
    }

    /// Ends the session as `end`, unless it has ended.
    pub(super) fn finish(&mut self, end: End) {
        let end = match (&self.phase, end) {
            _ if self.closing => End::Closed,
            // Whichever way WhatsApp ends the connection of a linking, it has read the confirmation, or the
            // next login will tell that it has not.
            (Phase::Linked { .. }, End::Lost(_) | End::Restart | End::Rejected(_)) => End::Paired,
            (_, end) => end,
        };
        self.end.get_or_insert(end);
    }

    fn lose(&mut self, why: &str) {
        let why = self.dropped.take().unwrap_or_else(|| why.to_owned());
        self.finish(End::Lost(why));
    }

    /// When [`handle_sight`](Self::handle_sight) may change something although the client did not.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::LoggingIn { until } | Phase::Linked { until } | Phase::LoggedIn { until } => Some(*until),
            Phase::Pairing { code, .. } => code.as_ref().map(|code| code.until),
            Phase::Dialling | Phase::Online => None,
        }
    }

    /// Why the session is over, once it is.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether stanzas may be sent.
    pub(super) fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online) && self.end.is_none()
    }

    /// The link code that `phone` may enter at `now`.
    pub(super) fn code_for(&self, phone: &PhoneNumber, now: Instant) -> Option<&LinkCode> {
        match &self.phase {
            Phase::Pairing { code: Some(code), .. } if code.phone == *phone && now < code.until => {
                Some(&code.code)
            }
            _ => None,
        }
    }

    /// Remembers the link code that was given, or that there is none.
    pub(super) fn set_code(&mut self, given: Option<OutstandingCode>) {
        if let Phase::Pairing { code, .. } = &mut self.phase {
            *code = given;
        }
    }

    /// What the session shows while it has not ended; `online` is asked for the rest when it is online.
    pub(super) fn state(&self, online: impl FnOnce() -> Online) -> SessionState {
        match &self.phase {
            Phase::Dialling | Phase::LoggingIn { .. } | Phase::LoggedIn { .. } => SessionState::Connecting,
            Phase::Pairing { qr: Some(qr), .. } => SessionState::Pairing(qr.clone()),
            Phase::Pairing { code: Some(code), .. } => {
                SessionState::Pairing(PairingUpdate::Code(code.code.clone()))
            }
            Phase::Pairing { .. } => SessionState::Connecting,
            Phase::Linked { .. } => SessionState::Linked,
            Phase::Online => SessionState::Online(Online {
                self_announced: self.self_announced,
                ..online()
            }),
        }
    }
}

#[cfg(test)]
mod tests;
