//! How often an instance may open sessions, whoever asks and whatever happens.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::settings::RetrySettings;

/// Bounds the sessions that an instance opens: so many in a minute, and those that clients ask for by
/// themselves still fewer.
#[derive(Debug)]
pub(super) struct OpenBudget {
    a_minute: usize,
    reopen_interval: Duration,
    /// When the last sessions were opened, at most `a_minute`.
    opened: VecDeque<Instant>,
    /// When one was last opened anew because a client asked for that.
    reopened: Option<Instant>,
}

impl OpenBudget {
    pub(super) fn new(settings: &RetrySettings) -> Self {
        Self {
            a_minute: settings.opens_a_minute.max(1),
            reopen_interval: settings.reopen_interval,
            opened: VecDeque::new(),
            reopened: None,
        }
    }

    /// A session is opened at `now`.
    pub(super) fn note_open(&mut self, now: Instant) {
        if self.opened.len() == self.a_minute {
            self.opened.pop_front();
        }
        self.opened.push_back(now);
    }

    /// When the next session may be opened, if not at `now`.
    pub(super) fn opens_again_at(&self, now: Instant) -> Option<Instant> {
        let full = self.opened.len() >= self.a_minute;
        let again = *self.opened.front().filter(|_| full)? + MINUTE;
        (now < again).then_some(again)
    }

    /// A client's wish for a fresh session is followed at `now`.
    pub(super) fn note_reopen(&mut self, now: Instant) {
        self.reopened = Some(now);
    }

    /// When such a wish may be followed next, if not at `now`.
    pub(super) fn reopens_again_at(&self, now: Instant) -> Option<Instant> {
        let again = self.reopened? + self.reopen_interval;
        (now < again).then_some(again)
    }
}

const MINUTE: Duration = Duration::from_secs(60);
