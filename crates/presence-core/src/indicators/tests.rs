//! By example. Random sequences of everything are in `properties`.

use std::time::Duration;

use super::*;

mod cost;
mod properties;

const TYPING: Indicator = Indicator::Typing;
const RECORDING: Indicator = Indicator::Recording;

#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to make some instant"
)]
pub(super) fn some_instant() -> Instant {
    Instant::now()
}

/// A driver that is always in time, and what it sent: `<seconds> <chat> <state>`.
struct Session {
    indicators: Indicators,
    start: Instant,
    now: Instant,
    sent: Vec<String>,
}

impl Session {
    /// A session that is up at 0, what it says then left out.
    fn new() -> Self {
        let mut session = Self::with(Policy::default());
        session.up(0.0);
        session.sent.clear();
        session
    }

    fn with(policy: Policy) -> Self {
        let start = some_instant();
        let indicators = Indicators::new(Timing::default(), policy);
        Self {
            indicators,
            start,
            now: start,
            sent: Vec::new(),
        }
    }

    fn show(&mut self, at: f64, chat: &str, indicator: Indicator, secs: u64) {
        self.wait_until(at);
        let command = Command::Show(indicator, Hold::from_secs(secs));
        self.indicators
            .handle_command(self.now, jid(chat), command)
            .unwrap();
        self.drain();
    }

    fn pause(&mut self, at: f64, chat: &str) {
        self.wait_until(at);
        self.indicators
            .handle_command(self.now, jid(chat), Command::Pause)
            .unwrap();
        self.drain();
    }

    fn up(&mut self, at: f64) {
        self.wait_until(at);
        self.indicators.handle_session_up(self.now);
        self.drain();
    }

    fn down(&mut self, at: f64) {
        self.wait_until(at);
        self.indicators.handle_session_down(self.now);
        self.drain();
    }

    fn keep_online(&mut self, at: f64, keep: bool) {
        self.wait_until(at);
        self.indicators.handle_keep_online(self.now, keep);
        self.drain();
    }

    fn fail(&mut self, chat: &str) {
        self.indicators.handle_failure(self.now, &jid(chat));
        self.drain();
    }

    fn shut_down(&mut self, at: f64) {
        self.wait_until(at);
        self.indicators.handle_shutdown(self.now);
        self.drain();
    }

    fn wait_until(&mut self, at: f64) {
        let until = self.start + Duration::from_secs_f64(at);
        while let Some(due) = self.indicators.poll_timeout().filter(|due| *due <= until) {
            assert!(due > self.now, "a deadline lies behind the last timeout");
            self.suspend_until(due);
        }
        self.now = until;
    }

    /// Lets time pass without a timeout being handled in between.
    fn suspend_until(&mut self, due: Instant) {
        self.now = due;
        self.indicators.handle_timeout(due);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.indicators.poll_transmit() {
            let at = (self.now - self.start).as_secs_f64();
            self.sent.push(match transmit {
                Transmit::ChatState { chat, state } => format!("{at} {} {state:?}", chat.user()),
                Transmit::Availability(availability) => format!("{at} {availability:?}"),
            });
        }
    }

    /// Waits until nothing is left to do, and says what was sent since it was last asked.
    fn rest(&mut self) -> Vec<String> {
        self.wait_until((self.now - self.start).as_secs_f64() + 200.0);
        assert_eq!(self.indicators.poll_timeout(), None);
        assert_eq!(self.indicators.shown(), 0);
        std::mem::take(&mut self.sent)
    }

    /// As [`rest`](Self::rest), without the availabilities.
    fn rest_of_chats(&mut self) -> Vec<String> {
        self.rest()
            .into_iter()
            .filter(|line| !line.ends_with("vailable"))
            .collect()
    }
}

fn jid(chat: &str) -> ChatJid {
    format!("{chat}@lid").parse().unwrap()
}

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
fn there_is_a_limit_to_the_chats_of_a_session() {
    let mut session = Session::new();
    let show = Command::Show(TYPING, None);
    for chat in 0..MAX_CHATS {
        session
            .indicators
            .handle_command(session.now, jid(&chat.to_string()), show)
            .unwrap();
    }
    let one_more = jid("99999999");
    let refused = session
        .indicators
        .handle_command(session.now, one_more.clone(), show);
    assert_eq!(refused, Err(Refused::TooManyChats));
    assert_eq!(
        session
            .indicators
            .handle_command(session.now, jid("0"), Command::Pause),
        Ok(())
    );
    session.drain();
    assert_eq!(session.indicators.shown(), MAX_CHATS - 1);
    assert_eq!(
        session.indicators.handle_command(session.now, one_more, show),
        Ok(())
    );
}

#[test]
fn no_timing_makes_it_panic_or_send_for_ever() {
    for extreme in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let mut session = Session::new();
        let timing = Timing {
            second: extreme,
            refresh: extreme,
            display: extreme,
            linger: extreme,
        };
        session.indicators = Indicators::new(timing, Policy::default());
        session.up(0.0);
        session.show(0.0, "7", TYPING, 60);
        session.show(0.0, "8", TYPING, 0);
        session.suspend_until(session.start + Duration::from_secs(90 * 24 * 60 * 60));
        assert!(session.sent.len() < 70, "{:?}", session.sent);
    }
}
