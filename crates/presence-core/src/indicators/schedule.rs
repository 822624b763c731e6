//! What one chat shows, and what is to happen there next.

use std::time::Instant;

use super::shown::Shown;
use super::timing::{LEAST_LEFT, Timing};
use super::transmit::Cause;
use crate::{Command, Hold, Indicator};

/// What a chat shows, until when, and what is to happen there next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// What happens at `due`.
    pub(super) timer: Timer,
    /// When the timer is due.
    pub(super) due: Instant,
    /// When the indicator is over; for [`Timer::Pause`], the earliest time that it may be sent on a new
    /// connection.
    pub(super) end: Instant,
    /// What is shown. Of no matter for [`Timer::Pause`].
    pub(super) indicator: Indicator,
    /// For how long it was asked for; `None` when it is not held. Of no matter for [`Timer::Pause`].
    pub(super) hold: Option<Hold>,
    /// A stanza has gone out for this chat: its phone may show something.
    pub(super) seen: bool,
    /// Which of the session's commands this is from.
    pub(super) command: CommandNumber,
}

/// What happens next in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// A held indicator is sent, for the first time or again.
    Show,
    /// The only stanza of an indicator that is not held is sent.
    ShowOnce,
    /// A held indicator is over.
    End,
    /// The phone has hidden an indicator that was not held.
    Expire,
    /// As `Expire`, for a stanza of a connection before this one: nobody stays available for it.
    Forget,
    /// A `paused` is owed. No indicator counts as shown.
    Pause(PauseCause),
}

/// Why a `paused` is owed: a [`Cause`] whose deadline, if it is one, is the schedule's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PauseCause {
    Command,
    Deadline,
    OwnMessage,
    Shutdown,
}

/// What a due timer wants sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fired {
    /// The indicator; the schedule says what comes next.
    Indicator,
    /// A `paused`, for this reason; nothing comes next.
    Paused(Cause),
    /// Nothing, and nothing comes next.
    Nothing,
}

/// Commands of a session in their order. It wraps around: what is kept of two chats is never two thousand
/// million commands apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CommandNumber(u32);

impl PauseCause {
    fn with_end(self, end: Instant) -> Cause {
        match self {
            Self::Command => Cause::Command,
            Self::Deadline => Cause::Deadline(end),
            Self::OwnMessage => Cause::OwnMessage,
            Self::Shutdown => Cause::Shutdown,
        }
    }
}

impl CommandNumber {
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// One that is before all that anything is still kept of.
    pub(super) fn long_before(self) -> Self {
        Self(self.0.wrapping_sub(1 << 30))
    }

    pub(super) fn is_after(self, other: Self) -> bool {
        (1..1 << 31).contains(&self.0.wrapping_sub(other.0))
    }
}

impl Schedule {
    /// `command`, given at `now`, in a chat whose phone may show something (`seen`).
    pub(super) fn new(
        now: Instant,
        command: Command,
        number: CommandNumber,
        seen: bool,
        timing: &Timing,
    ) -> Self {
        match command {
            Command::Show(indicator, hold) => {
                let (timer, lasts) = match hold {
                    Some(hold) => (Timer::Show, hold.duration()),
                    None => (Timer::ShowOnce, timing.display),
                };
                Self {
                    timer,
                    due: now,
                    end: now + lasts,
                    indicator,
                    hold,
                    seen,
                    command: number,
                }
            }
            Command::Pause => Self {
                seen,
                ..Self::paused(PauseCause::Command, now, now, number)
            },
        }
    }

    /// A `paused` that is to be sent at `due`, and on a new connection from `end` on.
    pub(super) fn paused(cause: PauseCause, end: Instant, due: Instant, command: CommandNumber) -> Self {
        Self {
            timer: Timer::Pause(cause),
            due,
            end,
            indicator: Indicator::Typing,
            hold: None,
            seen: true,
            command,
        }
    }

    /// What another machine showed on a connection before.
    pub(super) fn taken_over(now: Instant, shown: Shown, command: CommandNumber, timing: &Timing) -> Self {
        let Shown {
            indicator,
            hold,
            until,
        } = shown;
        let (timer, lasts) = match hold {
            Some(hold) => (Timer::End, hold.duration()),
            None => (Timer::Forget, timing.display),
        };
        // The other's clock may be wrong; nothing is shown for longer than was asked for.
        let end = until.min(now + lasts);
        Self {
            timer,
            due: end,
            end,
            indicator,
            hold,
            seen: true,
            command,
        }
    }

    /// Whether the indicator is one to be available for.
    pub(super) fn is_shown(&self) -> bool {
        !matches!(self.timer, Timer::Forget | Timer::Pause(_))
    }

    /// Whether an indicator has yet to end.
    pub(super) fn has_yet_to_end(&self, now: Instant) -> bool {
        let in_last_second = self.timer == Timer::Pause(PauseCause::Deadline) && now < self.end;
        self.is_shown() || in_last_second
    }

    /// The account has sent a message in this chat: what its phone may show is over.
    pub(super) fn end_by_message(&mut self, now: Instant) {
        let shows = match self.timer {
            Timer::Show | Timer::ShowOnce | Timer::End => true,
            Timer::Expire | Timer::Forget => self.seen && now < self.due,
            // One that is not to come back for its last second, and is paused at its end.
            Timer::Pause(_) => now < self.end,
        };
        if shows {
            *self = Self::paused(PauseCause::OwnMessage, now, now, self.command);
        }
    }

    /// The session is about to be closed: what a phone may show is paused, and what is owed, now.
    pub(super) fn end_by_shutdown(&mut self, now: Instant) {
        let (cause, end) = match self.timer {
            Timer::Pause(cause) if self.end <= now => (cause, self.end),
            _ => (PauseCause::Shutdown, now),
        };
        *self = Self::paused(cause, end, now, self.command);
    }

    /// What is shown, as [`is_shown`](Self::is_shown) counts it.
    pub(super) fn shown(&self) -> Option<Shown> {
        self.is_shown().then_some(Shown {
            indicator: self.indicator,
            hold: self.hold,
            until: self.end,
        })
    }

    /// There is a new connection: what is held is sent on it, unless its time is up.
    pub(super) fn reconnect(&mut self, now: Instant) {
        (self.timer, self.due) = match self.timer {
            Timer::ShowOnce | Timer::Expire | Timer::Forget => (Timer::Forget, self.due),
            Timer::Pause(cause) => (Timer::Pause(cause), self.end.max(now)),
            Timer::Show | Timer::End if now + LEAST_LEFT <= self.end => (Timer::Show, now),
            // Over, or too nearly so to come up once more.
            Timer::Show | Timer::End if self.seen => (Timer::Pause(PauseCause::Deadline), self.end.max(now)),
            Timer::Show | Timer::End => (Timer::Forget, now),
        };
    }

    /// The timer is due.
    pub(super) fn fire(&mut self, now: Instant, timing: &Timing) -> Fired {
        match self.timer {
            Timer::Show if now < self.end => {
                let sent = timing.latest_refresh(self.due, now);
                (self.timer, self.due) = match timing.refresh_after(sent, self.end) {
                    Some(due) => (Timer::Show, due),
                    None => (Timer::End, self.end),
                };
            }
            Timer::ShowOnce => (self.timer, self.due) = (Timer::Expire, self.end),
            Timer::Show | Timer::End => return Fired::Paused(Cause::Deadline(self.end)),
            Timer::Pause(cause) => return Fired::Paused(cause.with_end(self.end)),
            Timer::Expire | Timer::Forget => return Fired::Nothing,
        }
        self.seen = true;
        Fired::Indicator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_their_order_where_their_numbers_wrap_around() {
        for number in [0, 1, 1 << 30, (1 << 31) + 5, u32::MAX - 1, u32::MAX].map(CommandNumber) {
            let next = number.next();
            assert!(next.is_after(number) && !number.is_after(next), "{number:?}");
            assert!(!number.is_after(number), "{number:?}");
            let owed = number.long_before();
            assert!(number.is_after(owed) && next.is_after(owed), "{number:?}");
            assert!(!owed.is_after(number), "{number:?}");
        }
    }
}
