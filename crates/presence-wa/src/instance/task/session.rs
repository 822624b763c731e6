//! The session that is open: what it tells, and what follows for what is shown.

use tokio::time::Instant;

use super::{InstanceTask, now};
use crate::counters::SessionEnd;
use crate::session::{End, Online, OwnMessage, SessionState};

impl InstanceTask {
    pub(super) fn handle_session(&mut self, state: &SessionState) {
        let now = Instant::now();
        self.changed = true;
        if let SessionState::Ended(end) = state {
            self.note_end(end);
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

    /// Counts the end of a session, and remembers for the log why it came.
    fn note_end(&mut self, end: &End) {
        let reason = match (end, self.lifecycle.fault()) {
            (End::Closed, Some(fault)) => {
                self.cause.get_or_insert_with(|| fault.to_owned());
                SessionEnd::Faulty
            }
            (end, _) => {
                self.cause = cause_of(end);
                SessionEnd::from(end)
            }
        };
        self.fleet.counters.session_ends[reason].inc();
    }

    fn come_online(&mut self, online: &Online) {
        let Some(open) = &mut self.session else { return };
        let before = open.online.replace(online.clone());
        let Some(before) = before else {
            if open.session.is_direct() {
                self.fleet.reached.send_replace(Some(Instant::now()));
            }
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
        self.fail_writes(Vec::new());
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

/// Why a session ended, where the reason that its instance gives does not say it all.
fn cause_of(end: &End) -> Option<String> {
    match end {
        End::Lost(cause) | End::PairingFailed(cause) => Some(cause.clone()),
        End::ProxyFailed { fault, cause } => Some(format!("{fault}: {cause}")),
        End::Rejected(Some(code)) => Some(format!("code {code}")),
        _ => None,
    }
}
