//! Sessions of a node that may lose its instances.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use presence_cluster::{Cluster, Standing, Whereabouts};
use presence_core::{Availability, ChatJid, ChatState, InstanceId, PhoneNumber};
use presence_store::Epoch;
use presence_wa::{
    Connector, Contact, End, Identity, KeysError, LinkCode, OwnMessage, PairError, SendError, Session,
    SessionState, VersionError,
};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Opens sessions of instances that this node has, and lets them write while it lives. Whoever slept through its
/// lease, or was told that an instance is another's, writes nothing for it.
pub(super) struct FencedConnector {
    connector: Arc<dyn Connector>,
    cluster: Cluster,
    /// How the last session of each instance stands.
    last: Mutex<HashMap<InstanceId, watch::Receiver<SessionState>>>,
}

struct FencedSession {
    session: Box<dyn Session>,
    cluster: Cluster,
    instance: InstanceId,
    /// In which it was opened.
    epoch: Epoch,
}

/// How long it may take until this node knows that it has what it was given.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// A node that may not act for an instance now.
#[derive(Debug, thiserror::Error)]
#[error("the instance may be another node's by now")]
struct NotOurs;

impl FencedConnector {
    pub(super) fn new(connector: Arc<dyn Connector>, cluster: Cluster) -> Self {
        Self {
            connector,
            cluster,
            last: Mutex::default(),
        }
    }

    /// The epoch in which a session of `instance` may be opened now; `None` when it may be another node's. Whoever
    /// replaced the last one is that node, as long as the ledger cannot be asked.
    fn may_open(&self, instance: InstanceId) -> Option<Epoch> {
        let Whereabouts::Here(epoch) = self.cluster.whereabouts(instance) else {
            return None;
        };
        let is_sure = *self.cluster.standing().borrow() == Standing::Member;
        (self.cluster.may_act() && (is_sure || !self.was_replaced(instance))).then_some(epoch)
    }

    /// The same, as soon as it may be. Of what it has just taken, a node is told a moment before everybody else.
    async fn epoch(&self, instance: InstanceId) -> Epoch {
        let mut changes = self.cluster.changes();
        loop {
            changes.mark_unchanged();
            if let Some(epoch) = self.may_open(instance) {
                return epoch;
            }
            if changes.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    fn was_replaced(&self, instance: InstanceId) -> bool {
        self.last()
            .get(&instance)
            .is_some_and(|state| *state.borrow() == SessionState::Ended(End::Replaced))
    }

    fn last(&self) -> MutexGuard<'_, HashMap<InstanceId, watch::Receiver<SessionState>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FencedSession {
    fn check(&self) -> Result<(), SendError> {
        let ours = self.cluster.may_act()
            && self.cluster.whereabouts(self.instance) == Whereabouts::Here(self.epoch);
        if ours { Ok(()) } else { Err(SendError::Offline) }
    }
}

#[async_trait]
impl Connector for FencedConnector {
    async fn paired(&self) -> Result<Vec<(InstanceId, Identity)>, KeysError> {
        self.connector.paired().await
    }

    async fn saved(&self, instance: InstanceId) -> Result<Option<Identity>, KeysError> {
        self.connector.saved(instance).await
    }

    async fn open(&self, instance: InstanceId) -> Result<Box<dyn Session>, KeysError> {
        let epoch = timeout(KNOWN_WITHIN, self.epoch(instance)).await;
        let epoch = epoch.map_err(|_| KeysError {
            instance: Some(instance),
            doing: "opening a session",
            source: Box::new(NotOurs),
        })?;
        let session = self.connector.open(instance).await?;
        self.last().insert(instance, session.state());
        Ok(Box::new(FencedSession {
            session,
            cluster: self.cluster.clone(),
            instance,
            epoch,
        }))
    }

    async fn wipe(&self, instance: InstanceId) -> Result<(), KeysError> {
        // Of one that is deleted nothing else tells.
        self.last().remove(&instance);
        self.connector.wipe(instance).await
    }

    async fn forget(&self, instance: InstanceId) {
        self.last().remove(&instance);
        self.connector.forget(instance).await;
    }

    async fn refresh_version(&self, instance: InstanceId) -> Result<bool, VersionError> {
        self.connector.refresh_version(instance).await
    }
}

#[async_trait]
impl Session for FencedSession {
    async fn send_chat_state(&self, to: &ChatJid, state: ChatState) -> Result<(), SendError> {
        self.check()?;
        self.session.send_chat_state(to, state).await
    }

    async fn set_availability(&self, availability: Availability) -> Result<(), SendError> {
        self.check()?;
        self.session.set_availability(availability).await
    }

    async fn local_contact(&self, person: &ChatJid) -> Result<Contact, SendError> {
        self.session.local_contact(person).await
    }

    async fn query_contact(&self, number: &PhoneNumber) -> Result<Option<Contact>, SendError> {
        self.check()?;
        self.session.query_contact(number).await
    }

    async fn request_link_code(&self, phone: &PhoneNumber) -> Result<LinkCode, PairError> {
        self.session.request_link_code(phone).await
    }

    fn is_direct(&self) -> bool {
        self.session.is_direct()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.session.state()
    }

    fn own_messages(&self) -> mpsc::Receiver<OwnMessage> {
        self.session.own_messages()
    }

    async fn logout(&self, limit: Duration) {
        self.session.logout(limit).await;
    }

    async fn close(&self) {
        self.session.close().await;
    }
}
