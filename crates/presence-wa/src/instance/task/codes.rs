//! The QR and link codes of a pairing.

use std::sync::Arc;
use std::time::Duration;

use presence_core::PhoneNumber;
use tokio::time::Instant;

use super::InstanceTask;
use crate::instance::link_code::CodeRequest;
use crate::instance::published::{GivenCode, QrCode};
use crate::pairing::PairingUpdate;

impl InstanceTask {
    /// Asks for a link code, if one is wanted and neither there nor on its way.
    pub(super) fn ask_for_code(&mut self) {
        let (Some(phone), None, Some(open)) = (self.lifecycle.link_code_wanted(), &self.code, &self.session)
        else {
            return;
        };
        if self.published.borrow().link_code.is_some() {
            return;
        }
        let session = Arc::clone(&open.session);
        let limit = self.fleet.settings.login_timeout;
        self.code = Some(CodeRequest::begin(session, phone, limit));
    }

    pub(super) fn handle_code(&mut self, given: GivenCode) {
        self.published
            .send_modify(|published| published.link_code = Some(given));
    }

    pub(super) fn show_code(&mut self, now: Instant, update: &PairingUpdate) {
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

    /// Nobody can scan or enter the codes any more.
    pub(super) fn forget_codes(&mut self) {
        self.code = None;
        // Whoever waits for another one is told by what is published next.
        self.published.send_if_modified(|published| {
            (published.qr, published.link_code) = (None, None);
            false
        });
    }

    /// Forgets the link code that was given, now that `phone` asks for one: the session is asked again, and it
    /// alone knows whether the code before can still be entered.
    pub(super) fn forget_code(&mut self, phone: PhoneNumber) {
        if self.code.as_ref().is_some_and(|code| code.phone != phone) {
            self.code = None;
        }
        self.published
            .send_if_modified(|published| published.link_code.take().is_some());
    }
}
