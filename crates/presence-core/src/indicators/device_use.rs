//! Whether the device is to be available, and what WhatsApp was told of it.

use std::time::{Duration, Instant};

use super::policy::Policy;
use super::transmit::Availability;

/// Whether the device is in use, on one connection after the other.
#[derive(Clone, Debug)]
pub(super) struct DeviceUse {
    policy: Policy,
    /// What WhatsApp was told on this connection, as far as it holds.
    told: Option<Availability>,
    /// Until when the device stays available when nothing is shown. While something is, it has no effect,
    /// so that a command that turns out void has not shortened it.
    linger_until: Option<Instant>,
}

impl DeviceUse {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            told: None,
            linger_until: None,
        }
    }

    pub(super) fn told(&self) -> Option<Availability> {
        self.told
    }

    /// What WhatsApp was told does not hold.
    pub(super) fn forget_told(&mut self) {
        self.told = None;
    }

    /// There is another connection, or none: on it nothing was told, and nothing lingers.
    pub(super) fn reset(&mut self) {
        self.told = None;
        self.linger_until = None;
    }

    pub(super) fn stop_lingering(&mut self) {
        self.linger_until = None;
    }

    pub(super) fn keep_online(&mut self, keep: bool) {
        if keep {
            self.linger_until = None;
        }
        self.policy.keep_online = keep;
    }

    /// One of the indicators is over since `at`.
    pub(super) fn indicator_ended(&mut self, at: Instant, linger: Duration) {
        let raised = self.policy.raise_availability && !self.policy.keep_online;
        if raised && self.told == Some(Availability::Available) {
            self.linger_until = self.linger_until.max(Some(at + linger));
        }
    }

    /// What WhatsApp has to be told now, unless it was.
    pub(super) fn untold(&self, now: Instant, is_something_shown: bool) -> Option<Availability> {
        let lingers = self.linger_until.is_some_and(|until| now < until);
        let needed = is_something_shown || lingers;
        let wanted = if self.policy.keep_online || self.policy.raise_availability && needed {
            Availability::Available
        } else {
            Availability::Unavailable
        };
        (self.told != Some(wanted)).then_some(wanted)
    }

    /// WhatsApp is told `availability` now.
    pub(super) fn tell(&mut self, now: Instant, availability: Availability) {
        self.linger_until = self.linger_until.filter(|&until| now < until);
        self.told = Some(availability);
    }

    /// When the device becomes unavailable if nothing is shown until then.
    pub(super) fn deadline(&self, is_something_shown: bool) -> Option<Instant> {
        self.linger_until.filter(|_| !is_something_shown)
    }
}
