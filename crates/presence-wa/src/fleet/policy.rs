//! What follows the end of a session: the whole reconnect policy in one table.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::fleet::status::Reason;
use crate::session::End;

/// What to do after a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Open the next one now.
    Again,
    /// Open the next one after this long.
    After(Duration),
    /// Banned: open the next one after this long.
    Banned(Duration),
    /// Look up the client version, and open the next one if it changed.
    RefreshVersion,
    /// Wait to be asked.
    Stop(Reason),
    /// Wipe the keys, then wait to be asked.
    Wipe(Reason),
}

/// What an instance remembers of its recent sessions.
#[derive(Debug, Default)]
pub(super) struct History {
    failures: u32,
    at_once: u32,
    version_refreshed: bool,
}

/// More reconnects at once than this in a row, without a session that lasts, are a fault: a pairing takes
/// one, the restart that WhatsApp asks for after it another.
const AT_ONCE: u32 = 3;

/// The longest ban that is waited for in one piece. It bounds what a peer can put into our clock.
const LONGEST_BAN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl History {
    /// A session lasted: what was before it does not count any more.
    pub(super) fn stable(&mut self) {
        *self = Self::default();
    }

    /// Its owner asked for a connection, so what stopped the last one is worth another try.
    pub(super) fn asked(&mut self) {
        self.at_once = 0;
        self.version_refreshed = false;
    }

    pub(super) fn verdict(&mut self, end: &End, backoff: &Backoff, unknown_ban: Duration) -> Verdict {
        match end {
            End::Restart | End::Paired if self.at_once < AT_ONCE => {
                self.at_once += 1;
                Verdict::Again
            }
            End::Closed | End::Lost(_) | End::Restart | End::Paired => Verdict::After(self.delay(backoff)),
            // Never less than a back-off, or a peer that bans for no time at all would keep us dialling.
            End::Banned(lasts) => Verdict::Banned(
                lasts
                    .unwrap_or(unknown_ban)
                    .min(LONGEST_BAN)
                    .max(self.delay(backoff)),
            ),
            End::Outdated if !self.version_refreshed => {
                self.version_refreshed = true;
                Verdict::RefreshVersion
            }
            End::Outdated => Verdict::Stop(Reason::Outdated),
            End::PairingExpired => Verdict::Stop(Reason::PairingExpired),
            End::Replaced => Verdict::Stop(Reason::Replaced),
            End::Refused(code) => Verdict::Stop(Reason::Refused(*code)),
            End::PairingFailed(_) => Verdict::Wipe(Reason::PairingFailed),
            End::LoggedOut => Verdict::Wipe(Reason::Unlinked),
        }
    }

    fn delay(&mut self, backoff: &Backoff) -> Duration {
        let delay = backoff.delay(self.failures, &mut rand::rng());
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A back-off without chance: full jitter draws from `0..=0`.
    const NONE: Backoff = Backoff {
        base: Duration::ZERO,
        cap: Duration::ZERO,
    };

    #[test]
    fn every_end_has_its_verdict() {
        let rows = [
            (End::Closed, Verdict::After(Duration::ZERO)),
            (End::Lost("reset".into()), Verdict::After(Duration::ZERO)),
            (End::Paired, Verdict::Again),
            (End::Restart, Verdict::Again),
            (End::PairingExpired, Verdict::Stop(Reason::PairingExpired)),
            (
                End::PairingFailed("bad".into()),
                Verdict::Wipe(Reason::PairingFailed),
            ),
            (End::LoggedOut, Verdict::Wipe(Reason::Unlinked)),
            (End::Replaced, Verdict::Stop(Reason::Replaced)),
            (End::Banned(Some(2 * HOUR)), Verdict::Banned(2 * HOUR)),
            (End::Banned(None), Verdict::Banned(HOUR)),
            (End::Banned(Some(Duration::MAX)), Verdict::Banned(LONGEST_BAN)),
            (End::Outdated, Verdict::RefreshVersion),
            (End::Refused(418), Verdict::Stop(Reason::Refused(418))),
        ];
        for (end, verdict) in rows {
            assert_eq!(History::default().verdict(&end, &NONE, HOUR), verdict, "{end:?}");
        }
    }

    #[test]
    fn restarts_without_end_fall_back_to_the_back_off_until_a_session_lasts() {
        let mut history = History::default();
        let verdicts: Vec<_> = (0..5)
            .map(|_| history.verdict(&End::Restart, &NONE, HOUR))
            .collect();
        let after = Verdict::After(Duration::ZERO);
        assert_eq!(
            verdicts,
            [Verdict::Again, Verdict::Again, Verdict::Again, after, after]
        );
        history.stable();
        assert_eq!(history.verdict(&End::Restart, &NONE, HOUR), Verdict::Again);
    }

    #[test]
    fn the_version_is_looked_up_once_until_a_session_lasts() {
        let mut history = History::default();
        let mut outdated = || history.verdict(&End::Outdated, &NONE, HOUR);
        assert_eq!(outdated(), Verdict::RefreshVersion);
        assert_eq!(outdated(), Verdict::Stop(Reason::Outdated));
        history.stable();
        assert_eq!(
            history.verdict(&End::Outdated, &NONE, HOUR),
            Verdict::RefreshVersion
        );
    }

    #[test]
    fn a_ban_of_no_length_still_backs_off() {
        let slow = Backoff {
            base: HOUR,
            cap: HOUR,
        };
        let mut history = History::default();
        let waits: Vec<_> = (0..20)
            .map(|_| history.verdict(&End::Banned(Some(Duration::ZERO)), &slow, HOUR))
            .collect();
        assert!(
            waits
                .iter()
                .all(|v| matches!(v, Verdict::Banned(wait) if *wait <= HOUR))
        );
        assert!(
            waits
                .iter()
                .any(|v| matches!(v, Verdict::Banned(wait) if *wait > Duration::from_secs(60)))
        );
    }
}
