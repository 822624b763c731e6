//! The session that is open: what it tells, and what follows for what is shown.

use tokio::time::Instant;

use super::{InstanceTask, now};
use crate::counters::SessionEnd;
use crate::session::{End, Online, OwnMessage, SessionState};

impl InstanceTask {
    pub(super) fn handle_session(&mut self, state: &SessionState) {
        let now = Instant::now();
        self.changed = true;
        match state {
            SessionState::Ended(End::Lost(cause) | End::PairingFailed(cause)) => {
                info!(instance.id = %self.instance, cause, "the session ended");
            }
            SessionState::Ended(End::ProxyFailed { fault, cause }) => {
                info!(instance.id = %self.instance, %fault, cause, "no connection through the instance's proxy");
            }
            _ => {}
        }
        if let SessionState::Ended(end) = state {
            let end = match end {
                End::Closed if self.lifecycle.fault().is_some() => SessionEnd::Faulty,
                end => SessionEnd::from(end),
            };
            self.fleet.counters.session_ends[end].inc();
        }
        self.lifecycle.handle_session(now, state, &mut rand::rng());
        match state {
            SessionState::Connecting => {}
            SessionState::Linked => self.forget_codes(),
            SessionState::Pairing(update) => self.show_code(now, update),
            SessionState::Online(online) => self.come_online(online),
            SessionState::Ended(end) => {
                if let End::Rejected(Some(429 | 500..=599)) = end {
                    self.fleet.logins.handle_throttled();
                }
                self.drop_session();
            }
        }
    }

    fn come_online(&mut self, online: &Online) {
        let Some(open) = &mut self.session else { return };
        let before = open.online.replace(online.clone());
        let Some(before) = before else {
            self.fleet.logins.handle_accepted();
            self.fleet.counters.logins.inc();
            if std::mem::replace(&mut self.was_online, true) {
                self.fleet.counters.reconnects.inc();
            }
            // What was sent while there was no session is not to be shown again.
            while let Some(message) = self.take_own_message() {
                self.handle_own_message(&message);
            }
            if self.lifecycle.is_online() {
                self.indicators.handle_session_up(now());
            }
            return;
        };
        let named = before.identity.push_name.is_none() && online.identity.push_name.is_some();
        if named || before.self_announced != online.self_announced {
            self.indicators.handle_availability_lost(now());
        }
        if before.moved_to_lids != online.moved_to_lids {
            for person in self.numbers.people() {
                self.join_names(&person);
            }
        }
    }

    /// What belongs to one session only is over with it.
    pub(super) fn drop_session(&mut self) {
        self.session = None;
        if let Some(write) = self.write.take() {
            self.fail_write(&write.transmit);
        }
        self.indicators.handle_session_down(now());
        if self.farewell_until.is_some() {
            self.end_farewell();
        }
        self.look_ups.clear();
        self.forget_codes();
        self.refuse_all();
    }

    fn take_own_message(&mut self) -> Option<OwnMessage> {
        let open = self.session.as_mut()?;
        open.own_messages.as_mut()?.try_recv().ok()
    }

    /// The account has sent a message, from any of its devices.
    pub(super) fn handle_own_message(&mut self, message: &OwnMessage) {
        let names = [Some(&message.chat), message.other_name.as_ref()];
        for name in names.into_iter().flatten() {
            self.indicators.handle_own_message(now(), name);
        }
    }

    pub(super) fn is_moved_to_lids(&self) -> bool {
        let online = self.session.as_ref().and_then(|open| open.online.as_ref());
        online.is_some_and(|online| online.moved_to_lids)
    }
}
