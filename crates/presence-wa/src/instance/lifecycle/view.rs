//! What can be seen of an instance's life from outside.

use presence_core::PhoneNumber;

use super::{Goal, Leaving, Lifecycle, OpenSession, SessionProgress};
use crate::instance::job::Keys;
use crate::instance::session_end::WaitReason;
use crate::pairing::PairWith;
use crate::session::Identity;
use crate::status::{InstanceState, Reason};

impl Lifecycle {
    /// State and reason, as a person reads them.
    pub(in crate::instance) fn status(&self) -> (InstanceState, Option<Reason>) {
        match self.goal {
            Goal::Online(_) => match self.session.as_ref().map(|session| session.progress) {
                Some(SessionProgress::Online { .. }) if !self.is_leaving() => {
                    (InstanceState::Connected, None)
                }
                Some(SessionProgress::Pairing) => (InstanceState::Connecting, Some(Reason::WaitingForPhone)),
                Some(SessionProgress::Linked) => (InstanceState::Connecting, Some(Reason::Registering)),
                _ => (InstanceState::Connecting, None),
            },
            Goal::RefreshVersion => (InstanceState::Connecting, None),
            Goal::Wait { until, why } => match why {
                WaitReason::Lost | WaitReason::Postponed => {
                    (InstanceState::Connecting, Some(Reason::Retrying(until)))
                }
                WaitReason::ProxyFailed(fault) => (
                    InstanceState::Connecting,
                    Some(Reason::ProxyFailed { fault, next: until }),
                ),
                WaitReason::Registering => (InstanceState::Connecting, Some(Reason::Registering)),
                WaitReason::Rejected(code) => (
                    InstanceState::Connecting,
                    Some(Reason::Rejected { code, next: until }),
                ),
                WaitReason::Crashed => (InstanceState::Connecting, Some(Reason::Crashed(until))),
                WaitReason::Refused(code) => (
                    InstanceState::Disconnected,
                    Some(Reason::Refused { code, next: until }),
                ),
                WaitReason::Outdated => (
                    InstanceState::Disconnected,
                    Some(Reason::Outdated { next: until }),
                ),
                WaitReason::Banned => (InstanceState::Disconnected, Some(Reason::Banned(until))),
            },
            Goal::Stopped(reason) => (InstanceState::Disconnected, reason),
            Goal::LoggedOut { then_pair: true, .. } => (InstanceState::Connecting, None),
            Goal::LoggedOut { reason, .. } => (InstanceState::LoggedOut, reason),
            Goal::Removed | Goal::Shutdown if self.registry.logged_out => (InstanceState::LoggedOut, None),
            Goal::Removed | Goal::Shutdown => (InstanceState::Disconnected, None),
        }
    }

    /// Who the device is paired with, as far as is known.
    pub(in crate::instance) fn identity(&self) -> Option<&Identity> {
        match &self.keys {
            Keys::Paired(identity) => Some(identity),
            Keys::Unknown | Keys::Nothing | Keys::Unpaired | Keys::Useless => None,
        }
    }

    /// The number whose owner is to type a link code, while the session waits for a phone.
    pub(in crate::instance) fn link_code_wanted(&self) -> Option<PhoneNumber> {
        match (self.wanted, &self.session) {
            (
                Some((PairWith::LinkCode(phone), _)),
                Some(OpenSession {
                    progress: SessionProgress::Pairing,
                    leaving: None,
                    ..
                }),
            ) => Some(phone),
            _ => None,
        }
    }

    /// Whether a session is online, and not about to be closed.
    pub(in crate::instance) fn is_online(&self) -> bool {
        matches!(
            self.session,
            Some(OpenSession {
                progress: SessionProgress::Online { .. },
                leaving: None,
                ..
            })
        ) && matches!(self.goal, Goal::Online(_))
    }

    /// Whether a turn of the login limiter is held.
    pub(in crate::instance) fn holds_turn(&self) -> bool {
        self.holds_turn
    }

    /// Whether the instance waits for what [`handle_reached`](Self::handle_reached) may cut short.
    pub(in crate::instance) fn waits_for_whatsapp(&self) -> bool {
        match self.goal {
            Goal::Wait {
                until,
                why: WaitReason::Lost,
            } => self.unreached_since.is_some() && self.history.may_hurry(self.now, until),
            _ => false,
        }
    }

    /// Why the session that is open is of no use any more, if it is of none.
    pub(in crate::instance) fn fault(&self) -> Option<&'static str> {
        match self.session.as_ref()?.leaving.as_ref()? {
            Leaving::Faulty(cause) => Some(cause),
            Leaving::Reopen => None,
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.leaving.is_some())
    }

    pub(super) fn is_pairing_wanted(&self) -> bool {
        self.wanted.is_some_and(|(_, until)| self.now < until)
    }
}
