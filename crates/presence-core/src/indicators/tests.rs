//! By example; each rule at random times, in `rules`; and random sequences of everything, in `properties`.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::{Hold, Indicator};

mod aliases;
mod availability;
mod causes;
mod connections;
mod failures;
mod holds;
mod limits;
mod own_messages;
mod properties;
mod rules;
mod shown;
mod taken_over;
mod under_way;

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
    /// Why the last stanza to each chat was sent.
    causes: HashMap<ChatJid, Cause>,
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
            causes: HashMap::new(),
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

    fn own_message(&mut self, at: f64, chat: &str) {
        self.wait_until(at);
        self.indicators.handle_own_message(self.now, &jid(chat));
        self.drain();
    }

    /// The last stanza to `chat` was not written, or the command there not even polled.
    fn fail(&mut self, chat: &str) {
        let cause = self.causes.get(&jid(chat)).copied().unwrap_or(Cause::Command);
        self.indicators.handle_failure(self.now, &jid(chat), cause);
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
            self.note(transmit);
        }
    }

    fn note(&mut self, transmit: Transmit) {
        let at = (self.now - self.start).as_secs_f64();
        self.sent.push(match transmit {
            Transmit::ChatState { chat, state, cause } => {
                let line = format!("{at} {} {state:?}", chat.user());
                self.causes.insert(chat, cause);
                line
            }
            Transmit::Availability(availability) => format!("{at} {availability:?}"),
        });
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

impl Indicators {
    /// Whether the stanza of a command has yet to be polled.
    fn has_unpolled_command(&self) -> bool {
        self.open_commands.has_unpolled()
    }
}

fn jid(chat: &str) -> ChatJid {
    format!("{chat}@lid").parse().unwrap()
}
