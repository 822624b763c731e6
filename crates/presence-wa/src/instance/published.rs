//! What the task of an instance lets requests see of it.

use presence_core::PhoneNumber;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::ConnectError;
use crate::pairing::{Connected, LinkCode, PairWith};
use crate::session::{Identity, SessionState};
use crate::status::{InstanceState, InstanceStatus, Reason};

/// An instance as its task last saw it.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) state: InstanceState,
    pub(crate) reason: Option<Reason>,
    /// When it came into this state.
    pub(crate) since: Instant,
    pub(crate) identity: Option<Identity>,
    /// Whether WhatsApp takes the account for online.
    pub(crate) available: bool,
    /// The state of the session that is open. The session may have ended a moment before the task notices.
    pub(crate) session: Option<watch::Receiver<SessionState>>,
    pub(crate) qr: Option<QrCode>,
    pub(crate) link_code: Option<GivenCode>,
}

/// A QR code that can be scanned until it is replaced.
#[derive(Clone)]
pub(crate) struct QrCode {
    pub(crate) code: String,
    pub(crate) until: Instant,
}

impl std::fmt::Debug for QrCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QrCode(..)")
    }
}

/// The link code for this number; `None` when WhatsApp refused to give one.
#[derive(Clone, Debug)]
pub(crate) struct GivenCode {
    pub(crate) phone: PhoneNumber,
    pub(crate) code: Option<LinkCode>,
}

impl Published {
    /// How the instance is from now on.
    pub(crate) fn set_state(&mut self, state: InstanceState, reason: Option<Reason>) {
        if self.state != state {
            self.since = Instant::now();
        }
        (self.state, self.reason) = (state, reason);
    }

    pub(crate) fn new(state: InstanceState, reason: Option<Reason>) -> Self {
        Self {
            state,
            reason,
            since: Instant::now(),
            identity: None,
            available: false,
            session: None,
            qr: None,
            link_code: None,
        }
    }

    /// Whether a chat state sent now would be written.
    pub(crate) fn is_online(&self) -> bool {
        let live = self
            .session
            .as_ref()
            .is_some_and(|session| matches!(*session.borrow(), SessionState::Online(_)));
        live && self.state == InstanceState::Connected
    }

    pub(crate) fn status(&self) -> InstanceStatus {
        let online = self.is_online();
        let state = match self.state {
            InstanceState::Connected if !online => InstanceState::Connecting,
            state => state,
        };
        let identity = self.identity.as_ref();
        InstanceStatus {
            state,
            reason: self.reason,
            since: self.since,
            jid: identity.map(|identity| identity.jid.clone()),
            push_name: identity.and_then(|identity| identity.push_name.clone()),
            available: online && self.available,
        }
    }

    /// What to tell a caller of connect at `now`; `None` while there is nothing to tell yet.
    pub(crate) fn answer(&self, now: Instant, how: PairWith) -> Option<Result<Connected, ConnectError>> {
        if self.is_online() {
            return Some(Ok(Connected::Already));
        }
        match (self.state, how) {
            (InstanceState::Disconnected | InstanceState::LoggedOut, _) => {
                Some(Err(ConnectError::Stopped(self.reason)))
            }
            (_, PairWith::Qr) => {
                let qr = self.qr.as_ref()?;
                let valid_for = qr.until.saturating_duration_since(now);
                (!valid_for.is_zero()).then(|| {
                    Ok(Connected::Qr {
                        code: qr.code.clone(),
                        valid_for,
                    })
                })
            }
            (_, PairWith::LinkCode(phone)) => self.link_code.as_ref().map(|given| {
                if given.phone != phone {
                    return Err(ConnectError::Superseded);
                }
                given
                    .code
                    .clone()
                    .map(Connected::LinkCode)
                    .ok_or(ConnectError::LinkCodeRefused)
            }),
        }
    }
}
