//! What follows how sessions and jobs end, and the passing of time.

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

fn is_asked_for(driver: &Driver) -> bool {
    driver.job() == Some(Job::TakeTurn(Priority::Asked))
}

#[test]
fn a_session_that_lasted_thirty_seconds_clears_the_record() {
    let stable_after = FleetSettings::default().retry.stable_after;
    for (lasts, cleared) in [(stable_after, true), (stable_after - MILLISECOND, false)] {
        let mut driver = Driver::new(paired());
        driver.open_and_lose(3);
        driver.online().wait(lasts).end(End::Restart);
        assert_eq!(is_asked_for(&driver), cleared, "{lasts:?}");
    }
    // From its first moment online on, however often it says so.
    let mut driver = Driver::new(paired());
    driver.open_and_lose(3);
    driver.online().wait(stable_after / 2).online();
    driver.wait(stable_after / 2).end(End::Restart);
    assert!(is_asked_for(&driver));
    // Not a login that takes so long.
    let mut driver = Driver::new(paired());
    driver.open_and_lose(3);
    driver.go_on().session(&SessionState::Linked);
    driver.wait(stable_after).end(End::Restart);
    assert!(!is_asked_for(&driver));
}

#[test]
fn after_a_pairing_the_keys_say_who_it_is() {
    // However the session ends whose phone has linked it.
    for (linked, end) in [
        (true, End::Paired),
        (false, End::Paired),
        (true, End::Lost("reset".into())),
        (true, End::Closed),
    ] {
        let mut driver = Driver::new(unpaired());
        driver.lifecycle.handle_connect(driver.now, PairWith::Qr).unwrap();
        driver.poll();
        driver.go_on();
        if linked {
            driver.session(&SessionState::Linked);
        }
        driver.end(end.clone());
        if let Some(until) = driver.lifecycle.poll_timeout() {
            driver.wait(until - driver.now);
        }
        assert_eq!(driver.job(), Some(Job::LoadKeys), "{end:?}");
    }
    // A session that was online, or had no phone yet, ends without that.
    let mut driver = Driver::new(paired());
    driver.online().end(End::Restart);
    assert!(is_asked_for(&driver));
}

#[test]
fn a_deadline_comes_neither_early_nor_late() {
    let mut driver = Driver::new(paired());
    driver.online().end(End::Rejected(Some(409)));
    let until = driver.lifecycle.poll_timeout().expect("it is tried hourly");
    driver.wait(until - driver.now - MILLISECOND);
    assert_eq!(driver.job(), None);
    driver.wait(MILLISECOND);
    assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Background)));

    let mut driver = Driver::new(paired());
    driver.go_on();
    let limit = FleetSettings::default().login_timeout;
    driver.wait(limit - MILLISECOND);
    assert_eq!(driver.job(), None);
    driver.wait(MILLISECOND);
    assert_eq!(driver.job(), Some(Job::Close));
}

#[test]
fn an_outdated_client_looks_its_version_up_again_and_opens_nothing_before() {
    let mut driver = Driver::new(paired());
    driver.go_on().end(End::Outdated);
    assert_eq!(driver.job(), Some(Job::RefreshVersion));
    assert_eq!(driver.lifecycle.status(), (InstanceState::Connecting, None));
    driver.done(JobDone::Failed);
    let (until, status) = (driver.lifecycle.poll_timeout(), driver.lifecycle.status());
    let next = until.expect("a look-up that failed is done again");
    assert_eq!(
        status,
        (InstanceState::Disconnected, Some(Reason::Outdated { next }))
    );
    driver.wait(next - driver.now);
    assert_eq!(driver.job(), Some(Job::RefreshVersion));
    driver.done(JobDone::Refreshed(true));
    assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Background)));
}

#[test]
fn keys_that_cannot_be_read_are_read_again_later() {
    let mut driver = Driver::new(Beginning {
        keys: Keys::Unknown,
        ..paired()
    });
    assert_eq!(driver.job(), Some(Job::LoadKeys));
    driver.done(JobDone::Failed);
    let until = driver.lifecycle.poll_timeout().expect("it waits");
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::Connecting, Some(Reason::Retrying(until)))
    );
    driver.wait(until - driver.now);
    assert_eq!(driver.job(), Some(Job::LoadKeys));
}

#[test]
fn a_session_that_cannot_be_opened_is_opened_later_in_a_turn_of_its_own() {
    let mut driver = Driver::new(paired());
    driver.done(JobDone::Done).done(JobDone::Failed);
    assert!(!driver.lifecycle.holds_turn());
    let until = driver.lifecycle.poll_timeout().expect("it waits");
    driver.wait(until - driver.now);
    assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Background)));

    // Unless it is not wanted any more.
    let mut driver = Driver::new(paired());
    driver.done(JobDone::Done);
    driver.lifecycle.handle_shutdown(driver.now);
    driver.poll();
    assert!(!driver.lifecycle.is_over(), "it is being opened");
    driver.done(JobDone::Failed);
    assert!(driver.lifecycle.is_over());
}

#[test]
fn keys_that_cannot_be_wiped_are_tried_ever_more_seldom() {
    let backoff = FleetSettings::default().retry.rejection_backoff;
    let mut driver = Driver::new(Beginning {
        logged_out: true,
        ..paired()
    });
    for times in 0..12 {
        driver.done(JobDone::Failed);
        let again = driver.lifecycle.poll_timeout().expect("it is tried again");
        let (wait, longest) = (again - driver.now, backoff.ceiling(times));
        assert!(longest / 2 <= wait && wait <= longest, "{times}: {wait:?}");
        driver.wait(wait - MILLISECOND);
        assert_eq!(driver.job(), None, "{times}");
        driver.wait(MILLISECOND);
        assert_eq!(driver.job(), Some(Job::WipeKeys), "{times}");
    }
}

#[test]
fn keys_of_a_device_that_was_unlinked_are_wiped_before_a_new_pairing() {
    // Also when the wipe fails, and a client waits for the new pairing.
    let mut driver = Driver::new(paired());
    driver.go_on().end(End::LoggedOut { at_login: true });
    driver.lifecycle.handle_connect(driver.now, PairWith::Qr).unwrap();
    driver.done(JobDone::Done);
    assert_eq!(driver.job(), Some(Job::WipeKeys));
    driver.done(JobDone::Failed);
    assert_eq!(driver.job(), None);
    driver.lifecycle.handle_connect(driver.now, PairWith::Qr).unwrap();
    driver.poll();
    assert_eq!(driver.job(), None, "the keys are still there");
    let again = driver.lifecycle.poll_timeout().expect("it is tried again");
    driver.take_begun();
    driver.wait(again - driver.now).go_on();
    assert_eq!(
        driver.take_begun(),
        [
            Job::WipeKeys,
            Job::RecordPairing,
            Job::TakeTurn(Priority::Asked),
            Job::Open
        ]
    );
}

#[test]
fn a_pairing_that_cannot_be_written_down_is_not_begun() {
    let mut driver = Driver::new(unpaired());
    driver.lifecycle.handle_connect(driver.now, PairWith::Qr).unwrap();
    driver.poll();
    driver.done(JobDone::Failed);
    assert_eq!(driver.job(), None);
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::Disconnected, Some(Reason::NotRecorded))
    );
    // And where it was logged out meanwhile, that stands.
    let mut driver = Driver::new(unpaired());
    driver.lifecycle.handle_connect(driver.now, PairWith::Qr).unwrap();
    driver.poll();
    driver.lifecycle.handle_logout(driver.now);
    driver.done(JobDone::Failed).go_on();
    assert_eq!(driver.lifecycle.status(), (InstanceState::LoggedOut, None));
}

#[test]
fn who_waits_for_a_pairing_does_not_wait_for_what_stopped() {
    // After an hour nobody holds a QR code in front of a phone any more.
    for end in [End::Replaced, End::Banned(None)] {
        let mut driver = Driver::new(paired());
        driver.go_on();
        driver.lifecycle.handle_connect(driver.now, PairWith::Qr).unwrap();
        driver.end(end.clone());
        assert!(!driver.lifecycle.is_pairing_wanted(), "{end:?}");
    }
    let mut driver = Driver::new(paired());
    driver.go_on();
    driver.lifecycle.handle_connect(driver.now, PairWith::Qr).unwrap();
    driver.end(End::Lost("reset".into()));
    assert!(driver.lifecycle.is_pairing_wanted());
}
