//! What a session shows in its chats, and what has to be sent for it.

use std::time::Instant;

use self::aliases::Aliases;
use self::chats::{ChatRecord, Chats, merge};
use self::device_use::DeviceUse;
use self::open_commands::{OpenCommand, OpenCommands};
use self::schedule::{CommandNumber, Fired, PauseCause, Schedule};
use crate::{ChatJid, ChatState, Command};

mod aliases;
mod chats;
mod device_use;
mod open_commands;
mod policy;
mod schedule;
mod shown;
mod timing;
mod transmit;

pub use policy::{MAX_CHATS, MAX_OPEN_COMMANDS, Policy, Refused};
pub use shown::{Shown, ShownChange};
pub use timing::Timing;
pub use transmit::{Availability, Cause, NextTransmit, Transmit};

/// The indicators of one WhatsApp session: what its chats show, what to send so that they do, and when.
///
/// This is a state machine without input or output. Whoever drives it tells it what happened and when
/// (`handle_*`), sends what it wants sent ([`poll_transmit`](Self::poll_transmit)), and comes back at the time
/// it names ([`poll_timeout`](Self::poll_timeout)). It keeps the contract's rules:
///
/// - **Auto-pause.** An indicator with a [`Hold`](crate::Hold) is ended by exactly one `paused`, at its
///   deadline.
/// - **Hold.** Until then it is sent again every [`Timing::refresh`], never with a `paused` in between, and
///   not within the last second. Without a hold it is sent once; the phone hides it by itself.
/// - **Latest wins.** A command replaces all that its chat had, the timer included.
/// - **A failure changes nothing.** A command whose stanza was not written is void: its chat goes on as if it
///   had never been given.
/// - **The answer ends it.** When the account sends a message in a chat
///   ([`handle_own_message`](Self::handle_own_message)), what is shown there is over.
/// - **Nothing is left hanging.** A shutdown pauses what phones may still show. An indicator outlives a lost
///   connection: it is sent again on the next one, or paused there when its deadline has passed.
/// - **One person is one chat.** A chat may have other names ([`handle_alias`](Self::handle_alias)): a command
///   under one of them ends what another shows.
/// - **Available only while needed.** Where [`Policy`] says so, the session becomes available before it shows
///   something, and unavailable [`Timing::linger`] after the last indicator has ended. It becomes one or the
///   other on each new connection, where WhatsApp's own default would be available.
///
/// # How to drive it
/// ```
/// use std::time::{Duration, Instant};
/// use presence_core::{
///     Availability, Cause, ChatJid, ChatState, Command, Hold, Indicator, Indicators, Policy, Timing, Transmit,
/// };
///
/// # #[expect(clippy::disallowed_methods, reason = "an example needs some time to start from")]
/// let start = Instant::now(); // The only clock is the caller's.
/// let mut indicators = Indicators::new(Timing::default(), Policy::default());
/// indicators.handle_session_up(start);
/// assert_eq!(indicators.poll_transmit(), Some(Transmit::Availability(Availability::Unavailable)));
///
/// let chat: ChatJid = "5511999999999".parse()?;
/// indicators.handle_command(start, chat.clone(), Command::Show(Indicator::Typing, Hold::from_secs(5)))?;
/// assert_eq!(indicators.poll_transmit(), Some(Transmit::Availability(Availability::Available)));
/// let composing =
///     Transmit::ChatState { chat: chat.clone(), state: ChatState::Composing, cause: Cause::Command };
/// assert_eq!(indicators.poll_transmit(), Some(composing));
/// assert_eq!(indicators.poll_transmit(), None);
///
/// let deadline = indicators.poll_timeout().unwrap();
/// assert_eq!(deadline, start + Duration::from_secs(5));
/// indicators.handle_timeout(deadline);
/// let paused = Transmit::ChatState { chat, state: ChatState::Paused, cause: Cause::Deadline(deadline) };
/// assert_eq!(indicators.poll_transmit(), Some(paused));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// 1. A new machine is down. Say [`handle_session_up`](Self::handle_session_up) when the session can take
///    stanzas, and [`handle_session_down`](Self::handle_session_down) when it no longer can; in between, as
///    often as it happens. While down, nothing comes out and no command goes in.
/// 2. After every `handle_*`, call `poll_transmit` until it is `None`, sending each stanza in that order. A
///    stanza that was polled counts as sent. When it could not be sent, say so with
///    [`handle_failure`](Self::handle_failure), or say that the session is down and leave the rest unpolled:
///    what was not polled is not lost, it is decided anew on the next connection.
/// 3. Then sleep until `poll_timeout`, and call [`handle_timeout`](Self::handle_timeout). Early or extra calls
///    do nothing.
///
/// Whoever gave a command is answered when its stanza is written, which is the one that says
/// [`Cause::Command`]. A command that is answered with an error must never be carried out later. So its failure
/// is told before the next command of its chat is given: when its stanza was not written, and as well when the
/// session went down before it was polled.
///
/// # Several stanzas under way
/// Whoever can have several stanzas under way at once polls with
/// [`poll_transmit_beside`](Self::poll_transmit_beside), which keeps their order, and gives a chat no command
/// while a stanza of it is under way ([`is_same_chat`](Self::is_same_chat)). Up to [`MAX_OPEN_COMMANDS`]
/// commands may turn out void; [`handle_written`](Self::handle_written) says of each that it did not.
///
/// `now` is the caller's and never goes back; a `now` before the latest one counts as that. Deadlines follow
/// from the times they were set at, so a late caller does not make them drift, and one that was suspended
/// finds one stanza due in each chat, not all that it missed.
///
/// # Order and cost
/// An availability comes first (at shutdown, last), then what is due first; at equal times, by JID. Each
/// operation takes O(log n) for n chats, a change of connection O(n); a re-send allocates nothing. A chat
/// costs less than 200 bytes, its JID not counted. There is no queue of stanzas: each is made when it is
/// polled, from what then holds.
///
/// A name that is no alias costs one look-up where there are aliases, and nothing where there are none. An
/// alias costs one for each name that it is followed over, and less than 100 bytes; at most [`MAX_CHATS`] are
/// remembered. When that many are, those whose chats show nothing are forgotten together, in O(n).
#[derive(Debug)]
pub struct Indicators {
    timing: Timing,
    device_use: DeviceUse,
    chats: Chats,
    aliases: Aliases,
    /// How many of `chats` are shown, and hence worth being available for.
    shown: usize,
    phase: Phase,
    /// The latest time that was told.
    now: Option<Instant>,
    command_number: CommandNumber,
    open_commands: OpenCommands,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    Up,
    /// As `Up`, but all that is left to do is to end what is shown.
    Closing,
}

impl Indicators {
    /// A machine whose session is down, and which shows nothing.
    #[must_use]
    pub fn new(timing: Timing, policy: Policy) -> Self {
        Self {
            timing: timing.bounded(),
            device_use: DeviceUse::new(policy),
            chats: Chats::default(),
            aliases: Aliases::default(),
            shown: 0,
            phase: Phase::Down,
            now: None,
            command_number: CommandNumber::default(),
            open_commands: OpenCommands::default(),
        }
    }

    /// Carries out a client's command in `chat`. Its stanza is the next of that chat to be polled.
    ///
    /// A pause always sends one `paused`, also when nothing is known to be shown.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn handle_command(&mut self, now: Instant, chat: ChatJid, command: Command) -> Result<(), Refused> {
        let now = self.advance(now);
        if self.phase != Phase::Up {
            return Err(Refused::Offline);
        }
        let chat = self.aliases.resolve(&chat).clone();
        let before = self.chats.record(&chat);
        if before.is_none() && self.chats.len() == MAX_CHATS {
            return Err(Refused::TooManyChats);
        }
        self.command_number = self.command_number.next();
        let old = before.as_ref().map(|before| before.schedule);
        let seen = old.is_some_and(|old| old.seen);
        let schedule = Schedule::new(now, command, self.command_number, seen, &self.timing);
        self.chats.set(chat.clone(), schedule);
        self.count_shown(old, Some(schedule));
        if let Some(old) = old.filter(Schedule::is_shown) {
            self.note_ended(now.min(old.end));
        }
        self.open_commands.add(OpenCommand {
            chat,
            before,
            address: None,
        });
        Ok(())
    }

    /// The last stanza polled for `chat`, sent for `cause`, was not written; or the command that was last given
    /// there was answered with an error before its stanza was polled. Say it once, and before the next command
    /// there.
    ///
    /// When it was the stanza of a command, its chat goes on as if the command had never been given: what was
    /// accepted before is held on, with its own deadline; where there was nothing, there is nothing, and no
    /// `paused` comes of it. A re-send that was not written changes nothing: its indicator comes up again by
    /// itself. A `paused` that nobody asked for is owed, and comes again after [`Timing::refresh`], or on the
    /// next connection, for the same cause.
    pub fn handle_failure(&mut self, now: Instant, chat: &ChatJid, cause: Cause) {
        let now = self.advance(now);
        let address = chat;
        let chat = self.aliases.resolve(address).clone();
        let is_gone = self.chats.get(&chat).is_none();
        let (cause, end) = match cause {
            Cause::Command => {
                if let Some(failed) = self.open_commands.take(&chat, address, is_gone) {
                    self.replace(failed.chat, failed.before);
                }
                return;
            }
            Cause::Hold => return,
            Cause::Deadline(end) => (PauseCause::Deadline, end),
            Cause::OwnMessage => (PauseCause::OwnMessage, now),
            Cause::Shutdown => (PauseCause::Shutdown, now),
        };
        // With its `paused` the chat was forgotten. In a full house it stays so, and the phone hides the
        // indicator by itself.
        if is_gone && self.chats.len() < MAX_CHATS {
            let command = self.command_number.long_before();
            let record = ChatRecord {
                schedule: Schedule::paused(cause, end, now + self.timing.refresh, command),
                address: Some(address.clone()).filter(|address| *address != chat),
            };
            self.replace(chat, Some(record));
        }
    }

    /// The stanza of the command that was last given in `chat` is written: it cannot fail any more. Whoever
    /// writes one stanza after the other need not say it.
    pub fn handle_written(&mut self, chat: &ChatJid) {
        let address = chat;
        let chat = self.aliases.resolve(address);
        let is_gone = self.chats.get(chat).is_none();
        self.open_commands.take(chat, address, is_gone);
    }

    /// `alias` and `chat` are one person: a phone number and its LID, or two spellings of a number. From now
    /// on, commands, failures and questions under either name mean the same chat, and stanzas go to `chat`,
    /// or to the chat that `chat` is in turn an alias of. The last word about a name wins, also when it is
    /// the opposite of an earlier one.
    ///
    /// What is shown under `alias` goes on, with its deadline, as the same indicator under `chat`: it is sent
    /// again to `chat`, but a `paused` goes where the indicator was last sent. When both names show something,
    /// the later command wins, and the earlier is ended by nothing more than that.
    ///
    /// Of two commands whose stanzas are under way, the earlier counts as written then. Where it may yet fail,
    /// say this later.
    pub fn handle_alias(&mut self, now: Instant, alias: ChatJid, chat: ChatJid) {
        let now = self.advance(now);
        let from = self.aliases.resolve(&alias).clone();
        let (chats, open_commands) = (&self.chats, &self.open_commands);
        self.aliases.add(alias, chat.clone(), |name| {
            chats.get(name).is_some() || open_commands.is_open(name)
        });
        let to = self.aliases.resolve(&chat).clone();
        if from == to {
            return;
        }
        let (record, known) = (self.chats.record(&from), self.chats.record(&to));
        self.open_commands
            .rename((&from, record.as_ref()), (&to, known.as_ref()));
        let was_shown =
            [&record, &known].map(|record| record.as_ref().is_some_and(|r| r.schedule.is_shown()));
        let merged = merge((&from, record), (&to, known));
        self.replace(from, None);
        self.replace(to.clone(), merged);
        // A pause under one of the names has ended what the other showed.
        if was_shown != [false; 2] && !self.is_shown(&to) {
            self.note_ended(now);
        }
    }

    /// A device of the account has sent a message in `chat`, under any of its names: what is shown there is
    /// over, whatever hold it had. Its `paused` is due at once, or first thing on the next connection. Where a
    /// phone shows nothing, nothing happens.
    ///
    /// A command whose stanza is not yet polled is over as well; the `paused` is polled in its place.
    pub fn handle_own_message(&mut self, now: Instant, chat: &ChatJid) {
        let now = self.advance(now);
        let chat = self.aliases.resolve(chat).clone();
        self.open_commands
            .change(&chat, |before| before.end_by_message(now));
        let Some(old) = self.chats.get(&chat) else { return };
        let mut ended = old;
        ended.end_by_message(now);
        if ended == old {
            return;
        }
        self.chats.set(chat, ended);
        self.count_shown(Some(old), Some(ended));
        if old.is_shown() {
            self.note_ended(now.min(old.end));
        }
    }

    /// `chat` shows this: another machine had it sent on a connection before this session's, and is no more. It
    /// goes on as if this one had: it is sent on the next connection, or at once where the session is up, or ended
    /// there when its time is over. In a chat of which something is known here, that is newer, and nothing changes.
    pub fn handle_taken_over(&mut self, now: Instant, chat: &ChatJid, shown: Shown) {
        let now = self.advance(now);
        let chat = self.aliases.resolve(chat).clone();
        let is_known = self.chats.get(&chat).is_some();
        if is_known || self.chats.len() == MAX_CHATS || self.phase == Phase::Closing {
            return;
        }
        let command = self.command_number.long_before();
        let mut schedule = Schedule::taken_over(now, shown, command, &self.timing);
        if self.phase == Phase::Up {
            schedule.reconnect(now);
        }
        self.chats.set(chat, schedule);
        self.count_shown(None, Some(schedule));
    }

    /// The session can take stanzas: it is logged in, on a new connection.
    pub fn handle_session_up(&mut self, now: Instant) {
        let now = self.advance(now);
        self.phase = Phase::Up;
        self.device_use.reset();
        self.change_all(|schedule| schedule.reconnect(now));
    }

    /// The session can take no stanzas until the next [`handle_session_up`](Self::handle_session_up).
    pub fn handle_session_down(&mut self, now: Instant) {
        self.advance(now);
        self.phase = Phase::Down;
        self.device_use.reset();
    }

    /// What WhatsApp was last told of the availability does not hold: the client library has told it
    /// otherwise, or WhatsApp took nothing. What is wanted is told again at the next poll; so where WhatsApp
    /// takes nothing yet, say it when it may. While down it does nothing.
    pub fn handle_availability_lost(&mut self, now: Instant) {
        self.advance(now);
        self.device_use.forget_told();
    }

    /// Sets [`Policy::keep_online`]. It takes effect at once.
    pub fn handle_keep_online(&mut self, now: Instant, keep: bool) {
        self.advance(now);
        self.device_use.keep_online(keep);
    }

    /// Time has passed. An early or extra call does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The session is about to be closed. What its chats may still show is paused, then the session becomes
    /// unavailable, if it was made available for them. Commands are refused until the next connection.
    ///
    /// While down nothing can be sent any more: everything that is shown is forgotten.
    pub fn handle_shutdown(&mut self, now: Instant) {
        let now = self.advance(now);
        self.device_use.stop_lingering();
        if self.phase == Phase::Down {
            self.chats.clear();
            self.shown = 0;
            self.open_commands.clear_chats();
        } else {
            self.phase = Phase::Closing;
            self.change_all(|schedule| schedule.end_by_shutdown(now));
        }
    }

    /// The next stanza to send; `None` when there is none for now. Call it until then after every `handle_*`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        match self.poll_transmit_beside(std::iter::empty()) {
            NextTransmit::Now(transmit) => Some(transmit),
            NextTransmit::Waits | NextTransmit::Nothing => None,
        }
    }

    /// As [`poll_transmit`](Self::poll_transmit), where chat states to these addresses are under way, and no
    /// availability. What comes next may have to wait for them, and all that is behind it with it: another
    /// stanza of one of those chats, and an availability, which has its place between all others.
    #[must_use]
    pub fn poll_transmit_beside<'a>(
        &mut self,
        under_way: impl Iterator<Item = &'a ChatJid> + Clone,
    ) -> NextTransmit {
        let Some(now) = self.now.filter(|_| self.phase != Phase::Down) else {
            return NextTransmit::Nothing;
        };
        loop {
            // While closing, it is only told when the last `paused` is out.
            if (self.phase == Phase::Up || self.chats.is_empty())
                && let Some(availability) = self.device_use.untold(now, self.shown > 0)
            {
                if under_way.clone().next().is_some() {
                    return NextTransmit::Waits;
                }
                self.device_use.tell(now, availability);
                return NextTransmit::Now(Transmit::Availability(availability));
            }
            let due = self.chats.first().filter(|(_, schedule)| schedule.due <= now);
            let Some((chat, schedule)) = due else {
                return NextTransmit::Nothing;
            };
            if under_way.clone().any(|address| self.is_sent_to(chat, address)) {
                return NextTransmit::Waits;
            }
            let chat = chat.clone();
            if let Some(transmit) = self.fire_first(now, chat, schedule) {
                return NextTransmit::Now(transmit);
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` when nothing is left to end. Ask
    /// again after every `handle_*`, when nothing is left to poll.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Down {
            return None;
        }
        let due = self.chats.first().map(|(_, schedule)| schedule.due);
        due.into_iter()
            .chain(self.device_use.deadline(self.shown > 0))
            .min()
    }

    /// Whether these are names of one chat.
    #[must_use]
    pub fn is_same_chat(&self, one: &ChatJid, other: &ChatJid) -> bool {
        one == other || self.aliases.resolve(one) == self.aliases.resolve(other)
    }

    /// Whether a stanza to `address` may be one of `chat`, or share the next one's address.
    fn is_sent_to(&self, chat: &ChatJid, address: &ChatJid) -> bool {
        address == chat || self.aliases.resolve(address) == chat || self.chats.address(chat) == Some(address)
    }

    /// What WhatsApp was last told on this connection, as far as it holds; `None` when nothing was told, and
    /// while down.
    #[must_use]
    pub fn availability(&self) -> Option<Availability> {
        self.device_use.told()
    }

    /// Does what is due in `chat`, which is the first, and says what to send for it.
    fn fire_first(&mut self, now: Instant, chat: ChatJid, mut schedule: Schedule) -> Option<Transmit> {
        match schedule.fire(now, &self.timing) {
            Fired::Indicator => {
                let is_commands = self.open_commands.note_polled(&chat, &chat);
                self.chats.set_first(schedule);
                self.chats.forget_address(&chat);
                let state = schedule.indicator.into();
                let cause = if is_commands { Cause::Command } else { Cause::Hold };
                Some(Transmit::ChatState { chat, state, cause })
            }
            Fired::Paused(cause) => {
                let address = self.remove(&chat).and_then(|record| record.address);
                let address = address.unwrap_or_else(|| chat.clone());
                // A message may have ended what a command was about to show: then it is the command's stanza.
                let is_commands = self.open_commands.note_polled(&chat, &address);
                Some(Transmit::ChatState {
                    chat: address,
                    state: ChatState::Paused,
                    cause: if is_commands { Cause::Command } else { cause },
                })
            }
            Fired::Nothing => {
                self.remove(&chat);
                None
            }
        }
    }

    /// The timer of `chat` was its last.
    fn remove(&mut self, chat: &ChatJid) -> Option<ChatRecord> {
        let record = self.chats.remove(chat)?;
        self.count_shown(Some(record.schedule), None);
        if record.schedule.is_shown() {
            self.note_ended(record.schedule.end);
        }
        Some(record)
    }

    /// Sets what is kept of `chat`, without any indicator having ended by that.
    fn replace(&mut self, chat: ChatJid, record: Option<ChatRecord>) {
        let old = self.chats.get(&chat);
        self.count_shown(old, record.as_ref().map(|record| record.schedule));
        match record {
            Some(record) => self.chats.put(chat, record),
            None => drop(self.chats.remove(&chat)),
        }
    }

    /// What is kept of a chat was `old`, and is `new`.
    fn count_shown(&mut self, old: Option<Schedule>, new: Option<Schedule>) {
        let [old, new] = [old, new].map(|schedule| schedule.is_some_and(|s| s.is_shown()));
        self.shown = self.shown + usize::from(new) - usize::from(old);
    }

    fn note_ended(&mut self, at: Instant) {
        self.device_use.indicator_ended(at, self.timing.linger);
    }

    fn change_all(&mut self, change: impl Fn(&mut Schedule)) {
        self.chats.change_all(&change);
        self.open_commands.change_all(change);
        self.shown = self.chats.count_shown();
    }

    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.now.map_or(now, |latest| latest.max(now));
        self.now = Some(now);
        now
    }
}

#[cfg(test)]
mod tests;
