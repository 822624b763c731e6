//! What the fleet keeps of each instance, and where it finds it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use presence_core::PhoneNumber;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::driver::{Live, Request};
use crate::fleet::InstanceOptions;
use crate::fleet::ask::{Ask, Connected, PairWith};
use crate::fleet::error::ConnectError;
use crate::fleet::status::{InstanceState, InstanceStatus, Reason};
use crate::numbers::Numbers;
use crate::pairing::LinkCode;
use crate::session::{DeviceId, Identity};

/// One instance: what the keeper publishes and what the request path reads. An instance that was never
/// asked for anything is only this.
pub(super) struct Entry {
    pub(super) device: DeviceId,
    /// It was logged out when it was added, so that keys may be left over. Part of the entry, for whoever asks
    /// for it first starts its keeper.
    pub(super) leftovers: bool,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) keep_online: watch::Sender<bool>,
    /// What WhatsApp was last told; written by the driver.
    pub(super) available: Arc<AtomicBool>,
    /// The driver's inbox, once there is a driver.
    pub(super) inbox: OnceLock<mpsc::Sender<Request>>,
    /// The keeper's mailbox, once there is a keeper.
    pub(super) asks: OnceLock<mpsc::Sender<Ask>>,
    pub(super) numbers: Arc<Numbers>,
    /// Ends every task of the instance on the spot.
    pub(super) kill: CancellationToken,
}

/// How far an instance is, as its keeper sees it.
pub(super) struct Phase {
    pub(super) state: InstanceState,
    pub(super) reason: Option<Reason>,
    pub(super) identity: Option<Identity>,
    /// The session, while the keeper takes it for online.
    pub(super) live: Option<Arc<dyn Live>>,
    pub(super) qr: Option<Qr>,
    pub(super) code: Option<Code>,
}

/// A QR code that can be scanned until it is replaced.
pub(super) struct Qr {
    pub(super) code: String,
    pub(super) until: Instant,
}

/// The link code for this number; `None` when WhatsApp refused to give one.
pub(super) struct Code {
    pub(super) phone: PhoneNumber,
    pub(super) code: Option<LinkCode>,
}

impl Phase {
    fn new(state: InstanceState) -> Self {
        Self {
            state,
            reason: None,
            identity: None,
            live: None,
            qr: None,
            code: None,
        }
    }

    /// The session, if a chat state sent now would be written.
    pub(super) fn online(&self) -> Option<Arc<dyn Live>> {
        self.live.as_ref().filter(|live| live.is_online()).map(Arc::clone)
    }

    /// What to tell a caller of connect; `None` while there is nothing to tell yet.
    pub(super) fn answer(&self, how: PairWith) -> Option<Result<Connected, ConnectError>> {
        if self.online().is_some() {
            return Some(Ok(Connected::Already));
        }
        match (self.state, how) {
            (InstanceState::Disconnected | InstanceState::LoggedOut, _) => {
                Some(Err(ConnectError::Stopped(self.reason)))
            }
            (_, PairWith::Qr) => {
                let qr = self.qr.as_ref()?;
                let valid_for = qr.until.saturating_duration_since(Instant::now());
                (!valid_for.is_zero()).then(|| {
                    Ok(Connected::Qr {
                        code: qr.code.clone(),
                        valid_for,
                    })
                })
            }
            (_, PairWith::LinkCode(phone)) => self.code.as_ref().map(|code| {
                if code.phone != phone {
                    return Err(ConnectError::Superseded);
                }
                code.code
                    .clone()
                    .map(Connected::LinkCode)
                    .ok_or(ConnectError::LinkCodeRefused)
            }),
        }
    }
}

impl Entry {
    pub(super) fn new(device: DeviceId, options: InstanceOptions, kill: CancellationToken) -> Self {
        let state = match options {
            InstanceOptions { logged_out: true, .. } => InstanceState::LoggedOut,
            InstanceOptions { resume: true, .. } => InstanceState::Connecting,
            _ => InstanceState::Disconnected,
        };
        Self {
            device,
            leftovers: options.logged_out,
            phase: watch::Sender::new(Phase::new(state)),
            keep_online: watch::Sender::new(options.keep_online),
            available: Arc::default(),
            inbox: OnceLock::new(),
            asks: OnceLock::new(),
            numbers: Arc::default(),
            kill,
        }
    }

    pub(super) fn status(&self) -> InstanceStatus {
        let phase = self.phase.borrow();
        let online = phase.online().is_some();
        // The session may have ended a moment before its keeper notices.
        let state = match phase.state {
            InstanceState::Connected if !online => InstanceState::Connecting,
            state => state,
        };
        let identity = phase.identity.as_ref();
        InstanceStatus {
            state,
            reason: phase.reason,
            jid: identity.map(|identity| identity.jid.clone()),
            push_name: identity.and_then(|identity| identity.push_name.clone()),
            available: online && self.available.load(Ordering::Relaxed),
        }
    }

    /// Publishes a new state, and logs it if it differs from the last.
    pub(super) fn publish(&self, state: InstanceState, reason: Option<Reason>) {
        let changed = self.phase.borrow().shows_other(state, reason);
        self.phase.send_modify(|phase| {
            phase.state = state;
            phase.reason = reason;
        });
        if changed {
            let reason = reason.map(Reason::label);
            info!(device.id = %self.device, state = %state, reason, "instance state changed");
        }
    }

    /// What belongs to one session only is over with it.
    pub(super) fn session_over(&self) {
        self.phase.send_if_modified(|phase| {
            let had = phase.live.is_some() || phase.qr.is_some() || phase.code.is_some();
            (phase.live, phase.qr, phase.code) = (None, None, None);
            had
        });
    }
}

impl Phase {
    fn shows_other(&self, state: InstanceState, reason: Option<Reason>) -> bool {
        (self.state, self.reason.map(Reason::label)) != (state, reason.map(Reason::label))
    }
}

/// Every instance by its device. Sharded, because every request looks here: no lock is shared by all.
pub(super) struct Entries([RwLock<HashMap<DeviceId, Arc<Entry>>>; SHARDS]);

const SHARDS: usize = 32;

impl Entries {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }

    pub(super) fn get(&self, device: DeviceId) -> Option<Arc<Entry>> {
        self.shard(device)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&device)
            .cloned()
    }

    /// Adds what `make` gives, unless there is an entry already: then `None`.
    pub(super) fn insert(&self, device: DeviceId, make: impl FnOnce() -> Entry) -> Option<Arc<Entry>> {
        let mut shard = self.shard(device).write().unwrap_or_else(PoisonError::into_inner);
        if shard.contains_key(&device) {
            return None;
        }
        let entry = Arc::new(make());
        shard.insert(device, Arc::clone(&entry));
        Some(entry)
    }

    pub(super) fn remove(&self, device: DeviceId) {
        self.shard(device)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&device);
    }

    fn shard(&self, device: DeviceId) -> &RwLock<HashMap<DeviceId, Arc<Entry>>> {
        &self.0[device.0.unsigned_abs() as usize % SHARDS]
    }
}
