//! What the whole fleet is told once.

use std::time::Duration;

use presence_core::Timing;

use crate::backoff::Backoff;

/// Settings of a [`Fleet`](crate::Fleet). The default is what the contract promises.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// When indicators are re-sent and paused.
    pub timing: Timing,
    /// Whether a session becomes `available` while it shows an indicator. Default true.
    pub raise_availability: bool,
    /// Whether numbers that can be written in two ways are looked up. Default true.
    pub resolve_numbers: bool,
    /// The longest a request may take from [`show`](crate::Fleet::show) to its stanza on the socket, and the
    /// longest any stanza may take. Default 5 s.
    pub send_timeout: Duration,
    /// The longest a request waits for the look-up of its number. Default 2 s.
    pub lookup_timeout: Duration,
    /// The longest a session may take to log in, or to show a first QR code. Default 30 s.
    pub login_timeout: Duration,
    /// The longest the end of a session waits for its indicators to be paused. Default 2 s.
    pub farewell_timeout: Duration,
    /// The longest a logout waits for WhatsApp to unlink the device. Default 5 s.
    pub unlink_timeout: Duration,
    /// The longest to wait for a session to close. Default 5 s.
    pub close_timeout: Duration,
    /// How long to wait before connecting again.
    pub backoff: Backoff,
    /// A session that was online this long starts its back-off anew. Default 30 s.
    pub stable_after: Duration,
    /// How long to wait when WhatsApp bans an account and does not say until when. Default 1 h.
    pub unknown_ban: Duration,
    /// How long a pairing that nobody asks for any more is begun again after a lost connection. Default
    /// 3 min, the life of a link code.
    pub pairing_patience: Duration,
    /// How many sessions may log in at a time in the background; as many again may do so because a client
    /// asked. Default 64, at least 1.
    pub max_concurrent_logins: usize,
    /// The least time between two logins in the background. Default 20 ms.
    pub stagger: Duration,
    /// How many requests may wait for one session. Default 256, at least 1.
    pub inbox: usize,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            raise_availability: true,
            resolve_numbers: true,
            send_timeout: Duration::from_secs(5),
            lookup_timeout: Duration::from_secs(2),
            login_timeout: Duration::from_secs(30),
            farewell_timeout: Duration::from_secs(2),
            unlink_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            backoff: Backoff::default(),
            stable_after: Duration::from_secs(30),
            unknown_ban: Duration::from_secs(60 * 60),
            pairing_patience: Duration::from_secs(180),
            max_concurrent_logins: 64,
            stagger: Duration::from_millis(20),
            inbox: 256,
        }
    }
}

impl FleetSettings {
    /// The longest an instance may take to end: it may just be opening a session that it then has to close.
    pub(super) fn ending(&self) -> Duration {
        self.login_timeout + self.farewell_timeout + self.unlink_timeout + 2 * self.close_timeout
    }
}
