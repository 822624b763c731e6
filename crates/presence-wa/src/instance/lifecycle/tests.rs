//! The lifecycle against a driver that does whatever is asked of it, well or badly, at any time.

mod commands;
mod events;
mod properties;
mod reached;
mod view;

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::instance::job::JobDone;
use crate::session::{End, Identity, Online, SessionState};
use crate::status::InstanceState;

fn identity() -> Identity {
    Identity {
        jid: "491@s.whatsapp.net".to_owned(),
        push_name: None,
    }
}

fn paired() -> Beginning {
    Beginning {
        keys: Keys::Paired(identity()),
        logged_out: false,
        banned_until: None,
        resume: true,
    }
}

fn unpaired() -> Beginning {
    Beginning {
        keys: Keys::Nothing,
        logged_out: false,
        banned_until: None,
        resume: false,
    }
}

/// A driver to which a test says how each job ends.
struct Driver {
    lifecycle: Lifecycle,
    now: Instant,
    rng: StdRng,
    /// Its sessions have no proxy.
    direct: bool,
    begun: Vec<Job>,
}

impl Driver {
    fn new(beginning: Beginning) -> Self {
        let now = Instant::now();
        let mut driver = Self {
            lifecycle: Lifecycle::new(now, FleetSettings::default(), beginning),
            now,
            rng: StdRng::seed_from_u64(7),
            direct: true,
            begun: Vec::new(),
        };
        driver.poll();
        driver
    }

    fn poll(&mut self) {
        while let Some(action) = self.lifecycle.poll_action() {
            if let Action::Begin(job) = action {
                self.begun.push(job);
            }
        }
    }

    fn job(&self) -> Option<Job> {
        self.lifecycle.job
    }

    fn done(&mut self, done: JobDone) -> &mut Self {
        self.lifecycle.handle_job(self.now, done, &mut self.rng);
        self.poll();
        self
    }

    fn session(&mut self, state: &SessionState) -> &mut Self {
        self.lifecycle.handle_session(self.now, state, &mut self.rng);
        self.poll();
        self
    }

    fn end(&mut self, end: End) -> &mut Self {
        self.session(&SessionState::Ended(end))
    }

    /// Does every job well until there is none, or a session is open.
    fn go_on(&mut self) -> &mut Self {
        while let Some(job) = self.job() {
            let done = match job {
                Job::LoadKeys => JobDone::Loaded(Some(identity())),
                Job::RefreshVersion => JobDone::Refreshed(true),
                Job::Open => JobDone::Opened { direct: self.direct },
                _ => JobDone::Done,
            };
            self.done(done);
        }
        self
    }

    fn online(&mut self) -> &mut Self {
        let online = Online {
            identity: identity(),
            ..Online::default()
        };
        self.go_on().session(&SessionState::Online(online)).go_on()
    }

    /// Opens a session and loses it, so many times, as if every wait in between were nothing.
    fn open_and_lose(&mut self, times: usize) {
        for _ in 0..times {
            self.go_on().end(End::Restart);
            if let Some(until) = self.lifecycle.poll_timeout().filter(|_| self.job().is_none()) {
                self.lifecycle.handle_timeout(until);
                self.lifecycle.goal = Goal::Online(Priority::Background);
                self.lifecycle.now = self.now;
                self.poll();
            }
        }
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.lifecycle.handle_timeout(self.now);
        self.poll();
        self
    }

    fn answers(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.lifecycle.poll_answer()).collect()
    }

    fn take_begun(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.begun)
    }
}

#[test]
fn a_saved_session_is_opened_in_its_turn() {
    let mut driver = Driver::new(paired());
    driver.online();
    assert_eq!(
        driver.take_begun(),
        [Job::TakeTurn(Priority::Background), Job::Open]
    );
    assert!(driver.lifecycle.is_online() && !driver.lifecycle.holds_turn());
    assert_eq!(driver.lifecycle.status(), (InstanceState::Connected, None));
    assert_eq!(driver.lifecycle.poll_timeout(), None);
}

#[test]
fn a_pairing_is_written_down_before_it_begins_and_read_when_it_is_done() {
    let mut driver = Driver::new(unpaired());
    assert_eq!(driver.job(), None);
    driver.lifecycle.handle_connect(driver.now, PairWith::Qr).unwrap();
    driver.poll();
    driver.go_on();
    assert_eq!(
        driver.take_begun(),
        [Job::RecordPairing, Job::TakeTurn(Priority::Asked), Job::Open]
    );
    driver.session(&SessionState::Linked);
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::Connecting, Some(Reason::Registering))
    );
    driver.end(End::Paired).online();
    assert_eq!(
        driver.take_begun(),
        [Job::LoadKeys, Job::TakeTurn(Priority::Asked), Job::Open]
    );
}

#[test]
fn logging_out_says_farewell_unlinks_writes_it_down_and_wipes_in_this_order() {
    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    driver.lifecycle.handle_logout(driver.now);
    driver.poll();
    assert_eq!(driver.answers(), []);
    driver.go_on();
    assert_eq!(
        driver.take_begun(),
        [Job::SayFarewell, Job::Unlink, Job::RecordLogout, Job::WipeKeys]
    );
    assert_eq!(driver.answers(), [Answer::LoggedOut]);
    assert_eq!(driver.lifecycle.status(), (InstanceState::LoggedOut, None));
    // Again: nothing is left to do.
    driver.lifecycle.handle_logout(driver.now);
    driver.poll();
    assert_eq!(
        (driver.take_begun(), driver.answers()),
        (vec![], vec![Answer::LoggedOut])
    );
}

#[test]
fn removing_wipes_and_ends_and_shutting_down_only_closes() {
    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    driver.lifecycle.handle_remove(driver.now);
    driver.poll();
    driver.go_on();
    assert_eq!(
        driver.take_begun(),
        [Job::SayFarewell, Job::Unlink, Job::WipeKeys]
    );
    assert_eq!(driver.answers(), [Answer::Removed { wiped: true }]);
    assert!(driver.lifecycle.is_over());

    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    driver.lifecycle.handle_shutdown(driver.now);
    driver.poll();
    driver.go_on();
    assert_eq!(driver.take_begun(), [Job::SayFarewell, Job::Close]);
    assert!(driver.lifecycle.is_over());
}

#[test]
fn a_logout_that_was_promised_is_carried_out_before_the_process_ends() {
    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    driver.lifecycle.handle_logout(driver.now);
    driver.lifecycle.handle_shutdown(driver.now);
    driver.poll();
    assert!(!driver.lifecycle.is_over());
    driver.go_on();
    assert!(driver.take_begun().ends_with(&[Job::RecordLogout, Job::WipeKeys]));
    assert!(driver.lifecycle.is_over());
}

#[test]
fn keys_that_cannot_be_wiped_are_tried_again_later_and_never_used() {
    let mut driver = Driver::new(Beginning {
        logged_out: true,
        ..paired()
    });
    assert_eq!(driver.job(), Some(Job::WipeKeys));
    driver.done(JobDone::Failed);
    assert_eq!(driver.job(), None);
    driver.lifecycle.handle_reconnect(driver.now);
    assert_eq!(
        driver.answers(),
        [Answer::Reconnect(Err(ReconnectError::NoSavedSession))]
    );
    let again = driver.lifecycle.poll_timeout().expect("it is tried again");
    driver.wait(again - driver.now);
    assert_eq!(driver.job(), Some(Job::WipeKeys));
    driver.done(JobDone::Done);
    assert_eq!(driver.lifecycle.poll_timeout(), None);
    driver.lifecycle.handle_remove(driver.now);
    driver.poll();
    assert_eq!(driver.answers(), [Answer::Removed { wiped: true }]);
}

#[test]
fn a_removal_does_not_wait_for_keys_that_cannot_be_wiped() {
    let mut driver = Driver::new(paired());
    driver.online();
    driver.lifecycle.handle_remove(driver.now);
    driver.poll();
    while let Some(job) = driver.job() {
        driver.done(if job == Job::WipeKeys {
            JobDone::Failed
        } else {
            JobDone::Done
        });
    }
    assert_eq!(driver.answers(), [Answer::Removed { wiped: false }]);
    assert!(driver.lifecycle.is_over());
}

#[test]
fn reconnect_reads_the_keys_where_nobody_has_yet() {
    let beginning = || Beginning {
        keys: Keys::Unknown,
        resume: false,
        ..paired()
    };
    let mut driver = Driver::new(beginning());
    driver.lifecycle.handle_reconnect(driver.now);
    driver.poll();
    assert_eq!((driver.job(), driver.answers()), (Some(Job::LoadKeys), vec![]));
    driver.done(JobDone::Loaded(Some(identity())));
    assert_eq!(driver.answers(), [Answer::Reconnect(Ok(()))]);
    assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Asked)));

    for (loaded, answer) in [
        (JobDone::Loaded(None), ReconnectError::NoSavedSession),
        (JobDone::Failed, ReconnectError::Keys),
    ] {
        let mut driver = Driver::new(beginning());
        driver.lifecycle.handle_reconnect(driver.now);
        driver.poll();
        driver.done(loaded);
        assert_eq!(driver.answers(), [Answer::Reconnect(Err(answer))]);
        assert_eq!(driver.job(), None);
    }
}

#[test]
fn a_stop_is_reopened_at_most_every_ten_seconds_and_no_wish_is_lost() {
    let mut driver = Driver::new(paired());
    driver.online().end(End::Replaced);
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::Disconnected, Some(Reason::Replaced))
    );
    driver.lifecycle.handle_reconnect(driver.now);
    driver.poll();
    driver.online().end(End::Replaced).take_begun();
    driver.lifecycle.handle_reconnect(driver.now);
    driver.poll();
    assert_eq!(driver.answers(), [Answer::Reconnect(Ok(()))]);
    assert_eq!(driver.job(), None, "it waits for its turn");
    driver.wait(Duration::from_secs(10));
    assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Background)));
}

#[test]
fn a_login_that_never_ends_is_given_up() {
    let mut driver = Driver::new(paired());
    driver.go_on();
    let until = driver.lifecycle.poll_timeout().unwrap();
    assert_eq!(until - driver.now, FleetSettings::default().login_timeout);
    driver.wait(until - driver.now);
    assert_eq!(driver.job(), Some(Job::Close));
    driver.end(End::Closed).done(JobDone::Done);
    assert!(matches!(driver.lifecycle.status().1, Some(Reason::Retrying(_))));
}

#[test]
fn a_turn_that_is_waited_for_is_given_back_when_it_is_not_wanted_any_more() {
    let mut driver = Driver::new(paired());
    assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Background)));
    driver.lifecycle.handle_logout(driver.now);
    assert_eq!(driver.lifecycle.poll_action(), Some(Action::Abandon));
    assert_eq!(
        driver.lifecycle.poll_action(),
        Some(Action::Begin(Job::RecordLogout))
    );
    // And where it is held already.
    let mut driver = Driver::new(paired());
    driver
        .lifecycle
        .handle_job(driver.now, JobDone::Done, &mut driver.rng);
    assert!(driver.lifecycle.holds_turn());
    driver.lifecycle.handle_logout(driver.now);
    driver.poll();
    assert!(!driver.lifecycle.holds_turn());
}

#[test]
fn a_session_that_opens_after_its_instance_was_logged_out_is_closed_unused() {
    let mut driver = Driver::new(paired());
    driver.done(JobDone::Done);
    assert_eq!(driver.job(), Some(Job::Open));
    driver.lifecycle.handle_logout(driver.now);
    driver.poll();
    assert_eq!(driver.job(), Some(Job::Open), "it is not abandoned half-way");
    driver.done(JobDone::Opened { direct: true });
    assert_eq!(driver.job(), Some(Job::Unlink));
    driver.end(End::Closed).go_on();
    assert_eq!(driver.answers(), [Answer::LoggedOut]);
}

#[test]
fn a_ban_is_written_down_and_taken_back_when_it_is_over() {
    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    driver.end(End::Banned(Some(Duration::from_secs(7200))));
    let until = driver.now + Duration::from_secs(7200);
    assert_eq!(driver.job(), Some(Job::RecordBan(Some(until))));
    driver.done(JobDone::Failed);
    assert_eq!(driver.job(), None, "a record that fails is not tried for ever");
    driver.wait(Duration::from_secs(7200)).online();
    assert!(driver.take_begun().ends_with(&[Job::RecordBan(None)]));
}

#[test]
fn nobody_is_told_before_all_is_done() {
    for removes in [false, true] {
        let mut driver = Driver::new(paired());
        driver.online();
        if removes {
            driver.lifecycle.handle_remove(driver.now);
        } else {
            driver.lifecycle.handle_logout(driver.now);
        }
        driver.poll();
        while let Some(job) = driver.job() {
            assert_eq!(driver.answers(), [], "{job:?} is under way");
            assert!(!driver.lifecycle.is_over(), "{job:?} is under way");
            driver.done(JobDone::Done);
        }
        assert_eq!(driver.answers().len(), 1);
        assert_eq!(driver.lifecycle.is_over(), removes);
    }
}

#[test]
fn nothing_is_waited_for_while_something_is_under_way() {
    // Though no session may be opened for a while.
    let mut driver = Driver::new(paired());
    driver.open_and_lose(11);
    driver.online();
    assert_eq!(driver.lifecycle.poll_timeout(), None, "it is online");

    let mut driver = Driver::new(paired());
    driver.open_and_lose(11);
    driver.go_on().session(&SessionState::Linked).end(End::Paired);
    if let Some(until) = driver.lifecycle.poll_timeout() {
        driver.wait(until - driver.now);
    }
    assert_eq!(driver.job(), Some(Job::LoadKeys));
    assert_eq!(driver.lifecycle.poll_timeout(), None, "it reads the keys");

    // Though a login has a limit, and keys could not be wiped.
    let mut driver = Driver::new(paired());
    driver.go_on();
    assert!(driver.lifecycle.poll_timeout().is_some());
    driver.lifecycle.handle_faulty_session(driver.now);
    driver.poll();
    assert_eq!(driver.job(), Some(Job::Close));
    assert_eq!(driver.lifecycle.poll_timeout(), None, "it is closed already");
}

#[test]
fn at_most_twelve_sessions_are_opened_in_a_minute() {
    let mut driver = Driver::new(paired());
    driver.open_and_lose(12);
    assert_eq!(driver.job(), None);
    assert_eq!(
        driver.lifecycle.poll_timeout(),
        Some(driver.now + Duration::from_secs(60))
    );
    driver.wait(Duration::from_secs(60));
    assert!(driver.job().is_some());
}
