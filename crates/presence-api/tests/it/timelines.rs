//! What the recipient's phone shows, and when. All on a paused clock, to the millisecond.

use std::time::Duration;

use presence_sandbox::{Fault, State, Why};
use serde_json::json;
use tokio::time::sleep;

use crate::app::{CUSTOMER, SHOP, TestApp, assert_near, phone, secs};

/// Longer than anything can still show.
const LONG: Duration = Duration::from_secs(90);

/// `(state, how long it showed, why it vanished)`, one after the other.
fn spells(app: &TestApp) -> Vec<(State, Duration, Why)> {
    let timeline = app.timeline(CUSTOMER).into_iter();
    timeline
        .map(|spell| {
            let hidden_at = spell.hidden_at.unwrap_or_else(|| panic!("{spell:?} still shows"));
            (spell.state, hidden_at - spell.shown_at, spell.why.unwrap())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn typing_for_a_minute_shows_for_a_minute_without_a_gap() {
    let app = TestApp::with_shop().await;
    app.show("typing", 60).await;
    sleep(LONG).await;
    let spells = spells(&app);
    assert_eq!(spells.len(), 1, "{spells:?}");
    assert_eq!((spells[0].0, spells[0].2), (State::Typing, Why::Paused));
    assert_near(spells[0].1, secs(60.0));

    // Renewed every 5 s, the last time at 55 s, and paused once.
    let stanzas = app.chat_states(SHOP);
    let start = stanzas[0].0;
    assert_eq!(stanzas.len(), 13, "{stanzas:?}");
    for (at, (time, stanza)) in stanzas.iter().enumerate() {
        assert_near(*time - start, secs(5.0) * u32::try_from(at).unwrap());
        assert_eq!(stanza.contains("<paused/>"), at == 12, "{stanza}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_is_typed_for_as_long_as_a_person_would_take() {
    let app = TestApp::with_shop().await;
    let text = "Your order is on its way and arrives today";
    let body = json!({"number": CUSTOMER, "state": "typing", "text": text});
    let reply = app.post("/api/chat/presence/shop").json(&body).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let duration = reply.json()["duration"].as_u64().unwrap();
    assert!((6..=8).contains(&duration), "{duration} s for 42 characters");
    assert_eq!(
        reply.json()["message"],
        format!("Presence 'typing' sent successfully (will auto-pause after {duration} seconds)")
    );
    // As the client does that sends its answer then.
    sleep(Duration::from_secs(duration)).await;
    sleep(LONG).await;
    let spells = spells(&app);
    assert_eq!(spells.len(), 1, "{spells:?}");
    assert_near(spells[0].1, Duration::from_secs(duration));
    // The same again takes as long again.
    let again = app.post("/api/chat/presence/shop").json(&body).send().await;
    assert_eq!(again.text, reply.text);
}

#[tokio::test(start_paused = true)]
async fn the_longest_message_that_whatsapp_takes_fits_however_it_is_written() {
    let app = TestApp::with_shop().await;
    for written in ["x", "é", "\\u00e9", "\\ud83d\\ude00"] {
        let units = if written.len() == 12 { 2 } else { 1 };
        let text = written.repeat(65_536 / units);
        let body = format!(r#"{{"number":"{CUSTOMER}","state":"recording","text":"{text}"}}"#);
        let reply = app.post("/api/chat/presence/shop").body(body).send().await;
        assert_eq!(
            (reply.status, &reply.json()["duration"]),
            (200, &json!(60)),
            "{written}"
        );
    }
    let body = json!({"number": CUSTOMER, "state": "typing", "characters": "42"});
    let reply = app.post("/api/chat/presence/shop").json(&body).send().await;
    reply.assert_error(400, "Invalid request body");
    let detail = reply.header("x-error-detail");
    assert_eq!(detail, Some("characters: a whole number is needed, 0 or more"));
}

#[tokio::test(start_paused = true)]
async fn without_a_duration_it_is_sent_once_and_the_phone_hides_it() {
    let app = TestApp::with_shop().await;
    app.show("recording", 0).await;
    sleep(LONG).await;
    assert_eq!(app.chat_states(SHOP).len(), 1);
    let spells = spells(&app);
    assert_eq!(spells.len(), 1, "{spells:?}");
    assert_eq!((spells[0].0, spells[0].2), (State::Recording, Why::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_longer_typing_takes_the_place_of_a_shorter_one() {
    let app = TestApp::with_shop().await;
    app.show("typing", 5).await;
    sleep(secs(2.0)).await;
    app.show("typing", 10).await;
    sleep(LONG).await;
    let pauses = app.pauses(SHOP);
    assert_eq!(pauses.len(), 1, "{pauses:?}");
    assert_near(pauses[0] - app.chat_states(SHOP)[0].0, secs(12.0));
    assert_eq!(spells(&app).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_explicit_pause_is_the_only_one() {
    let app = TestApp::with_shop().await;
    app.show("typing", 5).await;
    sleep(secs(2.0)).await;
    app.show("pause", 0).await;
    sleep(LONG).await;
    assert_eq!(app.pauses(SHOP).len(), 1);
    let spells = spells(&app);
    assert_near(spells[0].1, secs(2.0));
}

#[tokio::test(start_paused = true)]
async fn recording_follows_typing_and_then_nothing_shows() {
    let app = TestApp::with_shop().await;
    app.show("typing", 5).await;
    sleep(secs(3.0)).await;
    app.show("recording", 5).await;
    sleep(LONG).await;
    let spells = spells(&app);
    let seen: Vec<_> = spells.iter().map(|spell| (spell.0, spell.2)).collect();
    assert_eq!(
        seen,
        [(State::Typing, Why::Replaced), (State::Recording, Why::Paused)]
    );
    assert_near(spells[0].1, secs(3.0));
    assert_near(spells[1].1, secs(5.0));
    assert_eq!(app.pauses(SHOP).len(), 1);
}

/// Cuts the session `cut` after typing for 10 s began, and lets it back `back` after.
async fn typing_for_ten_seconds_with_a_cut(app: &TestApp, cut: Duration, back: Duration) -> Duration {
    app.show("typing", 10).await;
    let start = app.chat_states(SHOP)[0].0;
    sleep(cut).await;
    app.sandbox.fault(Fault::refuse()).unwrap();
    assert_eq!(app.sandbox.drop_connections(phone(SHOP)), 1);
    sleep(back - cut).await;
    app.sandbox.clear_faults();
    app.wait_for_state("shop", "connected").await;
    sleep(LONG).await;
    start
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_back_in_time_shows_it_again() {
    let app = TestApp::with_shop().await;
    let start = typing_for_ten_seconds_with_a_cut(&app, secs(2.0), secs(4.0)).await;
    let stanzas = app.chat_states(SHOP);
    let again = stanzas[1].0 - start;
    assert!((secs(4.0)..secs(4.5)).contains(&again), "{stanzas:?}");
    let pauses = app.pauses(SHOP);
    assert_eq!(pauses.len(), 1, "{stanzas:?}");
    assert_near(pauses[0] - start, secs(10.0));
    assert_eq!(spells(&app).len(), 1, "the phone sees no gap");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_back_too_late_pauses() {
    let app = TestApp::with_shop().await;
    let start = typing_for_ten_seconds_with_a_cut(&app, secs(2.0), secs(20.0)).await;
    let stanzas = app.chat_states(SHOP);
    assert_eq!(stanzas.len(), 2, "{stanzas:?}");
    let pauses = app.pauses(SHOP);
    assert_eq!(pauses.len(), 1, "{stanzas:?}");
    assert!(
        (secs(20.0)..secs(20.5)).contains(&(pauses[0] - start)),
        "{stanzas:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_service_pauses_what_is_shown() {
    let app = TestApp::with_shop().await;
    app.show("typing", 60).await;
    sleep(secs(2.0)).await;
    app.server.stop(secs(5.0)).await;
    assert_eq!(app.pauses(SHOP).len(), 1);
    app.wait_for(|world| world.connections(phone(SHOP)) == 0).await;
    assert_near(spells(&app)[0].1, secs(2.0));
}

#[tokio::test(start_paused = true)]
async fn logout_and_delete_pause_what_is_shown() {
    for path in ["/api/instance/logout/shop", "/api/instance/delete/shop"] {
        let app = TestApp::with_shop().await;
        app.show("recording", 60).await;
        assert_eq!(app.delete(path).send().await.status, 200);
        assert_eq!(app.pauses(SHOP).len(), 1, "{path}");
        assert!(app.sandbox.shown(phone(CUSTOMER)).now.is_empty(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_account_is_online_only_while_it_shows_something() {
    let app = TestApp::with_shop().await;
    let before = app.sent(SHOP).len();
    app.show("typing", 5).await;
    sleep(LONG).await;
    let sent = app.sent(SHOP).split_off(before);
    let kinds: Vec<_> = sent
        .iter()
        .map(|(_, stanza)| match () {
            () if stanza.contains("unavailable") => "unavailable",
            () if stanza.contains("available") => "available",
            () if stanza.contains("<composing/>") => "composing",
            () => "paused",
        })
        .collect();
    assert_eq!(
        kinds,
        ["available", "composing", "paused", "unavailable"],
        "{sent:?}"
    );
    assert_near(sent[3].0 - sent[2].0, secs(10.0));
    assert!(!app.sandbox.look(|world| world.is_available(phone(SHOP))));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_kept_online_stays_so_at_once_and_after_a_reconnect() {
    let app = TestApp::with_shop().await;
    let is_online = || app.sandbox.look(|world| world.is_available(phone(SHOP)));
    sleep(LONG).await;
    assert!(!is_online());
    let settings = json!({"keepOnlineStatus": true});
    assert_eq!(
        app.post("/api/instance/settings/shop")
            .json(&settings)
            .send()
            .await
            .status,
        200
    );
    sleep(secs(0.1)).await;
    assert!(is_online());
    app.show("typing", 5).await;
    sleep(LONG).await;
    assert!(is_online());

    app.sandbox.drop_connections(phone(SHOP));
    sleep(secs(5.0)).await;
    assert_eq!(app.state("shop").await, "connected");
    assert!(is_online());
    let settings = json!({"keepOnlineStatus": false});
    assert_eq!(
        app.post("/api/instance/settings/shop")
            .json(&settings)
            .send()
            .await
            .status,
        200
    );
    sleep(secs(0.1)).await;
    assert!(!is_online());
}
