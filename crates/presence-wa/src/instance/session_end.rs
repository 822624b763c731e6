//! What follows the end of a session: one table, and what an instance remembers of its recent sessions.

use std::time::Duration;

use rand::{Rng, RngExt as _};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::proxy::ProxyFault;
use crate::session::End;
use crate::settings::RetrySettings;
use crate::status::Reason;

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next session is opened now.
    Open,
    /// The next session is opened at this time.
    Wait {
        /// When.
        until: Instant,
        /// Why not before.
        why: WaitReason,
    },
    /// The client version is looked up first.
    RefreshVersion,
    /// None is opened until somebody asks.
    Stop(Reason),
    /// The device is not linked any more: that is written down, and its keys are wiped.
    LogOut(Reason),
}

/// What an instance waits for before it opens a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitReason {
    /// The connection was lost or not made.
    Lost,
    /// The keys could not be read, or another session would come too soon after the one before.
    Postponed,
    /// The instance's proxy gave no connection.
    ProxyFailed(ProxyFault),
    /// WhatsApp registers a device that was just linked, and refused it until then.
    Registering,
    /// WhatsApp refused for now, with this code.
    Rejected(Option<u16>),
    /// WhatsApp refused for good, with this code. Tried once in a while: whatever it was may have changed.
    Refused(u16),
    /// WhatsApp takes this client version no longer. Looked up again once in a while.
    Outdated,
    /// The account is banned.
    Banned,
    /// The instance's task panicked.
    Crashed,
}

/// What an instance remembers of its recent sessions.
#[derive(Debug, Default)]
pub(super) struct History {
    failures: u32,
    at_once: u32,
    version_refreshed: bool,
    /// A wait was cut short because others reached WhatsApp.
    hurried: bool,
    /// When a phone linked the device.
    paired_at: Option<Instant>,
    /// When the device was last connected again although it had connected elsewhere.
    replaced_at: Option<Instant>,
}

impl History {
    /// A session lasted: what was before it does not count any more.
    pub(super) fn handle_stable(&mut self) {
        let replaced_at = self.replaced_at;
        *self = Self {
            replaced_at,
            ..Self::default()
        };
    }

    /// A session came online: WhatsApp knows the device, so a login that it refuses from now on is refused for
    /// what it is.
    pub(super) fn handle_online(&mut self) {
        self.paired_at = None;
    }

    /// Its owner asked for a connection, so what stopped the last one is worth another try.
    pub(super) fn handle_asked(&mut self) {
        self.at_once = 0;
        self.version_refreshed = false;
    }

    /// What follows a session that ended at `now` like this.
    pub(super) fn after(
        &mut self,
        now: Instant,
        end: &End,
        settings: &RetrySettings,
        rng: &mut impl Rng,
    ) -> Next {
        match end {
            End::Paired | End::Restart if self.at_once < RESTARTS_AT_ONCE => {
                self.at_once += 1;
                if *end == End::Paired {
                    self.paired_at = Some(now);
                }
                Next::Open
            }
            End::Closed | End::Lost(_) => Next::Wait {
                until: now + self.delay(&settings.backoff, rng),
                why: WaitReason::Lost,
            },
            End::Restart | End::Paired => self.postponed(now, settings, rng),
            End::ProxyFailed { fault, .. } => Next::Wait {
                until: now + self.delay(&settings.backoff, rng),
                why: WaitReason::ProxyFailed(*fault),
            },
            // WhatsApp refuses a device that it has not registered yet as it refuses an unlinked one.
            End::LoggedOut { at_login: true } if self.is_registering(now, settings) => Next::Wait {
                until: now + REGISTERING.max(self.delay(&settings.backoff, rng)),
                why: WaitReason::Registering,
            },
            End::LoggedOut { .. } => Next::LogOut(Reason::Unlinked),
            End::PairingFailed(_) => Next::LogOut(Reason::PairingFailed),
            End::PairingExpired => Next::Stop(Reason::PairingExpired),
            End::Replaced => self.replaced(now, settings),
            // Never less than a back-off, or a peer that bans for no time at all would keep us dialling.
            End::Banned(lasts) => Next::Wait {
                until: now
                    + lasts
                        .unwrap_or(settings.unknown_ban)
                        .min(LONGEST_BAN)
                        .max(self.delay(&settings.backoff, rng)),
                why: WaitReason::Banned,
            },
            End::Outdated if !self.version_refreshed => {
                self.version_refreshed = true;
                Next::RefreshVersion
            }
            End::Outdated => self.outdated(now, settings),
            End::Rejected(Some(code @ (409 | 413 | 414 | 415 | 418))) => Next::Wait {
                until: now + settings.refused_again_after,
                why: WaitReason::Refused(*code),
            },
            End::Rejected(code) => Next::Wait {
                until: now + self.delay_after_rejection(*code, settings, rng),
                why: WaitReason::Rejected(*code),
            },
        }
    }

    /// What follows keys that could not be read, and whatever else has nothing to do with the way to WhatsApp.
    pub(super) fn postponed(&mut self, now: Instant, settings: &RetrySettings, rng: &mut impl Rng) -> Next {
        Next::Wait {
            until: now + self.delay(&settings.backoff, rng),
            why: WaitReason::Postponed,
        }
    }

    /// When an instance that was to wait until `until` is tried instead, if sooner, since others reach WhatsApp.
    /// Once until a session of it lasts: one that fails all the same fails for what is its own, and what others do
    /// says nothing about that.
    pub(super) fn hurry(&mut self, now: Instant, until: Instant, rng: &mut impl Rng) -> Option<Instant> {
        if !self.may_hurry(now, until) {
            return None;
        }
        self.hurried = true;
        Some(now + rng.random_range(Duration::ZERO..=HURRIED_WITHIN))
    }

    /// Whether [`hurry`](Self::hurry) would have an effect. What is tried about as soon anyway does not spend it.
    pub(super) fn may_hurry(&self, now: Instant, until: Instant) -> bool {
        !self.hurried && until > now + HURRIED_WITHIN
    }

    /// What follows a look-up of the client version.
    pub(super) fn after_refresh(
        &mut self,
        now: Instant,
        refreshed: Result<bool, ()>,
        settings: &RetrySettings,
        rng: &mut impl Rng,
    ) -> Next {
        match refreshed {
            Ok(true) => Next::Open,
            Ok(false) => self.outdated(now, settings),
            Err(()) => Next::Wait {
                until: now
                    + settings
                        .rejection_backoff
                        .base
                        .max(self.delay(&settings.rejection_backoff, rng)),
                why: WaitReason::Outdated,
            },
        }
    }

    fn outdated(&mut self, now: Instant, settings: &RetrySettings) -> Next {
        Next::Wait {
            until: now + settings.refused_again_after,
            why: WaitReason::Outdated,
        }
    }

    fn replaced(&mut self, now: Instant, settings: &RetrySettings) -> Next {
        let lately = self
            .replaced_at
            .is_some_and(|replaced| now < replaced + REPLACED_AGAIN);
        match settings.replaced_again_after.filter(|_| !lately) {
            Some(after) => {
                self.replaced_at = Some(now);
                Next::Wait {
                    until: now + after,
                    why: WaitReason::Postponed,
                }
            }
            None => Next::Stop(Reason::Replaced),
        }
    }

    fn is_registering(&self, now: Instant, settings: &RetrySettings) -> bool {
        self.paired_at
            .is_some_and(|paired| now < paired + settings.registering)
    }

    /// Longer than after a lost connection: WhatsApp answers, and asks to be left alone. At least half of it is
    /// waited in any case.
    fn delay_after_rejection(
        &mut self,
        code: Option<u16>,
        settings: &RetrySettings,
        rng: &mut impl Rng,
    ) -> Duration {
        let backoff = if code == Some(429) {
            Backoff {
                base: settings.throttled.max(settings.rejection_backoff.base),
                cap: settings.rejection_backoff.cap.max(settings.throttled),
            }
        } else {
            settings.rejection_backoff
        };
        let least = backoff.ceiling(self.failures) / 2;
        least + self.delay(&backoff, rng) / 2
    }

    fn delay(&mut self, backoff: &Backoff, rng: &mut impl Rng) -> Duration {
        let delay = backoff.delay(self.failures, rng);
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

/// More sessions at once than this in a row, without one that lasts, are a fault: a pairing takes one, the
/// restart that WhatsApp asks for after it another.
const RESTARTS_AT_ONCE: u32 = 3;

/// Within this time those are tried that wait when WhatsApp is reached again. They come evenly, and when they are more
/// than the login limiter lets through in it, they wait for their turn there.
const HURRIED_WITHIN: Duration = Duration::from_secs(3);

/// How long a device that was connected again is not connected again once more when it connects elsewhere.
const REPLACED_AGAIN: Duration = Duration::from_secs(60 * 60);

/// The longest ban that is waited for in one piece. It bounds what a peer can put into our clock.
const LONGEST_BAN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How soon a device that was just linked is tried again. In public logs, WhatsApp registers one within 0.6 s.
const REGISTERING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
