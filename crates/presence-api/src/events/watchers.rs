//! Watching many instances at once: what becomes of each, in one channel.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use presence_core::InstanceId;
use presence_wa::InstanceUpdate;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::instances::Instances;

/// Updates that wait to be taken. When there are more, the watchers wait, and what changes meanwhile is told anew as
/// a whole.
const UPDATES: usize = 256;
/// How long a watcher waits for an instance that the fleet does not know yet, or no longer.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What has become of an instance.
pub(crate) type Update = (InstanceId, InstanceUpdate);

/// One watcher an instance.
pub(crate) struct Watchers {
    instances: Instances,
    running: HashMap<InstanceId, AbortOnDropHandle<()>>,
    updates: mpsc::Sender<Update>,
}

impl Watchers {
    /// Nothing is watched yet.
    pub(crate) fn new(instances: Instances) -> (Self, mpsc::Receiver<Update>) {
        let (updates, receiver) = mpsc::channel(UPDATES);
        let watchers = Self {
            instances,
            running: HashMap::new(),
            updates,
        };
        (watchers, receiver)
    }

    /// Where updates can be put that come from elsewhere.
    pub(crate) fn updates(&self) -> mpsc::Sender<Update> {
        self.updates.clone()
    }

    /// Watches `id`, unless it is watched.
    pub(crate) fn watch(&mut self, id: InstanceId) {
        let (instances, updates) = (&self.instances, &self.updates);
        self.running.entry(id).or_insert_with(|| {
            let watcher = watch(instances.clone(), id, updates.clone());
            AbortOnDropHandle::new(tokio::spawn(watcher))
        });
    }

    /// Watches no others than `ids`.
    pub(crate) fn retain(&mut self, ids: &HashSet<InstanceId>) {
        self.running.retain(|id, _| ids.contains(id));
    }
}

/// Of an instance that another node has, its status alone.
async fn watch(instances: Instances, id: InstanceId, updates: mpsc::Sender<Update>) {
    loop {
        if let Some(mut watch) = instances.watch(id) {
            while let Some(update) = watch.next().await {
                if updates.send((id, update)).await.is_err() {
                    return;
                }
            }
        } else if let Some(mut watch) = instances.watch_elsewhere(id) {
            while let Some(status) = watch.next().await {
                let update = InstanceUpdate::Status(status);
                if updates.send((id, update)).await.is_err() {
                    return;
                }
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}
