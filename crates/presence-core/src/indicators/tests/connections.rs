//! Sessions that come and go, and stanzas that were not written.

use super::*;

#[test]
fn an_indicator_outlives_a_lost_connection() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 10);
    session.down(2.0);
    session.up(4.0);
    let expected = [
        "0 Available",
        "0 7 Composing",
        "4 Available",
        "4 7 Composing",
        "9 7 Composing",
        "10 7 Paused",
        "20 Unavailable",
    ];
    assert_eq!(session.rest(), expected);
}

#[test]
fn an_indicator_whose_time_ran_out_meanwhile_is_paused_on_return() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 10);
    session.show(0.0, "8", TYPING, 0);
    session.down(2.0);
    assert_eq!(session.indicators.poll_timeout(), None);
    session.up(20.0);
    let expected = [
        "0 Available",
        "0 7 Composing",
        "0 8 Composing",
        "20 Unavailable",
        "20 7 Paused",
    ];
    assert_eq!(session.rest(), expected);
}

#[test]
fn an_indicator_does_not_come_back_for_its_last_second() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 10);
    session.down(2.0);
    session.up(9.5);
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "9.5 Unavailable", "10 7 Paused"]
    );
}

#[test]
fn an_indicator_without_a_hold_does_not_come_back_but_is_paused_at_shutdown() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 0);
    session.down(1.0);
    session.up(2.0);
    session.shut_down(3.0);
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "2 Unavailable", "3 7 Paused"]
    );
}

#[test]
fn while_down_nothing_goes_in_or_out() {
    let mut session = Session::with(Policy::default());
    let show = Command::Show(TYPING, Hold::from_secs(5));
    assert_eq!(
        session.indicators.handle_command(session.now, jid("7"), show),
        Err(Refused::Offline)
    );
    session.keep_online(1.0, true);
    session.keep_online(2.0, false);
    session.shut_down(3.0);
    assert_eq!(session.rest(), [""; 0]);
}

#[test]
fn what_was_not_polled_when_the_connection_was_lost_is_decided_anew() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.show(0.0, "8", TYPING, 60);
    let (now, start) = (session.start + Duration::from_secs(5), session.start);
    session.indicators.handle_timeout(now);
    session.indicators.handle_session_down(now);
    assert_eq!(session.indicators.poll_transmit(), None);
    session
        .indicators
        .handle_session_up(start + Duration::from_secs(6));
    session.now = start + Duration::from_secs(6);
    session.sent.clear();
    session.drain();
    assert_eq!(session.sent, ["6 Available", "6 7 Paused", "6 8 Composing"]);
}

#[test]
fn a_shutdown_pauses_everything_and_takes_no_more() {
    let mut session = Session::new();
    session.show(0.0, "8", TYPING, 60);
    session.show(1.0, "7", RECORDING, 0);
    session.sent.clear();
    session.shut_down(2.0);
    assert_eq!(session.sent, ["2 7 Paused", "2 8 Paused", "2 Unavailable"]);
    assert_eq!(session.indicators.poll_timeout(), None);
    assert_eq!(
        session
            .indicators
            .handle_command(session.now, jid("7"), Command::Pause),
        Err(Refused::Offline)
    );
    session.up(3.0);
    session.pause(4.0, "7");
    assert_eq!(
        session.rest_of_chats(),
        ["2 7 Paused", "2 8 Paused", "4 7 Paused"]
    );
}

#[test]
fn a_command_whose_stanza_failed_is_void_and_paused_at_the_next_chance() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.fail("7");
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "5 7 Paused", "10 Unavailable"]
    );

    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.fail("7");
    session.down(0.0);
    session.up(2.0);
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "2 7 Paused"]);
}

#[test]
fn a_pause_that_failed_is_tried_again_until_it_is_written() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.wait_until(5.0);
    session.fail("7");
    session.wait_until(10.0);
    session.fail("7");
    let expected = ["0 7 Composing", "5 7 Paused", "10 7 Paused", "15 7 Paused"];
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
fn a_command_that_failed_before_its_stanza_leaves_nothing_but_what_was_shown() {
    let mut session = Session::new();
    let show = Command::Show(TYPING, Hold::from_secs(60));
    // The availability before the stanza failed.
    session
        .indicators
        .handle_command(session.now, jid("7"), show)
        .unwrap();
    assert_eq!(
        session.indicators.poll_transmit(),
        Some(Transmit::Availability(Availability::Available))
    );
    session.fail("7");
    assert_eq!(session.rest_of_chats(), [""; 0], "no phone has seen anything");

    session.show(300.0, "7", RECORDING, 60);
    session
        .indicators
        .handle_command(session.now, jid("7"), show)
        .unwrap();
    session.fail("7");
    assert_eq!(session.rest_of_chats(), ["300 7 Recording", "305 7 Paused"]);
}
