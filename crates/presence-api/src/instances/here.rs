//! What this node does with the instances that it has, for itself and for the nodes that ask. `None`: it does not
//! have the instance.

use std::error::Error;
use std::time::Duration;

use presence_core::{ChatPresence, InstanceId, PresenceSent};
use presence_store::StoreError;
use presence_wa::{
    ConnectError, Connected, InstanceState, InstanceStatus, PairWith, ReconnectError, ShowError,
};
use tokio::time::timeout;

use super::{ChangeError, Held, Inner, Instances};
use crate::nodes::{ChangeFailed, Nodes, ShownChat};

/// How long an instance that was taken over is waited for.
const COMING: Duration = Duration::from_secs(5);
/// For how long it counts as such.
const TAKEN_LATELY: Duration = Duration::from_secs(15);

impl Instances {
    /// The other nodes, unless `instance` is here.
    pub(super) fn nodes_but_for(&self, instance: InstanceId) -> Option<&Nodes> {
        let nodes = self.inner.nodes.as_ref()?;
        let ready = self.is_here(instance) && self.coming(instance).is_none();
        (!ready).then_some(nodes)
    }

    /// Whether this node has it, and it is in the fleet.
    fn is_here(&self, instance: InstanceId) -> bool {
        let inner = &self.inner;
        let nodes = inner.nodes.as_ref();
        nodes.is_none_or(|nodes| {
            nodes.has(instance) && inner.fleet.contains(instance) && inner.keeps(instance)
        })
    }

    /// The same, when one that is being put into the fleet is there.
    async fn is_here_soon(&self, instance: InstanceId) -> bool {
        self.resumed(instance).await;
        self.is_here(instance)
    }

    /// Waits for one that was taken over to be in the fleet.
    pub(super) async fn resumed(&self, instance: InstanceId) {
        let held = self.inner.held().get(&instance).cloned();
        if let Some(held) = held {
            held.resumed.cancelled().await;
        }
    }

    /// When it was taken over lately, and is not online yet.
    fn coming(&self, instance: InstanceId) -> Option<Held> {
        let is_new = |held: &&Held| held.since.elapsed() < TAKEN_LATELY;
        let held = self.inner.held().get(&instance).filter(is_new).cloned();
        held.filter(|_| !self.inner.fleet.is_online(instance))
    }

    /// Waits for an instance that was taken over lately to go on where it was taken from, for a while.
    async fn arrived(&self, instance: InstanceId) {
        let Some(held) = self.coming(instance) else {
            return;
        };
        let arrived = async {
            held.resumed.cancelled().await;
            let Some(mut watch) = self.inner.fleet.watch_status(instance) else {
                return;
            };
            while let Some(status) = watch.next().await {
                if status.state != InstanceState::Connecting {
                    return;
                }
            }
        };
        let _ = timeout(COMING, arrived).await;
    }

    pub(crate) async fn show_here(
        &self,
        instance: InstanceId,
        presence: &ChatPresence,
    ) -> Option<Result<PresenceSent, ShowError>> {
        self.arrived(instance).await;
        if !self.is_here(instance) {
            return None;
        }
        let shown = self.inner.fleet.show(instance, presence).await;
        // If it is being handed over by now, nobody knows whether the next node was told of this. Shown twice, it is
        // the same.
        self.is_here(instance).then_some(shown)
    }

    pub(crate) async fn shown_here(&self, instance: InstanceId) -> Option<Vec<ShownChat>> {
        if !self.is_here_soon(instance).await {
            return None;
        }
        let shown = self.inner.fleet.shown(instance).await.into_iter();
        Some(shown.map(|(chat, shown)| ShownChat::new(chat, &shown)).collect())
    }

    pub(crate) async fn connect_here(
        &self,
        instance: InstanceId,
        how: PairWith,
    ) -> Option<Result<Connected, ConnectError>> {
        if !self.is_here_soon(instance).await {
            return None;
        }
        Some(self.inner.fleet.connect(instance, how).await)
    }

    pub(crate) async fn reconnect_here(&self, instance: InstanceId) -> Option<Result<(), ReconnectError>> {
        if !self.is_here_soon(instance).await {
            return None;
        }
        Some(self.inner.fleet.reconnect(instance).await)
    }

    pub(crate) async fn log_out_here(&self, instance: InstanceId) -> Option<Result<(), ChangeFailed>> {
        if !self.is_here_soon(instance).await {
            return None;
        }
        Some(self.logout_local(instance).await.map_err(ChangeFailed::of))
    }

    pub(crate) async fn remove_here(&self, instance: InstanceId) -> Option<Result<bool, ChangeFailed>> {
        if !self.is_here_soon(instance).await {
            return None;
        }
        let Some(instance) = self.by_id(instance) else {
            return Some(Ok(false));
        };
        Some(self.remove_local(instance).await.map_err(ChangeFailed::of))
    }

    /// Another node may have written them a moment ago.
    pub(crate) async fn apply_settings_here(&self, instance: InstanceId) -> Option<()> {
        if !self.is_here_soon(instance).await {
            return None;
        }
        if let Err(error) = self.inner.registry.refresh().await {
            tracing::debug!(%error, "the registry cannot be read; its changes come later");
        }
        self.inner.apply_settings(instance);
        Some(())
    }

    /// How this node's instances are.
    pub(crate) fn own_statuses(&self) -> Vec<(InstanceId, InstanceStatus)> {
        self.inner.fleet.statuses()
    }
}

impl Inner {
    /// Whether this node was given it, and is not handing it over.
    fn keeps(&self, instance: InstanceId) -> bool {
        self.held().get(&instance).is_some_and(|held| !held.is_leaving)
    }
}

impl ChangeFailed {
    /// What another node is told of a failure. Its cause is logged here.
    fn of(error: ChangeError<StoreError>) -> Self {
        match error {
            ChangeError::Stopping => Self::Stopping,
            ChangeError::Failed(StoreError::Away { .. }) => Self::DatabaseAway,
            ChangeError::Failed(error) => {
                tracing::error!(error = &error as &dyn Error, "a change for another node failed");
                Self::Internal
            }
            ChangeError::Panicked(error) => {
                tracing::error!(error = &error as &dyn Error, "a change for another node panicked");
                Self::Internal
            }
            ChangeError::Elsewhere(failed) => failed,
            ChangeError::NoOwner(_) => Self::Internal,
        }
    }
}
