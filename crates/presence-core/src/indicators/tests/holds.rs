//! Commands, and the time that passes after them.

use super::*;

#[test]
fn an_indicator_is_paused_at_its_deadline_and_the_session_leaves_ten_seconds_later() {
    let mut session = Session::new();
    session.show(1.0, "7", TYPING, 5);
    let expected = ["1 Available", "1 7 Composing", "6 7 Paused", "16 Unavailable"];
    assert_eq!(session.rest(), expected);
}

#[test]
fn a_held_indicator_is_sent_again_every_five_seconds_but_not_in_its_last_second() {
    let rows: [(u64, &[u64]); 7] = [
        (1, &[]),
        (5, &[]),
        (6, &[5]),
        (10, &[5]),
        (11, &[5, 10]),
        (15, &[5, 10]),
        (60, &[5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55]),
    ];
    for (hold, renewals) in rows {
        let mut session = Session::new();
        session.show(0.0, "7", RECORDING, hold);
        let shown = [0].iter().chain(renewals).map(|at| format!("{at} 7 Recording"));
        let expected: Vec<_> = shown.chain([format!("{hold} 7 Paused")]).collect();
        assert_eq!(session.rest_of_chats(), expected, "held for {hold} s");
    }
}

#[test]
fn without_a_hold_an_indicator_is_sent_once_and_forgotten() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 0);
    assert_eq!(session.indicators.shown(), 1);
    // The phone shows it for ten seconds, and the session lingers for ten more.
    assert_eq!(session.rest(), ["0 Available", "0 7 Composing", "20 Unavailable"]);
}

#[test]
fn the_latest_command_replaces_the_timer_too() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.show(2.0, "7", TYPING, 10);
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "2 7 Composing", "7 7 Composing", "12 7 Paused"]
    );

    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.show(5.0, "7", RECORDING, 5);
    let late_by_nothing = ["0 7 Composing", "5 7 Paused", "5 7 Recording", "10 7 Paused"];
    assert_eq!(
        session.rest_of_chats(),
        late_by_nothing,
        "the pause was due before the command came"
    );

    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.show(3.0, "7", RECORDING, 0);
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "3 7 Recording"]);
}

#[test]
fn a_pause_is_sent_once_and_ends_the_timer() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.pause(2.0, "7");
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "2 7 Paused", "12 Unavailable"]
    );
    session.pause(300.0, "7");
    assert_eq!(
        session.rest(),
        ["300 7 Paused"],
        "it is sent without an indicator too, and raises nothing"
    );
}

#[test]
fn chats_do_not_touch_each_other() {
    let mut session = Session::new();
    session.show(0.0, "8", TYPING, 7);
    session.show(1.0, "7", TYPING, 6);
    session.pause(2.0, "9");
    let expected = [
        "0 Available",
        "0 8 Composing",
        "1 7 Composing",
        "2 9 Paused",
        "5 8 Composing",
        "6 7 Composing",
        "7 7 Paused",
        "7 8 Paused",
        "17 Unavailable",
    ];
    assert_eq!(session.rest(), expected);
}

#[test]
fn lateness_neither_drifts_nor_bursts() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    let at = |secs| session.start + Duration::from_secs_f64(secs);
    let (late, later, suspended) = (at(5.7), at(10.2), at(33.0));
    session.suspend_until(late);
    session.suspend_until(later);
    session.suspend_until(suspended);
    let shown = [0.0, 5.7, 10.2, 33.0, 35.0, 40.0, 45.0, 50.0, 55.0].map(|at| format!("{at} 7 Composing"));
    assert_eq!(
        session.rest_of_chats(),
        [&shown[..], &["60 7 Paused".to_owned()]].concat()
    );
}

#[test]
fn a_machine_that_slept_past_the_end_only_pauses() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 20);
    session.suspend_until(session.start + Duration::from_secs(3600));
    let expected = [
        "0 Available",
        "0 7 Composing",
        "3600 7 Paused",
        "3600 Unavailable",
    ];
    assert_eq!(session.rest(), expected);

    // Or up to the end, to the nanosecond.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 20);
    session.suspend_until(session.start + Duration::from_secs(20));
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "20 7 Paused"]);
}

#[test]
fn time_does_not_go_back() {
    let mut session = Session::new();
    session.wait_until(10.0);
    session.indicators.handle_timeout(session.now);
    session.indicators.handle_timeout(session.start);
    let show = Command::Show(TYPING, Hold::from_secs(5));
    session
        .indicators
        .handle_command(session.start, jid("7"), show)
        .unwrap();
    session.drain();
    assert_eq!(session.rest_of_chats(), ["10 7 Composing", "15 7 Paused"]);
}
