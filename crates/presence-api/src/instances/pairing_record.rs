//! What of a pairing must outlive the process, written into the registry.

use std::sync::Arc;

use async_trait::async_trait;
use presence_store::{Edge, InstanceId, Registry};
use presence_wa::{DeviceId, Ledger, LedgerError};

/// Writes into the registry which instances are logged out, and which WhatsApp pairings are made with.
pub(super) struct RegistryPairingRecord {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) edge: Edge,
}

#[async_trait]
impl Ledger for RegistryPairingRecord {
    async fn pairing(&self, device: DeviceId) -> Result<(), LedgerError> {
        self.registry.pin_edge(self.edge).await?;
        self.write(device, false).await
    }

    async fn logged_out(&self, device: DeviceId) -> Result<(), LedgerError> {
        self.write(device, true).await
    }
}

impl RegistryPairingRecord {
    async fn write(&self, device: DeviceId, logged_out: bool) -> Result<(), LedgerError> {
        let Some(id) = InstanceId::from_device(device.0) else {
            return Ok(());
        };
        // One that was deleted meanwhile needs no line.
        self.registry.set_logged_out(id, logged_out).await?;
        Ok(())
    }
}
