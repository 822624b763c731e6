//! How far a session is, decided from what the client tells and from what can be seen of it.
//!
//! Neither is enough: several failures raise no event, and what can be seen does not say why. Both go in
//! here with the time, and the state, the deadline and at last the [`End`] come out; nothing in here waits.

use std::time::Duration;

use ::whatsapp_rust::wacore::types::events::{ConnectFailureReason, Event};
use presence_core::PhoneNumber;
use tokio::time::Instant;

use crate::pairing::{LinkCode, PairingUpdate};
use crate::session::{End, Identity, SessionState};

/// How long the client takes at most to tell WhatsApp `available` once it knows the account's name. It says
/// that it knows before it tells, and not when it has told.
const NAMED_TO_AVAILABLE: Duration = Duration::from_millis(500);

/// What the client told.
#[derive(Debug, PartialEq)]
pub(super) enum Signal {
    /// A QR code to show.
    Qr { code: String, valid_for: Duration },
    /// There are no more QR codes; `alone`: nor is there a link code, and the client hangs up.
    QrsOver { alone: bool },
    /// The link code can no longer be used.
    CodeOver,
    /// The client has finished what it does after a login, and sent its own `available`.
    Ready,
    /// The account's name is known, or another.
    Named,
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
            Event::PairSuccess(_) => Self::End(End::Paired),
            Event::PairError(failure) => Self::End(End::PairingFailed(failure.error.clone())),
            Event::Connected(_) => Self::Ready,
            Event::SelfPushNameUpdated(_) => Self::Named,
            Event::Disconnected(dropped) => Self::Dropped(dropped.reason.to_string()),
            Event::LoggedOut(_) => Self::End(End::LoggedOut),
            Event::StreamReplaced(_) => Self::End(End::Replaced),
            Event::TemporaryBan(ban) => Self::End(End::Banned(ban.expire.to_std().ok())),
            Event::ClientOutdated(_) => Self::End(End::Outdated),
            Event::ConnectFailure(failure) => Self::End(of_failure(failure.reason)),
            _ => return None,
        })
    }

    /// What a stream error means for which the client raises no event.
    pub(super) fn of_stream_error(code: &str) -> Option<Self> {
        match code {
            "515" => Some(Self::End(End::Restart)),
            "429" | "503" => Some(Self::End(End::Lost(format!("WhatsApp sent stream error {code}")))),
            _ => None,
        }
    }
}

fn of_failure(reason: ConnectFailureReason) -> End {
    match reason {
        ConnectFailureReason::TempBanned => End::Banned(None),
        reason if reason.should_reconnect() => {
            End::Lost(format!("WhatsApp refused the login with {}", reason.code()))
        }
        reason => End::Refused(u16::try_from(reason.code()).unwrap_or_default()),
    }
}

/// What can be seen of the client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Its task has not ended.
    pub(super) running: bool,
    /// The noise handshake is done and the socket is there.
    pub(super) connected: bool,
    /// WhatsApp accepted the login, and has not taken it back.
    pub(super) logged_in: bool,
    /// The account's name is known.
    pub(super) named: bool,
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
    connected_since: Option<Instant>,
    logged_in_since: Option<Instant>,
    ready: bool,
    online: bool,
    restate_at: Option<Instant>,
    qr: Option<PairingUpdate>,
    qrs_over: bool,
    code: Option<OutstandingCode>,
    dropped: Option<String>,
    closing: bool,
    end: Option<End>,
}

impl Progress {
    pub(super) fn new(limits: Limits, paired: bool) -> Self {
        Self {
            limits,
            paired,
            connected_since: None,
            logged_in_since: None,
            ready: false,
            online: false,
            restate_at: None,
            qr: None,
            qrs_over: false,
            code: None,
            dropped: None,
            closing: false,
            end: None,
        }
    }

    /// Takes in what the client told at `now`.
    pub(super) fn handle_signal(&mut self, now: Instant, signal: Signal) {
        match signal {
            // A linked device that is offered a pairing is not linked any more.
            Signal::Qr { .. } if self.paired => self.finish(End::LoggedOut),
            Signal::Qr { code, valid_for } => self.qr = Some(PairingUpdate::Qr { code, valid_for }),
            Signal::QrsOver { alone } => {
                self.qr = None;
                self.qrs_over = true;
                if alone {
                    self.finish(End::PairingExpired);
                }
            }
            Signal::CodeOver => self.code = None,
            Signal::Ready => {
                self.ready = true;
                // The client's own `available` came after ours was settled.
                if self.online {
                    self.restate_at = Some(now);
                }
            }
            // Also before the session is online: it may be so, and have told ours, within that time.
            Signal::Named => self.restate_at = Some(now + NAMED_TO_AVAILABLE),
            Signal::Dropped(why) => self.dropped = Some(why),
            Signal::End(end) => self.finish(end),
        }
    }

    /// Takes in what can be seen of the client at `now`.
    pub(super) fn handle_look(&mut self, now: Instant, look: Look) {
        if look.connected {
            self.connected_since.get_or_insert(now);
        }
        if look.connected && look.logged_in {
            let since = *self.logged_in_since.get_or_insert(now);
            // Without a name the client sends no `available` that ours would have to follow.
            self.online |= self.ready || !look.named || now >= since + self.limits.ready;
        } else if self.logged_in_since.is_some() {
            let why = if look.connected {
                "WhatsApp took the login back"
            } else {
                "the connection broke"
            };
            self.lose(why);
        }
        if !look.running {
            let made = self.connected_since.is_some();
            let why = if made {
                "the connection broke"
            } else {
                "the Noise handshake failed; is it the edge with the configured key?"
            };
            self.lose(why);
        }
        if self.login_deadline().is_some_and(|deadline| now >= deadline) {
            self.lose("WhatsApp did not answer the login");
        }
        if self.code.as_ref().is_some_and(|code| now >= code.until) {
            self.code = None;
        }
        if self.qrs_over && self.code.is_none() {
            self.finish(End::PairingExpired);
        }
    }

    /// From now on the session ends as [`End::Closed`], whatever WhatsApp says about it.
    pub(super) fn handle_closing(&mut self) {
        self.closing = true;
    }

    /// Ends the session as `end`, unless it has ended.
    pub(super) fn finish(&mut self, end: End) {
        let end = if self.closing { End::Closed } else { end };
        self.end.get_or_insert(end);
    }

    fn lose(&mut self, why: &str) {
        let why = self.dropped.take().unwrap_or_else(|| why.to_owned());
        self.finish(End::Lost(why));
    }

    /// When [`handle_look`](Self::handle_look) may change something although the client did not.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ready = self
            .logged_in_since
            .filter(|_| !self.online)
            .map(|since| since + self.limits.ready);
        let code = self.code.as_ref().map(|code| code.until);
        [ready, code, self.restate_at, self.login_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// `true` once at `now` when the client has told WhatsApp `available` by itself although the session was
    /// online already.
    pub(super) fn poll_restate(&mut self, now: Instant) -> bool {
        self.restate_at.take_if(|at| now >= *at).is_some()
    }

    /// Why the session is over, once it is.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The link code that `phone` may enter at `now`.
    pub(super) fn code_for(&self, phone: &PhoneNumber, now: Instant) -> Option<&LinkCode> {
        let code = self
            .code
            .as_ref()
            .filter(|code| code.phone == *phone && now < code.until)?;
        Some(&code.code)
    }

    /// Remembers the link code that was given, or that there is none.
    pub(super) fn set_code(&mut self, code: Option<OutstandingCode>) {
        self.code = code;
    }

    /// What the session shows while it has not ended.
    pub(super) fn state(&self, identity: impl FnOnce() -> Identity) -> SessionState {
        if self.online {
            return SessionState::Online(identity());
        }
        match (&self.qr, &self.code) {
            (Some(qr), _) => SessionState::Pairing(qr.clone()),
            (None, Some(code)) => SessionState::Pairing(PairingUpdate::Code(code.code.clone())),
            (None, None) => SessionState::Connecting,
        }
    }

    fn login_deadline(&self) -> Option<Instant> {
        let answered = self.logged_in_since.is_some() || self.qr.is_some() || self.qrs_over;
        self.connected_since
            .filter(|_| !answered)
            .map(|since| since + self.limits.login)
    }
}

#[cfg(test)]
mod tests;
