//! What the fleet counts.

use super::*;
use crate::backoff::Backoff;
use crate::counters::{EarlyEnd, LookUpResult, SessionEnd};
use crate::fake::Answer;
use crate::session::{Contact, End};
use crate::settings::RetrySettings;
use presence_core::PresenceState;
use presence_metrics::Counter;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const FRIEND: &str = "4915112345601";
const STATES: [PresenceState; 3] = [
    PresenceState::Typing,
    PresenceState::Recording,
    PresenceState::Pause,
];

/// What became of presences, as far as there were any: `<outcome> <state> <count>`.
fn outcomes(fleet: &Fleet) -> Vec<String> {
    let presences = fleet.counters().presences.iter();
    let all = presences.flat_map(|(outcome, by_state)| {
        STATES.map(|state| (outcome.as_str(), state, by_state.of(state).get()))
    });
    all.filter(|(_, _, count)| *count > 0)
        .map(|(outcome, state, count)| format!("{outcome} {state} {count}"))
        .collect()
}

fn ended_early(fleet: &Fleet) -> u64 {
    fleet.counters().ended_early.values().map(Counter::get).sum()
}

fn auto_pauses(fleet: &Fleet) -> u64 {
    let lateness = &fleet.counters().auto_pause_lateness;
    lateness.buckets().map(|bucket| bucket.count).sum()
}

#[tokio::test(start_paused = true)]
async fn every_presence_is_counted_once_by_what_became_of_it() {
    let (fleet, world) = online().await;
    let typing = presence(FRIEND, "typing", 5);
    fleet.show(DEVICE, &typing).await.unwrap();
    fleet
        .show(DEVICE, &presence(FRIEND, "recording", 5))
        .await
        .unwrap();
    fleet.show(id(2), &typing).await.unwrap_err();
    // Who does not wait even for the task to look at it.
    drop(timeout(Duration::ZERO, fleet.show(DEVICE, &typing)).await);
    world.lock().stalled.push(DEVICE);
    let pause = presence(FRIEND, "pause", 0);
    fleet.show(DEVICE, &pause).await.unwrap_err();
    let counted = outcomes(&fleet);
    assert_eq!(counted[..2], ["written typing 1", "written recording 1"]);
    assert_eq!(counted.len(), 5, "{counted:?}");
    for expected in ["not_connected typing 1", "abandoned typing 1"] {
        assert!(counted.contains(&expected.to_owned()), "{counted:?}");
    }
    // Which of the two clocks, the caller's or the write's, strikes first is chance.
    let failed = ["timed_out pause 1", "not_connected pause 1"];
    assert!(failed.iter().any(|line| counted.contains(&(*line).to_owned())));
}

#[tokio::test(start_paused = true)]
async fn an_auto_pause_in_time_is_not_late_and_one_after_an_outage_by_as_much() {
    let (fleet, world) = online().await;
    let lateness = || fleet.counters().auto_pause_lateness.sum();
    let typing = presence(FRIEND, "typing", 12);
    fleet.show(DEVICE, &typing).await.unwrap();
    assert_eq!(fleet.counters().indicators_active.get(), 1);
    sleep(Duration::from_secs(13)).await;
    let counters = fleet.counters();
    assert_eq!((auto_pauses(&fleet), counters.resends.get()), (1, 2));
    assert!(lateness() < Duration::from_millis(2), "{:?}", lateness());
    assert_eq!(counters.indicators_active.get(), 0);

    fleet.show(DEVICE, &typing).await.unwrap();
    world.script(DEVICE, [crate::fake::Script::Hangs]);
    world.session(DEVICE).end(End::Lost("reset".to_owned()));
    sleep(Duration::from_secs(20)).await;
    world.session(DEVICE).come_online();
    settle().await;
    assert_eq!(auto_pauses(&fleet), 2);
    let late = lateness();
    assert!(
        late.abs_diff(Duration::from_secs(8)) < Duration::from_millis(10),
        "{late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_ends_an_indicator_early_is_counted_by_its_cause() {
    let (fleet, world) = online().await;
    let chats = ["01", "02", "03", "04"].map(|chat| format!("49151123456{chat}"));
    for chat in &chats {
        fleet.show(DEVICE, &presence(chat, "typing", 60)).await.unwrap();
    }
    fleet
        .show(DEVICE, &presence(&chats[0], "recording", 60))
        .await
        .unwrap();
    fleet
        .show(DEVICE, &presence(&chats[1], "pause", 0))
        .await
        .unwrap();
    // Nothing is shown there any more, so that nothing ends.
    fleet
        .show(DEVICE, &presence(&chats[1], "pause", 0))
        .await
        .unwrap();
    let session = world.session(DEVICE);
    session.send_elsewhere(&format!("{}@s.whatsapp.net", chats[2]), None);
    settle().await;
    fleet.shutdown(GRACE).await;
    let ended = &fleet.counters().ended_early;
    let counts = [
        EarlyEnd::Newer,
        EarlyEnd::Pause,
        EarlyEnd::Message,
        EarlyEnd::Shutdown,
    ];
    assert_eq!(counts.map(|by| ended[by].get()), [1, 1, 1, 2]);
    assert_eq!(auto_pauses(&fleet), 0);
    assert_eq!(fleet.counters().indicators_active.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn sessions_and_their_ends_are_counted() {
    let (fleet, world) = online().await;
    let counters = fleet.counters();
    assert_eq!((counters.logins.get(), counters.reconnects.get()), (1, 0));
    world.session(DEVICE).end(End::Lost("reset".to_owned()));
    settle().await;
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!((counters.logins.get(), counters.reconnects.get()), (2, 1));
    // It takes no stanza any more.
    world.lock().stalled.push(DEVICE);
    fleet
        .show(DEVICE, &presence(FRIEND, "typing", 5))
        .await
        .unwrap_err();
    world.lock().stalled.clear();
    sleep(Duration::from_secs(1)).await;
    until(&fleet, DEVICE, InstanceState::Connected).await;
    fleet.shutdown(GRACE).await;
    let ended: Vec<_> = counters
        .session_ends
        .iter()
        .filter(|(_, count)| count.get() > 0)
        .map(|(end, count)| (end, count.get()))
        .collect();
    let expected = [
        (SessionEnd::Closed, 1),
        (SessionEnd::Faulty, 1),
        (SessionEnd::Lost, 1),
    ];
    assert_eq!(ended, expected);
}

#[tokio::test(start_paused = true)]
async fn look_ups_are_counted_by_what_came_of_them() {
    let (fleet, world) = online().await;
    let known = Contact {
        number: Some("551199999902@s.whatsapp.net".parse().unwrap()),
        lid: None,
    };
    let answers = [Some(Some(known)), Some(None), None];
    for (number, contact) in ["5511999999901", "5511999999902", "5511999999903"]
        .iter()
        .zip(answers)
    {
        let answer = Answer {
            after: Duration::ZERO,
            contact,
        };
        world.lock().answers.insert(number.parse().unwrap(), answer);
        fleet.show(DEVICE, &presence(number, "typing", 5)).await.unwrap();
    }
    let results = [LookUpResult::Found, LookUpResult::Unknown, LookUpResult::Failed];
    let look_ups = &fleet.counters().look_ups;
    assert_eq!(results.map(|result| look_ups[result].get()), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_has_no_active_indicators() {
    let (fleet, world) = online().await;
    fleet.show(DEVICE, &presence(FRIEND, "typing", 60)).await.unwrap();
    assert_eq!(fleet.counters().indicators_active.get(), 1);
    world.lock().panics = 1;
    sleep(Duration::from_secs(6)).await;
    let counters = fleet.counters();
    assert_eq!(
        (counters.task_panics.get(), counters.indicators_active.get()),
        (1, 0)
    );
}

/// Whatever is shown with a hold is ended by one thing, whatever happens to its session: its deadline, or something
/// before.
#[tokio::test(start_paused = true)]
async fn the_ends_of_indicators_are_as_many_as_the_indicators() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = World::new();
        let settings = FleetSettings {
            retry: RetrySettings {
                backoff: Backoff {
                    base: Duration::ZERO,
                    cap: Duration::ZERO,
                },
                opens_a_minute: 1000,
                ..RetrySettings::default()
            },
            ..FleetSettings::default()
        };
        let fleet = fleet_with(&world, settings, false);
        resume(&fleet, &world, DEVICE);
        until(&fleet, DEVICE, InstanceState::Connected).await;
        let mut asked = 0;
        for _ in 0..60 {
            let chat = format!("49151123456{:02}", rng.random_range(0..6));
            match rng.random_range(0..12) {
                0..7 => {
                    let word = ["typing", "recording", "pause"][rng.random_range(0..3)];
                    asked += 1;
                    let body = presence(&chat, word, rng.random_range(1..=60));
                    drop(fleet.show(DEVICE, &body).await);
                }
                // A session that is down is told of nothing.
                7 if state(&fleet, DEVICE) == InstanceState::Connected => {
                    let session = world.session(DEVICE);
                    session.send_elsewhere(&format!("{chat}@s.whatsapp.net"), None);
                }
                8 => world.session(DEVICE).end(End::Lost("reset".to_owned())),
                9 => world.lock().stalled.push(DEVICE),
                10 => world.lock().stalled.clear(),
                _ => sleep(Duration::from_millis(rng.random_range(0..20_000))).await,
            }
        }
        // What a session that is down shows is forgotten with it, and ends by nothing. A stall may still have to be
        // noticed.
        world.lock().stalled.clear();
        sleep(Duration::from_secs(45)).await;
        until(&fleet, DEVICE, InstanceState::Connected).await;
        for chat in 0..3 {
            asked += 1;
            let body = presence(&format!("49151123456{chat:02}"), "typing", 20 * (chat + 1));
            fleet.show(DEVICE, &body).await.unwrap();
        }
        sleep(Duration::from_secs(rng.random_range(0..60))).await;
        fleet.shutdown(GRACE).await;

        let counters = fleet.counters();
        let of = |by_state: &crate::counters::ByState| STATES.map(|state| by_state.of(state).get());
        let counted: u64 = counters.presences.values().flat_map(of).sum();
        assert_eq!(counted, asked, "seed {seed}");
        let [typing, recording, _] = of(&counters.presences[PresenceOutcome::Written]);
        let ends = ended_early(&fleet) + auto_pauses(&fleet);
        assert_eq!(typing + recording, ends, "seed {seed}");
        assert_eq!(counters.indicators_active.get(), 0, "seed {seed}");
    }
}
