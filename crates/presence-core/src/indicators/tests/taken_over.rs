//! What another machine showed before this one took its session over.

use super::*;

impl Session {
    /// A session that is not up yet.
    fn waiting() -> Self {
        Self::with(Policy::default())
    }

    /// `chat` shows this until `until`, as another machine had it sent.
    fn take_over(&mut self, chat: &str, indicator: Indicator, secs: u64, until: f64) {
        let shown = Shown {
            indicator,
            hold: Hold::from_secs(secs),
            until: self.start + Duration::from_secs_f64(until),
        };
        self.indicators.handle_taken_over(self.now, &jid(chat), shown);
        self.drain();
    }
}

#[test]
fn what_was_taken_over_goes_on_for_the_time_that_is_left() {
    let mut session = Session::waiting();
    session.take_over("7", RECORDING, 30, 12.0);
    assert_eq!(session.indicators.shown(), 1);
    let (_, shown) = session.indicators.shown_at(session.now).next().unwrap();
    assert_eq!(shown.hold, Hold::from_secs(30), "as it was asked for");
    session.up(3.0);
    let told = ["3 Available", "3 7 Recording", "8 7 Recording", "12 7 Paused"];
    assert_eq!(session.rest()[..4], told);
}

#[test]
fn what_is_over_when_the_session_comes_up_is_paused_and_what_was_shown_once_is_left_to_phones() {
    let mut session = Session::waiting();
    session.wait_until(20.0);
    session.take_over("5", TYPING, 0, 25.0);
    session.take_over("6", TYPING, 30, 10.0);
    session.take_over("7", TYPING, 30, 21.0);
    session.up(22.0);
    assert_eq!(session.rest_of_chats(), ["22 6 Paused", "22 7 Paused"]);
}

#[test]
fn a_message_before_the_session_comes_up_ends_it() {
    let mut session = Session::waiting();
    session.take_over("7", TYPING, 60, 50.0);
    session.own_message(2.0, "7");
    session.up(2.0);
    assert_eq!(session.rest(), ["2 Unavailable", "2 7 Paused"]);
}

#[test]
fn what_is_asked_for_here_is_newer() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.take_over("7", RECORDING, 60, 50.0);
    // And where the session is up already, it goes on at once.
    session.take_over("8", RECORDING, 60, 4.0);
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "0 8 Recording", "4 8 Paused", "5 7 Paused"]
    );
}

#[test]
fn nothing_goes_on_for_longer_than_it_was_asked_for_and_nothing_begins_at_the_end() {
    let mut session = Session::waiting();
    session.take_over("7", TYPING, 5, 4000.0);
    session.up(0.0);
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "5 7 Paused"]);
    let mut session = Session::new();
    session.shut_down(0.0);
    session.take_over("7", TYPING, 5, 5.0);
    assert!(session.rest_of_chats().is_empty());
}
