//! What has happened: the session changed, a job ended, time has passed.

use rand::Rng;
use tokio::time::Instant;

use super::{Goal, Leaving, Lifecycle, OpenSession, Reconnect, SessionProgress, WipeFailed};
use crate::error::ReconnectError;
use crate::instance::job::{Job, JobDone, Keys};
use crate::instance::session_end::{Next, WaitReason};
use crate::login_limiter::Priority;
use crate::session::{End, SessionState};
use crate::status::Reason;

impl Lifecycle {
    /// The session is in another state.
    pub(in crate::instance) fn handle_session(
        &mut self,
        now: Instant,
        state: &SessionState,
        rng: &mut impl Rng,
    ) {
        self.now = now;
        let Some(session) = &mut self.session else { return };
        match state {
            SessionState::Connecting => {}
            SessionState::Pairing(_) => {
                session.progress = SessionProgress::Pairing;
                self.holds_turn = false;
            }
            SessionState::Linked => {
                session.progress = SessionProgress::Linked;
                self.holds_turn = false;
            }
            SessionState::Online(online) => {
                if !matches!(session.progress, SessionProgress::Online { .. }) {
                    session.progress = SessionProgress::Online { since: now };
                }
                self.holds_turn = false;
                self.wanted = None;
                self.history.handle_online();
                self.keys = Keys::Paired(online.identity.clone());
            }
            SessionState::Ended(end) => self.end_session(end, rng),
        }
    }

    /// The session is of no use any more: a stanza could not be written.
    pub(in crate::instance) fn handle_faulty_session(&mut self, now: Instant) {
        self.now = now;
        self.leave(Leaving::Faulty("a stanza could not be written"));
    }

    /// The job that was under way has ended. Returns which one that was.
    pub(in crate::instance) fn handle_job(
        &mut self,
        now: Instant,
        done: JobDone,
        rng: &mut impl Rng,
    ) -> Option<Job> {
        self.now = now;
        let job = self.job.take()?;
        match (job, done) {
            (Job::TakeTurn(_), JobDone::Done) => self.holds_turn = true,
            (Job::LoadKeys, JobDone::Loaded(identity)) => {
                self.keys = identity.map_or(Keys::Unpaired, Keys::Paired);
                if self.asked.reconnect.is_some() {
                    self.handle_reconnect(now);
                }
            }
            (Job::LoadKeys, _) => {
                if let Some(reconnect) = &mut self.asked.reconnect {
                    *reconnect = Reconnect::Known(Err(ReconnectError::Keys));
                }
                self.retry_later(rng);
            }
            (Job::RecordPairing, JobDone::Done) => {
                self.registry.pairing = true;
                self.registry.logged_out = false;
            }
            (Job::RecordPairing, _) => {
                self.wanted = None;
                if let Goal::Online(_) = self.goal {
                    self.goal = Goal::Stopped(Some(Reason::NotRecorded));
                }
            }
            (Job::Open, JobDone::Opened { direct }) => {
                let until = now + self.settings.login_timeout;
                self.session = Some(OpenSession {
                    progress: SessionProgress::LoggingIn { until },
                    since: now,
                    direct,
                    leaving: None,
                    said_farewell: false,
                });
            }
            (Job::Open, _) => {
                self.holds_turn = false;
                self.retry_later(rng);
            }
            (Job::SayFarewell, _) => {
                if let Some(session) = &mut self.session {
                    session.said_farewell = true;
                }
            }
            // The session was told to be over before; if it was not, nothing more can be done for it.
            (Job::Unlink | Job::Close, _) => self.end_session(&End::Closed, rng),
            // An error was logged; the keys of a device that is not linked are of no use all the same.
            (Job::RecordLogout, _) => {
                self.registry.logged_out = true;
                self.registry.pairing = false;
                self.registry.ban = None;
            }
            (Job::RecordBan(until), _) => self.registry.ban = until,
            (Job::WipeKeys, JobDone::Done) => {
                self.keys = Keys::Nothing;
                self.wipe_failed = None;
            }
            (Job::WipeKeys, _) => {
                self.keys = Keys::Useless;
                let times = self.wipe_failed.map_or(0, |failed| failed.times);
                // At least half of it, so that a full disk is not tried all the time.
                let backoff = self.settings.retry.rejection_backoff;
                self.wipe_failed = Some(WipeFailed {
                    again: now + backoff.ceiling(times) / 2 + backoff.delay(times, rng) / 2,
                    times: times.saturating_add(1),
                });
            }
            (Job::RefreshVersion, done) => {
                let refreshed = match done {
                    JobDone::Refreshed(changed) => Ok(changed),
                    _ => Err(()),
                };
                let next = self
                    .history
                    .after_refresh(now, refreshed, &self.settings.retry, rng);
                if self.goal == Goal::RefreshVersion {
                    self.follow(next, Priority::Background);
                }
            }
            (Job::TakeTurn(_), _) => {}
        }
        Some(job)
    }

    /// Time has passed. An early or extra call does nothing.
    pub(in crate::instance) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if let Some(OpenSession {
            progress: SessionProgress::LoggingIn { until },
            ..
        }) = self.session
            && until <= now
        {
            self.leave(Leaving::Faulty("the login did not finish in time"));
        }
        if let Goal::Wait { until, why } = self.goal
            && until <= now
        {
            self.goal = match why {
                WaitReason::Outdated => Goal::RefreshVersion,
                _ => Goal::Online(Priority::Background),
            };
        }
    }

    /// Another instance has logged in at `at`, without a proxy. An early or extra call does nothing.
    pub(in crate::instance) fn handle_reached(&mut self, now: Instant, at: Instant, rng: &mut impl Rng) {
        self.now = now;
        if self.unreached_since.is_some_and(|since| since < at)
            && let Goal::Wait {
                until,
                why: WaitReason::Lost,
            } = &mut self.goal
            && let Some(sooner) = self.history.hurry(now, *until, rng)
        {
            *until = sooner;
        }
    }

    fn end_session(&mut self, end: &End, rng: &mut impl Rng) {
        let Some(session) = self.session.take() else {
            return;
        };
        self.holds_turn = false;
        if let SessionProgress::Online { since } = session.progress
            && self.now >= since + self.settings.retry.stable_after
        {
            self.history.handle_stable();
        }
        // An attempt that began before others got through may have failed for what is over since.
        let since = match session.progress {
            SessionProgress::LoggingIn { .. } => session.since,
            _ => self.now,
        };
        self.unreached_since = session.direct.then_some(since);
        if *end == End::Paired || session.progress == SessionProgress::Linked {
            // The registry knows that it may be there; what it is, the keys say.
            self.keys = Keys::Unknown;
        }
        if !matches!(self.goal, Goal::Online(_)) {
            return;
        }
        // A failed stanza may be noticed a moment before the reason that WhatsApp gave.
        let end = match (session.leaving, end) {
            (Some(Leaving::Reopen), End::Closed) => return,
            (Some(Leaving::Faulty(cause)), End::Closed) => &End::Lost(cause.to_owned()),
            (_, end) => end,
        };
        let was_paired = matches!(self.keys, Keys::Paired(_));
        let pairing_wanted = self.is_pairing_wanted();
        let next = self.history.after(self.now, end, &self.settings.retry, rng);
        self.follow(next, Priority::Asked);
        if let Goal::LoggedOut { then_pair, .. } = &mut self.goal {
            // Unlinked while a client waits for this very connection: what it needs is a new pairing.
            *then_pair = matches!(end, End::LoggedOut { .. }) && was_paired && pairing_wanted;
        }
    }

    fn follow(&mut self, next: Next, priority: Priority) {
        self.goal = match next {
            Next::Open => Goal::Online(priority),
            Next::Wait { until, why } => Goal::Wait { until, why },
            Next::RefreshVersion => Goal::RefreshVersion,
            Next::Stop(reason) => Goal::Stopped(Some(reason)),
            Next::LogOut(reason) => {
                self.registry.logged_out = false;
                self.keys = Keys::Useless;
                Goal::LoggedOut {
                    reason: Some(reason),
                    unlink: false,
                    then_pair: false,
                }
            }
        };
        match self.goal {
            Goal::Stopped(_)
            | Goal::Wait {
                why: WaitReason::Banned,
                ..
            } => self.wanted = None,
            _ => {}
        }
    }

    fn retry_later(&mut self, rng: &mut impl Rng) {
        if matches!(self.goal, Goal::Online(_)) {
            let next = self.history.postponed(self.now, &self.settings.retry, rng);
            self.follow(next, Priority::Background);
        }
    }

    pub(super) fn leave(&mut self, why: Leaving) {
        if let Some(session) = &mut self.session {
            session.leaving.get_or_insert(why);
        }
    }
}
