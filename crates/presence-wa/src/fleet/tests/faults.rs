//! What WhatsApp and networks do to a session, and what the keeper makes of it.

use super::*;
use crate::backoff::Backoff;
use crate::fake::Script;
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
    assert!(opened[1] - opened[0] <= Duration::from_millis(1100), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn repeated_losses_wait_longer_and_longer_up_to_the_cap_and_never_in_step() {
    let world = World::new();
    let fleet = fleet(&world);
    let devices: Vec<_> = (1..=50).map(DeviceId).collect();
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
    let (fleet, world) = ended(End::LoggedOut).await;
    assert_eq!(world.deeds(), "logged out, forget");
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
    assert_eq!(world.deeds(), "logged out, forget");
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
async fn a_refusal_for_good_is_not_retried() {
    let (fleet, world) = ended(End::Refused(418)).await;
    never_retries(&fleet, &world, InstanceState::Disconnected, Reason::Refused(418)).await;
}

#[tokio::test(start_paused = true)]
async fn a_ban_waits_for_its_end() {
    let (fleet, world) = ended(End::Banned(Some(2 * HOUR))).await;
    assert_eq!(state(&fleet, DEVICE), InstanceState::Disconnected);
    let text = reason(&fleet, DEVICE).unwrap().to_string();
    assert!(text.starts_with("banned, next attempt in "), "{text}");
    let banned = Err(ConnectError::Stopped(reason(&fleet, DEVICE)));
    assert_eq!(
        fleet.connect(DEVICE, PairWith::Qr).await,
        banned,
        "polling connect does not disturb it"
    );
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let opened = world.opened(DEVICE);
    let waited = opened[1] - opened[0];
    assert!(
        waited >= 2 * HOUR && waited < 2 * HOUR + Duration::from_secs(1),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_ban_without_an_end_is_tried_again_after_an_hour_or_when_asked() {
    let (fleet, world) = ended(End::Banned(None)).await;
    sleep(Duration::from_secs(3590)).await;
    assert_eq!(world.opened(DEVICE).len(), 1);
    world.script(DEVICE, [Script::Ends(End::Banned(None))]);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(world.opened(DEVICE).len(), 2);
    fleet.reconnect(DEVICE).await.unwrap();
    until(&fleet, DEVICE, InstanceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn an_outdated_client_looks_its_version_up_once() {
    let world = World::new();
    let fleet = fleet(&world);
    world.lock().refreshes = [true, true].into();
    world.script(DEVICE, [Script::Ends(End::Outdated), Script::Ends(End::Outdated)]);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Disconnected).await;
    assert_eq!(
        (world.opened(DEVICE).len(), world.deeds()),
        (2, "refresh".to_owned())
    );
    never_retries(&fleet, &world, InstanceState::Disconnected, Reason::Outdated).await;
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
        (world.opened(DEVICE).len(), world.deeds()),
        (2, "refresh".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn an_outdated_client_without_a_newer_version_stops() {
    let (fleet, world) = ended(End::Outdated).await;
    never_retries(&fleet, &world, InstanceState::Disconnected, Reason::Outdated).await;
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
    world.lock().last_words = Some(End::LoggedOut);
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
    let stagger = settings.stagger;
    let fleet = fleet_with(&world, settings, false);
    for device in (1..=100).map(DeviceId) {
        world.script(device, [Script::Hangs]);
        resume(&fleet, &world, device);
    }
    sleep(Duration::from_secs(29)).await;
    assert_eq!(world.lock().opened.len(), 10, "no more logins at a time");
    let opened: Vec<_> = world.lock().opened.iter().map(|(at, _)| *at).collect();
    assert!(opened.windows(2).all(|pair| pair[1] - pair[0] >= stagger));
    fleet.add(DeviceId(101), InstanceOptions::default());
    assert!(
        fleet.connect(DeviceId(101), PairWith::Qr).await.is_ok(),
        "who is asked for does not queue"
    );
}
