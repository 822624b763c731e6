//! The table, line by line.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Without chance: the jitter draws from `0..=0`.
fn settings() -> RetrySettings {
    let none = Backoff {
        base: Duration::ZERO,
        cap: Duration::ZERO,
    };
    RetrySettings {
        backoff: none,
        rejection_backoff: none,
        ..RetrySettings::default()
    }
}

fn after(history: &mut History, now: Instant, end: &End) -> Next {
    history.after(now, end, &settings(), &mut StdRng::seed_from_u64(1))
}

#[test]
fn every_end_has_one_thing_that_follows() {
    let now = Instant::now();
    let wait = |after: Duration, why| Next::Wait {
        until: now + after,
        why,
    };
    let zero = Duration::ZERO;
    let rows = [
        (End::Closed, wait(zero, WaitReason::Lost)),
        (End::Lost("reset".into()), wait(zero, WaitReason::Lost)),
        (
            End::ProxyFailed {
                fault: ProxyFault::Credentials,
                cause: "407".into(),
            },
            wait(zero, WaitReason::ProxyFailed(ProxyFault::Credentials)),
        ),
        (End::Paired, Next::Open),
        (End::Restart, Next::Open),
        (End::PairingExpired, Next::Stop(Reason::PairingExpired)),
        (
            End::PairingFailed("bad".into()),
            Next::LogOut(Reason::PairingFailed),
        ),
        (End::LoggedOut { at_login: true }, Next::LogOut(Reason::Unlinked)),
        (End::LoggedOut { at_login: false }, Next::LogOut(Reason::Unlinked)),
        (End::Replaced, Next::Stop(Reason::Replaced)),
        (End::Banned(Some(2 * HOUR)), wait(2 * HOUR, WaitReason::Banned)),
        (End::Banned(None), wait(HOUR, WaitReason::Banned)),
        (
            End::Banned(Some(Duration::MAX)),
            wait(365 * 24 * HOUR, WaitReason::Banned),
        ),
        (End::Outdated, Next::RefreshVersion),
        (End::Rejected(None), wait(zero, WaitReason::Rejected(None))),
    ];
    for (end, expected) in rows {
        assert_eq!(after(&mut History::default(), now, &end), expected, "{end:?}");
    }
}

#[test]
fn a_device_that_connects_elsewhere_is_connected_again_once_an_hour_where_that_is_wanted() {
    let (start, mut history) = (Instant::now(), History::default());
    let settings = RetrySettings {
        replaced_again_after: Some(Duration::from_secs(30)),
        ..settings()
    };
    let mut replaced = |after| {
        let (now, rng) = (start + after, &mut StdRng::seed_from_u64(1));
        let next = history.after(now, &End::Replaced, &settings, rng);
        history.handle_stable();
        match next {
            Next::Wait { until, .. } => Some(until - now),
            next => {
                assert_eq!(next, Next::Stop(Reason::Replaced));
                None
            }
        }
    };
    let again = Some(Duration::from_secs(30));
    assert_eq!(replaced(Duration::ZERO), again);
    assert_eq!(replaced(Duration::from_secs(31)), None);
    assert_eq!(replaced(HOUR - Duration::from_millis(1)), None);
    assert_eq!(replaced(HOUR), again);
}

#[test]
fn waits_grow_with_failures_and_lie_between_their_bounds() {
    let settings = RetrySettings::default();
    let (short, long) = (settings.backoff, settings.rejection_backoff);
    let throttled = Backoff {
        base: settings.throttled,
        cap: long.cap,
    };
    let proxy = End::ProxyFailed {
        fault: ProxyFault::Credentials,
        cause: "407".into(),
    };
    for seed in 0..20 {
        let rng = &mut StdRng::seed_from_u64(seed);
        for (end, backoff, least) in [
            (End::Lost("reset".into()), short, None),
            (proxy.clone(), short, None),
            (End::Rejected(Some(503)), long, Some(2)),
            (End::Rejected(Some(429)), throttled, Some(2)),
        ] {
            let (now, mut history) = (Instant::now(), History::default());
            for failures in 0..12 {
                let longest = backoff.ceiling(failures);
                let least = least.map_or(Duration::ZERO, |part| longest / part);
                let Next::Wait { until, .. } = history.after(now, &end, &settings, rng) else {
                    panic!("{end:?} is waited out")
                };
                assert!(
                    now + least <= until && until <= now + longest,
                    "{end:?}, {failures}: {:?}",
                    until - now
                );
            }
        }
        let (now, mut history) = (Instant::now(), History::default());
        for failures in 0..12 {
            let Next::Wait { until, .. } = history.after_refresh(now, Err(()), &settings, rng) else {
                panic!("a look-up that failed is done again")
            };
            assert!(now + long.base <= until && until <= now + long.ceiling(failures));
        }
    }
}

#[test]
fn a_refusal_is_for_now_or_for_good_by_its_code() {
    let now = Instant::now();
    for code in [400, 404, 429, 500, 501, 502, 503, 504, 599, 1000] {
        let next = after(&mut History::default(), now, &End::Rejected(Some(code)));
        let Next::Wait { until, why } = next else {
            panic!("{code}: {next:?}")
        };
        assert_eq!(why, WaitReason::Rejected(Some(code)));
        // Who sends too much waits minutes, however short the other back-offs are.
        assert_eq!(until >= now + Duration::from_secs(60), code == 429, "{code}");
    }
    for code in [409, 413, 414, 415, 418] {
        let expected = Next::Wait {
            until: now + HOUR,
            why: WaitReason::Refused(code),
        };
        assert_eq!(
            after(&mut History::default(), now, &End::Rejected(Some(code))),
            expected
        );
    }
}

#[test]
fn restarts_without_end_fall_back_to_the_back_off_until_a_session_lasts() {
    let (now, mut history) = (Instant::now(), History::default());
    let nexts: Vec<_> = (0..5).map(|_| after(&mut history, now, &End::Restart)).collect();
    let wait = Next::Wait {
        until: now,
        why: WaitReason::Postponed,
    };
    assert_eq!(nexts, [Next::Open, Next::Open, Next::Open, wait, wait]);
    history.handle_stable();
    assert_eq!(after(&mut history, now, &End::Restart), Next::Open);
}

#[test]
fn a_refused_login_soon_after_a_pairing_is_tried_again_and_any_later_one_is_an_unlinking() {
    let (now, mut history) = (Instant::now(), History::default());
    let refused = End::LoggedOut { at_login: true };
    after(&mut history, now, &End::Paired);
    let soon = after(&mut history, now, &refused);
    assert!(matches!(soon, Next::Wait { until, why: WaitReason::Registering } if until == now + REGISTERING));
    let registering = settings().registering;
    assert!(matches!(
        after(
            &mut history,
            now + registering - Duration::from_millis(1),
            &refused
        ),
        Next::Wait { .. }
    ));
    // A session that was ended is known: the phone itself has unlinked it.
    let unlinked = Next::LogOut(Reason::Unlinked);
    assert_eq!(
        after(&mut history, now, &End::LoggedOut { at_login: false }),
        unlinked
    );
    assert_eq!(after(&mut history, now + registering, &refused), unlinked);
    let mut history = History::default();
    after(&mut history, now, &End::Paired);
    history.handle_online();
    assert_eq!(after(&mut history, now, &refused), unlinked);
}

#[test]
fn the_version_is_looked_up_once_at_once_and_then_hourly() {
    let (now, mut history) = (Instant::now(), History::default());
    let rng = &mut StdRng::seed_from_u64(1);
    let hourly = Next::Wait {
        until: now + HOUR,
        why: WaitReason::Outdated,
    };
    assert_eq!(after(&mut history, now, &End::Outdated), Next::RefreshVersion);
    assert_eq!(history.after_refresh(now, Ok(false), &settings(), rng), hourly);
    assert_eq!(history.after_refresh(now, Ok(true), &settings(), rng), Next::Open);
    assert_eq!(after(&mut history, now, &End::Outdated), hourly);
    let failed = history.after_refresh(now, Err(()), &RetrySettings::default(), rng);
    assert!(
        matches!(failed, Next::Wait { until, why: WaitReason::Outdated } if until < now + HOUR),
        "{failed:?}"
    );
    history.handle_stable();
    assert_eq!(after(&mut history, now, &End::Outdated), Next::RefreshVersion);
}

#[test]
fn a_ban_of_no_length_still_backs_off() {
    let slow = RetrySettings {
        backoff: Backoff {
            base: HOUR,
            cap: HOUR,
        },
        ..settings()
    };
    let (now, mut history) = (Instant::now(), History::default());
    let mut rng = StdRng::seed_from_u64(1);
    let waits: Vec<_> = (0..20)
        .map(
            |_| match history.after(now, &End::Banned(Some(Duration::ZERO)), &slow, &mut rng) {
                Next::Wait {
                    until,
                    why: WaitReason::Banned,
                } => until - now,
                next => panic!("{next:?}"),
            },
        )
        .collect();
    assert!(waits.iter().all(|wait| *wait <= HOUR));
    assert!(waits.iter().any(|wait| *wait > Duration::from_secs(60)));
}
