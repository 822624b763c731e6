//! How often each linked device logged in, and when.

use std::time::Duration;

use serde::Serialize;

use super::screen::{as_millis, as_opt_millis};
use super::{Device, Number, World};

/// The logins of every linked device, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceLoginsPage {
    /// Now: milliseconds since the sandbox started.
    #[serde(rename = "at_ms", serialize_with = "as_millis")]
    pub at: Duration,
    /// By their numbers.
    pub devices: Vec<DeviceLogins>,
}

/// The logins of a linked device, since it was linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceLogins {
    /// The account's number.
    pub number: Number,
    /// Which of its devices.
    pub device: u16,
    /// Whether it is logged in.
    pub connected: bool,
    /// How often it logged in.
    pub logins: u64,
    /// How often that was while it was logged in already, so that its older connection was ended.
    pub replaced: u64,
    /// When it did so last: milliseconds since the sandbox started.
    #[serde(rename = "logged_in_at_ms", serialize_with = "as_opt_millis")]
    pub logged_in_at: Option<Duration>,
    /// When a connection of it was last gone: milliseconds since the sandbox started.
    #[serde(rename = "hung_up_at_ms", serialize_with = "as_opt_millis")]
    pub hung_up_at: Option<Duration>,
}

/// What is counted of one device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Logins {
    count: u64,
    replaced: u64,
    last: Option<Duration>,
    hung_up: Option<Duration>,
}

impl Logins {
    pub(super) fn logged_in(&mut self, now: Duration) {
        self.count += 1;
        self.last = Some(now);
    }

    pub(super) fn replaced(&mut self) {
        self.replaced += 1;
    }

    pub(super) fn hung_up(&mut self, now: Duration) {
        self.hung_up = Some(now);
    }
}

impl World {
    /// The logins of every linked device.
    #[must_use]
    pub fn logins(&self, now: Duration) -> DeviceLoginsPage {
        let devices = self.accounts.logins().map(|(device, logins)| DeviceLogins {
            number: device.number,
            device: device.id,
            connected: self.connections.of_device(device).is_some(),
            logins: logins.count,
            replaced: logins.replaced,
            logged_in_at: logins.last,
            hung_up_at: logins.hung_up,
        });
        let mut devices: Vec<_> = devices.collect();
        devices.sort_unstable_by_key(|device| (device.number, device.device));
        DeviceLoginsPage { at: now, devices }
    }

    pub(super) fn logins_of(&mut self, device: Device) -> Option<&mut Logins> {
        self.accounts.device_mut(device).map(|linked| &mut linked.logins)
    }
}
