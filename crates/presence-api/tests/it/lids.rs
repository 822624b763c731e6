//! Accounts that WhatsApp has moved from numbers to LIDs, and those that it has not.

use std::time::Duration;

use presence_sandbox::{Refused, State, Why};
use tokio::time::sleep;

use crate::app::{SHOP, TestApp, assert_near, phone, secs};

/// Somebody in Germany, where a number is written in one way.
const FRIEND: &str = "4915112345678";
const FRIEND_LID: &str = "99887766554433";
/// Somebody in Brazil, where a number may be written in two.
const CLIENT: &str = "5511977776666";
const CLIENT_SPELT: &str = "551177776666";
const CLIENT_LID: &str = "11223344556677";

const LONG: Duration = Duration::from_secs(90);

/// A connected shop that was `moved` to LIDs, or not.
async fn shop(moved: bool) -> TestApp {
    let app = TestApp::with(|options| options.sandbox = options.sandbox.clone().lids(true)).await;
    let sandbox = &app.sandbox;
    sandbox.set_lid_migrated(phone(SHOP), moved).unwrap();
    let friend = phone(FRIEND);
    sandbox
        .set_number(friend, Some(friend), Some(FRIEND_LID.parse().unwrap()))
        .unwrap();
    let (client, spelt) = (phone(CLIENT), phone(CLIENT_SPELT));
    for number in [client, spelt] {
        sandbox
            .set_number(number, Some(spelt), Some(CLIENT_LID.parse().unwrap()))
            .unwrap();
    }
    app.connected("shop", SHOP).await;
    app
}

fn jid_of(lid: &str) -> String {
    format!("{lid}@lid")
}

/// Each chat state goes to `to`, `pauses` of them are `paused`, and none was refused.
#[track_caller]
fn assert_all_go_to(app: &TestApp, to: &str, pauses: usize) {
    let stanzas = app.chat_states(SHOP);
    for (_, stanza) in &stanzas {
        assert!(stanza.contains(&format!(r#"to="{to}""#)), "{stanza}");
    }
    assert_eq!(app.pauses(SHOP).len(), pauses, "{stanzas:?}");
    let refused: Vec<_> = app.sandbox.look(|world| world.refused().cloned().collect());
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_moved_account_types_to_the_lid_of_a_number_for_exactly_that_long() {
    let app = shop(true).await;
    let reply = app.presence(FRIEND, "typing", 30).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    sleep(LONG).await;
    app.assert_typed(FRIEND, secs(30.0));
    assert_all_go_to(&app, &jid_of(FRIEND_LID), 1);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_can_be_spelt_in_two_ways_is_reached_under_its_lid_too() {
    let app = shop(true).await;
    assert_eq!(app.presence(CLIENT, "typing", 5).await.status, 200);
    sleep(LONG).await;
    app.assert_typed(CLIENT_SPELT, secs(5.0));
    assert_all_go_to(&app, &jid_of(CLIENT_LID), 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_not_moved_types_to_the_number_of_a_lid_it_knows() {
    let app = shop(false).await;
    // What WhatsApp answers about the number names the LID.
    assert_eq!(app.presence(CLIENT, "pause", 0).await.status, 200);
    assert_eq!(app.presence(&jid_of(CLIENT_LID), "typing", 30).await.status, 200);
    sleep(LONG).await;
    app.assert_typed(CLIENT_SPELT, secs(30.0));
    assert_all_go_to(&app, &format!("{CLIENT_SPELT}@s.whatsapp.net"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lid_of_which_nothing_is_known_is_tried_as_it_is_and_harms_no_session() {
    let app = shop(false).await;
    let reply = app.presence(&jid_of(FRIEND_LID), "typing", 5).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    sleep(LONG).await;
    assert!(app.timeline(FRIEND).is_empty());
    let refused: Vec<_> = app
        .sandbox
        .look(|world| world.refused().filter_map(|entry| entry.refused).collect());
    assert!(!refused.is_empty());
    assert!(
        refused.iter().all(|why| *why == Refused::LidOfUnmoved),
        "{refused:?}"
    );
    assert_eq!(app.state("shop").await, "connected");
    assert_eq!(app.presence(FRIEND, "typing", 5).await.status, 200);
    sleep(LONG).await;
    app.assert_typed(FRIEND, secs(5.0));
}

#[tokio::test(start_paused = true)]
async fn a_pause_under_one_name_of_a_person_ends_what_shows_under_the_other() {
    let lid = jid_of(FRIEND_LID);
    for (first, second) in [(FRIEND, lid.as_str()), (&lid, FRIEND)] {
        let app = shop(true).await;
        assert_eq!(app.presence(first, "typing", 30).await.status, 200);
        sleep(secs(2.0)).await;
        assert_eq!(app.presence(second, "pause", 0).await.status, 200);
        sleep(LONG).await;
        app.assert_typed(FRIEND, secs(2.0));
        assert_all_go_to(&app, &lid, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_moved_while_it_types_types_on_to_the_lid() {
    let app = shop(false).await;
    assert_eq!(app.presence(CLIENT, "typing", 60).await.status, 200);
    sleep(secs(12.0)).await;
    app.sandbox.set_lid_migrated(phone(SHOP), true).unwrap();
    // What an account is, a client learns when it logs in.
    app.sandbox.drop_connections(phone(SHOP));
    sleep(LONG).await;
    let spells = app.timeline(CLIENT_SPELT);
    let (first, last) = (&spells[0], &spells[spells.len() - 1]);
    assert_near(last.hidden_at.unwrap() - first.shown_at, secs(60.0));
    assert_eq!((last.state, last.why), (State::Typing, Some(Why::Paused)));
    let stanzas = app.chat_states(SHOP);
    let (_, pause) = &stanzas[stanzas.len() - 1];
    assert!(pause.contains(&jid_of(CLIENT_LID)), "{stanzas:?}");
    assert_eq!(app.pauses(SHOP).len(), 1, "{stanzas:?}");
    // Under either name it is one chat.
    for name in [CLIENT, &jid_of(CLIENT_LID)] {
        assert_eq!(app.presence(name, "typing", 30).await.status, 200);
    }
    sleep(secs(2.0)).await;
    assert_eq!(app.presence(CLIENT, "pause", 0).await.status, 200);
    sleep(LONG).await;
    assert_eq!(app.pauses(SHOP).len(), 2, "{:?}", app.chat_states(SHOP));
}

#[tokio::test(start_paused = true)]
async fn ten_requests_to_one_person_look_them_up_once() {
    for moved in [true, false] {
        let app = shop(moved).await;
        sleep(secs(30.0)).await;
        let before = app.look_ups(SHOP);
        let requests = (0..10).map(|_| app.presence(CLIENT, "typing", 5));
        for reply in futures_util::future::join_all(requests).await {
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        assert_eq!(app.presence(CLIENT, "pause", 0).await.status, 200);
        assert_eq!(app.look_ups(SHOP) - before, 1);
    }
}
