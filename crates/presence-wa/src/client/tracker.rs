//! What one connection's handle, its monitor and the client's events share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::whatsapp_rust::OwnedNodeRef;
use ::whatsapp_rust::types::events::{Event, EventHandler, EventInterest, EventKind};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::device::Device;
use super::own_message::own_message;
use super::progress::{Progress, Signal};
use crate::session::OwnMessage;

/// How many of the account's own messages may wait for the instance's task, which is never long about them. When
/// there are more, an indicator may stay until its time is up.
const MAX_OWN_MESSAGES: usize = 1024;

/// Takes in the client's events. The client owns the handler of its events, so nothing in here may own the
/// client.
pub(super) struct Tracker {
    progress: Mutex<Progress>,
    device: Device,
    own_messages: mpsc::Sender<OwnMessage>,
    /// How many presences were sent.
    pub(super) sent: AtomicU64,
    /// Notified when an event came.
    pub(super) changed: Notify,
}

impl Tracker {
    /// The other value is told of the account's own messages.
    pub(super) fn new(progress: Progress, device: Device) -> (Self, mpsc::Receiver<OwnMessage>) {
        let (own_messages, told) = mpsc::channel(MAX_OWN_MESSAGES);
        let tracker = Self {
            progress: Mutex::new(progress),
            device,
            own_messages,
            sent: AtomicU64::new(0),
            changed: Notify::new(),
        };
        (tracker, told)
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracker {
    /// Stanzas come in here in the order in which WhatsApp sends them, and before the client acts on them.
    fn handle_stanza(&self, stanza: &OwnedNodeRef) {
        if self.own_messages.is_closed() {
            return;
        }
        let device = self.device.manager.get_device_snapshot();
        if let Some(message) = own_message(stanza.get(), [device.pn.as_ref(), device.lid.as_ref()]) {
            // An error means that there are too many, or that nobody wants to know.
            let _ = self.own_messages.try_send(message);
        }
    }
}

impl EventHandler for Tracker {
    fn handle_event(&self, event: Arc<Event>) {
        let signal = match &*event {
            Event::RawNode(stanza) => return self.handle_stanza(stanza),
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
            EventKind::RawNode,
            EventKind::SelfPushNameUpdated,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
        ])
    }
}
