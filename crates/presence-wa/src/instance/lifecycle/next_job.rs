//! Which job brings an instance nearer to what is wanted of it.

use tokio::time::Instant;

use super::{Goal, Lifecycle, OpenSession, Reconnect, SessionProgress};
use crate::instance::job::{Job, Keys};
use crate::instance::session_end::WaitReason;
use crate::login_limiter::Priority;
use crate::status::Reason;

impl Lifecycle {
    /// The work that brings the instance nearer to its goal.
    pub(super) fn next_job(&self) -> Option<Job> {
        if let Some(Reconnect::Unknown) = self.asked.reconnect {
            return Some(Job::LoadKeys);
        }
        match (self.goal, &self.session) {
            (Goal::Online(_), Some(session)) => match (&session.leaving, session.progress) {
                (Some(_), _) => Some(Job::Close),
                (None, SessionProgress::Online { .. }) if self.registry.ban.is_some() => {
                    Some(Job::RecordBan(None))
                }
                (None, _) => None,
            },
            (Goal::Online(priority), None) => self.opening_job(priority),
            (Goal::LoggedOut { unlink: true, .. } | Goal::Removed, Some(session)) => {
                Some(farewell_of(session).unwrap_or(Job::Unlink))
            }
            (Goal::Shutdown, Some(session)) => Some(farewell_of(session).unwrap_or(Job::Close)),
            (_, Some(_)) => Some(Job::Close),
            (Goal::RefreshVersion, None) => Some(Job::RefreshVersion),
            (
                Goal::Wait {
                    until,
                    why: WaitReason::Banned,
                },
                None,
            ) if self.registry.ban != Some(until) => Some(Job::RecordBan(Some(until))),
            (Goal::LoggedOut { .. }, None) if !self.registry.logged_out => Some(Job::RecordLogout),
            (Goal::LoggedOut { .. }, None) => self.wiping_job(),
            // Once: what is left over is remembered by the registry.
            (Goal::Removed, None) if self.wipe_failed.is_none() => self.wiping_job(),
            (Goal::Removed | Goal::Wait { .. } | Goal::Stopped(_) | Goal::Shutdown, None) => None,
        }
    }

    fn opening_job(&self, priority: Priority) -> Option<Job> {
        match self.keys {
            // They are wiped before anybody can want the instance online; never open a session with them.
            Keys::Useless => None,
            Keys::Unknown => Some(Job::LoadKeys),
            Keys::Nothing | Keys::Unpaired if !self.is_pairing_wanted() => None,
            Keys::Nothing | Keys::Unpaired if !self.registry.pairing => Some(Job::RecordPairing),
            _ if self.budget.opens_again_at(self.now).is_some() => None,
            _ if !self.holds_turn => Some(Job::TakeTurn(priority)),
            _ => Some(Job::Open),
        }
    }

    fn wiping_job(&self) -> Option<Job> {
        let too_early = self.wipes_again_at().is_some() && self.goal != Goal::Removed;
        (self.keys != Keys::Nothing && !too_early).then_some(Job::WipeKeys)
    }

    /// When keys that could not be wiped are tried again, if not now.
    pub(super) fn wipes_again_at(&self) -> Option<Instant> {
        let again = self.wipe_failed?.again;
        (self.now < again).then_some(again)
    }

    pub(super) fn begin(&mut self, job: Job) {
        self.job = Some(job);
        if job == Job::Open {
            self.budget.note_open(self.now);
            if self.keys == Keys::Nothing {
                self.keys = Keys::Unpaired;
            }
        }
    }

    /// Follows what needs no work.
    pub(super) fn pass_over(&mut self) {
        let idle = self.session.is_none() && self.job.is_none();
        if let Goal::LoggedOut { then_pair: true, .. } = self.goal
            && idle
            && self.keys == Keys::Nothing
            && self.next_job().is_none()
            && !self.shutting_down
        {
            self.goal = Goal::Online(Priority::Asked);
        }
        if let Goal::Online(_) = self.goal
            && idle
            && matches!(self.keys, Keys::Nothing | Keys::Unpaired)
            && !self.is_pairing_wanted()
        {
            let reason = self.wanted.take().map(|_| Reason::PairingExpired);
            self.goal = Goal::Stopped(reason);
        }
        if !matches!(self.goal, Goal::Online(_)) {
            self.holds_turn = false;
        }
    }
}

/// What an online session shows is paused before it is closed on purpose.
fn farewell_of(session: &OpenSession) -> Option<Job> {
    let online = matches!(session.progress, SessionProgress::Online { .. });
    (online && !session.said_farewell && session.leaving.is_none()).then_some(Job::SayFarewell)
}
