//! What one connection's handle, its monitor and the client's events share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::whatsapp_rust::types::events::{Event, EventHandler, EventInterest, EventKind};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::device::Device;
use super::progress::{Progress, Signal};

/// Takes in the client's events. The client owns the handler of its events, so nothing in here may own the
/// client.
pub(super) struct Tracker {
    progress: Mutex<Progress>,
    device: Device,
    /// How many presences were sent.
    pub(super) sent: AtomicU64,
    /// Notified when an event came.
    pub(super) changed: Notify,
}

impl Tracker {
    pub(super) fn new(progress: Progress, device: Device) -> Self {
        Self {
            progress: Mutex::new(progress),
            device,
            sent: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventHandler for Tracker {
    fn handle_event(&self, event: Arc<Event>) {
        let signal = match &*event {
            // It has learnt the account's name, and says `available` as soon as this returns, if it still
            // knows it then.
            Event::SelfPushNameUpdated(_) => (!self.device.try_hide_name()).then_some(Signal::SelfAnnounced),
            event => Signal::of_event(event),
        };
        if let Some(signal) = signal {
            self.progress().handle_signal(Instant::now(), signal);
        }
        self.changed.notify_one();
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::ClientOutdated,
            EventKind::ConnectFailure,
            EventKind::Connected,
            EventKind::Disconnected,
            EventKind::LoggedOut,
            EventKind::PairError,
            EventKind::PairSuccess,
            EventKind::PairingCodeError,
            EventKind::PairingCodeRefresh,
            EventKind::PairingQrCode,
            EventKind::PairingQrCodesExhausted,
            EventKind::SelfPushNameUpdated,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
        ])
    }
}
