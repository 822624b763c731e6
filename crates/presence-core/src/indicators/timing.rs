//! The times that WhatsApp and the contract set.

use std::time::{Duration, Instant};

/// The times that [`Indicators`](crate::Indicators) keeps. The default is the contract's. More than a day
/// counts as a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long after a stanza an indicator that is held is sent again. 5 s, since phones hide it 5 to 10 s
    /// after the last stanza. Zero: never.
    pub refresh: Duration,
    /// How long, at most, a phone shows an indicator that is not sent again. 10 s.
    pub display: Duration,
    /// How long the session stays available after its last indicator has ended, so that a conversation does
    /// not make the account's phone come and go. 10 s.
    pub linger: Duration,
}

/// Nothing is sent again when less than this is left of it: it would hardly be seen before its `paused`.
pub(super) const LEAST_LEFT: Duration = Duration::from_secs(1);

/// Nothing here is ever meant to take longer; and no time that a machine has been up, plus this, overflows.
const LONGEST: Duration = Duration::from_hours(24);

impl Timing {
    pub(super) fn bounded(self) -> Self {
        Self {
            refresh: self.refresh.min(LONGEST),
            display: self.display.min(LONGEST),
            linger: self.linger.min(LONGEST),
        }
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
    /// before, or less than [`LEAST_LEFT`] after.
    pub(super) fn refresh_after(&self, sent: Instant, end: Instant) -> Option<Instant> {
        let due = sent + self.refresh;
        (due > sent && due + LEAST_LEFT <= end).then_some(due)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5),
            display: Duration::from_secs(10),
            linger: Duration::from_secs(10),
        }
    }
}
