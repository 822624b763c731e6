//! Connect, pair, reconnect, log out, remove.

use super::*;
use crate::fake::Script;
use crate::pairing::LinkCode;
use crate::session::End;
use futures_util::FutureExt;

fn by_code(phone: &str) -> PairWith {
    PairWith::LinkCode(phone.parse().unwrap())
}

fn qr(code: &str, seconds: u64) -> Result<Connected, ConnectError> {
    Ok(Connected::Qr {
        code: code.to_owned(),
        valid_for: Duration::from_secs(seconds),
    })
}

fn code(code: &str) -> Result<Connected, ConnectError> {
    Ok(Connected::LinkCode(LinkCode::new(code)))
}

fn unpaired() -> (Fleet, Arc<World>) {
    let world = World::new();
    let fleet = fleet(&world);
    fleet.add(DEVICE, InstanceOptions::default());
    (fleet, world)
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_asked_for_nothing_has_no_task() {
    let (fleet, world) = unpaired();
    settle().await;
    assert_eq!(tasks(&fleet), 0);
    assert_eq!(
        (state(&fleet, DEVICE), reason(&fleet, DEVICE)),
        (InstanceState::Disconnected, None)
    );
    fleet.add(
        id(2),
        InstanceOptions {
            saved: SavedKeys::Resume,
            ..InstanceOptions::default()
        },
    );
    until(&fleet, id(2), InstanceState::Disconnected).await;
    assert!(world.lock().opened.is_empty(), "nothing saved, nothing opened");
    assert!(fleet.status(id(3)).is_none());
}

#[tokio::test(start_paused = true)]
async fn connect_gives_the_current_qr_and_never_a_second_pairing() {
    let (fleet, world) = unpaired();
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, qr("2@first", 20));
    assert_eq!(state(&fleet, DEVICE), InstanceState::Connecting);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, qr("2@first", 15));
    world.session(DEVICE).show_qr("2@second");
    settle().await;
    let (one, two) = tokio::join!(
        fleet.connect(DEVICE, PairWith::Qr),
        fleet.connect(DEVICE, PairWith::Qr)
    );
    assert!(matches!(one, Ok(Connected::Qr { ref code, .. }) if code == "2@second"));
    assert_eq!(one, two);
    assert_eq!(world.opened(DEVICE).len(), 1);
    assert_eq!(tasks(&fleet), 1);
}

#[tokio::test(start_paused = true)]
async fn a_scanned_qr_brings_the_instance_online_at_once() {
    let (fleet, world) = unpaired();
    fleet.connect(DEVICE, PairWith::Qr).await.unwrap();
    world.session(DEVICE).scan();
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let opened = world.opened(DEVICE);
    assert!(opened[1] - opened[0] < Duration::from_millis(100));
    assert_eq!(world.events(), "pairing");
    let status = fleet.status(DEVICE).unwrap();
    assert_eq!(status.jid.as_deref(), Some("4917000000001@s.whatsapp.net"));
    assert_eq!(status.push_name.as_deref(), Some("Tester"));
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, Ok(Connected::Already));
    assert_eq!(tasks(&fleet), 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_code_is_given_once_a_number_and_another_number_replaces_it() {
    let (fleet, world) = unpaired();
    assert_eq!(
        fleet.connect(DEVICE, by_code("4917600000011")).await,
        code("CODE1101")
    );
    assert_eq!(
        fleet.connect(DEVICE, by_code("4917600000011")).await,
        code("CODE1101")
    );
    assert_eq!(
        fleet.connect(DEVICE, by_code("4917600000022")).await,
        code("CODE2202")
    );
    assert_eq!(
        fleet.connect(DEVICE, PairWith::Qr).await.map(drop),
        Ok(()),
        "the QR code is still good"
    );
    assert_eq!(
        fleet.connect(DEVICE, by_code("4917600000022")).await,
        code("CODE2202")
    );
    assert_eq!(world.opened(DEVICE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_code_that_can_no_longer_be_entered_is_not_given_again() {
    let (fleet, world) = unpaired();
    let phone = by_code("4917600000011");
    assert_eq!(fleet.connect(DEVICE, phone).await, code("CODE1101"));
    // It was entered wrongly too often, or is about to expire.
    world.lock().link_code = None;
    let (one, two) = tokio::join!(fleet.connect(DEVICE, phone), fleet.connect(DEVICE, phone));
    assert_eq!((one, two), (code("CODE1102"), code("CODE1102")));
    assert_eq!(world.opened(DEVICE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_link_code_can_be_asked_for_again() {
    let (fleet, world) = unpaired();
    world.lock().refuse_link_codes = true;
    assert_eq!(
        fleet.connect(DEVICE, by_code("4917600000011")).await,
        Err(ConnectError::LinkCodeRefused)
    );
    world.lock().refuse_link_codes = false;
    assert_eq!(
        fleet.connect(DEVICE, by_code("4917600000011")).await,
        code("CODE1102")
    );
}

#[tokio::test(start_paused = true)]
async fn connect_reopens_a_saved_session_first() {
    let (fleet, world) = unpaired();
    world.pair(DEVICE);
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, Ok(Connected::Already));
    assert_eq!(world.events(), "", "no pairing was begun");
}

#[tokio::test(start_paused = true)]
async fn connect_pairs_anew_when_the_saved_session_turns_out_to_be_unlinked() {
    let (fleet, world) = unpaired();
    world.pair(DEVICE);
    world.script(DEVICE, [Script::Ends(End::LoggedOut { at_login: true })]);
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, qr("2@first", 20));
    assert_eq!(world.events(), "logged out, wipe, pairing");
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_connect_may_give_up_and_come_back() {
    let (fleet, world) = unpaired();
    world.script(DEVICE, [Script::Hangs]);
    assert!(
        timeout(Duration::from_secs(1), fleet.connect(DEVICE, PairWith::Qr))
            .await
            .is_err()
    );
    world.session(DEVICE).show_qr("2@late");
    settle().await;
    assert!(matches!(
        fleet.connect(DEVICE, PairWith::Qr).now_or_never(),
        None | Some(Ok(_))
    ));
    assert!(fleet.connect(DEVICE, PairWith::Qr).await.is_ok());
    assert_eq!(world.opened(DEVICE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pairing_that_cannot_be_recorded_is_not_begun() {
    let world = World::new();
    let fleet = fleet_with(&world, FleetSettings::default(), true);
    fleet.add(DEVICE, InstanceOptions::default());
    let stopped = Err(ConnectError::Stopped(Some(Reason::NotRecorded)));
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, stopped);
    assert!(world.lock().opened.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pairing_may_take_its_time_and_holds_up_no_login() {
    let world = World::new();
    let settings = FleetSettings {
        max_concurrent_logins: 1,
        ..FleetSettings::default()
    };
    let fleet = fleet_with(&world, settings, false);
    for device in [DEVICE, id(2)] {
        fleet.add(device, InstanceOptions::default());
        assert_eq!(fleet.connect(device, PairWith::Qr).await, qr("2@first", 20));
    }
    sleep(Duration::from_secs(150)).await;
    world.session(DEVICE).show_qr("2@sixth");
    settle().await;
    assert!(fleet.connect(DEVICE, PairWith::Qr).await.is_ok());
    assert_eq!(world.opened(DEVICE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pairing_nobody_finishes_ends_and_can_be_begun_again() {
    let (fleet, world) = unpaired();
    fleet.connect(DEVICE, PairWith::Qr).await.unwrap();
    world.session(DEVICE).end(End::PairingExpired);
    until(&fleet, DEVICE, InstanceState::Disconnected).await;
    assert_eq!(reason(&fleet, DEVICE), Some(Reason::PairingExpired));
    assert!(fleet.connect(DEVICE, PairWith::Qr).await.is_ok());
    assert_eq!(world.opened(DEVICE).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_pairing_is_begun_again_only_while_somebody_wants_it() {
    let (fleet, world) = unpaired();
    world.script(DEVICE, vec![Script::Ends(End::Lost("refused".into())); 10_000]);
    assert!(
        timeout(Duration::from_secs(60), fleet.connect(DEVICE, PairWith::Qr))
            .await
            .is_err()
    );
    until(&fleet, DEVICE, InstanceState::Disconnected).await;
    let attempts = world.opened(DEVICE);
    assert!(attempts.len() > 3);
    assert!(*attempts.last().unwrap() - attempts[0] <= Duration::from_secs(180 + 120));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.opened(DEVICE).len(), attempts.len());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_shown_a_pairing_that_was_wanted_long_ago() {
    let (fleet, world) = unpaired();
    world.pair(DEVICE);
    world.script(DEVICE, vec![Script::Ends(End::Lost("refused".into())); 20]);
    world.script(DEVICE, [Script::Ends(End::LoggedOut { at_login: true })]);
    assert!(
        timeout(Duration::from_secs(60), fleet.connect(DEVICE, PairWith::Qr))
            .await
            .is_err()
    );
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(state(&fleet, DEVICE), InstanceState::LoggedOut);
    assert_eq!(world.events(), "logged out, wipe");
}

#[tokio::test(start_paused = true)]
async fn another_account_shows_nothing_of_the_one_before() {
    let (fleet, world) = online().await;
    fleet
        .show(DEVICE, &presence("4915112345601", "typing", 60))
        .await
        .unwrap();
    world.session(DEVICE).end(End::LoggedOut { at_login: false });
    settle().await;
    let start = Instant::now();
    fleet.connect(DEVICE, PairWith::Qr).await.unwrap();
    world.session(DEVICE).scan();
    until(&fleet, DEVICE, InstanceState::Connected).await;
    sleep(Duration::from_secs(120)).await;
    let timeline = world.timeline(DEVICE, start);
    assert!(
        timeline.ends_with("unavailable") && !timeline.contains("composing"),
        "{timeline}"
    );
}

#[tokio::test(start_paused = true)]
async fn reconnect_needs_a_saved_session_and_opens_a_fresh_one() {
    let (fleet, world) = unpaired();
    assert_eq!(fleet.reconnect(DEVICE).await, Err(ReconnectError::NoSavedSession));
    fleet.connect(DEVICE, PairWith::Qr).await.unwrap();
    assert_eq!(
        fleet.reconnect(DEVICE).await,
        Err(ReconnectError::NoSavedSession),
        "only pairing"
    );
    world.session(DEVICE).scan();
    until(&fleet, DEVICE, InstanceState::Connected).await;
    world.script(DEVICE, [Script::Hangs]);
    assert_eq!(fleet.reconnect(DEVICE).await, Ok(()));
    assert_eq!(state(&fleet, DEVICE), InstanceState::Connecting);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(world.opened(DEVICE).len(), 4);
    assert_eq!(fleet.reconnect(id(9)).await, Err(ReconnectError::Gone));
}

#[tokio::test(start_paused = true)]
async fn logout_pauses_unlinks_records_and_wipes_in_this_order_and_may_be_repeated() {
    let (fleet, world) = online().await;
    let start = Instant::now();
    fleet
        .show(DEVICE, &presence("4915112345601", "typing", 60))
        .await
        .unwrap();
    fleet.logout(DEVICE).await;
    assert_eq!(
        world.timeline(DEVICE, start),
        "0 available, 0 composing 01, 0 paused 01, 0 unavailable"
    );
    assert_eq!(world.events(), "logout, logged out, wipe");
    let status = fleet.status(DEVICE).unwrap();
    assert_eq!((status.state, status.jid), (InstanceState::LoggedOut, None));
    fleet.logout(DEVICE).await;
    assert_eq!(state(&fleet, DEVICE), InstanceState::LoggedOut);
    assert_eq!(fleet.reconnect(DEVICE).await, Err(ReconnectError::NoSavedSession));
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, qr("2@first", 20));
}

#[tokio::test(start_paused = true)]
async fn logout_works_while_offline_and_stops_the_retries() {
    let world = World::new();
    let fleet = fleet(&world);
    world.script(DEVICE, vec![Script::Ends(End::Lost("refused".into())); 100]);
    resume(&fleet, &world, DEVICE);
    sleep(Duration::from_secs(10)).await;
    fleet.logout(DEVICE).await;
    let attempts = world.opened(DEVICE).len();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(
        (state(&fleet, DEVICE), world.opened(DEVICE).len()),
        (InstanceState::LoggedOut, attempts)
    );
}

#[tokio::test(start_paused = true)]
async fn keys_left_over_from_a_logout_are_wiped_at_start_and_never_used() {
    let world = World::new();
    let fleet = fleet(&world);
    world.pair(DEVICE);
    fleet.add(
        DEVICE,
        InstanceOptions {
            logged_out: true,
            saved: SavedKeys::Resume,
            ..InstanceOptions::default()
        },
    );
    settle().await;
    assert_eq!(state(&fleet, DEVICE), InstanceState::LoggedOut);
    assert!(world.lock().saved.is_empty() && world.lock().opened.is_empty());
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, qr("2@first", 20));
}

#[tokio::test(start_paused = true)]
async fn remove_pauses_unlinks_wipes_and_leaves_no_task() {
    let (fleet, world) = online().await;
    let start = Instant::now();
    fleet
        .show(DEVICE, &presence("4915112345601", "typing", 60))
        .await
        .unwrap();
    fleet.remove(DEVICE).await;
    settle().await;
    assert_eq!(
        world.timeline(DEVICE, start),
        "0 available, 0 composing 01, 0 paused 01, 0 unavailable"
    );
    assert_eq!(world.events(), "logout, wipe");
    assert!(fleet.status(DEVICE).is_none());
    assert_eq!(tasks(&fleet), 0);
    fleet.remove(DEVICE).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_every_task() {
    let (fleet, _world) = online().await;
    let tasks = fleet.inner.context.tasks.clone();
    assert_eq!(tasks.len(), 1);
    drop(fleet);
    settle().await;
    assert_eq!(tasks.len(), 0);
}
