//! Sessions that come and go.

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
    let chat = jid("7");
    assert!(!session.indicators.is_shown(&chat) && session.indicators.has_yet_to_end(&chat));
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
fn an_indicator_that_no_phone_has_seen_is_not_paused_when_its_time_is_up() {
    let mut session = Session::new();
    let show = Command::Show(TYPING, Hold::from_secs(1));
    session
        .indicators
        .handle_command(session.now, jid("7"), show)
        .unwrap();
    session.indicators.handle_session_down(session.now);
    session.up(0.5);
    assert_eq!(session.rest(), ["0.5 Unavailable"]);
}
