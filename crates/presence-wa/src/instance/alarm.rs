//! What of an instance needs a person.

use std::time::Duration;

use tokio::time::Instant;

use crate::status::{InstanceState, Reason};

/// Something that does not end by itself, or not soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concern {
    Unlinked,
    Replaced,
    Refused,
    Outdated,
    Banned,
    ProxyFailed,
    /// It has not been connected for a minute.
    Unreachable,
}

impl Concern {
    /// What has happened, and what to do about it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Unlinked => "unlinked from its account: a phone has to link it again",
            Self::Replaced => {
                "another connection of the same device took its place: end the process that has its keys, and reconnect"
            }
            Self::Refused => "refused by WhatsApp: look at the account on its phone",
            Self::Outdated => "WhatsApp takes this version of the client no longer: update Presence",
            Self::Banned => "banned by WhatsApp: look at the account on its phone",
            Self::ProxyFailed => "its proxy gives no connection to WhatsApp",
            Self::Unreachable => "not connected to WhatsApp for a minute, and still trying",
        }
    }

    /// How the instance was, in a word or two.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unlinked => "unlinked",
            Self::Replaced => "replaced",
            Self::Refused => "refused",
            Self::Outdated => "outdated",
            Self::Banned => "banned",
            Self::ProxyFailed => "without its proxy",
            Self::Unreachable => "unreachable",
        }
    }

    fn of(state: InstanceState, reason: Option<Reason>) -> Option<Self> {
        match reason? {
            Reason::Unlinked if state == InstanceState::LoggedOut => Some(Self::Unlinked),
            Reason::Replaced => Some(Self::Replaced),
            Reason::Refused { .. } => Some(Self::Refused),
            Reason::Outdated { .. } => Some(Self::Outdated),
            Reason::Banned(_) => Some(Self::Banned),
            Reason::ProxyFailed { .. } => Some(Self::ProxyFailed),
            _ => None,
        }
    }
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Raised(Concern),
    /// It is connected again, this long after it was raised.
    Over(Concern, Duration),
}

/// Tells once what needs a person, and once that it is over; like the other machines it reads no clock.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    raised: Option<(Concern, Instant)>,
    /// Since when attempts to connect fail.
    failing_since: Option<Instant>,
}

/// For how long attempts may fail before a person is told.
const PATIENCE: Duration = Duration::from_secs(60);

impl Alarm {
    /// The instance is like this now.
    pub(super) fn handle_status(
        &mut self,
        now: Instant,
        state: InstanceState,
        reason: Option<Reason>,
    ) -> Option<Notice> {
        if let Some(concern) = Concern::of(state, reason) {
            return self.raise(now, concern);
        }
        match (state, reason) {
            (InstanceState::Connected, _) => {
                self.failing_since = None;
                let (concern, since) = self.raised.take()?;
                Some(Notice::Over(concern, now - since))
            }
            (InstanceState::Connecting, Some(Reason::WaitingForPhone | Reason::Registering)) => {
                self.failing_since = None;
                None
            }
            (InstanceState::Connecting, Some(_)) => {
                self.failing_since.get_or_insert(now);
                None
            }
            // The next attempt begins.
            (InstanceState::Connecting, None) => None,
            // That a person stopped it is no news to people.
            (InstanceState::Disconnected | InstanceState::LoggedOut, _) => {
                *self = Self::default();
                None
            }
        }
    }

    /// Time has passed. An early or extra call does nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Notice> {
        let due = self.poll_timeout().is_some_and(|due| due <= now);
        due.then(|| self.raise(now, Concern::Unreachable))?
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let since = self.failing_since.filter(|_| self.raised.is_none())?;
        Some(since + PATIENCE)
    }

    fn raise(&mut self, now: Instant, concern: Concern) -> Option<Notice> {
        if self.raised.is_some_and(|(raised, _)| raised == concern) {
            return None;
        }
        let since = self.raised.map_or(now, |(_, since)| since);
        self.raised = Some((concern, since));
        Some(Notice::Raised(concern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::{Connected, Connecting, Disconnected, LoggedOut};

    const SECOND: Duration = Duration::from_secs(1);

    fn lost(now: Instant) -> Option<Reason> {
        Some(Reason::Retrying(now + SECOND))
    }

    #[test]
    fn each_concern_is_told_once_and_once_that_it_is_over() {
        let now = Instant::now();
        let next = now + SECOND;
        let rows = [
            (Concern::Unlinked, LoggedOut, Reason::Unlinked),
            (Concern::Replaced, Disconnected, Reason::Replaced),
            (
                Concern::Refused,
                Disconnected,
                Reason::Refused { code: 414, next },
            ),
            (Concern::Outdated, Connecting, Reason::Outdated { next }),
            (Concern::Banned, Disconnected, Reason::Banned(next)),
            (
                Concern::ProxyFailed,
                Connecting,
                Reason::ProxyFailed {
                    fault: crate::ProxyFault::Unreachable,
                    next,
                },
            ),
        ];
        for (concern, state, reason) in rows {
            let mut alarm = Alarm::default();
            let raised = alarm.handle_status(now, state, Some(reason));
            assert_eq!(raised, Some(Notice::Raised(concern)));
            // However many attempts fail like it.
            for attempt in 1..50 {
                let at = now + SECOND * attempt;
                assert_eq!(alarm.handle_status(at, Connecting, None), None);
                assert_eq!(alarm.handle_status(at, state, Some(reason)), None);
                assert_eq!(alarm.handle_timeout(at), None);
            }
            let over = alarm.handle_status(now + 60 * SECOND, Connected, None);
            assert_eq!(over, Some(Notice::Over(concern, 60 * SECOND)));
            assert_eq!(alarm.handle_status(now + 61 * SECOND, Connected, None), None);
        }
    }

    #[test]
    fn a_connection_that_comes_back_within_a_minute_is_no_concern() {
        let (now, mut alarm) = (Instant::now(), Alarm::default());
        assert_eq!(alarm.handle_status(now, Connecting, lost(now)), None);
        assert_eq!(alarm.handle_timeout(now + 59 * SECOND), None);
        assert_eq!(alarm.handle_status(now + 59 * SECOND, Connected, None), None);
        assert_eq!(alarm.poll_timeout(), None);

        let later = now + 100 * SECOND;
        for attempt in 0..60 {
            assert_eq!(
                alarm.handle_status(later + SECOND * attempt, Connecting, lost(later)),
                None
            );
        }
        let due = later + PATIENCE;
        assert_eq!(alarm.poll_timeout(), Some(due));
        let unreachable = Some(Notice::Raised(Concern::Unreachable));
        assert_eq!(alarm.handle_timeout(due), unreachable);
        assert_eq!(alarm.handle_timeout(due + PATIENCE), None);
        let over = alarm.handle_status(due + SECOND, Connected, None);
        assert_eq!(over, Some(Notice::Over(Concern::Unreachable, SECOND)));
    }

    #[test]
    fn what_people_do_themselves_is_no_concern() {
        let (now, mut alarm) = (Instant::now(), Alarm::default());
        for (state, reason) in [
            (Connecting, None),
            (Connecting, Some(Reason::WaitingForPhone)),
            (Disconnected, Some(Reason::PairingExpired)),
            (LoggedOut, None),
        ] {
            assert_eq!(alarm.handle_status(now, state, reason), None);
            assert_eq!(alarm.poll_timeout(), None);
        }
        alarm.handle_status(now, Connecting, lost(now));
        alarm.handle_status(now, LoggedOut, None);
        assert_eq!(alarm.handle_timeout(now + 2 * PATIENCE), None);
    }
}
