//! A keeper during a session that waits for a phone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use presence_core::PhoneNumber;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::fleet::ask::PairWith;
use crate::fleet::attend::Attended;
use crate::fleet::entry::Qr;
use crate::fleet::keeper::Keeper;
use crate::fleet::status::{InstanceState, Reason};
use crate::pairing::{LinkCode, PairingUpdate};
use crate::session::{Connector, Session};

/// A link code that WhatsApp was asked for, and for which number.
pub(super) type CodeRequest = BoxFuture<'static, (PhoneNumber, Option<LinkCode>)>;

impl<C: Connector> Keeper<C> {
    pub(super) fn show_code(&mut self, update: PairingUpdate) {
        // A link code is shown to whoever asked for it, by the answer to `request_code`.
        if let PairingUpdate::Qr { code, valid_for } = update {
            // A peer's number must not overflow our clock.
            let until = Instant::now() + valid_for.min(Duration::from_secs(3600));
            self.entry.phase.send_if_modified(|phase| {
                let new = phase.qr.as_ref().is_none_or(|qr| qr.code != code);
                if new {
                    phase.qr = Some(Qr { code, until });
                }
                new
            });
        }
        self.entry
            .publish(InstanceState::Connecting, Some(Reason::WaitingForPhone));
    }

    /// Asks for a link code, if one is wanted and neither there nor on its way.
    pub(super) fn request_code(&self, at: &mut Attended<C::Session>) {
        let Some(PairWith::LinkCode(phone)) = self.wanted else {
            return;
        };
        if !at.pairing || at.code_request.is_some() || self.entry.phase.borrow().code.is_some() {
            return;
        }
        let (link, device) = (Arc::clone(&at.link), self.entry.device);
        let limit = self.shared.settings.login_timeout;
        at.code_request = Some(Box::pin(async move {
            let code = match timeout(limit, link.session.request_link_code(&phone)).await {
                Ok(Ok(code)) => Some(code),
                Ok(Err(error)) => {
                    warn!(device.id = %device, %error, "no link code was given");
                    None
                }
                Err(_) => {
                    warn!(device.id = %device, "WhatsApp gave no link code in time");
                    None
                }
            };
            (phone, code)
        }));
    }

    /// Forgets the link code that was given, now that `phone` asks for one: the session is asked again, and it
    /// alone knows whether the code before can still be entered.
    pub(super) fn forget_code(&self, at: &mut Attended<C::Session>, phone: PhoneNumber) {
        if self.wanted != Some(PairWith::LinkCode(phone)) {
            at.code_request = None;
        }
        self.entry
            .phase
            .send_if_modified(|phase| phase.code.take().is_some());
    }
}
