//! What others reach says to an instance that waits: at most once, and only if it has failed on the same way.

use super::*;
use crate::proxy::ProxyFault;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The longest that a wait takes that was cut short.
const SOON: Duration = Duration::from_secs(3);

/// After attempts of a second that end like this, until a wait is long.
fn waits_long_after(mut driver: Driver, end: &End) -> Driver {
    for _ in 0..100 {
        if let Some(until) = driver.lifecycle.poll_timeout() {
            driver.wait(until - driver.now);
        }
        driver.go_on().wait(SECOND).end(end.clone());
        let until = driver.lifecycle.poll_timeout().expect("it waits");
        if until > driver.now + 10 * SOON {
            return driver;
        }
    }
    panic!("{end:?}: it never waits long");
}

fn lost() -> End {
    End::Lost("refused".to_owned())
}

fn waits_long() -> Driver {
    waits_long_after(Driver::new(paired()), &lost())
}

fn reached(driver: &mut Driver, at: Instant) -> Option<Duration> {
    driver.lifecycle.handle_reached(driver.now, at, &mut driver.rng);
    driver.poll();
    driver.lifecycle.poll_timeout().map(|until| until - driver.now)
}

#[test]
fn a_wait_for_whatsapp_ends_soon_after_others_reach_it() {
    let mut waits = Vec::new();
    for seed in 0..100 {
        let mut driver = waits_long();
        driver.rng = StdRng::seed_from_u64(seed);
        assert!(driver.lifecycle.waits_for_whatsapp());
        let now = driver.now;
        let wait = reached(&mut driver, now).expect("it waits");
        assert!(wait <= SOON, "{wait:?}");
        assert!(!driver.lifecycle.waits_for_whatsapp());
        let next = now + wait;
        assert_eq!(
            driver.lifecycle.status(),
            (InstanceState::Connecting, Some(Reason::Retrying(next)))
        );
        driver.wait(wait);
        assert_eq!(driver.job(), Some(Job::TakeTurn(Priority::Background)));
        waits.push(wait);
    }
    let early = waits.iter().filter(|wait| **wait < SOON / 2).count();
    assert!((30..70).contains(&early), "they do not come evenly: {early}");
}

#[test]
fn it_is_hurried_once_until_a_session_lasts() {
    let mut driver = waits_long();
    let now = driver.now;
    let wait = reached(&mut driver, now).unwrap();
    driver.wait(wait).go_on().wait(SECOND).end(lost());
    // It fails for what is its own, however often others log in, and however soon it fails after it has done so too.
    for blinks in [false, true] {
        for _ in 0..20 {
            let before = driver.lifecycle.poll_timeout().expect("it waits");
            let now = driver.wait(MILLISECOND).now;
            assert!(!driver.lifecycle.waits_for_whatsapp());
            assert_eq!(reached(&mut driver, now), Some(before - now));
            driver.wait(before - now).go_on();
            if blinks {
                driver.online();
            }
            driver.wait(SECOND).end(lost());
        }
    }
    let until = driver.lifecycle.poll_timeout().unwrap();
    driver.wait(until - driver.now).online();
    driver
        .wait(FleetSettings::default().retry.stable_after)
        .end(lost());
    let mut driver = waits_long_after(driver, &lost());
    driver.wait(SECOND);
    let now = driver.now;
    assert!(reached(&mut driver, now).unwrap() <= SOON);
}

#[test]
fn what_is_tried_soon_anyway_is_left_as_it_is_and_may_be_hurried_later() {
    let mut driver = waits_long();
    let until = driver.lifecycle.poll_timeout().unwrap();
    driver.wait(until - driver.now - SOON);
    assert!(!driver.lifecycle.waits_for_whatsapp());
    let now = driver.now;
    assert_eq!(reached(&mut driver, now), Some(SOON));
    driver.wait(SOON).go_on().end(lost());
    assert!(waits_long_after(driver, &lost()).lifecycle.waits_for_whatsapp());
}

#[test]
fn what_others_reached_before_the_attempt_began_says_nothing() {
    let mut driver = waits_long();
    // It lasted a second, and failed now.
    let (began, until) = (driver.now - SECOND, driver.lifecycle.poll_timeout());
    assert_eq!(reached(&mut driver, began), until.map(|until| until - driver.now));
    assert!(driver.lifecycle.waits_for_whatsapp(), "and it is not spent");
    // Somebody got through while this attempt was still failing.
    assert!(reached(&mut driver, began + SECOND / 2).unwrap() <= SOON);
}

#[test]
fn what_others_reached_before_a_connection_was_lost_says_nothing() {
    let mut driver = waits_long();
    let until = driver.lifecycle.poll_timeout().unwrap();
    driver.wait(until - driver.now).online();
    let online = driver.now;
    driver.wait(SECOND).end(lost());
    let until = driver.lifecycle.poll_timeout().unwrap();
    assert!(until > driver.now + SOON, "the seed gives a long wait");
    assert_eq!(
        reached(&mut driver, online + SECOND / 2),
        Some(until - driver.now)
    );
    driver.wait(SECOND);
    let now = driver.now;
    assert!(reached(&mut driver, now).unwrap() <= SOON);
}

#[test]
fn who_has_a_proxy_is_not_told_by_those_who_have_none() {
    let failed = End::ProxyFailed {
        fault: ProxyFault::Refused,
        cause: "refused".to_owned(),
    };
    for end in [failed, lost()] {
        let mut driver = Driver::new(paired());
        driver.direct = false;
        let mut driver = waits_long_after(driver, &end);
        driver.wait(SECOND);
        let (now, until) = (driver.now, driver.lifecycle.poll_timeout());
        assert!(!driver.lifecycle.waits_for_whatsapp(), "{end:?}");
        assert_eq!(
            reached(&mut driver, now),
            until.map(|until| until - now),
            "{end:?}"
        );
    }
}

#[test]
fn only_who_did_not_reach_whatsapp_is_hurried() {
    let ends = [
        End::Restart,
        End::LoggedOut { at_login: true },
        End::Replaced,
        End::Banned(None),
        End::Rejected(None),
        End::Rejected(Some(429)),
        End::Rejected(Some(503)),
        End::Rejected(Some(409)),
    ];
    for end in ends {
        let mut driver = Driver::new(paired());
        driver.lifecycle.settings.retry.replaced_again_after = Some(10 * SOON);
        if let End::LoggedOut { .. } = end {
            driver.go_on().end(End::Paired);
        }
        driver.open_and_lose(9);
        driver.go_on().end(end.clone()).go_on();
        let until = driver.lifecycle.poll_timeout().expect("it waits");
        assert!(
            until > driver.now + 2 * SOON,
            "{end:?}: the seed gives a long wait"
        );
        driver.wait(MILLISECOND);
        assert!(!driver.lifecycle.waits_for_whatsapp(), "{end:?}");
        let now = driver.now;
        assert_eq!(reached(&mut driver, now), Some(until - now), "{end:?}");
    }
    // An old version, of which nobody knows a newer one.
    let mut driver = Driver::new(paired());
    driver.go_on().end(End::Outdated).done(JobDone::Refreshed(false));
    let until = driver.lifecycle.poll_timeout().expect("it waits");
    driver.wait(SECOND);
    let now = driver.now;
    assert_eq!(reached(&mut driver, now), Some(until - now));

    // Keys that cannot be read, after attempts that did not reach WhatsApp.
    let mut driver = waits_long();
    for _ in 0..20 {
        let until = driver.lifecycle.poll_timeout().expect("it waits");
        driver
            .wait(until - driver.now)
            .done(JobDone::Done)
            .done(JobDone::Failed);
        driver.wait(MILLISECOND);
        assert!(!driver.lifecycle.waits_for_whatsapp());
    }
}

#[test]
fn a_wish_for_a_fresh_session_that_came_too_soon_is_not_hurried() {
    let mut driver = Driver::new(paired());
    driver.online().end(End::Replaced);
    for _ in 0..2 {
        driver.lifecycle.handle_reconnect(driver.now);
        driver.poll();
        driver.online().end(End::Replaced);
    }
    driver.lifecycle.handle_reconnect(driver.now);
    let until = driver.lifecycle.poll_timeout().expect("it waits");
    let now = driver.wait(MILLISECOND).now;
    assert!(!driver.lifecycle.waits_for_whatsapp());
    assert_eq!(reached(&mut driver, now), Some(until - now));
}

#[test]
fn who_does_not_wait_is_not_disturbed() {
    let mut driver = Driver::new(paired());
    for _ in 0..2 {
        let (now, job) = (driver.now, driver.job());
        assert!(!driver.lifecycle.waits_for_whatsapp());
        reached(&mut driver, now);
        assert_eq!(driver.job(), job);
        driver.online().wait(SECOND);
    }
    assert!(driver.lifecycle.is_online());
    let mut driver = waits_long();
    driver.lifecycle.handle_shutdown(driver.now);
    let now = driver.now;
    assert_eq!(reached(&mut driver, now), None);
    assert!(driver.lifecycle.is_over());
}

#[test]
fn it_opens_no_more_sessions_in_a_minute_than_before() {
    let mut driver = Driver::new(paired());
    driver.open_and_lose(11);
    driver.go_on();
    driver.end(lost());
    let until = driver.lifecycle.poll_timeout().unwrap();
    if until > driver.now + SOON {
        let now = driver.wait(MILLISECOND).now;
        assert!(reached(&mut driver, now).unwrap() <= SOON);
    }
    driver.wait(SOON);
    assert_eq!(driver.job(), None, "twelve were opened");
}
