//! Several stanzas under way at once.

use proptest::prelude::*;

use super::*;

/// A machine of which no stanza is written until its test says so.
struct Driver {
    indicators: Indicators,
    now: Instant,
    under_way: Vec<(ChatJid, ChatState, Cause)>,
}

impl Driver {
    /// One that is up and available all the time, so that only chat states come out.
    fn new() -> Self {
        Self::at(some_instant())
    }

    fn at(now: Instant) -> Self {
        let policy = Policy {
            keep_online: true,
            ..Policy::default()
        };
        let mut driver = Self {
            indicators: Indicators::new(Timing::default(), policy),
            now,
            under_way: Vec::new(),
        };
        driver.indicators.watch_changes(true);
        driver.up();
        driver
    }

    fn up(&mut self) {
        self.indicators.handle_session_up(self.now);
        let online = Transmit::Availability(Availability::Available);
        assert_eq!(self.indicators.poll_transmit(), Some(online));
    }

    fn command(&mut self, chat: &str, command: Command) {
        self.indicators
            .handle_command(self.now, jid(chat), command)
            .unwrap();
        self.poll();
    }

    fn show(&mut self, chat: &str, secs: u64) {
        self.command(chat, Command::Show(TYPING, Hold::from_secs(secs)));
    }

    fn poll(&mut self) -> NextTransmit {
        loop {
            let addresses = self.under_way.iter().map(|(chat, ..)| chat);
            match self.indicators.poll_transmit_beside(addresses) {
                NextTransmit::Now(Transmit::ChatState { chat, state, cause }) => {
                    self.under_way.push((chat, state, cause));
                }
                next => return next,
            }
        }
    }

    fn wait(&mut self, secs: u64) -> NextTransmit {
        self.now += Duration::from_secs(secs);
        self.indicators.handle_timeout(self.now);
        self.poll()
    }

    /// What is under way to `chat` is written, or not.
    fn end(&mut self, chat: &str, is_written: bool) {
        let place = self.under_way.iter().position(|(to, ..)| *to == jid(chat));
        let (chat, _, cause) = self.under_way.remove(place.unwrap());
        if !is_written {
            self.indicators.handle_failure(self.now, &chat, cause);
        } else if cause == Cause::Command {
            self.indicators.handle_written(&chat);
        }
    }

    fn under_way(&self) -> Vec<String> {
        let line = |(chat, state, _): &(ChatJid, ChatState, Cause)| format!("{} {state:?}", chat.user());
        self.under_way.iter().map(line).collect()
    }

    fn shown(&self) -> Vec<(String, Shown)> {
        let shown = self.indicators.shown_at(self.now);
        let mut shown: Vec<_> = shown.map(|(chat, shown)| (chat.to_string(), shown)).collect();
        shown.sort_by(|(one, _), (other, _)| one.cmp(other));
        shown
    }
}

#[test]
fn a_chat_whose_stanza_is_under_way_holds_up_its_next_one_and_what_is_behind_it() {
    let mut driver = Driver::new();
    driver.show("7", 5);
    driver.show("8", 6);
    assert_eq!(driver.under_way(), ["7 Composing", "8 Composing"]);
    assert_eq!(driver.wait(6), NextTransmit::Waits);
    driver.end("8", true);
    assert_eq!(
        (driver.poll(), driver.under_way().len()),
        (NextTransmit::Waits, 1)
    );
    driver.end("7", true);
    assert_eq!(driver.poll(), NextTransmit::Nothing);
    assert_eq!(driver.under_way(), ["7 Paused", "8 Paused"]);
}

#[test]
fn a_chat_is_the_same_under_all_its_names() {
    let mut driver = Driver::new();
    driver.show("7", 60);
    driver.indicators.handle_alias(driver.now, jid("7"), jid("8"));
    assert!(driver.indicators.is_same_chat(&jid("7"), &jid("8")));
    assert!(!driver.indicators.is_same_chat(&jid("7"), &jid("9")));
    assert_eq!(driver.wait(5), NextTransmit::Waits, "it is sent again to 8");
    driver.end("7", true);
    assert_eq!(driver.poll(), NextTransmit::Nothing);
    assert_eq!(driver.under_way(), ["8 Composing"]);
}

#[test]
fn no_two_stanzas_are_under_way_to_one_address() {
    let mut driver = Driver::new();
    driver.show("7", 5);
    driver.end("7", true);
    // What 7 showed is taken for 6's; its `paused` is to go to 7, which is somebody else after all.
    for (alias, chat) in [("7", "8"), ("6", "8"), ("6", "6"), ("7", "7")] {
        driver.indicators.handle_alias(driver.now, jid(alias), jid(chat));
    }
    driver.show("7", 60);
    assert_eq!(driver.wait(5), NextTransmit::Waits);
    assert_eq!(driver.under_way(), ["7 Composing"]);
    driver.end("7", true);
    assert_eq!(driver.poll(), NextTransmit::Waits);
    assert_eq!(driver.under_way(), ["7 Paused"], "and then it is sent again");
}

#[test]
fn an_availability_waits_until_nothing_is_under_way() {
    let mut driver = Driver::new();
    driver.show("7", 60);
    driver.indicators.handle_availability_lost(driver.now);
    assert_eq!(driver.poll(), NextTransmit::Waits);
    driver.end("7", true);
    let next = driver.poll();
    let told = Transmit::Availability(Availability::Available);
    assert_eq!(next, NextTransmit::Now(told));
}

#[test]
fn whichever_of_several_commands_failed_is_void_and_no_other() {
    for failed in ["7", "8", "9"] {
        let mut driver = Driver::new();
        for chat in ["7", "8", "9"] {
            driver.show(chat, 60);
        }
        for chat in ["8", "7", "9"] {
            driver.end(chat, chat != failed);
        }
        let shown = driver.shown();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(!driver.indicators.is_shown(&jid(failed)));
        driver.indicators.handle_session_down(driver.now);
        driver.up();
        driver.poll();
        assert!(!driver.under_way().contains(&format!("{failed} Composing")));
        assert_eq!(driver.under_way().len(), 2);
    }
}

#[test]
fn a_change_is_settled_when_its_own_command_is_written_or_void() {
    let mut driver = Driver::new();
    driver.show("7", 60);
    driver.show("8", 60);
    assert_eq!(driver.indicators.poll_settled_change(), None);
    driver.end("8", true);
    let told = driver.indicators.poll_settled_change().unwrap();
    assert_eq!((told.chat, told.shown.is_some()), (jid("8"), true));
    assert_eq!(driver.indicators.poll_settled_change(), None);
    driver.end("7", false);
    let told = driver.indicators.poll_settled_change().unwrap();
    assert_eq!((told.chat, told.shown), (jid("7"), None));
}

#[test]
fn of_more_commands_than_are_kept_the_earliest_counts_as_written() {
    let mut driver = Driver::new();
    let chats: Vec<_> = (1..=MAX_OPEN_COMMANDS + 1).map(|chat| chat.to_string()).collect();
    for chat in &chats {
        driver.show(chat, 60);
    }
    for chat in &chats {
        driver.end(chat, false);
    }
    assert_eq!(driver.shown().len(), 1);
    assert!(driver.indicators.is_shown(&jid("1")));
}

/// What happens while the commands of a round are under way.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    OwnMessage(u8),
    Reconnect,
    Shutdown,
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => Just(Command::Pause),
        4 => (prop_oneof![Just(TYPING), Just(RECORDING)], prop_oneof![Just(0_u64), 1_u64..90])
            .prop_map(|(indicator, secs)| Command::Show(indicator, Hold::from_secs(secs))),
    ]
}

/// For each chat a command or none, and whether it fails; what happens in between; who is answered first; and how
/// long it is until the next round.
type Round = (Vec<(Option<Command>, bool)>, Meanwhile, bool, u64);

fn round() -> impl Strategy<Value = Round> {
    let commands = prop::collection::vec((prop::option::weighted(0.6, command()), any::<bool>()), 6);
    let meanwhile = prop_oneof![
        6 => Just(Meanwhile::Nothing),
        2 => (0_u8..6).prop_map(Meanwhile::OwnMessage),
        1 => Just(Meanwhile::Reconnect),
        1 => Just(Meanwhile::Shutdown),
    ];
    (commands, meanwhile, any::<bool>(), 0_u64..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// One machine is given all commands of a round at once, and some of them fail in any order; another is given
    /// only those that do not, one after the other.
    #[test]
    fn commands_that_failed_among_others_are_as_if_they_had_never_been_given(
        rounds in prop::collection::vec(round(), 1..8),
    ) {
        let now = some_instant();
        let (mut all, mut good) = (Driver::at(now), Driver::at(now));
        for (commands, meanwhile, reversed, wait) in rounds {
            let mut answers = Vec::new();
            for (chat, (command, fails)) in commands.into_iter().enumerate() {
                let Some(command) = command else { continue };
                let chat = chat.to_string();
                all.command(&chat, command);
                if !fails {
                    good.command(&chat, command);
                }
                answers.push((chat, fails));
            }
            for driver in [&mut all, &mut good] {
                match meanwhile {
                    Meanwhile::Nothing => {}
                    Meanwhile::OwnMessage(chat) => {
                        driver.indicators.handle_own_message(driver.now, &jid(&chat.to_string()));
                    }
                    Meanwhile::Reconnect => driver.indicators.handle_session_down(driver.now),
                    Meanwhile::Shutdown => driver.indicators.handle_shutdown(driver.now),
                }
            }
            if reversed {
                answers.reverse();
            }
            for (chat, fails) in answers {
                all.end(&chat, !fails);
                if !fails {
                    good.end(&chat, true);
                }
            }
            if !matches!(meanwhile, Meanwhile::Nothing | Meanwhile::OwnMessage(_)) {
                for driver in [&mut all, &mut good] {
                    driver.under_way.clear();
                    driver.indicators.handle_session_down(driver.now);
                    driver.up();
                }
            }
            for secs in [0, wait] {
                let mut sent = [&mut all, &mut good].map(|driver| {
                    assert_eq!(driver.wait(secs), NextTransmit::Nothing);
                    let mut sent = driver.under_way();
                    sent.sort();
                    for chat in std::mem::take(&mut driver.under_way) {
                        driver.indicators.handle_written(&chat.0);
                    }
                    // What became due behind one of those is sent now.
                    driver.poll();
                    driver.under_way.clear();
                    (sent, driver.shown(), driver.indicators.poll_timeout())
                });
                let [all, good] = &mut sent;
                prop_assert_eq!(all, good);
            }
        }
    }
}
