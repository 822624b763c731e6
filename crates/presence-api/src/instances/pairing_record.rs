//! What of a session's life must outlive the process, written into the registry.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use presence_core::InstanceId;
use presence_store::{Edge, Registry};
use presence_wa::{PairingRecord, PairingRecordError};

use crate::clock::utc_now;

/// Writes into the registry which instances are logged out or banned, and which WhatsApp pairings are made
/// with. Of an instance that was deleted meanwhile nothing is written.
pub(super) struct RegistryPairingRecord {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) edge: Edge,
}

#[async_trait]
impl PairingRecord for RegistryPairingRecord {
    async fn pairing(&self, instance: InstanceId) -> Result<(), PairingRecordError> {
        self.registry.pin_edge(self.edge).await?;
        self.registry.set_logged_out(instance, false).await?;
        Ok(())
    }

    async fn logged_out(&self, instance: InstanceId) -> Result<(), PairingRecordError> {
        self.registry.set_logged_out(instance, true).await?;
        self.registry.set_banned_until(instance, None).await?;
        Ok(())
    }

    async fn banned(&self, instance: InstanceId, lasts: Option<Duration>) -> Result<(), PairingRecordError> {
        let until = lasts.map(|lasts| utc_now() + lasts);
        self.registry.set_banned_until(instance, until).await?;
        Ok(())
    }
}
