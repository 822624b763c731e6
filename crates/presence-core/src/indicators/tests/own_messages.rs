//! Messages that the account sends, which end what is shown in their chats.

use super::*;

#[test]
fn a_message_ends_what_its_chat_shows_and_no_other() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.show(1.0, "8", RECORDING, 12);
    session.own_message(8.0, "7");
    let expected = [
        "0 Available",
        "0 7 Composing",
        "1 8 Recording",
        "5 7 Composing",
        "6 8 Recording",
        "8 7 Paused",
        "11 8 Recording",
        "13 8 Paused",
        "23 Unavailable",
    ];
    assert_eq!(session.rest(), expected);
}

#[test]
fn the_session_lingers_from_the_message_on() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.own_message(3.0, "7");
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "3 7 Paused", "13 Unavailable"]
    );
}

#[test]
fn one_without_a_hold_is_ended_while_the_phone_shows_it() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 0);
    session.own_message(9.0, "7");
    session.show(20.0, "7", TYPING, 0);
    session.own_message(30.0, "7");
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "9 7 Paused", "20 7 Composing"]
    );
}

#[test]
fn where_nothing_is_shown_nothing_happens() {
    let mut session = Session::new();
    session.own_message(0.0, "7");
    assert_eq!(session.indicators.poll_timeout(), None);
    session.show(1.0, "7", TYPING, 5);
    session.pause(2.0, "7");
    session.own_message(3.0, "7");
    session.show(10.0, "7", TYPING, 5);
    session.own_message(15.0, "7");
    session.own_message(16.0, "7");
    let expected = ["1 7 Composing", "2 7 Paused", "10 7 Composing", "15 7 Paused"];
    assert_eq!(session.rest_of_chats(), expected);
}

#[test]
fn what_is_asked_for_after_the_message_is_shown() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.own_message(2.0, "7");
    session.show(2.0, "7", RECORDING, 3);
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "2 7 Paused", "2 7 Recording", "5 7 Paused"]
    );
}

#[test]
fn names_of_one_person_are_one_chat() {
    for (asked, sent) in [("7", "7"), ("7", "1"), ("1", "7"), ("1", "1")] {
        let mut session = Session::new();
        session.alias(0.0, "7", "1");
        session.show(0.0, asked, TYPING, 60);
        session.own_message(3.0, sent);
        assert_eq!(
            session.rest_of_chats(),
            ["0 1 Composing", "3 1 Paused"],
            "{asked}, {sent}"
        );
    }
    // The `paused` goes where the indicator went.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.alias(1.0, "7", "1");
    session.own_message(3.0, "1");
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "3 7 Paused"]);
}

#[test]
fn a_message_that_was_sent_meanwhile_is_all_that_a_new_connection_tells_of() {
    for hold in [60, 0] {
        let mut session = Session::new();
        session.show(0.0, "7", TYPING, hold);
        session.down(2.0);
        session.own_message(3.0, "7");
        session.own_message(3.0, "7");
        session.up(4.0);
        assert_eq!(
            session.rest(),
            ["0 Available", "0 7 Composing", "4 Unavailable", "4 7 Paused"],
            "held for {hold} s"
        );
    }
    // One that does not come back for its last second has no other end than the message.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 10);
    session.down(9.0);
    session.up(9.2);
    session.own_message(9.5, "7");
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "5 7 Composing", "9.5 7 Paused"]
    );
    // What the connection before it sent, and this one did not, is ended as well.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 0);
    session.down(2.0);
    session.up(4.0);
    session.own_message(5.0, "7");
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "5 7 Paused"]);
}

#[test]
fn a_paused_that_was_not_written_is_owed() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.own_message(3.0, "7");
    session.fail("7");
    session.own_message(4.0, "7");
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "3 7 Paused", "8 7 Paused"]
    );
}

#[test]
fn a_command_that_fails_does_not_bring_back_what_the_message_ended() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.show(2.0, "7", RECORDING, 60);
    session.indicators.handle_own_message(session.now, &jid("7"));
    session.fail("7");
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "2 7 Recording", "2 7 Paused"]
    );
}

#[test]
fn a_command_that_was_not_polled_before_the_message_is_answered_by_its_paused() {
    let mut session = Session::new();
    let show = Command::Show(TYPING, Hold::from_secs(60));
    session
        .indicators
        .handle_command(session.now, jid("7"), show)
        .unwrap();
    session.indicators.handle_own_message(session.now, &jid("7"));
    assert!(session.indicators.has_unpolled_command());
    session.drain();
    assert!(!session.indicators.has_unpolled_command());
    assert_eq!(session.rest(), ["0 7 Paused"]);
}
