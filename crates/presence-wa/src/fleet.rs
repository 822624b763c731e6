//! All instances of this process, each with its session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use presence_core::{ChatJid, ChatPresence, InstanceId, PresenceSent, Shown};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::DropGuard;
use tracing::warn;

use crate::context::FleetContext;
use crate::counters::{AskedPresence, FleetCounters, PresenceOutcome};
use crate::error::{ConnectError, ReconnectError, ShowError};
use crate::instance::{InstanceHandle, InstanceOptions, Message, PresenceRequest};
use crate::pairing::{Connected, PairWith};
use crate::pairing_record::PairingRecord;
use crate::session::Connector;
use crate::settings::FleetSettings;
use crate::status::{InstanceStatus, Reason};
use crate::watch::{InstanceWatch, StatusWatch};

/// The handle of all instances. Cheap to clone; when the last clone is dropped, every session ends at once,
/// so [`shutdown`](Self::shutdown) comes first.
///
/// Each instance has one task, which owns all there is of it; one that was never asked for anything has none.
/// No lock and no task is shared by the requests of two instances, so that none can delay another.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    instances: Instances,
    /// Those that are being handed over, until nothing of them runs.
    leaving: Mutex<HashMap<InstanceId, Arc<InstanceHandle>>>,
    context: Arc<FleetContext>,
    _kill: DropGuard,
}

impl Fleet {
    /// An empty fleet. Must be called in a tokio runtime.
    #[must_use]
    pub fn new(
        connector: Arc<dyn Connector>,
        record: Arc<dyn PairingRecord>,
        settings: FleetSettings,
    ) -> Self {
        let context = Arc::new(FleetContext::new(connector, record, settings));
        Self {
            inner: Arc::new(Inner {
                instances: Instances::new(),
                leaving: Mutex::default(),
                _kill: context.kill.clone().drop_guard(),
                context,
            }),
        }
    }

    /// Adds an instance. Adding one that is there already changes nothing.
    pub fn add(&self, instance: InstanceId, options: InstanceOptions) {
        let context = &self.inner.context;
        let make = || InstanceHandle::new(instance, options, context);
        if let Some(handle) = self.inner.instances.insert(instance, make)
            && handle.begins_by_itself()
        {
            let _ = handle.start(context);
        }
    }

    /// Shows or ends an indicator. Returns as soon as its stanza is on the socket, or else within
    /// [`send_timeout`](FleetSettings::send_timeout). A call that is dropped before its stanza is begun has
    /// nothing sent.
    ///
    /// # Errors
    /// [`ShowError::NotConnected`] when there is no live session or it did not take the stanza in time; then
    /// nothing is shown later either.
    pub async fn show(
        &self,
        instance: InstanceId,
        presence: &ChatPresence,
    ) -> Result<PresenceSent, ShowError> {
        let context = &self.inner.context;
        let asked = AskedPresence::new(&context.counters, presence.state());
        let deadline = Instant::now() + context.settings.send_timeout;
        match timeout_at(deadline, self.show_until(deadline, instance, presence)).await {
            Ok(shown) => {
                asked.end(PresenceOutcome::of(&shown));
                shown
            }
            Err(_) => {
                asked.end(PresenceOutcome::TimedOut);
                Err(ShowError::NotConnected)
            }
        }
    }

    async fn show_until(
        &self,
        deadline: Instant,
        instance: InstanceId,
        presence: &ChatPresence,
    ) -> Result<PresenceSent, ShowError> {
        let handle = self.handle(instance).ok_or(ShowError::NotConnected)?;
        if !handle.published().borrow().is_online() {
            return Err(ShowError::NotConnected);
        }
        let mailbox = handle.mailbox().ok_or(ShowError::NotConnected)?;
        let (reply, written) = oneshot::channel();
        let request = PresenceRequest {
            recipient: presence.recipient().clone(),
            command: presence.command(),
            deadline,
            reply,
        };
        let sent = mailbox.send(Message::Presence(request)).await;
        sent.map_err(|_| ShowError::NotConnected)?;
        let shown = written.await.map_err(|_| ShowError::NotConnected)??;
        handle.note_use();
        let sent = PresenceSent::new(shown.chat, presence);
        Ok(if shown.unknown {
            sent.with_unknown_number()
        } else {
            sent
        })
    }

    /// How the instance is at this moment; `None` when there is no such instance.
    #[must_use]
    pub fn status(&self, instance: InstanceId) -> Option<InstanceStatus> {
        self.handle(instance)
            .map(|handle| handle.published().borrow().status())
    }

    /// What the instance shows now, what ends first at the front. Nothing, when there is no such instance.
    pub async fn shown(&self, instance: InstanceId) -> Vec<(ChatJid, Shown)> {
        let Some(handle) = self.handle(instance) else {
            return Vec::new();
        };
        let Some(mailbox) = handle.mailbox() else {
            return Vec::new();
        };
        let (reply, shown) = oneshot::channel();
        if mailbox.send(Message::Shown { reply }).await.is_err() {
            return Vec::new();
        }
        shown.await.unwrap_or_default()
    }

    /// Follows the instance; `None` when there is no such instance. It starts no task for it.
    #[must_use]
    pub fn watch(&self, instance: InstanceId) -> Option<InstanceWatch> {
        self.handle(instance).map(InstanceWatch::new)
    }

    /// Follows how the instance is; `None` when there is no such instance. It starts no task for it.
    #[must_use]
    pub fn watch_status(&self, instance: InstanceId) -> Option<StatusWatch> {
        self.handle(instance).map(|handle| StatusWatch::new(&handle))
    }

    /// Gets the instance online, or what a phone needs to link it. Returns at the first of the two; the
    /// caller bounds the wait and may give up at any time. Repeated, it returns the current code and begins
    /// no second pairing, except that a link code for another number replaces the one before.
    ///
    /// A saved session is reopened first. If WhatsApp has unlinked it meanwhile, a new pairing begins. While
    /// the instance connects by itself, nothing is hurried.
    ///
    /// # Errors
    /// [`ConnectError::Stopped`] when the attempt ended without either.
    pub async fn connect(&self, instance: InstanceId, how: PairWith) -> Result<Connected, ConnectError> {
        let handle = self.handle(instance).ok_or(ConnectError::Gone)?;
        let mut published = handle.published().subscribe();
        if published.borrow().is_online() {
            return Ok(Connected::Already);
        }
        let (reply, begun) = oneshot::channel();
        let mailbox = handle.start(&self.inner.context).ok_or(ConnectError::Gone)?;
        let sent = mailbox.send(Message::Connect { how, reply }).await;
        sent.map_err(|_| ConnectError::Gone)?;
        begun.await.map_err(|_| ConnectError::Gone)??;
        loop {
            if let Some(answer) = published.borrow_and_update().answer(Instant::now(), how) {
                return answer;
            }
            tokio::select! {
                changed = published.changed() => changed.map_err(|_| ConnectError::Gone)?,
                () = mailbox.closed() => return Err(ConnectError::Gone),
            }
        }
    }

    /// Opens a fresh session: closes the one that is open, or ends a stop. While the instance connects by
    /// itself, or when it was reopened less than
    /// [`reopen_interval`](crate::RetrySettings::reopen_interval) ago, nothing changes. Returns when that is
    /// decided.
    ///
    /// # Errors
    /// [`ReconnectError::NoSavedSession`] when the instance is not paired.
    pub async fn reconnect(&self, instance: InstanceId) -> Result<(), ReconnectError> {
        self.ask(instance, |reply| Message::Reconnect { reply })
            .await
            .unwrap_or(Err(ReconnectError::Gone))
    }

    /// Pauses what is shown, unlinks the device (best effort) and wipes its keys. Bounded; repeating it, or
    /// doing it while offline, is no error. It is done even if the caller does not wait for it.
    pub async fn logout(&self, instance: InstanceId) {
        let Some(handle) = self.handle(instance) else {
            return;
        };
        let done = self.ask(instance, |reply| Message::Logout { reply });
        if timeout(self.ending(), done).await.is_err() {
            let _span = handle.span().entered();
            warn!("logging out takes long and goes on in the background");
        }
    }

    /// Like [`logout`](Self::logout), and the instance is gone. Nothing is written to the [`PairingRecord`].
    /// `true` when no key of it is left.
    pub async fn remove(&self, instance: InstanceId) -> bool {
        let Some(handle) = self.handle(instance) else {
            return false;
        };
        let (reply, removed) = oneshot::channel();
        if let Some(mailbox) = handle.start(&self.inner.context) {
            let _ = mailbox.send(Message::Remove { reply }).await;
        }
        // No await between the message and this: a caller that gives up leaves nothing half removed.
        self.inner.instances.remove(instance);
        match timeout(self.ending(), removed).await {
            Ok(wiped) => wiped.unwrap_or(false),
            Err(_) => {
                let _span = handle.span().entered();
                warn!("removing took too long; its task is cut off");
                handle.kill();
                false
            }
        }
    }

    /// Whether the instance is in the fleet.
    #[must_use]
    pub fn contains(&self, instance: InstanceId) -> bool {
        self.handle(instance).is_some()
    }

    /// Whether a presence of the instance would be written now.
    #[must_use]
    pub fn is_online(&self, instance: InstanceId) -> bool {
        self.handle(instance)
            .is_some_and(|handle| handle.published().borrow().is_online())
    }

    /// How all instances are at this moment.
    #[must_use]
    pub fn statuses(&self) -> Vec<(InstanceId, InstanceStatus)> {
        self.inner.instances.statuses()
    }

    /// Takes the instance out of the fleet for another process to open: what it shows is paused, its session closed.
    /// Its device stays linked. Returns when nothing of it runs any more. A call that is dropped leaves it to
    /// [`give_up`](Self::give_up) to end what still does.
    pub async fn hand_over(&self, instance: InstanceId) {
        let Some(handle) = self.inner.instances.take(instance) else {
            return;
        };
        self.inner.leaving().insert(instance, Arc::clone(&handle));
        handle.stop();
        let settings = &self.inner.context.settings;
        let limit = settings.farewell_timeout + 2 * settings.close_timeout;
        if timeout(limit, handle.ended()).await.is_err() {
            let late = || warn!("handing over took too long; its task is cut off");
            handle.span().in_scope(late);
            handle.kill();
            handle.ended().await;
        }
        // Who gave it up meanwhile had it forgotten, and it may be back by now.
        if self.inner.leaving().remove(&instance).is_some() {
            self.inner.context.connector.forget(instance).await;
        }
    }

    /// Takes the instance out of the fleet on the spot, also while it is handed over: another process may have opened
    /// it already. Nothing is paused, and nothing of it runs any more when this returns, but for a connection that is
    /// being closed.
    pub async fn give_up(&self, instance: InstanceId) {
        let leaving = self.inner.leaving().remove(&instance);
        let Some(handle) = self.inner.instances.take(instance).or(leaving) else {
            return;
        };
        handle.kill();
        handle.ended().await;
        self.inner.context.connector.forget(instance).await;
    }

    /// Whether a phone is linking the instance.
    #[must_use]
    pub fn is_linking(&self, instance: InstanceId) -> bool {
        self.handle(instance).is_some_and(|handle| {
            let reason = handle.published().borrow().reason;
            matches!(reason, Some(Reason::WaitingForPhone | Reason::Registering))
        })
    }

    /// Whether the instance shows something.
    #[must_use]
    pub fn is_showing(&self, instance: InstanceId) -> bool {
        self.handle(instance)
            .is_some_and(|handle| handle.published().borrow().available && !handle.keeps_online())
    }

    /// Whether WhatsApp takes the account for online all the time. Applies at once.
    pub fn set_keep_online(&self, instance: InstanceId, keep: bool) {
        if let Some(handle) = self.handle(instance) {
            handle.set_keep_online(keep);
        }
    }

    /// The instances that a client has shown or ended something with since this was last asked.
    #[must_use]
    pub fn take_used(&self) -> Vec<InstanceId> {
        self.inner.instances.take_used()
    }

    /// The instances that have written something that phones show since this was last asked.
    #[must_use]
    pub fn take_changed(&self) -> Vec<InstanceId> {
        self.inner.instances.take_changed()
    }

    /// Has [`take_changed`](Self::take_changed) name the instance again: whoever took note of it could not keep it.
    pub fn note_changed(&self, instance: InstanceId) {
        if let Some(handle) = self.handle(instance) {
            handle.note_written();
        }
    }

    /// Whether the instance is one that [`take_changed`](Self::take_changed) would name.
    #[must_use]
    pub fn has_changed(&self, instance: InstanceId) -> bool {
        self.handle(instance).is_some_and(|handle| handle.has_written())
    }

    /// What all instances have done since the start.
    #[must_use]
    pub fn counters(&self) -> &FleetCounters {
        &self.inner.context.counters
    }

    /// Pauses every indicator that is shown and closes every session, all instances at the same time. What
    /// is not done after `grace` is cut off. Afterwards nothing of the fleet runs, and nothing can be asked.
    pub async fn shutdown(&self, grace: Duration) {
        let context = &self.inner.context;
        context.stop.cancel();
        context.tasks.close();
        if timeout(grace, context.tasks.wait()).await.is_err() {
            warn!(
                tasks = context.tasks.len(),
                "sessions did not close in time and are cut off"
            );
        }
        context.kill.cancel();
        context.tasks.wait().await;
    }

    fn handle(&self, instance: InstanceId) -> Option<Arc<InstanceHandle>> {
        self.inner.instances.get(instance)
    }

    async fn ask<T>(
        &self,
        instance: InstanceId,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Option<T> {
        let handle = self.handle(instance)?;
        let (reply, answer) = oneshot::channel();
        let mailbox = handle.start(&self.inner.context)?;
        mailbox.send(message(reply)).await.ok()?;
        answer.await.ok()
    }

    /// The longest that an owner waits for an instance to end: for a farewell, for WhatsApp to unlink it, for
    /// the session to close.
    fn ending(&self) -> Duration {
        let settings = &self.inner.context.settings;
        settings.farewell_timeout + settings.unlink_timeout + 2 * settings.close_timeout
    }
}

impl Inner {
    fn leaving(&self) -> MutexGuard<'_, HashMap<InstanceId, Arc<InstanceHandle>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every instance. Sharded, because every request looks here: no lock is shared by all.
struct Instances([RwLock<HashMap<InstanceId, Arc<InstanceHandle>>>; SHARDS]);

const SHARDS: usize = 32;

impl Instances {
    fn new() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }

    fn get(&self, instance: InstanceId) -> Option<Arc<InstanceHandle>> {
        self.shard(instance)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&instance)
            .cloned()
    }

    /// Adds what `make` gives, unless there is one already: then `None`.
    fn insert(
        &self,
        instance: InstanceId,
        make: impl FnOnce() -> InstanceHandle,
    ) -> Option<Arc<InstanceHandle>> {
        let mut shard = self
            .shard(instance)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if shard.contains_key(&instance) {
            return None;
        }
        let handle = Arc::new(make());
        shard.insert(instance, Arc::clone(&handle));
        Some(handle)
    }

    fn remove(&self, instance: InstanceId) {
        drop(self.take(instance));
    }

    fn take(&self, instance: InstanceId) -> Option<Arc<InstanceHandle>> {
        self.shard(instance)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance)
    }

    fn take_used(&self) -> Vec<InstanceId> {
        self.those(InstanceHandle::take_use)
    }

    fn take_changed(&self) -> Vec<InstanceId> {
        self.those(InstanceHandle::take_wrote)
    }

    fn statuses(&self) -> Vec<(InstanceId, InstanceStatus)> {
        let mut statuses = Vec::new();
        for shard in &self.0 {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let status = |handle: &InstanceHandle| handle.published().borrow().status();
            statuses.extend(shard.iter().map(|(id, handle)| (*id, status(handle))));
        }
        statuses
    }

    fn those(&self, wanted: impl Fn(&InstanceHandle) -> bool) -> Vec<InstanceId> {
        let mut those = Vec::new();
        for shard in &self.0 {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let wanted = shard.iter().filter(|(_, handle)| wanted(handle));
            those.extend(wanted.map(|(id, _)| *id));
        }
        those
    }

    fn shard(&self, instance: InstanceId) -> &RwLock<HashMap<InstanceId, Arc<InstanceHandle>>> {
        &self.0[instance.get().unsigned_abs() as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests;
