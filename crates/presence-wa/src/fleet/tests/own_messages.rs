//! Messages that the account sends elsewhere, and the indicators that they end.

use presence_core::{Hold, Indicator, Shown};

use super::*;
use crate::session::End;

const FRIEND: &str = "4915112345601";
const GROUP: &str = "120363041234567890@g.us";

fn jid(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

/// Shows "typing…" in `chat` for a minute, has `then` happen after 8 s, and gives what was written in two.
async fn typing(world: &World, fleet: &Fleet, chat: &str, then: impl AsyncFnOnce()) -> String {
    let start = Instant::now();
    fleet.show(DEVICE, &presence(chat, "typing", 60)).await.unwrap();
    sleep(Duration::from_secs(8)).await;
    then().await;
    sleep(Duration::from_secs(112)).await;
    let written = world.timeline(DEVICE, start);
    let states = written.split(", ").filter(|line| !line.ends_with("available"));
    states.collect::<Vec<_>>().join(", ")
}

#[tokio::test(start_paused = true)]
async fn a_message_ends_what_its_chat_shows_under_any_of_its_names() {
    let friend = jid(FRIEND);
    let rows = [
        (FRIEND, friend.as_str(), None, "01"),
        (FRIEND, "77@lid", Some(friend.as_str()), "01"),
        ("77@lid", friend.as_str(), Some("77@lid"), "77"),
        (GROUP, GROUP, None, "90"),
    ];
    for (asked, sent, other_name, shown) in rows {
        let (fleet, world) = online().await;
        let written = typing(&world, &fleet, asked, async || {
            world.session(DEVICE).send_elsewhere(sent, other_name);
        });
        assert_eq!(
            written.await,
            format!("0 composing {shown}, 5 composing {shown}, 8 paused {shown}"),
            "{asked}, {sent}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_in_another_chat_ends_nothing() {
    let (fleet, world) = online().await;
    let written = typing(&world, &fleet, FRIEND, async || {
        world.session(DEVICE).send_elsewhere(&jid("4915112345602"), None);
        world.session(DEVICE).send_elsewhere(GROUP, None);
    });
    assert!(written.await.ends_with("55 composing 01, 60 paused 01"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ended_where_that_is_switched_off() {
    let world = World::new();
    let settings = FleetSettings {
        end_on_message: false,
        ..FleetSettings::default()
    };
    let fleet = fleet_with(&world, settings, false);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let written = typing(&world, &fleet, FRIEND, async || {
        let elsewhere = world.session(DEVICE);
        assert!(!elsewhere.is_told_of_messages());
    });
    assert!(written.await.ends_with("55 composing 01, 60 paused 01"));
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_while_the_session_was_away_is_not_shown_again() {
    let (fleet, world) = online().await;
    let written = typing(&world, &fleet, FRIEND, async || {
        world.script(DEVICE, [crate::fake::Script::Hangs]);
        world.session(DEVICE).end(End::Lost("cut".to_owned()));
        sleep(Duration::from_secs(10)).await;
        // In the same moment: it is told first, and then it is online.
        let session = world.session(DEVICE);
        session.send_elsewhere(&jid(FRIEND), None);
        session.come_online();
    });
    assert_eq!(written.await, "0 composing 01, 5 composing 01, 18 paused 01");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_while_another_process_was_to_take_the_session_over_is_not_shown_there() {
    let (world, start) = (World::new(), Instant::now());
    let fleet = fleet(&world);
    world.pair(DEVICE);
    world.script(DEVICE, [crate::fake::Script::Hangs]);
    let shown = Shown {
        indicator: Indicator::Typing,
        hold: Hold::from_secs(60),
        until: (start + Duration::from_secs(24)).into_std(),
    };
    let chats = [FRIEND, "4915112345602"].map(|number| (jid(number).parse().unwrap(), shown));
    fleet.add(
        DEVICE,
        InstanceOptions {
            saved: SavedKeys::Resume,
            shown: chats.to_vec(),
            ..InstanceOptions::default()
        },
    );
    sleep(Duration::from_secs(20)).await;
    assert_eq!(fleet.take_changed(), [DEVICE]);
    // In the same moment: it is told first, and then it is online.
    let session = world.session(DEVICE);
    session.send_elsewhere(&jid(FRIEND), None);
    session.come_online();
    sleep(Duration::from_secs(60)).await;
    let written = world.timeline(DEVICE, start);
    let states = written.split(", ").filter(|line| !line.ends_with("available"));
    assert_eq!(
        states.collect::<Vec<_>>(),
        ["20 paused 01", "20 composing 02", "24 paused 02"]
    );
}
