//! Indicators through the fleet: numbers, independence, shutdown.

use super::*;
use crate::fake::{Answer, Script};
use crate::session::{Contact, End};
use crate::settings::RetrySettings;
use futures_util::FutureExt;

/// A Brazilian mobile with its optional 9, and the chat that WhatsApp knows it by.
const BRAZILIAN: &str = "5511999999901";
const CANONICAL: &str = "551199999902@s.whatsapp.net";

fn answer(world: &World, after: Duration, chat: Option<Option<&str>>) {
    let contact = chat.map(|chat| {
        chat.map(|chat| Contact {
            number: Some(chat.parse().unwrap()),
            lid: None,
        })
    });
    let answer = Answer { after, contact };
    world.lock().answers.insert(BRAZILIAN.parse().unwrap(), answer);
}

async fn chat_of(fleet: &Fleet, number: &str) -> String {
    fleet
        .show(DEVICE, &presence(number, "typing", 5))
        .await
        .unwrap()
        .chat()
        .to_string()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_number_with_two_spellings_is_looked_up_once_and_others_never() {
    let (fleet, world) = online().await;
    answer(&world, SECOND, Some(Some(CANONICAL)));
    let body = presence(BRAZILIAN, "typing", 5);
    let (one, two) = tokio::join!(fleet.show(DEVICE, &body), fleet.show(DEVICE, &body));
    assert_eq!(one.unwrap().chat().as_str(), CANONICAL);
    assert_eq!(two.unwrap().chat().as_str(), CANONICAL);
    let start = Instant::now();
    assert_eq!(chat_of(&fleet, BRAZILIAN).await, CANONICAL);
    assert_eq!(
        chat_of(&fleet, "4915112345601").await,
        "4915112345601@s.whatsapp.net"
    );
    assert_eq!(chat_of(&fleet, "12345@lid").await, "12345@lid");
    assert_eq!((start.elapsed(), world.lock().lookups.len()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_not_waited_for_but_serves_the_next_request() {
    let (fleet, world) = online().await;
    answer(&world, 3 * SECOND, Some(Some(CANONICAL)));
    let start = Instant::now();
    assert_eq!(
        chat_of(&fleet, BRAZILIAN).await,
        format!("{BRAZILIAN}@s.whatsapp.net")
    );
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert_eq!(
        chat_of(&fleet, BRAZILIAN).await,
        format!("{BRAZILIAN}@s.whatsapp.net")
    );
    assert_eq!(
        start.elapsed(),
        2 * SECOND,
        "nobody waits for the same late answer twice"
    );
    sleep(2 * SECOND).await;
    assert_eq!(chat_of(&fleet, BRAZILIAN).await, CANONICAL);
    assert_eq!(world.lock().lookups.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_shown_under_the_number_as_given_goes_on_under_the_one_that_whatsapp_names() {
    let (fleet, world) = online().await;
    answer(&world, 3 * SECOND, Some(Some(CANONICAL)));
    let start = Instant::now();
    let show = async |state, seconds| {
        let presence = presence(BRAZILIAN, state, seconds);
        fleet.show(DEVICE, &presence).await.unwrap();
    };
    show("typing", 60).await;
    sleep(2 * SECOND).await;
    show("recording", 60).await;
    sleep(SECOND).await;
    show("pause", 0).await;
    sleep(SECOND).await;
    assert_eq!(
        world.timeline(DEVICE, start),
        "2 available, 2 composing 01, 4 recording 02, 5 paused 02"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_goes_where_the_indicator_was_shown_and_is_answered() {
    let (fleet, world) = online().await;
    answer(&world, 3 * SECOND, Some(Some(CANONICAL)));
    let start = Instant::now();
    fleet
        .show(DEVICE, &presence(BRAZILIAN, "typing", 60))
        .await
        .unwrap();
    // The answer comes after the indicator was shown under the number as given, and before a re-send.
    sleep(2 * SECOND).await;
    let paused = fleet
        .show(DEVICE, &presence(BRAZILIAN, "pause", 0))
        .await
        .unwrap();
    assert_eq!(paused.chat().as_str(), CANONICAL);
    sleep(60 * SECOND).await;
    assert_eq!(
        world.timeline(DEVICE, start),
        "2 available, 2 composing 01, 4 paused 01, 14 unavailable"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_one_look_up_are_carried_out_in_the_order_they_came() {
    let (fleet, world) = online().await;
    answer(&world, 3 * SECOND, Some(Some(CANONICAL)));
    let start = Instant::now();
    let (typing, pause) = (presence(BRAZILIAN, "typing", 60), presence(BRAZILIAN, "pause", 0));
    let mut typing = Box::pin(fleet.show(DEVICE, &typing));
    let mut pause = Box::pin(fleet.show(DEVICE, &pause));
    assert!(typing.as_mut().now_or_never().is_none());
    assert!(pause.as_mut().now_or_never().is_none());
    // The look-up begins when the instance's task takes the request up.
    tokio::task::yield_now().await;
    tokio::time::advance(2 * SECOND).await;
    // Which of two tasks that wake together runs first is anybody's guess.
    let (paused, typed) = tokio::join!(pause, typing);
    assert!(paused.is_ok() && typed.is_ok());
    assert_eq!(
        world.timeline(DEVICE, start),
        "2 available, 2 composing 01, 2 paused 01"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_look_up_is_tried_again_but_not_at_once() {
    let (fleet, world) = online().await;
    answer(&world, Duration::ZERO, None);
    assert_eq!(
        chat_of(&fleet, BRAZILIAN).await,
        format!("{BRAZILIAN}@s.whatsapp.net")
    );
    answer(&world, Duration::ZERO, Some(Some(CANONICAL)));
    assert_eq!(
        chat_of(&fleet, BRAZILIAN).await,
        format!("{BRAZILIAN}@s.whatsapp.net")
    );
    assert_eq!(world.lock().lookups.len(), 1);
    sleep(31 * SECOND).await;
    assert_eq!(chat_of(&fleet, BRAZILIAN).await, CANONICAL);
}

#[tokio::test(start_paused = true)]
async fn a_slow_look_up_delays_no_other_chat() {
    let (fleet, world) = online().await;
    answer(&world, 60 * SECOND, Some(Some(CANONICAL)));
    let start = Instant::now();
    let slow = presence(BRAZILIAN, "typing", 5);
    let (_, quick) = tokio::join!(fleet.show(DEVICE, &slow), async {
        chat_of(&fleet, "4915112345601").await;
        start.elapsed()
    });
    assert_eq!(quick, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn look_ups_can_be_switched_off() {
    let world = World::new();
    let settings = FleetSettings {
        resolve_numbers: false,
        ..FleetSettings::default()
    };
    let fleet = fleet_with(&world, settings, false);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(
        chat_of(&fleet, BRAZILIAN).await,
        format!("{BRAZILIAN}@s.whatsapp.net")
    );
    assert!(world.lock().lookups.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_account_does_not_inherit_the_answers() {
    let (fleet, world) = online().await;
    answer(&world, Duration::ZERO, Some(Some(CANONICAL)));
    assert_eq!(chat_of(&fleet, BRAZILIAN).await, CANONICAL);
    fleet.logout(DEVICE).await;
    fleet.connect(DEVICE, PairWith::Qr).await.unwrap();
    world.session(DEVICE).scan();
    until(&fleet, DEVICE, InstanceState::Connected).await;
    chat_of(&fleet, BRAZILIAN).await;
    assert_eq!(world.lock().lookups.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_ends_with_its_session() {
    let (fleet, world) = online().await;
    answer(&world, 3600 * SECOND, Some(Some(CANONICAL)));
    let start = Instant::now();
    let slow = presence(BRAZILIAN, "typing", 5);
    let (refused, ()) = tokio::join!(fleet.show(DEVICE, &slow), async {
        sleep(SECOND).await;
        world.session(DEVICE).end(End::Lost("reset".into()));
    });
    assert_eq!((refused, start.elapsed()), (Err(ShowError::NotConnected), SECOND));
    until(&fleet, DEVICE, InstanceState::Connected).await;
    answer(&world, Duration::ZERO, Some(Some(CANONICAL)));
    assert_eq!(
        chat_of(&fleet, BRAZILIAN).await,
        CANONICAL,
        "the next session is asked anew"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stalled_session_delays_no_other() {
    let world = World::new();
    let fleet = fleet(&world);
    let devices: Vec<_> = (1..=51).map(id).collect();
    for &device in &devices {
        resume(&fleet, &world, device);
    }
    for &device in &devices {
        until(&fleet, device, InstanceState::Connected).await;
    }
    world.lock().stalled.push(DEVICE);
    let start = Instant::now();
    let body = presence("4915112345601", "typing", 5);
    let (stalled, ()) = tokio::join!(fleet.show(DEVICE, &body), async {
        for &device in &devices[1..] {
            fleet.show(device, &body).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
    assert_eq!(stalled, Err(ShowError::NotConnected));
    sleep(5 * SECOND).await;
    let lines = world
        .lock()
        .written
        .iter()
        .filter(|line| line.what == "paused 01")
        .count();
    assert_eq!(lines, 50);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_flapping_sessions_disturb_no_healthy_one() {
    let world = World::new();
    let settings = FleetSettings {
        retry: RetrySettings {
            backoff: crate::Backoff {
                base: Duration::from_millis(100),
                cap: SECOND,
            },
            opens_a_minute: 1000,
            ..RetrySettings::default()
        },
        ..FleetSettings::default()
    };
    let fleet = fleet_with(&world, settings, false);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    for device in (2..=201).map(id) {
        let blink = Script::OnlineThen(Duration::from_millis(300), End::Lost("reset".into()));
        world.script(device, vec![blink; 1000]);
        resume(&fleet, &world, device);
    }
    for _ in 0..60 {
        let start = Instant::now();
        fleet
            .show(DEVICE, &presence("4915112345601", "pause", 0))
            .await
            .unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        sleep(SECOND).await;
    }
    assert!(
        world.lock().opened.len() > 2000,
        "they did flap: {}",
        world.lock().opened.len()
    );
    assert_eq!(world.opened(DEVICE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_pauses_everything_everywhere_and_leaves_no_task() {
    let world = World::new();
    let fleet = fleet(&world);
    let devices: Vec<_> = (1..=20).map(id).collect();
    for &device in &devices {
        resume(&fleet, &world, device);
    }
    for &device in &devices {
        until(&fleet, device, InstanceState::Connected).await;
        fleet
            .show(device, &presence("4915112345601", "typing", 60))
            .await
            .unwrap();
    }
    fleet.add(id(99), InstanceOptions::default());
    fleet.connect(id(99), PairWith::Qr).await.unwrap();
    sleep(2 * SECOND).await;
    let start = Instant::now();
    fleet.shutdown(GRACE).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    for &device in &devices {
        assert_eq!(world.timeline(device, start), "0 paused 01, 0 unavailable");
    }
    assert_eq!(tasks(&fleet), 0);
    assert_eq!(world.events(), "pairing", "nothing is unlinked or wiped");
    assert_eq!(fleet.connect(DEVICE, PairWith::Qr).await, Err(ConnectError::Gone));
    assert_eq!(fleet.reconnect(DEVICE).await, Err(ReconnectError::Gone));
    let refused = fleet.show(DEVICE, &presence("4915112345601", "typing", 5)).await;
    assert_eq!(refused, Err(ShowError::NotConnected));
    assert_eq!(state(&fleet, DEVICE), InstanceState::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_no_longer_than_its_grace() {
    let (fleet, world) = online().await;
    fleet
        .show(DEVICE, &presence("4915112345601", "typing", 60))
        .await
        .unwrap();
    world.lock().stalled.push(DEVICE);
    let start = Instant::now();
    fleet.shutdown(SECOND).await;
    assert_eq!((start.elapsed(), tasks(&fleet)), (SECOND, 0));
}

#[tokio::test(start_paused = true)]
async fn keep_online_is_told_to_a_live_session() {
    let (fleet, world) = online().await;
    let start = Instant::now();
    assert!(!fleet.status(DEVICE).unwrap().available);
    fleet.set_keep_online(DEVICE, true);
    settle().await;
    assert_eq!(world.timeline(DEVICE, start), "0 available");
    assert!(fleet.status(DEVICE).unwrap().available);
}

#[tokio::test(start_paused = true)]
async fn a_held_indicator_survives_a_lost_connection() {
    let (fleet, world) = online().await;
    let start = Instant::now();
    fleet
        .show(DEVICE, &presence("4915112345601", "typing", 60))
        .await
        .unwrap();
    world.session(DEVICE).end(End::Lost("reset".into()));
    settle().await;
    until(&fleet, DEVICE, InstanceState::Connected).await;
    sleep(120 * SECOND).await;
    let timeline = world.timeline(DEVICE, start);
    assert_eq!(timeline.matches("paused").count(), 1, "{timeline}");
    assert!(timeline.contains("60 paused 01"), "{timeline}");
    assert!(timeline.matches("composing").count() >= 12, "{timeline}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_whatsapp_tells_later_shows_in_the_status() {
    let (fleet, world) = online().await;
    world.session(DEVICE).rename(Some("Ada"));
    settle().await;
    assert_eq!(fleet.status(DEVICE).unwrap().push_name.as_deref(), Some("Ada"));
    assert_eq!(world.opened(DEVICE).len(), 1);
}
