//! A model of what happens to a session, and of what each person's phone shows of it.

mod checks;

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What a person's phone should show, from the last command that was not void.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Held {
        indicator: Indicator,
        end: Instant,
    },
    Once {
        until: Instant,
    },
    /// Nothing, and a `paused` that says so is still to come, or not.
    Nothing {
        owed: bool,
    },
}

#[derive(Clone, Debug)]
struct Person {
    wanted: Wanted,
    /// Which command that is from.
    command: i64,
    /// The command's own stanza has gone out.
    begun: bool,
    /// Where the indicator was last sent.
    address: Option<u8>,
    /// What the phone shows, and until when.
    phone: Option<(Indicator, Instant)>,
    /// The phone may have missed a stanza, so that it need not show what it should.
    blinks: bool,
}

pub(super) struct World {
    indicators: Indicators,
    policy: Policy,
    now: Instant,
    up: bool,
    closing: bool,
    /// By the name that stanzas go to.
    persons: BTreeMap<u8, Person>,
    /// Which name is another name of which.
    aliases: BTreeMap<u8, u8>,
    commands: i64,
    /// Who had the latest command, and what was wanted of them before.
    before: Option<(u8, Option<Person>)>,
    availability: Option<Availability>,
    /// When it was first seen, on this connection, that nothing is shown any more.
    quiet_since: Option<Instant>,
    /// Something was shown since that was last looked at.
    busy: bool,
    fail_next: bool,
    /// What is shown, as the changes that were told say.
    followed: BTreeMap<ChatJid, Shown>,
}

fn number(chat: &ChatJid) -> u8 {
    chat.user().parse().unwrap()
}

impl World {
    pub(super) fn new(policy: Policy) -> Self {
        let mut indicators = Indicators::new(TIMING, policy);
        indicators.watch_changes(true);
        Self {
            indicators,
            policy,
            now: some_instant(),
            up: false,
            closing: false,
            persons: BTreeMap::new(),
            aliases: BTreeMap::new(),
            commands: 0,
            before: None,
            availability: None,
            quiet_since: None,
            busy: false,
            fail_next: false,
            followed: BTreeMap::new(),
        }
    }

    pub(super) fn run(&mut self, operation: &Operation) {
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
                    None => Wanted::Once {
                        until: self.now + TIMING.display,
                    },
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
                (self.up, self.availability) = (false, None);
            }
            Operation::AvailabilityLost => {
                self.indicators.handle_availability_lost(self.now);
                self.availability = None;
            }
            Operation::Alias { alias, chat } => self.alias(alias, chat),
            Operation::OwnMessage { chat } => self.own_message(chat),
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

    fn person(&self, mut name: u8) -> u8 {
        while let Some(&next) = self.aliases.get(&name) {
            name = next;
        }
        name
    }

    fn command(&mut self, chat: u8, command: Command, wanted: Wanted) {
        let result = self
            .indicators
            .handle_command(self.now, jid(&chat.to_string()), command);
        assert_eq!(result.is_ok(), self.up && !self.closing);
        if result.is_ok() {
            let chat = self.person(chat);
            self.commands += 1;
            let before = self.persons.remove(&chat);
            let person = Person {
                wanted,
                command: self.commands,
                begun: false,
                address: before.as_ref().and_then(|before| before.address),
                phone: before.as_ref().and_then(|before| before.phone),
                blinks: false,
            };
            self.persons.insert(chat, person);
            self.before = Some((chat, before));
        }
    }

    fn own_message(&mut self, chat: u8) {
        self.indicators
            .handle_own_message(self.now, &jid(&chat.to_string()));
        let chat = self.person(chat);
        let before = self.before.as_mut().filter(|(last, _)| *last == chat);
        let before = before.and_then(|(_, before)| before.as_mut());
        for person in self.persons.get_mut(&chat).into_iter().chain(before) {
            person.end(self.now);
        }
    }

    fn alias(&mut self, alias: u8, chat: u8) {
        self.indicators
            .handle_alias(self.now, jid(&alias.to_string()), jid(&chat.to_string()));
        let from = self.person(alias);
        self.aliases.remove(&alias);
        if self.person(chat) == alias {
            self.aliases.remove(&chat);
        }
        if alias != chat {
            self.aliases.insert(alias, chat);
        }
        let to = self.person(chat);
        for name in 0..4 {
            self.person(name); // Or it does not come back.
        }
        if from == to {
            return;
        }
        let Some(mut moved) = self.persons.remove(&from) else {
            return;
        };
        let address = moved.address.or(Some(from));
        moved.address = address.filter(|address| *address != to && !moved.is_over());
        let known = self.persons.remove(&to);
        let left = match known {
            Some(known) if moved.is_over() || !known.is_over() && known.command >= moved.command => known,
            _ => moved,
        };
        self.persons.insert(to, left);
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
        for person in self.persons.values_mut() {
            // It comes back, unless it is all but over; then it is only paused.
            if let Wanted::Held { end, .. } = person.wanted {
                person.blinks = self.now + Duration::from_secs(1) > end;
            }
        }
    }

    fn shut_down(&mut self) {
        self.indicators.handle_shutdown(self.now);
        self.closing = self.up;
        for person in self.persons.values_mut() {
            let owed = self.up && !person.is_over();
            person.wanted = Wanted::Nothing { owed };
            // Without a connection, the phone is left to hide what it shows.
            person.blinks |= !self.up;
            person.address = person.address.filter(|_| owed);
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
                Transmit::ChatState { chat, state, cause } => {
                    let name = self.send(&chat, state, cause);
                    assert!(
                        touched.insert((chat, name)),
                        "a burst: two stanzas at a time for {name}"
                    );
                }
            }
        }
        for person in self.persons.values_mut().filter(|_| self.up) {
            if matches!(person.wanted, Wanted::Once { until } if until <= self.now) {
                person.wanted = Wanted::Nothing { owed: false };
                person.address = None;
            }
        }
        assert_eq!(self.indicators.availability(), self.availability);
        assert!(!self.indicators.has_unpolled_command());
    }

    /// Says who the stanza is for.
    fn send(&mut self, jid: &ChatJid, state: ChatState, cause: Cause) -> u8 {
        let (now, address) = (self.now, number(jid));
        self.busy |= state != ChatState::Paused;
        // Names that were taken for one person's and are not may share an address.
        let sharing = self.at_address(address);
        let failed = sharing.len() == 1 && std::mem::take(&mut self.fail_next);
        let is_pausable = |name: &&u8| self.persons[*name].is_pausable(now);
        let chat = match state {
            ChatState::Paused => *sharing.iter().find(is_pausable).unwrap_or(&address),
            _ => address,
        };
        for other in sharing.iter().filter(|other| **other != chat) {
            self.persons.get_mut(other).unwrap().blinks = true;
        }
        let person = self
            .persons
            .get_mut(&chat)
            .expect("nobody gave a command for this chat");
        match (state, person.wanted) {
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
            (_, Wanted::Once { .. }) => assert!(!person.begun, "sent again, though not held"),
            (shown, Wanted::Nothing { .. }) => panic!("{shown:?} after its end"),
        }
        if state == ChatState::Paused {
            assert_eq!(address, person.address.unwrap_or(chat), "paused somewhere else");
        } else if self.policy.raise_availability {
            assert_eq!(
                self.availability,
                Some(Availability::Available),
                "shown while unavailable"
            );
        }
        let begins = self.before.as_ref().is_some_and(|(last, _)| *last == chat) && !person.begun;
        match (begins, state, person.wanted) {
            (true, ..) => assert_eq!(cause, Cause::Command),
            (false, ChatState::Paused, Wanted::Held { end, .. }) => assert_eq!(cause, Cause::Deadline(end)),
            (false, ChatState::Paused, _) => match cause {
                Cause::Deadline(end) => assert!(end <= now, "a deadline that is to come"),
                Cause::OwnMessage | Cause::Shutdown => {}
                Cause::Command | Cause::Hold => panic!("a paused by {cause:?}"),
            },
            (false, ..) => assert_eq!(cause, Cause::Hold),
        }
        person.begun = true;
        if failed {
            if begins {
                let (_, before) = self.before.take().unwrap();
                match before {
                    Some(before) => *person = before,
                    None => drop(self.persons.remove(&chat)),
                }
            } else if state == ChatState::Paused {
                // Owed now by whoever the address means, unless something is wanted of them again.
                person.wanted = Wanted::Nothing { owed: false };
                (person.address, person.blinks) = (None, true);
                let mut owing = person.clone();
                let name = self.person(address);
                if self.persons.get(&name).is_none_or(Person::is_over) {
                    owing.wanted = Wanted::Nothing { owed: true };
                    owing.address = Some(address).filter(|address| *address != name);
                    owing.command = self.commands - (1 << 30);
                    self.persons.insert(name, owing);
                }
            } else {
                person.address = None;
                person.blinks = true;
            }
            self.indicators.handle_failure(now, jid, cause);
            return chat;
        }
        person.phone = match state {
            ChatState::Composing => Some((TYPING, now + TIMING.display)),
            ChatState::Recording => Some((RECORDING, now + TIMING.display)),
            ChatState::Paused => None,
        };
        person.address = None;
        if state == ChatState::Paused {
            person.wanted = Wanted::Nothing { owed: false };
        }
        chat
    }

    /// Whose indicators were sent, or will be, to `address`.
    fn at_address(&self, address: u8) -> Vec<u8> {
        let is_there = |(name, person): &(&u8, &Person)| {
            !person.is_over() && (**name == address || person.address == Some(address))
        };
        self.persons
            .iter()
            .filter(is_there)
            .map(|(name, _)| *name)
            .collect()
    }
}

impl Person {
    /// What was wanted is over, if it still is.
    fn end(&mut self, now: Instant) {
        let shows = match self.wanted {
            Wanted::Held { .. } => true,
            Wanted::Once { until } => now < until,
            Wanted::Nothing { .. } => false,
        };
        if shows {
            self.wanted = Wanted::Nothing { owed: true };
        }
    }

    fn is_pausable(&self, now: Instant) -> bool {
        match self.wanted {
            Wanted::Held { end, .. } => end <= now,
            Wanted::Once { .. } => false,
            Wanted::Nothing { owed } => owed,
        }
    }

    fn is_over(&self) -> bool {
        self.wanted == Wanted::Nothing { owed: false }
    }
}
