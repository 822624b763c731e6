//! The answer ends it: what the account's devices send, and what the recipient's phone shows from then on.

use std::time::Duration;

use presence_sandbox::{Answer, Fault, Number, Place, Spell, State, Why};
use tokio::time::sleep;

use crate::app::{CUSTOMER, SHOP, TestApp, assert_near, phone, secs};

/// Longer than anything can still show.
const LONG: Duration = Duration::from_secs(90);
const GROUP: &str = "120363041234567890";
/// Somebody in Brazil, whose number is looked up.
const FRIEND: &str = "5511977776666";
const FRIENDS_LID: &str = "11223344556677";

/// `from` sends a message from the phone.
fn send(app: &TestApp, from: &str, to: Place) {
    app.sandbox.send(phone(from), to, "here you are").unwrap();
}

fn customer() -> Place {
    Place::Phone(phone(CUSTOMER))
}

/// The one spell that was shown in `place`.
#[track_caller]
fn spell(app: &TestApp, place: Place) -> Spell {
    let spells = app.sandbox.look(|world| world.shown_in(place)).timeline;
    assert_eq!(spells.len(), 1, "{spells:?}");
    assert_eq!(spells[0].state, State::Typing);
    spells[0].clone()
}

/// "typing…" was shown in `place` once, for `time`, and one `paused` ended it.
#[track_caller]
fn assert_ended_after(app: &TestApp, place: Place, time: Duration) {
    let spell = spell(app, place);
    assert_eq!(spell.why, Some(Why::Paused));
    assert_near(spell.hidden_at.unwrap() - spell.shown_at, time);
    assert_eq!(app.pauses(SHOP).len(), 1, "{:?}", app.chat_states(SHOP));
}

/// `number` has read what was sent.
#[track_caller]
fn assert_read(app: &TestApp, number: &str) {
    let read: Vec<Option<String>> = app
        .sandbox
        .messages(phone(number))
        .into_iter()
        .filter(|message| message.from == phone(SHOP))
        .map(|message| message.text)
        .collect();
    assert_eq!(read, [Some("here you are".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_eight_of_sixty_seconds_ends_it() {
    let app = TestApp::with_shop().await;
    app.show("typing", 60).await;
    sleep(secs(8.0)).await;
    send(&app, SHOP, customer());
    sleep(LONG).await;
    assert_read(&app, CUSTOMER);
    assert_ended_after(&app, customer(), secs(8.0));
    // At 0 and 5 s, and the end of it.
    assert_eq!(app.chat_states(SHOP).len(), 3);
    // What is asked for after the answer is shown.
    app.show("typing", 5).await;
    sleep(LONG).await;
    assert_eq!((app.timeline(CUSTOMER).len(), app.pauses(SHOP).len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_a_group_ends_what_the_group_is_shown() {
    let app = TestApp::with_shop().await;
    let group: Place = format!("{GROUP}@g.us").parse().unwrap();
    let members: [Number; 2] = [phone(SHOP), phone(CUSTOMER)];
    app.sandbox.set_group(group, "Friends", members).unwrap();
    let reply = app.presence(&format!("{GROUP}@g.us"), "typing", 60).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    sleep(secs(8.0)).await;
    // What a member says, or is told alone, ends nothing.
    send(&app, CUSTOMER, group);
    send(&app, SHOP, customer());
    sleep(secs(4.0)).await;
    send(&app, SHOP, group);
    sleep(LONG).await;
    assert_ended_after(&app, group, secs(12.0));
}

#[tokio::test(start_paused = true)]
async fn a_number_and_its_lid_are_one_person() {
    for (moved, asked_by_lid) in [(true, false), (true, true), (false, false), (false, true)] {
        let app = TestApp::with(|options| options.sandbox = options.sandbox.clone().lids(true)).await;
        app.sandbox.set_lid_migrated(phone(SHOP), moved).unwrap();
        let (friend, lid) = (phone(FRIEND), FRIENDS_LID.parse().unwrap());
        app.sandbox.set_number(friend, Some(friend), Some(lid)).unwrap();
        app.connected("shop", SHOP).await;
        // What WhatsApp answers about the number names the LID.
        assert_eq!(app.presence(FRIEND, "pause", 0).await.status, 200);
        let asked = if asked_by_lid {
            format!("{FRIENDS_LID}@lid")
        } else {
            FRIEND.to_owned()
        };
        assert_eq!(app.presence(&asked, "typing", 60).await.status, 200);
        sleep(secs(8.0)).await;
        send(&app, SHOP, Place::Phone(friend));
        sleep(LONG).await;
        let spell = spell(&app, Place::Phone(friend));
        assert_eq!(spell.why, Some(Why::Paused), "{moved}, {asked}");
        assert_near(spell.hidden_at.unwrap() - spell.shown_at, secs(8.0));
        assert_eq!(app.pauses(SHOP).len(), 2, "{:?}", app.chat_states(SHOP));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_other_person_writes_ends_nothing() {
    let app = TestApp::with_shop().await;
    app.show("typing", 60).await;
    sleep(secs(8.0)).await;
    send(&app, CUSTOMER, Place::Phone(phone(SHOP)));
    sleep(LONG).await;
    assert_ended_after(&app, customer(), secs(60.0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_nothing_where_that_is_switched_off() {
    let app = TestApp::with(|options| options.fleet.end_on_message = false).await;
    app.connected("shop", SHOP).await;
    app.show("typing", 60).await;
    sleep(secs(8.0)).await;
    send(&app, SHOP, customer());
    sleep(LONG).await;
    assert_read(&app, CUSTOMER);
    assert_ended_after(&app, customer(), secs(60.0));
}

/// Cuts the session 2 s after typing for a minute began, sends the answer 2 s later, and lets the session back
/// after 2 s more. The phone has not hidden the indicator by then.
async fn answer_while_away(app: &TestApp) -> Duration {
    app.show("typing", 60).await;
    let start = app.chat_states(SHOP)[0].0;
    sleep(secs(2.0)).await;
    app.sandbox.fault(Fault::refuse()).unwrap();
    assert_eq!(app.sandbox.drop_connections(phone(SHOP)), 1);
    sleep(secs(2.0)).await;
    send(app, SHOP, customer());
    sleep(secs(2.0)).await;
    app.sandbox.clear_faults();
    start
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_away_learns_of_the_answer_and_shows_nothing_again() {
    let app = TestApp::with_shop().await;
    let start = answer_while_away(&app).await;
    app.wait_for_state("shop", "connected").await;
    sleep(LONG).await;
    assert_read(&app, CUSTOMER);
    let stanzas = app.chat_states(SHOP);
    assert_eq!(stanzas.len(), 2, "{stanzas:?}");
    assert!(stanzas[1].1.contains("<paused/>"), "{stanzas:?}");
    let told = stanzas[1].0 - start;
    assert!((secs(6.0)..secs(6.5)).contains(&told), "{stanzas:?}");
    assert_eq!(spell(&app, customer()).why, Some(Why::Paused));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_whatsapp_delivers_late_is_not_waited_for_but_ends_it_then() {
    let app = TestApp::with_shop().await;
    let start = answer_while_away(&app).await;
    app.sandbox
        .fault(Fault::delay(Answer::Offline, secs(5.0)))
        .unwrap();
    sleep(LONG).await;
    let stanzas = app.chat_states(SHOP);
    let (shown, paused) = (stanzas[1].0 - start, stanzas.last().unwrap().0 - start);
    assert!((secs(8.0)..secs(8.5)).contains(&shown), "{stanzas:?}");
    assert!((secs(11.0)..secs(11.5)).contains(&paused), "{stanzas:?}");
    assert_eq!(stanzas.len(), 3, "{stanzas:?}");
    assert_eq!(app.pauses(SHOP).len(), 1, "{stanzas:?}");
}
