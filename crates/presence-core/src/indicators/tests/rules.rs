//! Each rule by itself, at random times.

use proptest::prelude::*;

use super::*;

fn secs(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

fn indicator() -> impl Strategy<Value = Indicator> {
    prop_oneof![Just(TYPING), Just(RECORDING)]
}

fn command() -> impl Strategy<Value = Command> {
    let hold = prop_oneof![Just(0_u64), 1_u64..=12, Just(60)].prop_map(Hold::from_secs);
    prop_oneof![
        3 => (indicator(), hold).prop_map(|(indicator, hold)| Command::Show(indicator, hold)),
        1 => Just(Command::Pause),
    ]
}

impl Session {
    fn give(&mut self, at: f64, chat: &str, command: Command) {
        self.wait_until(at);
        self.indicators
            .handle_command(self.now, jid(chat), command)
            .unwrap();
        self.drain();
    }

    fn lose_availability(&mut self, at: f64) {
        self.wait_until(at);
        self.indicators.handle_availability_lost(self.now);
        self.drain();
    }
}

/// Milliseconds at which an indicator held from `start` to `end` is sent.
fn sent_at(start: u64, end: u64) -> impl Iterator<Item = u64> {
    (start..end)
        .step_by(5_000)
        .filter(move |at| *at == start || at + 1_000 <= end)
}

proptest! {
    #[test]
    fn a_hold_is_sent_every_five_seconds_and_auto_paused_once(
        start in 0_u64..20_000, indicator in indicator(), hold in 1_u64..=60,
    ) {
        let mut session = Session::new();
        session.show(secs(start), "7", indicator, hold);
        let end = start + hold * 1_000;
        let state = ChatState::from(indicator);
        let shown = sent_at(start, end).map(|at| format!("{} 7 {state:?}", secs(at)));
        let expected: Vec<_> = shown.chain([format!("{} 7 Paused", secs(end))]).collect();
        prop_assert_eq!(session.rest_of_chats(), expected);
    }

    #[test]
    fn after_the_latest_command_all_is_as_if_it_were_the_only_one(
        earlier in prop::collection::vec((0_u64..15_000, command()), 1..6), gap in 1_u64..15_000, last in command(),
    ) {
        let (mut session, mut alone) = (Session::new(), Session::new());
        let mut at = 0;
        for (gap, command) in earlier {
            at += gap;
            session.give(secs(at), "7", command);
        }
        let at = secs(at + gap);
        session.wait_until(at);
        session.sent.clear();
        session.give(at, "7", last);
        alone.give(at, "7", last);
        prop_assert_eq!(session.rest_of_chats(), alone.rest_of_chats());
    }

    #[test]
    fn a_hold_comes_back_with_the_connection_or_is_paused_on_it(
        hold in 1_u64..=60, down in 1_u64..60_000, away in 1_u64..60_000,
    ) {
        let end = hold * 1_000;
        let down = down.min(end - 1);
        let up = down + away;
        let mut session = Session::new();
        session.show(0.0, "7", TYPING, hold);
        session.down(secs(down));
        session.sent.clear();
        session.up(secs(up));
        let again = if up + 1_000 <= end { end } else { up };
        let shown = sent_at(up, again).map(|at| format!("{} 7 Composing", secs(at)));
        let paused = format!("{} 7 Paused", secs(end.max(up)));
        let expected: Vec<_> = shown.chain([paused]).collect();
        prop_assert_eq!(session.rest_of_chats(), expected);
    }

    #[test]
    fn a_message_ends_a_hold_like_a_pause_whatever_the_connection_does(
        hold in 1_u64..=60, message in 0_u64..60_000, down in 0_u64..60_000, away in 0_u64..60_000,
    ) {
        let (end, up) = (hold * 1_000, down + away);
        // It is told first; those at the same time are told one after the other.
        let message = message.min(end - 1);
        let mut session = Session::new();
        session.show(0.0, "7", TYPING, hold);
        let mut events = [(message, 0), (down, 1), (up, 2)];
        events.sort_unstable();
        for (at, event) in events {
            match event {
                0 => session.own_message(secs(at), "7"),
                1 => session.down(secs(at)),
                _ => session.up(secs(at)),
            }
        }
        let sent = session.rest_of_chats();
        let paused: Vec<_> = sent.iter().filter(|line| line.ends_with("Paused")).collect();
        let told = if (down..up).contains(&message) { up } else { message };
        prop_assert_eq!(paused, [&format!("{} 7 Paused", secs(told))]);
        prop_assert!(sent.last().is_some_and(|last| last.ends_with("Paused")), "{:?}", sent);
    }

    #[test]
    fn the_session_is_available_while_something_is_shown_and_ten_seconds_more(
        mut shows in prop::collection::vec((0_u64..100, 1_u64..=20), 1..8),
    ) {
        shows.sort_unstable();
        let mut session = Session::new();
        // From when until when it is available.
        let mut expected: Vec<(u64, u64)> = Vec::new();
        for (chat, (start, hold)) in shows.into_iter().enumerate() {
            session.show(secs(start * 1_000), &chat.to_string(), TYPING, hold);
            let until = start + hold + 10;
            match expected.last_mut() {
                Some((_, last)) if start < *last => *last = until.max(*last),
                _ => expected.push((start, until)),
            }
        }
        let told: Vec<_> = session.rest().into_iter().filter(|line| line.ends_with("vailable")).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .flat_map(|(from, until)| [format!("{from} Available"), format!("{until} Unavailable")])
            .collect();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn an_availability_that_was_lost_is_told_again_and_nothing_else_changes(
        commands in prop::collection::vec((0_u64..15_000, command(), any::<bool>()), 1..12),
    ) {
        let (mut session, mut other) = (Session::new(), Session::new());
        let mut at = 0;
        for (gap, command, lost) in commands {
            at += gap;
            if lost {
                session.wait_until(secs(at));
                let (told, before) = (session.indicators.availability().unwrap(), session.sent.len());
                session.lose_availability(secs(at));
                prop_assert_eq!(&session.sent[before..], &[format!("{} {told:?}", secs(at))]);
                session.sent.truncate(before);
            }
            session.give(secs(at), "7", command);
            other.give(secs(at), "7", command);
        }
        prop_assert_eq!(session.rest(), other.rest());
    }

    #[test]
    fn known_names_of_a_person_are_one_chat(
        aliases in prop::sample::select(vec![
            vec![("7", "8"), ("8", "9")], vec![("8", "9"), ("7", "8")], vec![("7", "9"), ("8", "9")],
            vec![("9", "7"), ("8", "7"), ("7", "9")],
        ]),
        commands in prop::collection::vec((0_u64..15_000, command(), prop::sample::select(vec!["7", "8", "9"])), 1..8),
    ) {
        let (mut session, mut other) = (Session::new(), Session::new());
        for (alias, chat) in aliases {
            session.indicators.handle_alias(session.now, jid(alias), jid(chat));
        }
        let mut at = 0;
        for (gap, command, name) in commands {
            at += gap;
            session.give(secs(at), name, command);
            other.give(secs(at), "9", command);
            let is_shown = other.indicators.is_shown(&jid("9"));
            for name in ["7", "8", "9"] {
                prop_assert_eq!(session.indicators.is_shown(&jid(name)), is_shown);
            }
        }
        prop_assert_eq!(session.rest(), other.rest());
    }

    #[test]
    fn a_new_name_changes_where_stanzas_go_and_nothing_else(
        start in 0_u64..5_000, hold in 1_u64..=60, renamed in 0_u64..60_000,
    ) {
        let end = start + hold * 1_000;
        let renamed = (start + renamed).min(end - 1);
        let mut session = Session::new();
        session.show(secs(start), "7", TYPING, hold);
        session.wait_until(secs(renamed));
        session.indicators.handle_alias(session.now, jid("7"), jid("8"));
        let name = |at: u64| if at <= renamed { "7" } else { "8" };
        let last = sent_at(start, end).last().unwrap();
        let shown = sent_at(start, end).map(|at| format!("{} {} Composing", secs(at), name(at)));
        let expected: Vec<_> = shown.chain([format!("{} {} Paused", secs(end), name(last))]).collect();
        prop_assert_eq!(session.rest_of_chats(), expected);
    }
}

/// What happens to two machines alike.
#[derive(Clone, Debug)]
enum Event {
    Command(u8, Command),
    /// One is given a command that fails so many milliseconds later; the other is not.
    Failed(u8, Command, Failure, u64),
    Wait(u64),
    Up,
    Down,
    Alias(u8, u8),
    KeepOnline(bool),
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    /// The stanza was polled, and was not written.
    Unwritten,
    /// The session went down before it was polled.
    Unpolled,
}

fn event() -> impl Strategy<Value = Event> {
    let failure = prop_oneof![2 => Just(Failure::Unwritten), 1 => Just(Failure::Unpolled)];
    prop_oneof![
        6 => (0_u8..3, command()).prop_map(|(chat, command)| Event::Command(chat, command)),
        6 => (0_u8..3, command(), failure, prop_oneof![Just(0), 0_u64..5_000])
            .prop_map(|(chat, command, failure, ms)| Event::Failed(chat, command, failure, ms)),
        8 => (0_u64..12_000).prop_map(Event::Wait),
        3 => Just(Event::Up),
        1 => Just(Event::Down),
        2 => (0_u8..3, 0_u8..3).prop_map(|(alias, chat)| Event::Alias(alias, chat)),
        1 => any::<bool>().prop_map(Event::KeepOnline),
        1 => Just(Event::Shutdown),
    ]
}

fn name(chat: u8) -> ChatJid {
    jid(&chat.to_string())
}

impl Session {
    /// `with_failures` is the machine that is given those commands as well.
    fn run(&mut self, event: &Event, with_failures: bool) {
        let indicators = &mut self.indicators;
        match *event {
            Event::Command(chat, command) => drop(indicators.handle_command(self.now, name(chat), command)),
            Event::Failed(chat, command, failure, ms) => {
                let given = with_failures && indicators.handle_command(self.now, name(chat), command).is_ok();
                match failure {
                    Failure::Unwritten if given => self.drain_but_the_commands(),
                    Failure::Unwritten => self.drain(),
                    Failure::Unpolled => self.indicators.handle_session_down(self.now),
                }
                self.now += Duration::from_millis(ms);
                if given {
                    self.indicators
                        .handle_failure(self.now, &name(chat), Cause::Command);
                }
                self.indicators.handle_timeout(self.now);
            }
            Event::Wait(ms) => {
                let until = self.now + Duration::from_millis(ms);
                while let Some(due) = self.indicators.poll_timeout().filter(|due| *due <= until) {
                    self.suspend_until(due);
                }
                self.suspend_until(until);
            }
            Event::Up => indicators.handle_session_up(self.now),
            Event::Down => indicators.handle_session_down(self.now),
            Event::Alias(alias, chat) => indicators.handle_alias(self.now, name(alias), name(chat)),
            Event::KeepOnline(keep) => indicators.handle_keep_online(self.now, keep),
            Event::Shutdown => indicators.handle_shutdown(self.now),
        }
        self.drain();
    }

    fn drain_but_the_commands(&mut self) {
        while self.indicators.has_unpolled_command() {
            let transmit = self.indicators.poll_transmit().expect("the command's is due");
            if self.indicators.has_unpolled_command() {
                self.note(transmit);
            }
        }
        self.drain();
    }

    fn chat_states(&self) -> Vec<&String> {
        let is_chat_state = |line: &&String| !line.ends_with("vailable");
        self.sent.iter().filter(is_chat_state).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_failed_command_leaves_all_as_if_it_had_never_been_given(
        raise_availability in any::<bool>(),
        events in prop::collection::vec(event(), 1..40),
    ) {
        let policy = Policy { raise_availability, keep_online: false };
        let mut failing = Session::with(policy);
        let mut other = Session::with(policy);
        other.start = failing.start;
        other.now = failing.now;
        for event in [Event::Up].iter().chain(&events).chain(&[Event::Wait(200_000)]) {
            failing.run(event, true);
            other.run(event, false);
            prop_assert_eq!(failing.chat_states(), other.chat_states());
            prop_assert_eq!(failing.indicators.shown(), other.indicators.shown());
            prop_assert_eq!(failing.indicators.availability(), other.indicators.availability());
            prop_assert_eq!(failing.indicators.poll_timeout(), other.indicators.poll_timeout());
            for chat in 0..3 {
                let is_shown = other.indicators.is_shown(&name(chat));
                prop_assert_eq!(failing.indicators.is_shown(&name(chat)), is_shown);
            }
            if !raise_availability {
                prop_assert_eq!(&failing.sent, &other.sent);
            }
        }
    }
}
