//! The instances of this node, as one of several: taken, handed over, given up.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use async_trait::async_trait;
use futures_util::future::join_all;
use presence_cluster::{Activity, Sessions};
use presence_core::InstanceId;
use presence_store::Ownership;
use presence_wa::SavedKeys;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::here::TAKEN_LATELY;
use super::{Inner, Instances, Taken};

#[async_trait]
impl Sessions for Instances {
    fn take(&self, taken: &[Ownership]) {
        let ids: Vec<_> = taken.iter().map(|ownership| ownership.instance).collect();
        let coming = self.inner.note_taken(&ids);
        let unknown: Vec<_> = ids.iter().copied().filter(|id| !self.inner.resume(*id)).collect();
        self.show_again(coming);
        if unknown.is_empty() {
            return;
        }
        // The registry has not told of them yet.
        let inner = Arc::clone(&self.inner);
        self.inner.changes.spawn(async move {
            if let Err(error) = inner.registry.refresh().await {
                tracing::debug!(%error, "the registry cannot be read; new instances come later");
            }
            for id in unknown {
                inner.resume(id);
            }
        });
    }

    async fn hand_over(&self, instance: InstanceId) {
        // What is shown from here on, the next node shows.
        self.inner.leaving().insert(instance);
        self.inner.keep_now(instance).await;
        self.inner.forget(instance);
        self.inner.fleet.hand_over(instance).await;
        self.inner.leaving().remove(&instance);
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

impl Inner {
    /// Has clients wait for them until what is returned is dropped.
    fn note_taken(&self, ids: &[InstanceId]) -> HashMap<InstanceId, DropGuard> {
        let at = Instant::now();
        let mut taken = self.taken.write().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, taken| taken.at.elapsed() < TAKEN_LATELY);
        let coming = ids.iter().map(|id| {
            let shown_again = CancellationToken::new();
            let guard = shown_again.clone().drop_guard();
            taken.insert(*id, Taken { at, shown_again });
            (*id, guard)
        });
        coming.collect()
    }

    /// Puts the instance into the fleet; `false` when the registry does not know it.
    fn resume(&self, id: InstanceId) -> bool {
        let Some(instance) = self.registry.instance_by_id(id) else {
            return false;
        };
        self.add(&instance, SavedKeys::Resume);
        true
    }

    fn leaving(&self) -> RwLockWriteGuard<'_, HashSet<InstanceId>> {
        self.leaving.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: InstanceId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&id);
    }
}
