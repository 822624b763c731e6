//! The times that WhatsApp and the contract set.

use std::time::{Duration, Instant};

use crate::Hold;

/// Nothing here is ever meant to take longer; and no time that a machine has been up, plus this, overflows.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The times that [`Indicators`](crate::Indicators) keeps. The default is the contract's; tests with real
/// sockets shorten all of it with [`Timing::with_second`]. More than a day counts as a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long one second of a [`Hold`] lasts. Nothing is re-sent when less than this is left. 1 s.
    pub second: Duration,
    /// How long after a stanza an indicator that is held is sent again. 5 s, since phones hide it 5 to 10 s
    /// after the last stanza. Zero: never.
    pub refresh: Duration,
    /// How long, at most, a phone shows an indicator that is not sent again. 10 s.
    pub display: Duration,
    /// How long the session stays available after its last indicator has ended, so that a conversation does
    /// not make the account's phone come and go. 10 s.
    pub linger: Duration,
}

impl Timing {
    /// The contract's times, in a world where a second lasts as long as `second`.
    #[must_use]
    pub fn with_second(second: Duration) -> Self {
        let seconds = |count| second.saturating_mul(count);
        Self {
            second,
            refresh: seconds(5),
            display: seconds(10),
            linger: seconds(10),
        }
    }

    pub(super) fn bounded(self) -> Self {
        Self {
            second: self.second.min(LONGEST),
            refresh: self.refresh.min(LONGEST),
            display: self.display.min(LONGEST),
            linger: self.linger.min(LONGEST),
        }
    }

    pub(super) fn hold(&self, hold: Hold) -> Duration {
        self.second * hold.as_secs().into()
    }

    /// The last of the refreshes due at `due`, `due + refresh`, … that is not behind `now`; `due` itself when
    /// it is the only one. However late a machine is, it catches up with one stanza.
    pub(super) fn latest_refresh(&self, due: Instant, now: Instant) -> Instant {
        let late = now.saturating_duration_since(due);
        match late.as_nanos().checked_rem(self.refresh.as_nanos()) {
            Some(since_last) => now - Duration::from_nanos_u128(since_last),
            None => due,
        }
    }

    /// When an indicator that was sent at `sent` and is over at `end` is sent again; `None` when it is over
    /// before, or in the second after.
    pub(super) fn refresh_after(&self, sent: Instant, end: Instant) -> Option<Instant> {
        let due = sent + self.refresh;
        (due > sent && due + self.second <= end).then_some(due)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::with_second(Duration::from_secs(1))
    }
}
