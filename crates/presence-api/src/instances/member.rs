//! The instances of this node, as one of several: taken, handed over, given up.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use presence_cluster::{Activity, Sessions};
use presence_core::{ChatJid, InstanceId, Shown};
use presence_store::Ownership;
use presence_wa::SavedKeys;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Held, Inner, Instances};

#[async_trait]
impl Sessions for Instances {
    fn take(&self, taken: &[Ownership]) {
        let ids: Vec<_> = taken.iter().map(|ownership| ownership.instance).collect();
        let coming = self.inner.hold(&ids);
        let inner = Arc::clone(&self.inner);
        self.inner.changes.spawn(async move {
            // Before a session is opened: what the account has sent meanwhile comes with its login, and ends it.
            let mut shown = inner.shown_before(&ids).await;
            if ids.iter().any(|id| inner.registry.instance_by_id(*id).is_none())
                && let Err(error) = inner.registry.refresh().await
            {
                tracing::debug!(%error, "the registry cannot be read; new instances come later");
            }
            for (id, coming) in coming {
                inner.arrive(id, shown.remove(&id).unwrap_or_default(), coming);
            }
        });
    }

    async fn hand_over(&self, instance: InstanceId) {
        // What it showed at the node before is on its way to it.
        self.resumed(instance).await;
        // What is shown from here on, the next node shows.
        if let Some(held) = self.inner.held_mut().get_mut(&instance) {
            held.is_leaving = true;
        }
        self.inner.keep_for_next(instance).await;
        self.inner.forget(instance);
        self.inner.fleet.hand_over(instance).await;
    }

    async fn give_up(&self, lost: &[InstanceId]) {
        let ends = lost.iter().map(|id| {
            self.inner.forget(*id);
            self.inner.fleet.give_up(*id)
        });
        join_all(ends).await;
    }

    fn activity(&self, instance: InstanceId) -> Activity {
        let fleet = &self.inner.fleet;
        if fleet.is_linking(instance) {
            Activity::Linking
        } else if fleet.is_showing(instance) {
            Activity::Showing
        } else {
            Activity::Idle
        }
    }

    fn wanted(&self) -> usize {
        self.inner.registry.instance_count()
    }
}

/// An instance that was taken over, until it is in the fleet.
struct Coming {
    since: Instant,
    _resumed: DropGuard,
}

impl Inner {
    /// These are this node's. Clients wait for them until what is returned is dropped.
    fn hold(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Coming)> {
        let since = Instant::now();
        let mut all = self.held_mut();
        let coming = ids.iter().map(|id| {
            let resumed = CancellationToken::new();
            let _resumed = resumed.clone().drop_guard();
            let held = Held {
                since,
                resumed,
                is_leaving: false,
            };
            all.insert(*id, held);
            (*id, Coming { since, _resumed })
        });
        coming.collect()
    }

    /// Puts the instance into the fleet with what it showed before, unless it was handed over or given up since.
    fn arrive(&self, id: InstanceId, shown: Vec<(ChatJid, Shown)>, coming: Coming) {
        {
            // Locked until it is there: whoever takes it away does so before that or after it.
            let all = self.held();
            if all.get(&id).is_some_and(|held| held.since == coming.since)
                && let Some(instance) = self.registry.instance_by_id(id)
            {
                self.add_showing(&instance, SavedKeys::Resume, shown);
            }
        }
        drop(coming);
        // What the registry told of it meanwhile was left to this.
        if let Some(instance) = self.registry.instance_by_id(id) {
            self.add_if_here(&instance);
        }
    }

    fn forget(&self, id: InstanceId) {
        self.held_mut().remove(&id);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&id);
    }
}
