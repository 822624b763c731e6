//! What follows what an owner asks for, by how the instance is.

use super::*;
use crate::error::ConnectError;

const REOPEN_INTERVAL: Duration = Duration::from_secs(10);

fn by_qr(driver: &mut Driver) -> Result<(), ConnectError> {
    let connected = driver.lifecycle.handle_connect(driver.now, PairWith::Qr);
    driver.poll();
    connected
}

fn reconnect(driver: &mut Driver) -> Vec<Answer> {
    driver.lifecycle.handle_reconnect(driver.now);
    driver.poll();
    driver.answers()
}

fn logout(driver: &mut Driver) -> Vec<Answer> {
    driver.lifecycle.handle_logout(driver.now);
    driver.poll();
    driver.answers()
}

/// A saved session that WhatsApp has ended like this, some time after it was opened.
fn ended(end: End) -> Driver {
    let mut driver = Driver::new(paired());
    driver.online().end(end).go_on();
    driver.take_begun();
    driver
}

#[test]
fn connect_while_online_wants_no_pairing() {
    let mut driver = Driver::new(paired());
    driver.online();
    by_qr(&mut driver).unwrap();
    assert_eq!(driver.job(), None);
    driver.end(End::LoggedOut { at_login: false }).go_on();
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::LoggedOut, Some(Reason::Unlinked))
    );
}

#[test]
fn connect_while_it_logs_in_gets_a_pairing_if_the_device_turns_out_to_be_unlinked() {
    let mut driver = Driver::new(paired());
    driver.go_on();
    by_qr(&mut driver).unwrap();
    driver.end(End::LoggedOut { at_login: true });
    driver.take_begun();
    driver.go_on();
    assert_eq!(
        driver.take_begun(),
        [
            Job::WipeKeys,
            Job::RecordPairing,
            Job::TakeTurn(Priority::Asked),
            Job::Open
        ]
    );

    // Of a pairing that failed there is nothing that could turn out to be unlinked: the client sees why.
    let mut driver = Driver::new(unpaired());
    by_qr(&mut driver).unwrap();
    driver.go_on().end(End::PairingFailed("bad".into())).go_on();
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::LoggedOut, Some(Reason::PairingFailed))
    );
    let mut driver = Driver::new(unpaired());
    by_qr(&mut driver).unwrap();
    driver.go_on().end(End::LoggedOut { at_login: true }).go_on();
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::LoggedOut, Some(Reason::Unlinked))
    );
}

#[test]
fn a_pairing_is_wanted_for_three_minutes() {
    let wanted_for = FleetSettings::default().pairing_wanted_for;
    let mut driver = Driver::new(paired());
    driver.go_on();
    by_qr(&mut driver).unwrap();
    driver.now += wanted_for;
    driver.end(End::LoggedOut { at_login: true }).go_on();
    assert_eq!(driver.lifecycle.status().0, InstanceState::LoggedOut);
}

#[test]
fn a_turn_for_a_pairing_that_nobody_wants_any_more_is_given_back() {
    let mut driver = Driver::new(unpaired());
    by_qr(&mut driver).unwrap();
    driver.done(JobDone::Done);
    assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Asked)));
    driver.wait(FleetSettings::default().pairing_wanted_for);
    assert_eq!(driver.job(), None);
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::Disconnected, Some(Reason::PairingExpired))
    );
}

#[test]
fn connect_waits_with_who_waits_and_cuts_no_back_off_short() {
    for end in [End::Lost("reset".into()), End::Rejected(Some(503))] {
        let mut driver = ended(end);
        let until = driver.lifecycle.poll_timeout();
        by_qr(&mut driver).unwrap();
        assert_eq!((driver.job(), driver.lifecycle.poll_timeout()), (None, until));
        assert_eq!(reconnect(&mut driver), [Answer::Reconnect(Ok(()))]);
        assert_eq!((driver.job(), driver.lifecycle.poll_timeout()), (None, until));
    }
}

#[test]
fn nobody_gets_past_a_ban() {
    let mut driver = ended(End::Banned(None));
    let until = driver.lifecycle.poll_timeout();
    let Some(at) = until else { panic!("a ban ends") };
    assert_eq!(
        by_qr(&mut driver),
        Err(ConnectError::Stopped(Some(Reason::Banned(at))))
    );
    assert_eq!(reconnect(&mut driver), [Answer::Reconnect(Ok(()))]);
    assert_eq!((driver.job(), driver.lifecycle.poll_timeout()), (None, until));
}

#[test]
fn what_was_refused_for_good_is_tried_when_asked_but_not_at_once_again() {
    for end in [End::Rejected(Some(409)), End::Outdated, End::Replaced] {
        let stopped = || {
            let mut driver = Driver::new(paired());
            driver.go_on().end(end.clone());
            if driver.job() == Some(Job::RefreshVersion) {
                driver.done(JobDone::Refreshed(false));
            }
            driver.take_begun();
            driver
        };

        let mut driver = stopped();
        by_qr(&mut driver).unwrap();
        assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Asked)), "{end:?}");
        driver.go_on().end(end.clone());
        if driver.job() == Some(Job::RefreshVersion) {
            driver.done(JobDone::Refreshed(false));
        }
        let why = driver.lifecycle.status().1;
        assert_eq!(by_qr(&mut driver), Err(ConnectError::Stopped(why)), "{end:?}");
        assert_eq!(driver.job(), None);
        driver.wait(REOPEN_INTERVAL);
        by_qr(&mut driver).unwrap();
        assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Asked)), "{end:?}");

        // The other door counts too.
        let mut driver = stopped();
        assert_eq!(reconnect(&mut driver), [Answer::Reconnect(Ok(()))]);
        assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Asked)), "{end:?}");
        driver.go_on().end(end.clone());
        if driver.job() == Some(Job::RefreshVersion) {
            driver.done(JobDone::Refreshed(false));
        }
        assert!(by_qr(&mut driver).is_err(), "{end:?}");
    }
}

#[test]
fn asking_gives_what_stopped_an_instance_a_fresh_start() {
    // The version is looked up again at once, not in an hour.
    let mut driver = Driver::new(paired());
    for _ in 0..2 {
        driver.go_on().end(End::Outdated);
        assert_eq!(driver.job(), Some(Job::RefreshVersion));
        driver.done(JobDone::Refreshed(false));
        driver.wait(REOPEN_INTERVAL);
        by_qr(&mut driver).unwrap();
    }
    // Sessions that WhatsApp restarts are opened at once again.
    let mut driver = Driver::new(unpaired());
    by_qr(&mut driver).unwrap();
    driver.open_and_lose(3);
    driver.go_on().end(End::PairingExpired);
    by_qr(&mut driver).unwrap();
    driver.go_on().end(End::Restart);
    assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Asked)));
}

#[test]
fn a_pairing_that_expired_is_begun_again_as_often_as_asked() {
    let mut driver = Driver::new(unpaired());
    for _ in 0..3 {
        by_qr(&mut driver).unwrap();
        driver.go_on().end(End::PairingExpired);
        assert_eq!(driver.job(), None);
    }
}

#[test]
fn connect_after_a_logout_pairs_anew_unless_the_last_word_is_a_logout() {
    let logged_out = || {
        Driver::new(Beginning {
            logged_out: true,
            ..paired()
        })
    };
    let mut driver = logged_out();
    by_qr(&mut driver).unwrap();
    assert_eq!(driver.lifecycle.status(), (InstanceState::Connecting, None));
    driver.go_on();
    assert!(driver.take_begun().ends_with(&[Job::Open]));

    let mut driver = logged_out();
    by_qr(&mut driver).unwrap();
    assert_eq!(logout(&mut driver), []);
    driver.go_on();
    assert_eq!(driver.answers(), [Answer::LoggedOut]);
    assert_eq!(driver.take_begun(), [Job::WipeKeys]);
    assert_eq!(driver.lifecycle.status().0, InstanceState::LoggedOut);

    // A connect that comes while a logout is under way is told of the pairing, and the logout is answered.
    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    assert_eq!(logout(&mut driver), []);
    by_qr(&mut driver).unwrap();
    assert_eq!(driver.answers(), [Answer::LoggedOut]);
    driver.go_on();
    let begun = driver.take_begun();
    assert!(begun.starts_with(&[Job::SayFarewell, Job::Unlink, Job::RecordLogout, Job::WipeKeys]));
    assert!(begun.ends_with(&[Job::Open]));
}

#[test]
fn a_logout_keeps_the_reason_of_the_unlinking_before_it() {
    let mut driver = ended(End::LoggedOut { at_login: false });
    assert_eq!(logout(&mut driver), [Answer::LoggedOut]);
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::LoggedOut, Some(Reason::Unlinked))
    );
    assert_eq!(driver.take_begun(), []);
}

#[test]
fn a_second_logout_does_not_forget_that_whatsapp_is_to_be_told() {
    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    logout(&mut driver);
    logout(&mut driver);
    driver.go_on();
    assert_eq!(
        driver.take_begun(),
        [Job::SayFarewell, Job::Unlink, Job::RecordLogout, Job::WipeKeys]
    );
}

#[test]
fn who_is_gone_is_asked_in_vain() {
    type Ending = fn(&mut Lifecycle, Instant);
    for end in [
        Lifecycle::handle_remove as Ending,
        Lifecycle::handle_shutdown as Ending,
    ] {
        let mut driver = Driver::new(paired());
        driver.online();
        end(&mut driver.lifecycle, driver.now);
        driver.poll();
        assert_eq!(by_qr(&mut driver), Err(ConnectError::Gone));
        assert_eq!(
            reconnect(&mut driver),
            [Answer::Reconnect(Err(ReconnectError::Gone))]
        );
        logout(&mut driver);
        driver.go_on();
        assert!(!driver.take_begun().contains(&Job::RecordLogout), "it stays gone");
        assert!(driver.lifecycle.is_over());
    }
}

#[test]
fn a_removal_outlives_the_shutdown_that_comes_with_it() {
    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    driver.lifecycle.handle_remove(driver.now);
    driver.lifecycle.handle_shutdown(driver.now);
    driver.poll();
    driver.go_on();
    assert_eq!(
        driver.take_begun(),
        [Job::SayFarewell, Job::Unlink, Job::WipeKeys]
    );
}

#[test]
fn an_online_session_is_reopened_when_asked_at_most_every_ten_seconds() {
    let mut driver = Driver::new(paired());
    driver.online().take_begun();
    assert_eq!(reconnect(&mut driver), [Answer::Reconnect(Ok(()))]);
    assert_eq!(driver.lifecycle.status(), (InstanceState::Connecting, None));
    driver.end(End::Closed).online();
    assert_eq!(
        driver.take_begun(),
        [Job::Close, Job::TakeTurn(Priority::Asked), Job::Open],
        "it was not lost, so nothing is waited for"
    );
    driver.wait(REOPEN_INTERVAL - Duration::from_millis(1));
    assert_eq!(reconnect(&mut driver), [Answer::Reconnect(Ok(()))]);
    assert_eq!(driver.job(), None);
    driver.wait(Duration::from_millis(1));
    reconnect(&mut driver);
    assert_eq!(driver.job(), Some(Job::Close));
}

#[test]
fn a_session_that_logs_in_is_not_reopened_when_asked() {
    let mut driver = Driver::new(paired());
    driver.go_on().take_begun();
    assert_eq!(reconnect(&mut driver), [Answer::Reconnect(Ok(()))]);
    assert_eq!(driver.job(), None);
}

#[test]
fn there_is_no_session_to_reconnect_without_a_linked_device() {
    let no_session = [Answer::Reconnect(Err(ReconnectError::NoSavedSession))];
    let mut never = Driver::new(unpaired());
    assert_eq!(reconnect(&mut never), no_session);
    by_qr(&mut never).unwrap();
    never.go_on();
    assert_eq!(reconnect(&mut never), no_session, "it pairs");
    let mut logged_out = ended(End::LoggedOut { at_login: false });
    assert_eq!(reconnect(&mut logged_out), no_session);
    // Also where the keys are still there, because the logout is under way.
    let mut leaving = Driver::new(paired());
    leaving.online();
    logout(&mut leaving);
    assert_eq!(reconnect(&mut leaving), no_session);
}
