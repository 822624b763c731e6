//! What a session shows in its chats, and what has to be sent for it.

use std::time::Instant;

use crate::{ChatJid, ChatState, Command};

mod chats;
mod timing;
mod vocabulary;

use chats::{Chats, Entry, Timer};
pub use timing::Timing;
pub use vocabulary::{Availability, MAX_CHATS, Policy, Refused, Transmit};

/// The indicators of one WhatsApp session: what its chats show, what to send so that they do, and when.
///
/// This is a state machine without input or output. Whoever drives it tells it what happened and when
/// (`handle_*`), sends what it wants sent ([`poll_transmit`](Self::poll_transmit)), and comes back at the time
/// it names ([`poll_timeout`](Self::poll_timeout)). It keeps the contract's rules:
///
/// - **Auto-pause.** An indicator with a [`Hold`](crate::Hold) is ended by exactly one `paused`, at its
///   deadline.
/// - **Hold.** Until then it is sent again every [`Timing::refresh`], never with a `paused` in between, and
///   not within the last [`Timing::second`]. Without a hold it is sent once; the phone hides it by itself.
/// - **Latest wins.** A command replaces all that its chat had, the timer included.
/// - **Nothing is left hanging.** A shutdown pauses what phones may still show. An indicator outlives a lost
///   connection: it is sent again on the next one, or paused there when its deadline has passed.
/// - **Available only while needed.** Where [`Policy`] says so, the session becomes available before it shows
///   something, and unavailable [`Timing::linger`] after the last indicator has ended. It becomes one or the
///   other on each new connection, where WhatsApp's own default would be available.
///
/// # How to drive it
/// ```
/// use std::time::{Duration, Instant};
/// use presence_core::{
///     Availability, ChatJid, ChatState, Command, Hold, Indicator, Indicators, Policy, Timing, Transmit,
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
/// let composing = Transmit::ChatState { chat: chat.clone(), state: ChatState::Composing };
/// assert_eq!(indicators.poll_transmit(), Some(composing));
/// assert_eq!(indicators.poll_transmit(), None);
///
/// let deadline = indicators.poll_timeout().unwrap();
/// assert_eq!(deadline, start + Duration::from_secs(5));
/// indicators.handle_timeout(deadline);
/// assert_eq!(indicators.poll_transmit(), Some(Transmit::ChatState { chat, state: ChatState::Paused }));
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
/// `now` is the caller's and never goes back; a `now` before the latest one counts as that. Deadlines follow
/// from the times they were set at, so a late caller does not make them drift, and one that was suspended
/// finds one stanza due in each chat, not all that it missed.
///
/// # Order and cost
/// An availability comes first (at shutdown, last), then what is due first; at equal times, by JID. Each
/// operation takes O(log n) for n chats, a change of connection O(n); a re-send allocates nothing. A chat
/// costs less than 200 bytes, its JID not counted. There is no queue of stanzas: each is made when it is
/// polled, from what then holds.
#[derive(Debug)]
pub struct Indicators {
    timing: Timing,
    raise_availability: bool,
    keep_online: bool,
    chats: Chats,
    /// How many of `chats` are shown, and hence worth being available for.
    shown: usize,
    phase: Phase,
    /// The latest time that was told.
    now: Option<Instant>,
    /// What WhatsApp was told on this connection.
    availability: Option<Availability>,
    /// Until when the session stays available though nothing is shown.
    linger_until: Option<Instant>,
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
            raise_availability: policy.raise_availability,
            keep_online: policy.keep_online,
            chats: Chats::default(),
            shown: 0,
            phase: Phase::Down,
            now: None,
            availability: None,
            linger_until: None,
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
        let before = self.chats.get(&chat);
        if before.is_none() && self.chats.len() == MAX_CHATS {
            return Err(Refused::TooManyChats);
        }
        let entry = match command {
            Command::Show(indicator, hold) => {
                let (timer, lasts) = match hold {
                    Some(hold) => (Timer::Hold, self.timing.hold(hold)),
                    None => (Timer::Flash, self.timing.display),
                };
                let seen = before.is_some_and(|before| before.seen);
                Entry {
                    timer,
                    due: now,
                    end: now + lasts,
                    indicator,
                    seen,
                    renewed: false,
                }
            }
            Command::Pause => Entry::owed(now, now),
        };
        self.set(now, chat, entry);
        Ok(())
    }

    /// The last stanza polled for `chat` was not written, or one before it, so that it never will be. The
    /// client is told that its command failed.
    ///
    /// The command is void, and what the phone may still show is paused at the next chance: after
    /// [`Timing::refresh`], or on the next connection. A re-send that was not written changes nothing: its
    /// indicator comes up again by itself.
    pub fn handle_failure(&mut self, now: Instant, chat: &ChatJid) {
        let now = self.advance(now);
        match self.chats.get(chat) {
            // A re-send, or a stanza of the connection before.
            Some(entry) if entry.renewed || entry.timer == Timer::Fade => {}
            // Never polled, and no phone has seen anything before it.
            Some(entry) if !entry.seen => self.remove(now, chat),
            // A `paused`, with which its chat was forgotten. In a full house it stays so, and the phone hides
            // the indicator by itself.
            None if self.chats.len() == MAX_CHATS => {}
            Some(_) | None => self.set(now, chat.clone(), Entry::owed(now, now + self.timing.refresh)),
        }
    }

    /// The session can take stanzas: it is logged in, on a new connection.
    pub fn handle_session_up(&mut self, now: Instant) {
        let now = self.advance(now);
        let second = self.timing.second;
        self.phase = Phase::Up;
        self.availability = None;
        self.linger_until = None;
        self.chats.change_all(|entry| match entry.timer {
            Timer::Flash | Timer::Forget | Timer::Fade => entry.timer = Timer::Fade,
            Timer::Pause => entry.due = entry.end.max(now),
            Timer::Hold | Timer::Renew | Timer::End if now + second <= entry.end => {
                (entry.timer, entry.due) = (Timer::Renew, now);
            }
            // Over, or too nearly so to come up once more.
            Timer::Hold | Timer::Renew | Timer::End if entry.seen => {
                (entry.timer, entry.due) = (Timer::Pause, entry.end.max(now));
            }
            Timer::Hold | Timer::Renew | Timer::End => (entry.timer, entry.due) = (Timer::Fade, now),
        });
        self.shown = self.chats.count_shown();
    }

    /// The session can take no stanzas until the next [`handle_session_up`](Self::handle_session_up).
    pub fn handle_session_down(&mut self, now: Instant) {
        self.advance(now);
        self.phase = Phase::Down;
    }

    /// Sets [`Policy::keep_online`]. It takes effect at once.
    pub fn handle_keep_online(&mut self, now: Instant, keep: bool) {
        self.advance(now);
        if keep {
            self.linger_until = None;
        }
        self.keep_online = keep;
    }

    /// Time has passed. An early or extra call does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The session is about to be closed. What its chats may still show is paused, then the session becomes
    /// unavailable, if it was made available for them. Commands are refused until the next connection.
    ///
    /// While down nothing can be sent any more: everything is forgotten.
    pub fn handle_shutdown(&mut self, now: Instant) {
        let now = self.advance(now);
        self.shown = 0;
        self.linger_until = None;
        if self.phase == Phase::Down {
            self.chats = Chats::default();
        } else {
            self.phase = Phase::Closing;
            self.chats.change_all(|entry| *entry = Entry::owed(now, now));
        }
    }

    /// The next stanza to send; `None` when there is none for now. Call it until then after every `handle_*`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let now = self.now.filter(|_| self.phase != Phase::Down)?;
        loop {
            if let Some(availability) = self.changed_availability(now) {
                self.availability = Some(availability);
                return Some(Transmit::Availability(availability));
            }
            let (chat, entry) = self.chats.first().filter(|(_, entry)| entry.due <= now)?;
            let chat = chat.clone();
            if let Some(state) = self.fire(now, &chat, entry) {
                return Some(Transmit::ChatState { chat, state });
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
        let due = self.chats.first().map(|(_, entry)| entry.due);
        due.into_iter().chain(self.linger_until).min()
    }

    /// In how many chats an indicator is up. One without a hold counts for [`Timing::display`]; one that an
    /// earlier connection sent and this one did not, no more.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.shown
    }

    /// Whether an indicator is up in `chat`, as [`shown`](Self::shown) counts them.
    #[must_use]
    pub fn is_shown(&self, chat: &ChatJid) -> bool {
        self.chats.get(chat).is_some_and(|entry| entry.timer.is_shown())
    }

    /// Does what is due in `chat`, and says what to send for it.
    fn fire(&mut self, now: Instant, chat: &ChatJid, mut entry: Entry) -> Option<ChatState> {
        match entry.timer {
            Timer::Hold | Timer::Renew if now < entry.end => {
                entry.renewed = entry.timer == Timer::Renew;
                let sent = self.timing.latest_refresh(entry.due, now);
                (entry.timer, entry.due) = match self.timing.refresh_after(sent, entry.end) {
                    Some(due) => (Timer::Renew, due),
                    None => (Timer::End, entry.end),
                };
            }
            Timer::Flash => (entry.timer, entry.due) = (Timer::Forget, entry.end),
            Timer::Hold | Timer::Renew | Timer::End | Timer::Pause => {
                self.remove(entry.end, chat);
                return Some(ChatState::Paused);
            }
            Timer::Forget | Timer::Fade => {
                self.remove(entry.end, chat);
                return None;
            }
        }
        entry.seen = true;
        self.chats.set(chat.clone(), entry);
        Some(entry.indicator.into())
    }

    /// What WhatsApp has to be told, unless it was.
    fn changed_availability(&mut self, now: Instant) -> Option<Availability> {
        if self.phase == Phase::Closing && !self.chats.is_empty() {
            return None;
        }
        self.linger_until = self.linger_until.filter(|&until| now < until);
        let raised = self.raise_availability && (self.shown > 0 || self.linger_until.is_some());
        let wanted = if self.keep_online || raised {
            Availability::Available
        } else {
            Availability::Unavailable
        };
        Some(wanted).filter(|_| self.availability != Some(wanted))
    }

    fn set(&mut self, now: Instant, chat: ChatJid, entry: Entry) {
        let was_shown = self.is_shown(&chat);
        let is_shown = entry.timer.is_shown();
        self.chats.set(chat, entry);
        match (was_shown, is_shown) {
            (false, true) => {
                self.shown += 1;
                self.linger_until = None;
            }
            (true, false) => self.count_ended(now),
            _ => {}
        }
    }

    fn remove(&mut self, at: Instant, chat: &ChatJid) {
        if self
            .chats
            .remove(chat)
            .is_some_and(|entry| entry.timer.is_shown())
        {
            self.count_ended(at);
        }
    }

    fn count_ended(&mut self, at: Instant) {
        self.shown -= 1;
        if self.shown == 0 && self.availability == Some(Availability::Available) && !self.keep_online {
            self.linger_until = Some(at + self.timing.linger);
        }
    }

    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.now.map_or(now, |latest| latest.max(now));
        self.now = Some(now);
        now
    }
}

#[cfg(test)]
mod tests;
