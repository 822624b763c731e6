//! When the session is available.

use super::*;

#[test]
fn the_switch_turns_raising_off() {
    let mut session = Session::with(Policy {
        raise_availability: false,
        keep_online: false,
    });
    session.up(0.0);
    session.show(1.0, "7", TYPING, 5);
    assert_eq!(session.rest(), ["0 Unavailable", "1 7 Composing", "6 7 Paused"]);
}

#[test]
fn an_instance_that_is_kept_online_is_never_unavailable() {
    let mut session = Session::with(Policy {
        raise_availability: true,
        keep_online: true,
    });
    session.up(0.0);
    session.show(1.0, "7", TYPING, 5);
    session.down(30.0);
    session.up(31.0);
    session.shut_down(40.0);
    assert_eq!(
        session.rest(),
        ["0 Available", "1 7 Composing", "6 7 Paused", "31 Available"]
    );
}

#[test]
fn keeping_online_takes_effect_at_once() {
    let mut session = Session::new();
    session.keep_online(1.0, true);
    session.keep_online(2.0, true);
    session.keep_online(3.0, false);
    assert_eq!(session.rest(), ["1 Available", "3 Unavailable"]);

    // While something is shown, the session stays available for it.
    session.show(300.0, "7", TYPING, 5);
    session.keep_online(301.0, true);
    session.keep_online(302.0, false);
    let expected = [
        "300 Available",
        "300 7 Composing",
        "305 7 Paused",
        "315 Unavailable",
    ];
    assert_eq!(session.rest(), expected);

    // Saying again what holds does not end the lingering.
    session.show(600.0, "7", TYPING, 1);
    session.keep_online(605.0, false);
    let expected = [
        "600 Available",
        "600 7 Composing",
        "601 7 Paused",
        "611 Unavailable",
    ];
    assert_eq!(session.rest(), expected);
}

#[test]
fn an_indicator_within_the_lingering_needs_no_new_availability() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.show(14.0, "8", TYPING, 5);
    // Nor does the end of the lingering wake anybody.
    let end = session.start + Duration::from_secs(19);
    assert_eq!(session.indicators.poll_timeout(), Some(end));
    let expected = [
        "0 Available",
        "0 7 Composing",
        "5 7 Paused",
        "14 8 Composing",
        "19 8 Paused",
        "29 Unavailable",
    ];
    assert_eq!(session.rest(), expected);
}

#[test]
fn the_lingering_ends_with_the_connection() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.down(6.0);
    session.up(8.0);
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "5 7 Paused", "8 Unavailable"]
    );

    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.shut_down(8.0);
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "5 7 Paused", "8 Unavailable"]
    );
}

#[test]
fn nothing_lingers_longer_for_a_name_that_shows_nothing() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.wait_until(12.0);
    session.indicators.handle_alias(session.now, jid("1"), jid("2"));
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "5 7 Paused", "15 Unavailable"]
    );
}

#[test]
fn an_availability_that_was_lost_is_told_again_while_up() {
    let mut session = Session::new();
    assert_eq!(session.indicators.availability(), Some(Availability::Unavailable));
    session.indicators.handle_availability_lost(session.now);
    assert_eq!(session.indicators.availability(), None);
    session.show(1.0, "7", TYPING, 5);
    session.wait_until(8.0);
    session.indicators.handle_availability_lost(session.now);
    session.drain();
    session.down(9.0);
    assert_eq!(session.indicators.availability(), None);
    session.indicators.handle_availability_lost(session.now);
    session.drain();
    let expected = ["1 Available", "1 7 Composing", "6 7 Paused", "8 Available"];
    assert_eq!(session.sent, expected);
}
