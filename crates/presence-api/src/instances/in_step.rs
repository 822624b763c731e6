//! Sessions and registry, kept in step whoever changes the registry.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use presence_core::{ChatJid, InstanceId, Shown};
use presence_store::Instance;
use presence_wa::{Identity, InstanceOptions, SavedKeys};
use tokio::time::{MissedTickBehavior, timeout};

use super::{Held, Inner, Unread};
use crate::clock::utc_now;

impl Inner {
    /// Puts an instance into the fleet, unless it is there. Where keys of a pairing are saved, its session is
    /// reopened in the background.
    pub(super) fn add(&self, instance: &Instance, saved: SavedKeys) {
        self.add_showing(instance, saved, Vec::new());
    }

    /// The same, of one that goes on with what it showed at another node.
    pub(super) fn add_showing(&self, instance: &Instance, saved: SavedKeys, shown: Vec<(ChatJid, Shown)>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(instance.id) {
            let options = InstanceOptions {
                name: instance.name.to_string(),
                keep_online: instance.keep_online,
                saved,
                logged_out: instance.logged_out,
                banned: instance
                    .banned_until
                    .and_then(|until| (until - utc_now()).to_std().ok()),
                shown,
            };
            self.fleet.add(instance.id, options);
        }
    }

    /// Pauses what the instance shows, unlinks its device, wipes the keys, and takes it out of the fleet.
    /// `true` when no key is left.
    pub(super) async fn end(&self, id: InstanceId) -> bool {
        let wiped = self.fleet.remove(id).await;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        wiped
    }

    pub(super) async fn mark_wiped(&self, id: InstanceId) {
        if let Err(error) = self.registry.mark_wiped(&[id]).await {
            // The next start finds nothing to wipe, and tries this again.
            tracing::debug!(%error, "it is not remembered that the keys are wiped");
        }
    }

    /// Writes down which instances were used of late, for the next start to bring them back first.
    pub(super) async fn remember_use(&self) {
        let now = utc_now();
        let used: Vec<_> = self.fleet.take_used().into_iter().map(|id| (id, now)).collect();
        if !used.is_empty()
            && let Err(error) = self.registry.touch(&used).await
        {
            tracing::debug!(%error, "it is not remembered which instances were used");
        }
    }

    /// Hands the session the settings that the registry holds now. One hand-over at a time: of two changes at
    /// once, the session ends with the one that the registry ends with, whichever of them is answered last.
    pub(super) fn apply_settings(&self, id: InstanceId) {
        let _turn = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = self.registry.instance_by_id(id) {
            self.fleet.set_keep_online(instance.id, instance.keep_online);
        }
    }

    /// Follows what other processes change in the registry, such as `presence-server account delete`. Ends
    /// with the registry.
    pub(super) async fn follow(&self) {
        let mut changes = self.registry.changes();
        let mut uses = tokio::time::interval(REMEMBER_USE_EVERY);
        uses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Before this began, something may have changed since the instances were added.
        let mut seen = None;
        loop {
            let count = *changes.borrow_and_update();
            if seen != Some(count) {
                self.reconcile(seen.and_then(|seen| self.registry.changed_since(seen)))
                    .await;
                seen = Some(count);
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = uses.tick() => self.remember_use().await,
            }
        }
    }

    /// Puts into the fleet what is new, and takes out of it what is gone: of `changed`, or of all there is.
    pub(super) async fn reconcile(&self, changed: Option<BTreeSet<InstanceId>>) {
        let gone: Vec<_> = match changed {
            Some(changed) => {
                let (there, gone): (Vec<_>, Vec<_>) = changed
                    .into_iter()
                    .map(|id| (id, self.registry.instance_by_id(id)))
                    .partition(|(_, instance)| instance.is_some());
                for instance in there.into_iter().filter_map(|(_, instance)| instance) {
                    self.add_if_here(&instance);
                }
                let gone = gone.into_iter().map(|(id, _)| id);
                let (known, unknown) = gone.partition(|id| self.is_known(*id));
                self.leave_out(unknown).await;
                known
            }
            None => {
                for instance in self.registry.all_instances() {
                    self.add_if_here(&instance);
                }
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Each was told by nobody, so what the cluster still counts is looked through.
                let counted = self.nodes.iter().flat_map(|nodes| nodes.cluster().instances());
                let is_gone = |id: &InstanceId| !known.contains(id) && self.registry.was_deleted(*id);
                self.leave_out(counted.filter(is_gone).collect()).await;
                let gone = known.into_iter();
                gone.filter(|id| self.registry.instance_by_id(*id).is_none())
                    .collect()
            }
        };
        // Together: each takes as long as WhatsApp takes to confirm, or to be given up.
        let removals = gone.into_iter().map(|id| async move {
            tracing::info!(instance.id = %id, "the instance was deleted; its session ends");
            if self.end(id).await {
                self.mark_wiped(id).await;
            }
            self.leave_out(vec![id]).await;
        });
        futures_util::future::join_all(removals).await;
    }

    /// Reads what other nodes wrote until now; without other nodes there is nothing to read. Many who ask at once have
    /// it read once, so whoever guesses tokens keeps the database no busier than one reader does.
    ///
    /// # Errors
    /// [`Unread`] when it cannot be read, or not in time.
    pub(super) async fn catch_up(&self) -> Result<(), Unread> {
        if self.nodes.is_none() {
            return Ok(());
        }
        let read = self.looks.look(async || self.registry.refresh().await.is_ok());
        match timeout(CATCH_UP, read).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Unread),
        }
    }

    /// Puts an instance into the fleet that the registry has told of, unless another node is to have it, or it is on its
    /// way into the fleet; and hands it the settings that another process may have changed.
    pub(super) fn add_if_here(&self, instance: &Instance) {
        if self.nodes.is_none() {
            return self.add(instance, SavedKeys::Unknown);
        }
        // Not what the cluster says: by that, what was handed over is this node's until its release is written down.
        let all = self.held();
        let has_arrived = |held: &Held| held.resumed.is_cancelled();
        if all.get(&instance.id).is_some_and(has_arrived) {
            self.add(instance, SavedKeys::Resume);
            self.apply_settings(instance.id);
        }
    }

    /// These were deleted, which the cluster is not told of otherwise.
    pub(super) async fn leave_out(&self, deleted: Vec<InstanceId>) {
        if let Some(nodes) = &self.nodes {
            for id in deleted {
                nodes.cluster().forget(id).await;
            }
        }
    }

    pub(super) fn is_known(&self, id: InstanceId) -> bool {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&id)
    }
}

/// What is known of an instance's keys, from the list of all that are paired.
pub(super) fn saved_keys(paired: Option<&Identity>) -> SavedKeys {
    match paired {
        Some(identity) => SavedKeys::Paired(identity.clone()),
        None => SavedKeys::Unpaired,
    }
}

/// How long a request with an unknown token, or for an unknown instance, waits for what other nodes wrote, before it is
/// to come again.
const CATCH_UP: Duration = Duration::from_secs(3);

/// How often it is written down which instances were used.
const REMEMBER_USE_EVERY: Duration = Duration::from_secs(60);
