//! What the nodes of a cluster agree on: who lives, and who has which instance.

mod faulty;
mod memory;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::key_store::Epoch;
use crate::random::random;

pub use faulty::{FaultyLedger, LedgerFault};
pub use memory::MemoryLedger;

/// The record of nodes and of what they own, in the database that they share. It alone decides: no node's clock
/// and no node's memory does.
///
/// A node lives from [`enter`](Self::enter) until it [leaves](Self::leave) or is [struck off](Self::strike_off).
/// What was struck off never lives again: the process goes on as another node. Between a lease's end and the
/// striking off, [`renew`](Self::renew) still succeeds, because nobody can have taken anything yet.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Enters a node, with a lease that ends `lease` from now on the database's clock.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn enter(&self, node: NodeId, address: &str, lease: Duration) -> Result<(), StoreError>;

    /// Renews the lease of `node`; `false` when it lives no longer.
    ///
    /// # Errors
    /// When it is not known whether it was renewed.
    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError>;

    /// Strikes off every node but `by` whose lease is over. What they had is nobody's then. The answer is who they
    /// were. Nothing is done when `by` lives no longer.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn strike_off(&self, by: NodeId) -> Result<Vec<NodeId>, StoreError>;

    /// Takes up to `most` instances that nobody has, those that were used last first, each with the next epoch.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when `node` lives no longer.
    async fn claim(&self, node: NodeId, most: u32) -> Result<Vec<Ownership>, StoreError>;

    /// Takes this instance, unless a node has it: `None` then, and when there is no such instance. Of one that
    /// `node` has already the answer is its epoch.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    async fn claim_one(&self, node: NodeId, instance: InstanceId) -> Result<Option<Epoch>, StoreError>;

    /// Gives these up, as far as `node` still has them in that epoch.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn release(&self, node: NodeId, instances: &[(InstanceId, Epoch)]) -> Result<(), StoreError>;

    /// Gives everything up, and is no node any more. Doing it again is no error.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn leave(&self, node: NodeId) -> Result<(), StoreError>;

    /// Who lives, and who has what: what changed since a version that was read before, or everything.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn read(&self, since: Option<LedgerVersion>) -> Result<LedgerNews, StoreError>;

    /// Counts hints that something changed. They may be late, lost or wrong, so it is to be read now and then
    /// without any.
    fn hints(&self) -> watch::Receiver<u64>;

    /// Keeps what instances show, for whoever takes them when this node is lost. Empty: nothing. Instances that
    /// `node` does not have in that epoch are left out.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn keep_shown(&self, node: NodeId, shown: &[(InstanceId, Epoch, Bytes)]) -> Result<(), StoreError>;

    /// What these instances showed, as it was kept last, and how long ago on the database's clock. It is kept no
    /// longer then.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    async fn take_shown(&self, instances: &[InstanceId]) -> Result<Vec<KeptShown>, StoreError>;
}

/// One run of a process, in a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// One that nobody else has.
    ///
    /// # Errors
    /// [`StoreError::Random`] when there are no random bytes to be had.
    pub fn generate() -> Result<Self, StoreError> {
        Ok(Self(*random::<16>()?))
    }

    /// The one with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// As a UUID is written.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which run of which process.
    pub id: NodeId,
    /// Where the others reach it: the URL that it was entered with.
    pub address: String,
}

/// Who has an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The instance.
    pub instance: InstanceId,
    /// `None`: nobody.
    pub node: Option<NodeId>,
    /// How often it was taken.
    pub epoch: Epoch,
}

/// How far the ledger was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerVersion(pub i64);

/// What was read of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerNews {
    /// How far.
    pub version: LedgerVersion,
    /// All that live.
    pub nodes: Vec<Node>,
    /// Whose owner changed since the version that was asked for; all instances when none was, or when it is not
    /// known any more. Of instances that were deleted nothing is told: the registry does.
    pub changed: Vec<Ownership>,
    /// Whether `changed` has all instances.
    pub is_everything: bool,
}

/// What an instance showed.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptShown {
    /// Which.
    pub instance: InstanceId,
    /// What was kept.
    pub shown: Bytes,
    /// How long ago.
    pub age: Duration,
}

impl fmt::Debug for KeptShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is shown names people.
        f.debug_struct("KeptShown")
            .field("instance", &self.instance)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_written_as_a_uuid() {
        let node = NodeId::from_bytes(std::array::from_fn(|at| at as u8 * 16));
        assert_eq!(node.to_string(), "00102030-4050-6070-8090-a0b0c0d0e0f0");
    }
}
