//! All instances of this process, each with its session.

mod ask;
mod attend;
mod entry;
mod error;
mod gate;
mod keeper;
mod ledger;
mod pair;
mod policy;
mod settings;
mod settle;
mod shared;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use presence_core::{ChatJid, ChatPresence, PhoneNumber, PresenceSent, Recipient};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::ask::Ask;
pub use self::ask::{Connected, PairWith};
use self::entry::{Entries, Entry};
pub use self::error::{ConnectError, ReconnectError, ShowError};
use self::gate::Gate;
pub use self::ledger::{Ledger, LedgerError};
pub use self::settings::FleetSettings;
use self::shared::{Shared, StartKeeper, Starter};
pub use self::status::{InstanceState, InstanceStatus, Reason};
use crate::driver::{Live, Request};
use crate::numbers::{Lookup, Turn};
use crate::session::{Connector, DeviceId};

/// How an instance begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceOptions {
    /// Whether WhatsApp takes the account for online all the time.
    pub keep_online: bool,
    /// Reopen the saved session in the background, if there is one.
    pub resume: bool,
    /// It was logged out before ([`Ledger::logged_out`]): keys that are left over are wiped, not used.
    pub logged_out: bool,
}

/// The handle of all instances. Cheap to clone; when the last clone is dropped, every session ends at once,
/// so [`shutdown`](Self::shutdown) comes first.
///
/// An instance has at most two tasks: its keeper, which opens sessions and decides what follows their end,
/// and its driver, which writes to the session that is up; besides, one for each look-up of a number while it
/// is under way. An instance that was never asked for anything has none. No lock and no task is shared by the
/// requests of two instances, so that none can delay another.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    entries: Entries,
    shared: Arc<Shared>,
    keepers: Box<dyn StartKeeper>,
    _kill: DropGuard,
}

impl Fleet {
    /// An empty fleet. Must be called in a tokio runtime.
    #[must_use]
    pub fn new<C: Connector, L: Ledger>(connector: C, ledger: L, settings: FleetSettings) -> Self {
        let kill = CancellationToken::new();
        let shared = Arc::new(Shared {
            gate: Gate::new(settings.max_concurrent_logins, settings.stagger),
            settings,
            ledger: Box::new(ledger),
            stop: CancellationToken::new(),
            kill: kill.clone(),
            tasks: TaskTracker::new(),
        });
        let keepers = Box::new(Starter {
            connector: Arc::new(connector),
            shared: Arc::clone(&shared),
        });
        let _kill = kill.drop_guard();
        Self {
            inner: Arc::new(Inner {
                entries: Entries::new(),
                shared,
                keepers,
                _kill,
            }),
        }
    }

    /// Adds an instance. Adding one that is there already changes nothing.
    pub fn add(&self, device: DeviceId, options: InstanceOptions) {
        let kill = self.inner.shared.kill.child_token();
        let make = || Entry::new(device, options, kill);
        let Some(entry) = self.inner.entries.insert(device, make) else {
            return;
        };
        if options.logged_out {
            // A keeper begins by wiping what is left over.
            let _ = self.inner.keeper(&entry);
        } else if options.resume
            && let Some(asks) = self.inner.keeper(&entry)
        {
            // A mailbox that is full already is full of others who want something of it.
            let _ = asks.try_send(Ask::Resume);
        }
    }

    /// Shows or ends an indicator. Returns as soon as its stanza is on the socket, or else within
    /// [`send_timeout`](FleetSettings::send_timeout). A call that is dropped before is not executed later.
    ///
    /// # Errors
    /// [`ShowError::NotConnected`] when there is no live session or it did not take the stanza in time; then
    /// nothing is shown later either.
    pub async fn show(&self, device: DeviceId, presence: &ChatPresence) -> Result<PresenceSent, ShowError> {
        let deadline = Instant::now() + self.inner.shared.settings.send_timeout;
        let entry = self.inner.entries.get(device).ok_or(ShowError::NotConnected)?;
        let live = entry.phase.borrow().online().ok_or(ShowError::NotConnected)?;
        let inbox = entry.inbox.get().ok_or(ShowError::NotConnected)?;
        let show = async {
            let number = self.inner.looked_up(presence.recipient());
            let (chat, turn) = match number {
                Some(number) => self.inner.chat(&entry, live, number).await,
                None => (presence.recipient().chat(), None),
            };
            let (reply, written) = oneshot::channel();
            let request = Request {
                chat: chat.clone(),
                number,
                command: presence.command(),
                deadline,
                reply,
            };
            inbox.send(request).await.map_err(|_| ShowError::NotConnected)?;
            drop(turn);
            written.await.map_err(|_| ShowError::NotConnected)??;
            Ok(PresenceSent::new(chat, presence))
        };
        timeout_at(deadline, show)
            .await
            .unwrap_or(Err(ShowError::NotConnected))
    }

    /// How the instance is at this moment; `None` when there is no such instance.
    #[must_use]
    pub fn status(&self, device: DeviceId) -> Option<InstanceStatus> {
        self.inner.entries.get(device).map(|entry| entry.status())
    }

    /// Gets the instance online, or what a phone needs to link it. Returns at the first of the two; the
    /// caller bounds the wait and may give up at any time. Repeated, it returns the current code and begins
    /// no second pairing, except that a link code for another number replaces the one before.
    ///
    /// A saved session is reopened first. If WhatsApp has unlinked it meanwhile, a new pairing begins.
    ///
    /// # Errors
    /// [`ConnectError::Stopped`] when the attempt ended without either.
    pub async fn connect(&self, device: DeviceId, how: PairWith) -> Result<Connected, ConnectError> {
        let entry = self.inner.entries.get(device).ok_or(ConnectError::Gone)?;
        if entry.phase.borrow().online().is_some() {
            return Ok(Connected::Already);
        }
        let mut phase = entry.phase.subscribe();
        let (reply, begun) = oneshot::channel();
        let asks = self.inner.keeper(&entry).ok_or(ConnectError::Gone)?;
        asks.send(Ask::Connect { how, reply })
            .await
            .map_err(|_| ConnectError::Gone)?;
        begun.await.map_err(|_| ConnectError::Gone)??;
        loop {
            if let Some(answer) = phase.borrow_and_update().answer(how) {
                return answer;
            }
            tokio::select! {
                changed = phase.changed() => changed.map_err(|_| ConnectError::Gone)?,
                () = asks.closed() => return Err(ConnectError::Gone),
            }
        }
    }

    /// Closes the session if it is open, and opens it anew, without waiting for a back-off or the end of a
    /// ban. Returns when that has begun.
    ///
    /// # Errors
    /// [`ReconnectError::NoSavedSession`] when the instance is not paired.
    pub async fn reconnect(&self, device: DeviceId) -> Result<(), ReconnectError> {
        self.ask(device, |reply| Ask::Reconnect { reply })
            .await
            .unwrap_or(Err(ReconnectError::Gone))
    }

    /// Pauses what is shown, unlinks the device (best effort) and wipes its keys. Bounded; repeating it, or
    /// doing it while offline, is no error. It is done even if the caller does not wait for it.
    pub async fn logout(&self, device: DeviceId) {
        let limit = self.inner.shared.settings.ending();
        if timeout(limit, self.ask(device, |reply| Ask::Logout { reply }))
            .await
            .is_err()
        {
            warn!(device.id = %device, "logging out takes long and goes on in the background");
        }
    }

    /// Like [`logout`](Self::logout), and the instance is gone. Nothing is written to the [`Ledger`].
    pub async fn remove(&self, device: DeviceId) {
        let Some(entry) = self.inner.entries.get(device) else {
            return;
        };
        let (reply, removed) = oneshot::channel();
        if let Some(asks) = self.inner.keeper(&entry) {
            let _ = asks.send(Ask::Remove { reply }).await;
        }
        // No await between the ask and this: a caller that gives up leaves nothing half removed.
        self.inner.entries.remove(device);
        if timeout(self.inner.shared.settings.ending(), removed)
            .await
            .is_err()
        {
            warn!(device.id = %device, "removing took too long; its tasks are cut off");
            entry.kill.cancel();
        }
    }

    /// Whether WhatsApp takes the account for online all the time. Applies at once.
    pub fn set_keep_online(&self, device: DeviceId, keep: bool) {
        if let Some(entry) = self.inner.entries.get(device) {
            entry.keep_online.send_replace(keep);
        }
    }

    /// Pauses every indicator that is shown and closes every session, all instances at the same time. What
    /// is not done after `grace` is cut off. Afterwards nothing of the fleet runs, and nothing can be asked.
    pub async fn shutdown(&self, grace: Duration) {
        let shared = &self.inner.shared;
        shared.stop.cancel();
        shared.tasks.close();
        if timeout(grace, shared.tasks.wait()).await.is_err() {
            warn!(
                tasks = shared.tasks.len(),
                "sessions did not close in time and are cut off"
            );
        }
        shared.kill.cancel();
        shared.tasks.wait().await;
    }

    async fn ask<T>(&self, device: DeviceId, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let entry = self.inner.entries.get(device)?;
        let (reply, answer) = oneshot::channel();
        self.inner.keeper(&entry)?.send(ask(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl Inner {
    /// The mailbox of the instance's keeper, which is started if it is not there yet; `None` when the fleet
    /// shuts down.
    fn keeper<'a>(&self, entry: &'a Arc<Entry>) -> Option<&'a mpsc::Sender<Ask>> {
        if self.shared.stop.is_cancelled() {
            return None;
        }
        Some(entry.asks.get_or_init(|| {
            let (asks, mailbox) = mpsc::channel(MAILBOX);
            self.keepers.start(Arc::clone(entry), mailbox);
            asks
        }))
    }

    /// The number of `recipient`, if it has to be looked up: only if it can be written in two ways.
    fn looked_up(&self, recipient: &Recipient) -> Option<PhoneNumber> {
        match recipient {
            Recipient::Phone(number) if self.shared.settings.resolve_numbers => {
                number.is_ambiguous().then_some(*number)
            }
            _ => None,
        }
    }

    async fn chat(&self, entry: &Entry, live: Arc<dyn Live>, number: PhoneNumber) -> (ChatJid, Option<Turn>) {
        let limit = self.shared.settings.lookup_timeout;
        let spawn = |lookup: Lookup| self.shared.spawn(&entry.kill, lookup.run());
        entry.numbers.chat(&number, live, limit, spawn).await
    }
}

/// How many messages may wait for one keeper; callers wait beyond that.
const MAILBOX: usize = 16;
