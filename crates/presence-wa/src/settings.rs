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
    /// Whether a message that a device of the account sends in a chat ends the indicator there. Default true.
    pub end_on_message: bool,
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
    /// The longest to wait for a session to close, and for device keys to be read or written. Default 5 s.
    pub close_timeout: Duration,
    /// When a session is opened again.
    pub retry: RetrySettings,
    /// How long a pairing that nobody asks for any more is begun again after a lost connection. Default
    /// 3 min, the life of a link code.
    pub pairing_wanted_for: Duration,
    /// How many sessions may log in at a time. Default 64, at least 1.
    pub max_concurrent_logins: usize,
    /// The least time between two logins while WhatsApp answers. Default 1 ms.
    pub login_interval: Duration,
    /// How many requests may wait for one session; more are refused. Default 256, at least 1.
    pub inbox: usize,
}

/// When a session is opened again after one has ended.
#[derive(Clone, Copy, Debug)]
pub struct RetrySettings {
    /// After a connection that was lost or not made.
    pub backoff: Backoff,
    /// After WhatsApp refused a login for now. Default from 5 s on, at most 10 min, and at least half of it.
    pub rejection_backoff: Backoff,
    /// The first wait when it refused because of too many (429). Default 2 min, and at least half of it.
    pub throttled: Duration,
    /// How long to wait before a login that WhatsApp refused for good, or whose client version it takes no
    /// longer, is tried once more. Default 1 h.
    pub refused_again_after: Duration,
    /// A session that was online this long starts its back-off anew. Default 30 s.
    pub stable_after: Duration,
    /// How long to wait when WhatsApp bans an account and does not say until when. Default 1 h.
    pub unknown_ban: Duration,
    /// For how long after a pairing a refused login means that WhatsApp has not registered the device yet.
    /// Default 3 min.
    pub registering: Duration,
    /// How long to wait before an instance whose device connected elsewhere is connected once more. Never twice
    /// within an hour, so that two who use one device do not end each other's sessions for ever. `None`, the
    /// default: it is not, until somebody asks.
    pub replaced_again_after: Option<Duration>,
    /// The least time between two sessions that were opened because a client asked for a fresh connection.
    /// Default 10 s.
    pub reopen_interval: Duration,
    /// The most sessions an instance opens in a minute, whatever happens. Default 12.
    pub opens_a_minute: usize,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            raise_availability: true,
            end_on_message: true,
            resolve_numbers: true,
            send_timeout: Duration::from_secs(5),
            lookup_timeout: Duration::from_secs(2),
            login_timeout: Duration::from_secs(30),
            farewell_timeout: Duration::from_secs(2),
            unlink_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            retry: RetrySettings::default(),
            pairing_wanted_for: Duration::from_secs(180),
            max_concurrent_logins: 64,
            login_interval: Duration::from_millis(1),
            inbox: 256,
        }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            rejection_backoff: Backoff {
                base: Duration::from_secs(5),
                cap: Duration::from_secs(600),
            },
            throttled: Duration::from_secs(120),
            refused_again_after: Duration::from_secs(60 * 60),
            stable_after: Duration::from_secs(30),
            unknown_ban: Duration::from_secs(60 * 60),
            registering: Duration::from_secs(180),
            replaced_again_after: None,
            reopen_interval: Duration::from_secs(10),
            opens_a_minute: 12,
        }
    }
}
