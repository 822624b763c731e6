//! What of an instance's life must outlive the process.

use std::time::Duration;

use async_trait::async_trait;
use presence_core::InstanceId;

/// Why a [`PairingRecord`] could not write; for the log.
pub type PairingRecordError = Box<dyn std::error::Error + Send + Sync>;

/// Writes down which instances are logged out, and which are banned.
///
/// The fleet waits for each call before it goes on, so that a crash at any moment leaves one of these:
///
/// | on disk | after a restart |
/// |---|---|
/// | not logged out, keys of a pairing | the session is resumed |
/// | not logged out, no keys (or of a pairing that was not finished) | disconnected, until it is paired |
/// | logged out, keys left over | logged out; the keys are wiped |
/// | logged out, no keys | logged out |
///
/// So `logged_out` is written *before* the keys are wiped, and `pairing` before the first key of a new
/// pairing is made: keys that are still good are never found beside a "logged out", and a device that was
/// unlinked is never opened again. That a pairing has succeeded needs no line: its keys say so.
#[async_trait]
pub trait PairingRecord: Send + Sync + 'static {
    /// `instance` is about to pair: it is no longer logged out. An error stops the pairing before it begins.
    async fn pairing(&self, instance: InstanceId) -> Result<(), PairingRecordError>;

    /// `instance` was unlinked; its keys are useless and wiped next. An error is logged, and the keys are
    /// wiped all the same.
    async fn logged_out(&self, instance: InstanceId) -> Result<(), PairingRecordError>;

    /// WhatsApp bans the account for this long from now on; `None`: not any more. A ban outlives a restart. An
    /// error is logged.
    async fn banned(&self, instance: InstanceId, lasts: Option<Duration>) -> Result<(), PairingRecordError>;
}

/// Writes nothing down: for tests and tools without a registry.
#[async_trait]
impl PairingRecord for () {
    async fn pairing(&self, _instance: InstanceId) -> Result<(), PairingRecordError> {
        Ok(())
    }

    async fn logged_out(&self, _instance: InstanceId) -> Result<(), PairingRecordError> {
        Ok(())
    }

    async fn banned(
        &self,
        _instance: InstanceId,
        _lasts: Option<Duration>,
    ) -> Result<(), PairingRecordError> {
        Ok(())
    }
}
