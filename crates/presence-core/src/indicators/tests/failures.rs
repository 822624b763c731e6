//! Stanzas that were not written.

use super::*;

#[test]
fn a_command_whose_stanza_failed_leaves_nothing_where_there_was_nothing() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    assert_eq!(session.indicators.shown(), 1);
    session.fail("7");
    assert_eq!(session.indicators.shown(), 0);
    // It was raised for nothing, and is lowered at once.
    assert_eq!(session.rest(), ["0 Available", "0 7 Composing", "0 Unavailable"]);

    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.fail("7");
    session.down(0.0);
    session.up(2.0);
    session.shut_down(3.0);
    assert_eq!(session.rest_of_chats(), ["0 7 Composing"]);
}

#[test]
fn a_failed_command_voids_no_accepted_hold() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 12);
    session.show(3.0, "7", RECORDING, 60);
    session.fail("7");
    let expected = [
        "0 7 Composing",
        "3 7 Recording",
        "5 7 Composing",
        "10 7 Composing",
        "12 7 Paused",
    ];
    assert_eq!(session.rest_of_chats(), expected);

    // As things are, the session is down then.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 12);
    session.show(3.0, "7", RECORDING, 60);
    session.indicators.handle_session_down(session.now);
    session.fail("7");
    session.up(8.0);
    let expected = ["0 7 Composing", "3 7 Recording", "8 7 Composing", "12 7 Paused"];
    assert_eq!(session.rest_of_chats(), expected);

    // And it may be up again.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 12);
    session.show(3.0, "7", RECORDING, 60);
    session.down(3.0);
    session.wait_until(8.0);
    session.indicators.handle_session_up(session.now);
    session.fail("7");
    assert_eq!(session.rest_of_chats(), expected);
}

#[test]
fn an_explicit_pause_that_failed_lets_go_on_what_was_shown() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 12);
    session.pause(3.0, "7");
    session.fail("7");
    assert!(session.indicators.is_shown(&jid("7")));
    let expected = [
        "0 Available",
        "0 7 Composing",
        "3 7 Paused",
        "5 7 Composing",
        "10 7 Composing",
        "12 7 Paused",
        "22 Unavailable",
    ];
    assert_eq!(session.rest(), expected);

    let mut session = Session::new();
    session.pause(3.0, "7");
    session.fail("7");
    assert_eq!(session.rest(), ["3 7 Paused"]);
}

#[test]
fn a_failed_command_does_not_change_when_the_session_leaves() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.show(12.0, "8", TYPING, 60);
    session.fail("8");
    let expected = [
        "0 Available",
        "0 7 Composing",
        "5 7 Paused",
        "12 8 Composing",
        "15 Unavailable",
    ];
    assert_eq!(session.rest(), expected);
}

#[test]
fn a_pause_that_nobody_asked_for_is_tried_again_until_it_is_written() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.wait_until(5.0);
    session.fail("7");
    session.wait_until(10.0);
    session.fail("7");
    let expected = ["0 7 Composing", "5 7 Paused", "10 7 Paused", "15 7 Paused"];
    assert_eq!(session.rest_of_chats(), expected);

    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.wait_until(5.0);
    session.fail("7");
    session.down(6.0);
    session.up(7.0);
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "5 7 Paused", "7 7 Paused"]
    );
}

#[test]
fn a_pause_owed_goes_on_being_owed_when_a_command_fails_over_it() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.wait_until(5.0);
    session.fail("7");
    session.show(6.0, "7", RECORDING, 60);
    session.fail("7");
    let expected = ["0 7 Composing", "5 7 Paused", "6 7 Recording", "10 7 Paused"];
    assert_eq!(session.rest_of_chats(), expected);
}

#[test]
fn a_renewal_that_failed_leaves_the_hold_alone() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 12);
    session.wait_until(5.0);
    session.fail("7");
    let expected = ["0 7 Composing", "5 7 Composing", "10 7 Composing", "12 7 Paused"];
    assert_eq!(session.rest_of_chats(), expected);
}

#[test]
fn another_chats_failure_is_not_the_commands() {
    let mut session = Session::new();
    session.show(0.0, "8", TYPING, 60);
    session.show(5.0, "7", RECORDING, 6);
    session.fail("8");
    let sent = session.rest_of_chats();
    assert!(sent.contains(&"11 7 Paused".to_owned()), "{sent:?}");
    assert!(sent.contains(&"60 8 Paused".to_owned()), "{sent:?}");
}

#[test]
fn a_command_that_failed_before_its_stanza_leaves_what_was_shown() {
    let mut session = Session::new();
    let show = Command::Show(TYPING, Hold::from_secs(60));
    // The availability before the stanza failed.
    session
        .indicators
        .handle_command(session.now, jid("7"), show)
        .unwrap();
    assert!(session.indicators.has_unpolled_command());
    let available = Some(Transmit::Availability(Availability::Available));
    assert_eq!(session.indicators.poll_transmit(), available);
    session.indicators.handle_session_down(session.now);
    session.fail("7");
    assert!(!session.indicators.has_unpolled_command());
    session.up(1.0);
    assert_eq!(session.rest(), ["1 Unavailable"], "no phone has seen anything");

    session.show(300.0, "7", RECORDING, 7);
    session
        .indicators
        .handle_command(session.now, jid("7"), show)
        .unwrap();
    session.indicators.handle_session_down(session.now);
    session.fail("7");
    session.up(303.0);
    assert_eq!(
        session.rest_of_chats(),
        ["300 7 Recording", "303 7 Recording", "307 7 Paused"]
    );

    // While down, a shutdown forgets everything, and the failure brings nothing back.
    session.show(600.0, "7", RECORDING, 7);
    session
        .indicators
        .handle_command(session.now, jid("7"), show)
        .unwrap();
    session.indicators.handle_session_down(session.now);
    session.shut_down(600.0);
    session.fail("7");
    session.up(601.0);
    assert_eq!(session.rest_of_chats(), ["600 7 Recording"]);
}

#[test]
fn the_stanza_of_a_command_is_told_from_others() {
    // Both are due at the same time, and go out in the order of their JIDs.
    for (commanded, polled) in [("7", vec!["7"]), ("9", vec!["8", "9"])] {
        let mut session = Session::new();
        assert!(!session.indicators.has_unpolled_command());
        session.show(0.0, "8", TYPING, 60);
        session.now = session.start + Duration::from_secs(5);
        let show = Command::Show(TYPING, Hold::from_secs(60));
        session
            .indicators
            .handle_command(session.now, jid(commanded), show)
            .unwrap();
        let mut chats = Vec::new();
        while session.indicators.has_unpolled_command() {
            match session.indicators.poll_transmit() {
                Some(Transmit::ChatState { chat, .. }) => chats.push(chat),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(chats, polled.into_iter().map(jid).collect::<Vec<_>>());
        // It may fail though others go out after it.
        session.drain();
        session.fail(commanded);
        assert!(!session.indicators.is_shown(&jid(commanded)));
        assert!(session.indicators.is_shown(&jid("8")));
    }
}
