//! What an instance's owner asks for.

use tokio::time::Instant;

use super::{Goal, Leaving, Lifecycle, Reconnect};
use crate::error::{ConnectError, ReconnectError};
use crate::instance::job::Keys;
use crate::instance::session_end::WaitReason;
use crate::login_limiter::Priority;
use crate::pairing::PairWith;
use crate::status::Reason;

impl Lifecycle {
    /// A client wants the instance online, or what a phone needs to link it. `Ok`: it is on its way, and its
    /// status and codes tell.
    pub(in crate::instance) fn handle_connect(
        &mut self,
        now: Instant,
        how: PairWith,
    ) -> Result<(), ConnectError> {
        self.now = now;
        let wanted = Some((how, now + self.settings.pairing_wanted_for));
        match self.goal {
            Goal::Online(_) if self.is_online() => {}
            Goal::Online(_) | Goal::RefreshVersion => self.wanted = wanted,
            Goal::Wait { why, .. } => match why {
                // Clients ask again and again while they show a QR code; that must neither disturb a ban nor
                // cut a back-off short.
                WaitReason::Banned => return Err(ConnectError::Stopped(self.status().1)),
                WaitReason::Refused(_) | WaitReason::Outdated if !self.may_reopen() => {
                    return Err(ConnectError::Stopped(self.status().1));
                }
                WaitReason::Refused(_) | WaitReason::Outdated => {
                    self.wanted = wanted;
                    self.reopen();
                }
                _ => self.wanted = wanted,
            },
            Goal::Stopped(Some(Reason::Replaced)) if !self.may_reopen() => {
                return Err(ConnectError::Stopped(self.status().1));
            }
            Goal::Stopped(reason) => {
                self.wanted = wanted;
                if reason == Some(Reason::Replaced) {
                    self.budget.note_reopen(now);
                }
                self.history.handle_asked();
                self.goal = Goal::Online(Priority::Asked);
            }
            Goal::LoggedOut { reason, unlink, .. } => {
                self.wanted = wanted;
                self.history.handle_asked();
                self.goal = Goal::LoggedOut {
                    reason,
                    unlink,
                    then_pair: true,
                };
            }
            Goal::Removed | Goal::Shutdown => return Err(ConnectError::Gone),
        }
        Ok(())
    }

    /// A client wants a fresh connection. Answered by [`poll_answer`](Self::poll_answer).
    pub(in crate::instance) fn handle_reconnect(&mut self, now: Instant) {
        self.now = now;
        let answer = match (&self.keys, self.goal) {
            (_, Goal::Removed | Goal::Shutdown) => Reconnect::Known(Err(ReconnectError::Gone)),
            (Keys::Nothing | Keys::Unpaired | Keys::Useless, _) | (_, Goal::LoggedOut { .. }) => {
                Reconnect::Known(Err(ReconnectError::NoSavedSession))
            }
            (Keys::Unknown, _) => Reconnect::Unknown,
            (Keys::Paired(_), _) => {
                self.reconnect();
                Reconnect::Known(Ok(()))
            }
        };
        self.asked.reconnect = Some(answer);
    }

    fn reconnect(&mut self) {
        match self.goal {
            Goal::Online(_) if self.is_online() && self.may_reopen() => {
                self.budget.note_reopen(self.now);
                self.leave(Leaving::Reopen);
                self.goal = Goal::Online(Priority::Asked);
            }
            Goal::Stopped(_)
            | Goal::Wait {
                why: WaitReason::Refused(_) | WaitReason::Outdated,
                ..
            } => self.reopen(),
            // It connects by itself, or was opened a moment ago.
            _ => {}
        }
    }

    /// The owner wants the device unlinked. Answered by [`poll_answer`](Self::poll_answer).
    pub(in crate::instance) fn handle_logout(&mut self, now: Instant) {
        self.now = now;
        self.asked.logout = true;
        // The last word counts: nobody wants to pair any more.
        self.wanted = None;
        self.goal = match self.goal {
            Goal::LoggedOut { reason, unlink, .. } => Goal::LoggedOut {
                reason,
                unlink,
                then_pair: false,
            },
            goal @ (Goal::Removed | Goal::Shutdown) => goal,
            _ => Goal::LoggedOut {
                reason: None,
                unlink: true,
                then_pair: false,
            },
        };
    }

    /// The owner wants the instance gone. Answered by [`poll_answer`](Self::poll_answer).
    pub(in crate::instance) fn handle_remove(&mut self, now: Instant) {
        self.now = now;
        self.asked.remove = true;
        self.goal = Goal::Removed;
        self.wanted = None;
        self.wipe_failed = None;
    }

    /// The process ends: the session is closed, and nothing is unlinked or wiped, except what its owner has
    /// asked for and was promised.
    pub(in crate::instance) fn handle_shutdown(&mut self, now: Instant) {
        self.now = now;
        self.shutting_down = true;
        if !matches!(self.goal, Goal::Removed | Goal::LoggedOut { .. }) {
            self.goal = Goal::Shutdown;
        }
    }

    /// Opens a session because a client asked for it: now, or when the last one that was asked for is old
    /// enough.
    pub(super) fn reopen(&mut self) {
        self.history.handle_asked();
        self.goal = match self.budget.reopens_again_at(self.now) {
            Some(until) => Goal::Wait {
                until,
                why: WaitReason::Postponed,
            },
            None => {
                self.budget.note_reopen(self.now);
                Goal::Online(Priority::Asked)
            }
        };
    }

    pub(super) fn may_reopen(&self) -> bool {
        self.budget.reopens_again_at(self.now).is_none()
    }
}
