//! Keeps the fleet in step with the registry: each instance has its session, and nothing else has one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use presence_store::{Edge, Instance, InstanceId, Registry};
use presence_wa::{DeviceId, Fleet, InstanceOptions, Ledger, LedgerError};

use crate::app::device;

/// Adds instances to the fleet and removes them from it.
pub(crate) struct Sessions {
    registry: Arc<dyn Registry>,
    fleet: Fleet,
    /// What is in the fleet.
    known: Mutex<HashMap<InstanceId, DeviceId>>,
}

impl Sessions {
    pub(crate) fn new(registry: Arc<dyn Registry>, fleet: Fleet) -> Self {
        Self {
            registry,
            fleet,
            known: Mutex::default(),
        }
    }

    /// Adds an instance that may have a saved session, which then is reopened in the background.
    pub(crate) fn resume(&self, instance: &Instance) {
        self.insert(instance, true);
    }

    /// Adds a new instance.
    pub(crate) fn add(&self, instance: &Instance) {
        self.insert(instance, false);
    }

    fn insert(&self, instance: &Instance, resume: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(instance.id).or_insert_with(|| {
            let options = InstanceOptions {
                keep_online: instance.keep_online,
                resume: resume && !instance.logged_out,
                logged_out: instance.logged_out,
            };
            let device = device(instance);
            self.fleet.add(device, options);
            device
        });
    }

    /// Pauses what the instance shows, unlinks its device, wipes the keys, and forgets it.
    pub(crate) async fn remove(&self, instance: &Instance) {
        self.fleet.remove(device(instance)).await;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance.id);
    }

    /// Hands the session the settings that the registry holds now. One hand-over at a time: of two changes at
    /// once, the session ends with the one that the registry ends with, whichever of them is answered last.
    pub(crate) fn apply_settings(&self, id: InstanceId) {
        let _turn = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = self.registry.instance_by_id(id) {
            self.fleet
                .set_keep_online(device(&instance), instance.keep_online);
        }
    }

    /// Follows what other processes change in the registry, such as `presence-server account delete`. Ends
    /// with the registry.
    pub(crate) async fn follow(&self) {
        let mut changes = self.registry.changes();
        loop {
            self.reconcile().await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn reconcile(&self) {
        let instances = self.registry.all_instances();
        for instance in &instances {
            self.add(instance);
        }
        // An instance that was created after the snapshot was taken is not gone.
        let gone = self.known_beyond(&instances).into_iter();
        let gone = gone.filter(|(id, _)| self.registry.instance_by_id(*id).is_none());
        // Together: each takes as long as WhatsApp takes to confirm, or to be given up.
        let removals = gone.map(|(id, device)| async move {
            tracing::info!(device.id = %device, "the instance was deleted; its session ends");
            self.fleet.remove(device).await;
            self.known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&id);
        });
        futures_util::future::join_all(removals).await;
    }

    fn known_beyond(&self, instances: &[Arc<Instance>]) -> HashMap<InstanceId, DeviceId> {
        let mut beyond = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for instance in instances {
            beyond.remove(&instance.id);
        }
        beyond
    }
}

/// Writes into the registry which instances are logged out, and which WhatsApp pairings are made with.
pub(crate) struct RegistryLedger {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) edge: Edge,
}

#[async_trait]
impl Ledger for RegistryLedger {
    async fn pairing(&self, device: DeviceId) -> Result<(), LedgerError> {
        self.registry.pin_edge(self.edge).await?;
        self.write(device, false).await
    }

    async fn logged_out(&self, device: DeviceId) -> Result<(), LedgerError> {
        self.write(device, true).await
    }
}

impl RegistryLedger {
    async fn write(&self, device: DeviceId, logged_out: bool) -> Result<(), LedgerError> {
        let Some(id) = InstanceId::new(device.0) else {
            return Ok(());
        };
        // One that was deleted meanwhile needs no line.
        self.registry.set_logged_out(id, logged_out).await?;
        Ok(())
    }
}
