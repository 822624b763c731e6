//! What WhatsApp and networks do to a session, and what the fleet makes of it.

use super::*;
use crate::backoff::Backoff;
use crate::fake::{Script, identity};
use crate::session::End;

const HOUR: Duration = Duration::from_secs(3600);

/// An instance whose first session ends like this right after it came online.
async fn ended(end: End) -> (Fleet, Arc<World>) {
    let (fleet, world) = online().await;
    world.session(DEVICE).end(end);
    settle().await;
    (fleet, world)
}

async fn never_retries(fleet: &Fleet, world: &World, stopped: InstanceState, why: Reason) {
    assert_eq!(
        (state(fleet, DEVICE), reason(fleet, DEVICE)),
        (stopped, Some(why))
    );
    let opened = world.opened(DEVICE).len();
    sleep(24 * HOUR).await;
    assert_eq!(world.opened(DEVICE).len(), opened);
    let refused = fleet.show(DEVICE, &presence("4915112345601", "typing", 5)).await;
    assert_eq!(refused, Err(ShowError::NotConnected));
}

#[tokio::test(start_paused = true)]
async fn connected_is_true_at_the_instant() {
    let (fleet, world) = online().await;
    world.session(DEVICE).end(End::Lost("reset".into()));
    // No other task has run since.
    assert_eq!(state(&fleet, DEVICE), InstanceState::Connecting);
    let refused = fleet.show(DEVICE, &presence("4915112345601", "typing", 5)).await;
    assert_eq!(refused, Err(ShowError::NotConnected));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_comes_back_within_its_back_off() {
    let (fleet, world) = ended(End::Lost("reset".into())).await;
    assert!(matches!(reason(&fleet, DEVICE), Some(Reason::Retrying(_)) | None));
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let opened = world.opened(DEVICE);
    // The longest first wait; the session itself, and timers that round up, take the rest.
    let longest = Backoff::default().ceiling(0) + Duration::from_millis(200);
    assert!(opened[1] - opened[0] <= longest, "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn repeated_losses_wait_longer_and_longer_up_to_the_cap_and_never_in_step() {
    let world = World::new();
    let fleet = fleet(&world);
    let devices: Vec<_> = (1..=50).map(id).collect();
    for &device in &devices {
        world.script(device, vec![Script::Ends(End::Lost("refused".into())); 1000]);
        resume(&fleet, &world, device);
    }
    sleep(HOUR).await;
    let mut sum = Duration::ZERO;
    let mut late = 0_u32;
    for &device in &devices {
        let opened = world.opened(device);
        for (n, pair) in opened.windows(2).enumerate() {
            let ceiling = Backoff::default().ceiling(n.try_into().unwrap());
            assert!(
                pair[1] - pair[0] <= ceiling + Duration::from_secs(2),
                "retry {n}: {:?}",
                pair[1] - pair[0]
            );
            if n >= 7 {
                sum += pair[1] - pair[0];
                late += 1;
            }
        }
    }
    // Full jitter up to 120 s: about a minute on average.
    let mean = (sum / late).as_secs();
    assert!((50..70).contains(&mean), "{mean}");
    let all: std::collections::HashSet<_> = world.lock().opened.iter().map(|(at, _)| *at).collect();
    assert!(
        all.len() > world.lock().opened.len() * 9 / 10,
        "retries come in step"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_lasted_starts_the_back_off_anew() {
    let world = World::new();
    let fleet = fleet(&world);
    world.script(DEVICE, vec![Script::Ends(End::Lost("refused".into())); 12]);
    world.script(
        DEVICE,
        [Script::OnlineThen(
            Duration::from_secs(31),
            End::Lost("reset".into()),
        )],
    );
    resume(&fleet, &world, DEVICE);
    sleep(HOUR).await;
    let opened = world.opened(DEVICE);
    assert_eq!(opened.len(), 14);
    assert!(
        opened[13] - opened[12] <= Duration::from_secs(33),
        "{:?}",
        opened[13] - opened[12]
    );
    assert_eq!(state(&fleet, DEVICE), InstanceState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_comes_and_goes_keeps_backing_off() {
    let world = World::new();
    let fleet = fleet(&world);
    let blink = Script::OnlineThen(Duration::from_millis(10), End::Lost("reset".into()));
    world.script(DEVICE, vec![blink; 10_000]);
    resume(&fleet, &world, DEVICE);
    sleep(HOUR).await;
    assert!(
        (30..120).contains(&world.opened(DEVICE).len()),
        "{}",
        world.opened(DEVICE).len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_followed_at_once_but_not_for_ever() {
    let world = World::new();
    let fleet = fleet(&world);
    world.script(DEVICE, vec![Script::Ends(End::Restart); 10_000]);
    let start = Instant::now();
    resume(&fleet, &world, DEVICE);
    sleep(HOUR).await;
    let opened = world.opened(DEVICE);
    assert!(
        opened[..4]
            .iter()
            .all(|at| *at - start < Duration::from_millis(10)),
        "{opened:?}"
    );
    assert!(opened.len() < 150, "{}", opened.len());
}

#[tokio::test(start_paused = true)]
async fn an_unlinked_device_is_recorded_wiped_and_stays_logged_out() {
    let (fleet, world) = ended(End::LoggedOut { at_login: false }).await;
    assert_eq!(world.events(), "logged out, wipe");
    assert_eq!(fleet.status(DEVICE).unwrap().jid, None);
    never_retries(&fleet, &world, InstanceState::LoggedOut, Reason::Unlinked).await;
    assert!(
        fleet.connect(DEVICE, PairWith::Qr).await.is_ok(),
        "it can be paired again"
    );
    world.session(DEVICE).scan();
    until(&fleet, DEVICE, InstanceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_pairing_wipes_the_keys() {
    let (fleet, world) = ended(End::PairingFailed("bad signature".into())).await;
    assert_eq!(world.events(), "logged out, wipe");
    never_retries(&fleet, &world, InstanceState::LoggedOut, Reason::PairingFailed).await;
}

#[tokio::test(start_paused = true)]
async fn a_replaced_session_waits_to_be_asked() {
    let (fleet, world) = ended(End::Replaced).await;
    never_retries(&fleet, &world, InstanceState::Disconnected, Reason::Replaced).await;
    fleet.reconnect(DEVICE).await.unwrap();
    until(&fleet, DEVICE, InstanceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_tried_once_an_hour() {
    let (fleet, world) = ended(End::Rejected(Some(418))).await;
    let refused = reason(&fleet, DEVICE);
    assert!(
        matches!(refused, Some(Reason::Refused { code: 418, .. })),
        "{refused:?}"
    );
    assert_eq!(state(&fleet, DEVICE), InstanceState::Disconnected);
    world.script(DEVICE, [Script::Ends(End::Rejected(Some(418)))]);
    sleep(2 * HOUR + Duration::from_secs(1)).await;
    let opened = world.opened(DEVICE);
    assert_eq!(opened.len(), 3);
    assert!(
        opened.windows(2).all(|pair| pair[1] - pair[0] >= HOUR),
        "{opened:?}"
    );
    assert_eq!(state(&fleet, DEVICE), InstanceState::Connected);
}

#[tokio::test(start_paused = true)]
async fn every_other_refusal_is_retried_with_a_longer_back_off() {
    for code in [
        Some(400),
        Some(429),
        Some(501),
        Some(502),
        Some(504),
        Some(999),
        None,
    ] {
        let world = World::new();
        let fleet = fleet(&world);
        world.script(DEVICE, vec![Script::Ends(End::Rejected(code)); 4]);
        resume(&fleet, &world, DEVICE);
        settle().await;
        let rejected = reason(&fleet, DEVICE);
        assert!(
            matches!(rejected, Some(Reason::Rejected { code: c, .. }) if c == code),
            "{code:?}: {rejected:?}"
        );
        assert_eq!(state(&fleet, DEVICE), InstanceState::Connecting, "{code:?}");
        until(&fleet, DEVICE, InstanceState::Connected).await;
        let opened = world.opened(DEVICE);
        assert_eq!(opened.len(), 5, "{code:?}");
        let waited: Vec<_> = opened.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let least = if code == Some(429) { 60 } else { 2 };
        assert!(
            waited.iter().all(|wait| *wait >= Duration::from_secs(least)),
            "{code:?}: {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_refused_soon_after_a_pairing_is_tried_again_and_wipes_nothing() {
    let world = World::new();
    let fleet = fleet(&world);
    fleet.add(DEVICE, InstanceOptions::default());
    fleet.connect(DEVICE, PairWith::Qr).await.unwrap();
    world.script(DEVICE, vec![Script::Ends(End::LoggedOut { at_login: true }); 3]);
    world.session(DEVICE).scan();
    sleep(Duration::from_millis(5)).await;
    assert_eq!(
        (state(&fleet, DEVICE), reason(&fleet, DEVICE)),
        (InstanceState::Connecting, Some(Reason::Registering))
    );
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(
        (world.opened(DEVICE).len(), world.events()),
        (5, "pairing".to_owned())
    );
    // Hours later the same refusal is what it says.
    sleep(HOUR).await;
    world.script(DEVICE, [Script::Ends(End::LoggedOut { at_login: true })]);
    world.session(DEVICE).end(End::Lost("reset".into()));
    until(&fleet, DEVICE, InstanceState::LoggedOut).await;
    assert_eq!(world.events(), "pairing, logged out, wipe");
}

#[tokio::test(start_paused = true)]
async fn whatever_is_asked_in_an_outage_opens_no_session_that_the_back_off_would_not() {
    let world = World::new();
    let fleet = fleet(&world);
    world.script(DEVICE, vec![Script::Ends(End::Lost("refused".into())); 10_000]);
    resume(&fleet, &world, DEVICE);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(600) {
        assert_eq!(fleet.reconnect(DEVICE).await, Ok(()));
        let _ = timeout(Duration::from_millis(200), fleet.connect(DEVICE, PairWith::Qr)).await;
    }
    let opened = world.opened(DEVICE).len();
    assert!((5..40).contains(&opened), "{opened} sessions in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_online_is_reopened_at_most_every_ten_seconds() {
    let (fleet, world) = online().await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        assert_eq!(fleet.reconnect(DEVICE).await, Ok(()));
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.opened(DEVICE).len(), 7);
    assert_eq!(state(&fleet, DEVICE), InstanceState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_counted_says_so_and_starts_again() {
    let (fleet, world) = online().await;
    world.lock().panics = 1;
    let refused = fleet.show(DEVICE, &presence("4915112345601", "typing", 5)).await;
    assert_eq!(refused, Err(ShowError::NotConnected));
    settle().await;
    assert_eq!(fleet.counters().task_panics.get(), 1);
    assert!(matches!(reason(&fleet, DEVICE), Some(Reason::Crashed(_))));
    assert_eq!(state(&fleet, DEVICE), InstanceState::Connecting);
    world.session(DEVICE).end(End::Closed);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    fleet
        .show(DEVICE, &presence("4915112345601", "typing", 5))
        .await
        .unwrap();
    assert_eq!(world.opened(DEVICE).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_ban_waits_for_its_end() {
    let (fleet, world) = ended(End::Banned(Some(2 * HOUR))).await;
    assert_eq!(state(&fleet, DEVICE), InstanceState::Disconnected);
    assert_eq!(world.events(), "banned 7200 s");
    let until_then = Instant::now() + 2 * HOUR;
    assert!(matches!(reason(&fleet, DEVICE), Some(Reason::Banned(until)) if until <= until_then));
    let banned = Err(ConnectError::Stopped(reason(&fleet, DEVICE)));
    assert_eq!(
        fleet.connect(DEVICE, PairWith::Qr).await,
        banned,
        "polling connect does not disturb it"
    );
    assert_eq!(fleet.reconnect(DEVICE).await, Ok(()));
    settle().await;
    assert_eq!(world.opened(DEVICE).len(), 1, "nor does reconnect");
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let opened = world.opened(DEVICE);
    assert_eq!(world.events(), "banned 7200 s, not banned");
    let waited = opened[1] - opened[0];
    assert!(
        waited >= 2 * HOUR && waited < 2 * HOUR + Duration::from_secs(1),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_ban_without_an_end_is_tried_again_every_hour() {
    let (_fleet, world) = ended(End::Banned(None)).await;
    sleep(Duration::from_secs(3590)).await;
    assert_eq!(world.opened(DEVICE).len(), 1);
    world.script(DEVICE, [Script::Ends(End::Banned(None))]);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(world.opened(DEVICE).len(), 2);
    sleep(HOUR).await;
    assert_eq!(world.opened(DEVICE).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_ban_that_was_recorded_is_waited_out_after_a_restart() {
    let world = World::new();
    let fleet = fleet(&world);
    world.pair(DEVICE);
    fleet.add(
        DEVICE,
        InstanceOptions {
            saved: SavedKeys::Paired(identity(DEVICE)),
            banned: Some(HOUR),
            ..InstanceOptions::default()
        },
    );
    settle().await;
    assert!(matches!(reason(&fleet, DEVICE), Some(Reason::Banned(_))));
    sleep(HOUR - Duration::from_secs(1)).await;
    assert!(world.lock().opened.is_empty());
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(world.events(), "not banned");
}

#[tokio::test(start_paused = true)]
async fn an_outdated_client_looks_its_version_up_once_and_then_hourly() {
    let world = World::new();
    let fleet = fleet(&world);
    world.lock().refreshes = [true, false, true].into();
    world.script(DEVICE, [Script::Ends(End::Outdated), Script::Ends(End::Outdated)]);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Disconnected).await;
    assert!(matches!(reason(&fleet, DEVICE), Some(Reason::Outdated { .. })));
    assert_eq!(
        (world.opened(DEVICE).len(), world.events()),
        (2, "refresh".to_owned())
    );
    sleep(HOUR).await;
    assert_eq!(
        (world.opened(DEVICE).len(), world.events()),
        (2, "refresh, refresh".to_owned())
    );
    sleep(HOUR).await;
    assert_eq!(
        (world.opened(DEVICE).len(), world.events()),
        (3, "refresh, refresh, refresh".to_owned())
    );
    assert_eq!(state(&fleet, DEVICE), InstanceState::Connected);
}

#[tokio::test(start_paused = true)]
async fn an_outdated_client_whose_version_changed_comes_online() {
    let world = World::new();
    let fleet = fleet(&world);
    world.lock().refreshes = [true].into();
    world.script(DEVICE, [Script::Ends(End::Outdated)]);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(
        (world.opened(DEVICE).len(), world.events()),
        (2, "refresh".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn an_outdated_client_without_a_newer_version_stops() {
    let (fleet, world) = ended(End::Outdated).await;
    assert_eq!(state(&fleet, DEVICE), InstanceState::Disconnected);
    let stopped = fleet.connect(DEVICE, PairWith::Qr).await;
    assert!(stopped.is_ok(), "asked for once, it is tried: {stopped:?}");
    assert_eq!(world.events(), "refresh");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_never_finishes_is_given_up_and_retried() {
    let world = World::new();
    let fleet = fleet(&world);
    world.script(DEVICE, [Script::Hangs]);
    resume(&fleet, &world, DEVICE);
    sleep(Duration::from_secs(29)).await;
    assert_eq!(
        (state(&fleet, DEVICE), world.opened(DEVICE).len()),
        (InstanceState::Connecting, 1)
    );
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        (state(&fleet, DEVICE), world.opened(DEVICE).len()),
        (InstanceState::Connected, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_read_are_tried_again() {
    let world = World::new();
    let fleet = fleet(&world);
    world.script(DEVICE, [Script::NoKeys]);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(world.opened(DEVICE).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_takes_no_stanza_is_closed_and_replaced() {
    let (fleet, world) = online().await;
    world.lock().stalled.push(DEVICE);
    let start = Instant::now();
    let refused = fleet.show(DEVICE, &presence("4915112345601", "typing", 5)).await;
    assert_eq!(
        (refused, start.elapsed()),
        (Err(ShowError::NotConnected), Duration::from_secs(5))
    );
    world.lock().stalled.clear();
    settle().await;
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(world.opened(DEVICE).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_reason_whatsapp_gave_counts_more_than_the_stanza_that_failed_first() {
    let (fleet, world) = online().await;
    world.lock().last_words = Some(End::LoggedOut { at_login: false });
    world.lock().stalled.push(DEVICE);
    let _ = fleet.show(DEVICE, &presence("4915112345601", "typing", 5)).await;
    settle().await;
    assert_eq!(state(&fleet, DEVICE), InstanceState::LoggedOut);
}

#[tokio::test(start_paused = true)]
async fn sessions_resume_one_after_the_other() {
    let world = World::new();
    let settings = FleetSettings {
        max_concurrent_logins: 10,
        ..FleetSettings::default()
    };
    let interval = settings.login_interval;
    let fleet = fleet_with(&world, settings, false);
    for device in (1..=100).map(id) {
        world.script(device, [Script::Hangs]);
        resume(&fleet, &world, device);
    }
    sleep(Duration::from_secs(29)).await;
    assert_eq!(world.lock().opened.len(), 10, "no more logins at a time");
    let opened: Vec<_> = world.lock().opened.iter().map(|(at, _)| *at).collect();
    assert!(opened.windows(2).all(|pair| pair[1] - pair[0] >= interval));
    fleet.add(id(101), InstanceOptions::default());
    assert!(
        fleet.connect(id(101), PairWith::Qr).await.is_ok(),
        "who is asked for does not queue"
    );
}
