//! Random commands, connections, delays and failures, against a model of what recipients' phones show.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    second: Duration::from_secs(1),
    refresh: Duration::from_secs(5),
    display: Duration::from_secs(10),
    linger: Duration::from_secs(10),
};

/// A driver is late by less than the phone's patience.
const MAX_LATENESS_MS: u64 = 3_500;

#[derive(Clone, Debug)]
enum Operation {
    Show {
        chat: u8,
        indicator: Indicator,
        secs: u64,
    },
    Pause {
        chat: u8,
    },
    /// Time passes; each deadline is handled late by as much.
    Wait {
        ms: u64,
        late_ms: u64,
    },
    /// Time passes, and no deadline is handled before its end.
    Suspend {
        ms: u64,
    },
    Up,
    Down,
    KeepOnline(bool),
    /// The next chat state that is polled is not written.
    FailNext,
    Shutdown,
}

fn operation() -> impl Strategy<Value = Operation> {
    let indicator = prop_oneof![Just(TYPING), Just(RECORDING)];
    let secs = prop_oneof![Just(0_u64), 1_u64..=12, Just(60)];
    prop_oneof![
        12 => (0_u8..4, indicator, secs)
            .prop_map(|(chat, indicator, secs)| Operation::Show { chat, indicator, secs }),
        4 => (0_u8..4).prop_map(|chat| Operation::Pause { chat }),
        12 => (0_u64..12_000, prop_oneof![Just(0), 0..MAX_LATENESS_MS])
            .prop_map(|(ms, late_ms)| Operation::Wait { ms, late_ms }),
        2 => (0_u64..90_000).prop_map(|ms| Operation::Suspend { ms }),
        3 => Just(Operation::Up),
        3 => Just(Operation::Down),
        1 => any::<bool>().prop_map(Operation::KeepOnline),
        2 => Just(Operation::FailNext),
        1 => Just(Operation::Shutdown),
    ]
}

/// What a chat's phone should show, from the last command that was not void.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Held {
        indicator: Indicator,
        end: Instant,
    },
    Once,
    /// Nothing, and a `paused` that says so is still to come, or not.
    Nothing {
        owed: bool,
    },
}

#[derive(Debug)]
struct Chat {
    wanted: Wanted,
    /// The command's own stanza has gone out.
    begun: bool,
    /// What the phone shows, and until when.
    phone: Option<(Indicator, Instant)>,
    /// The phone may have missed a stanza, so that it need not show what it should.
    blinks: bool,
}

struct World {
    indicators: Indicators,
    policy: Policy,
    now: Instant,
    up: bool,
    closing: bool,
    chats: BTreeMap<u8, Chat>,
    availability: Option<Availability>,
    /// When it was first seen, on this connection, that nothing is shown any more.
    quiet_since: Option<Instant>,
    /// Something was shown since that was last looked at.
    busy: bool,
    fail_next: bool,
}

fn number(chat: &ChatJid) -> u8 {
    chat.user().parse().unwrap()
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            indicators: Indicators::new(TIMING, policy),
            policy,
            now: some_instant(),
            up: false,
            closing: false,
            chats: BTreeMap::new(),
            availability: None,
            quiet_since: None,
            busy: false,
            fail_next: false,
        }
    }

    fn run(&mut self, operation: &Operation) {
        match *operation {
            Operation::Show {
                chat,
                indicator,
                secs,
            } => {
                let hold = Hold::from_secs(secs);
                let wanted = match hold {
                    Some(hold) => Wanted::Held {
                        indicator,
                        end: self.now + hold.duration(),
                    },
                    None => Wanted::Once,
                };
                self.command(chat, Command::Show(indicator, hold), wanted);
            }
            Operation::Pause { chat } => self.command(chat, Command::Pause, Wanted::Nothing { owed: true }),
            Operation::Wait { ms, late_ms } => {
                let until = self.now + Duration::from_millis(ms);
                while let Some(due) = self.indicators.poll_timeout().filter(|due| *due <= until) {
                    assert!(due > self.now, "a deadline lies behind the last timeout");
                    self.pass(until.min(due + Duration::from_millis(late_ms)));
                }
                self.pass(until);
            }
            Operation::Suspend { ms } => self.pass(self.now + Duration::from_millis(ms)),
            Operation::Up => self.come_up(),
            Operation::Down => {
                self.indicators.handle_session_down(self.now);
                self.up = false;
            }
            Operation::KeepOnline(keep) => {
                self.indicators.handle_keep_online(self.now, keep);
                self.policy.keep_online = keep;
            }
            Operation::FailNext => self.fail_next = true,
            Operation::Shutdown => self.shut_down(),
        }
        self.drain();
        self.check();
    }

    fn command(&mut self, chat: u8, command: Command, wanted: Wanted) {
        let result = self
            .indicators
            .handle_command(self.now, jid(&chat.to_string()), command);
        assert_eq!(result.is_ok(), self.up && !self.closing);
        if result.is_ok() {
            let phone = self.chats.remove(&chat).and_then(|chat| chat.phone);
            self.chats.insert(
                chat,
                Chat {
                    wanted,
                    begun: false,
                    phone,
                    blinks: false,
                },
            );
        }
    }

    fn pass(&mut self, now: Instant) {
        self.now = now;
        self.indicators.handle_timeout(now);
        self.drain();
        self.check();
    }

    fn come_up(&mut self) {
        self.indicators.handle_session_up(self.now);
        (self.up, self.closing, self.availability) = (true, false, None);
        (self.busy, self.quiet_since) = (false, None);
        for chat in self.chats.values_mut() {
            // It comes back, unless it is all but over; then it is only paused.
            if let Wanted::Held { end, .. } = chat.wanted {
                chat.blinks = self.now + TIMING.second > end;
            }
        }
    }

    fn shut_down(&mut self) {
        self.indicators.handle_shutdown(self.now);
        self.closing = self.up;
        for chat in self.chats.values_mut() {
            let owed = match chat.wanted {
                Wanted::Held { .. } => true,
                Wanted::Once => chat.phone.is_some_and(|(_, until)| until > self.now),
                Wanted::Nothing { owed } => owed,
            };
            let owed = owed && self.up;
            chat.wanted = Wanted::Nothing { owed };
            // Without a connection, the phone is left to hide what it shows.
            chat.blinks |= !self.up;
        }
    }

    fn drain(&mut self) {
        let mut touched = BTreeSet::new();
        while let Some(transmit) = self.indicators.poll_transmit() {
            assert!(self.up, "{transmit:?} came out of a session that is down");
            match transmit {
                Transmit::Availability(availability) => {
                    assert_ne!(self.availability, Some(availability), "it was told already");
                    self.availability = Some(availability);
                }
                Transmit::ChatState { chat, state } => {
                    assert!(
                        touched.insert(chat.clone()),
                        "a burst: two stanzas at a time in {chat}"
                    );
                    self.send(&chat, state);
                }
            }
        }
    }

    fn send(&mut self, jid: &ChatJid, state: ChatState) {
        let now = self.now;
        let failed = std::mem::take(&mut self.fail_next);
        self.busy |= state != ChatState::Paused;
        let chat = self
            .chats
            .get_mut(&number(jid))
            .expect("nobody gave a command for this chat");
        match (state, chat.wanted) {
            (ChatState::Paused, Wanted::Nothing { owed: true }) => {}
            (ChatState::Paused, Wanted::Held { end, .. }) => assert!(now >= end, "paused before its end"),
            (ChatState::Paused, wanted) => panic!("a paused too many: {wanted:?}"),
            (shown, Wanted::Held { indicator, end }) => {
                assert_eq!(
                    shown,
                    ChatState::from(indicator),
                    "not what the last command wants"
                );
                assert!(now < end, "shown after its end");
            }
            (_, Wanted::Once) => assert!(!chat.begun, "sent again, though not held"),
            (shown, Wanted::Nothing { .. }) => panic!("{shown:?} after its end"),
        }
        if state != ChatState::Paused && self.policy.raise_availability {
            assert_eq!(
                self.availability,
                Some(Availability::Available),
                "shown while unavailable"
            );
        }
        if !failed {
            chat.phone = match state {
                ChatState::Composing => Some((TYPING, now + TIMING.display)),
                ChatState::Recording => Some((RECORDING, now + TIMING.display)),
                ChatState::Paused => None,
            };
        }
        if state == ChatState::Paused {
            chat.wanted = Wanted::Nothing { owed: failed };
        } else if failed && !chat.begun {
            chat.wanted = Wanted::Nothing { owed: true };
        }
        chat.blinks |= failed;
        chat.begun = true;
        if failed {
            self.indicators.handle_failure(now, jid);
        }
    }

    /// What holds whenever nothing is left to poll.
    fn check(&mut self) {
        let now = self.now;
        let timeout = self.indicators.poll_timeout();
        assert!(
            timeout.is_none_or(|due| due > now),
            "a deadline lies behind the last timeout"
        );
        if !self.up {
            assert_eq!(timeout, None, "a session that is down has nothing to do");
            return;
        }
        for (number, chat) in &self.chats {
            let phone = chat
                .phone
                .filter(|(_, until)| *until > now)
                .map(|(indicator, _)| indicator);
            match chat.wanted {
                Wanted::Held { indicator, end } => {
                    assert!(now < end, "{number}: past its end, and not paused");
                    assert!(
                        timeout.is_some_and(|due| due <= end),
                        "{number}: nobody will end it"
                    );
                    if !chat.blinks {
                        assert_eq!(phone, Some(indicator), "{number}: not shown, though held");
                    }
                }
                Wanted::Nothing { owed: true } => {
                    let soon = now + TIMING.refresh;
                    assert!(
                        timeout.is_some_and(|due| due <= soon),
                        "{number}: nobody will pause it"
                    );
                }
                Wanted::Nothing { owed: false } if !chat.blinks => assert_eq!(phone, None, "{number}"),
                Wanted::Nothing { .. } | Wanted::Once => {}
            }
        }
        self.check_availability();
    }

    fn check_availability(&mut self) {
        let shown = self.indicators.shown() > 0;
        match (self.busy, shown) {
            (true, false) => self.quiet_since = Some(self.now),
            (_, true) => self.quiet_since = None,
            (false, false) => {}
        }
        self.busy = shown;
        let lingers = self
            .quiet_since
            .is_some_and(|since| self.now < since + TIMING.linger);
        let available = self.availability == Some(Availability::Available);
        // While closing, it stays as it is until the last `paused` is out.
        if self.policy.keep_online {
            assert!(available || self.closing, "kept online, and not available");
        } else if self.policy.raise_availability {
            assert!(
                available || !shown,
                "something is shown, and the session is not available"
            );
            // While closing, it stays so for the sake of those that are still owed a `paused`.
            assert!(
                !available || shown || lingers || self.closing,
                "available for nothing"
            );
        } else {
            assert!(
                !available || self.closing,
                "available against the instance's will"
            );
        }
        // Nobody is woken for nothing.
        let nothing_to_lower = shown || !available || self.policy.keep_online;
        assert!(self.indicators.linger_until.is_none() || !nothing_to_lower);
    }

    /// Everything ends when nothing more happens.
    fn finish(&mut self) {
        self.fail_next = false;
        if !self.up {
            self.come_up();
            self.drain();
        }
        self.run(&Operation::Wait {
            ms: 120_000,
            late_ms: 0,
        });
        assert_eq!(self.indicators.poll_timeout(), None, "something is left to do");
        assert_eq!(self.indicators.shown(), 0);
        assert!(self.indicators.chats.is_empty(), "a chat is never forgotten");
        for (number, chat) in &self.chats {
            assert!(
                chat.is_settled() || chat.wanted == Wanted::Once,
                "{number}: {chat:?}"
            );
            assert!(
                chat.phone.is_none_or(|(_, until)| until <= self.now),
                "{number} shows {chat:?}"
            );
        }
        let resting = if self.policy.keep_online {
            Availability::Available
        } else {
            Availability::Unavailable
        };
        // Whoever is kept online is not made unavailable, or available, for the sake of leaving.
        assert!(self.availability == Some(resting) || self.closing && self.policy.keep_online);
    }
}

impl Chat {
    fn is_settled(&self) -> bool {
        self.wanted == Wanted::Nothing { owed: false }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn phones_show_what_the_last_commands_say(
        raise_availability in prop::bool::weighted(0.8),
        keep_online in prop::bool::weighted(0.2),
        operations in prop::collection::vec(operation(), 0..60),
    ) {
        let mut world = World::new(Policy { raise_availability, keep_online });
        world.run(&Operation::Up);
        for operation in &operations {
            world.run(operation);
        }
        world.finish();
    }
}
