//! What every store of device keys does, whatever it is made of.

mod memory;
mod overlay;
pub(crate) mod pending;
mod reseal;
mod rows;
mod sqlite;
mod sqlite_disk;
pub(crate) mod writer;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;

use crate::error::StoreError;

pub use memory::MemoryKeyStore;
pub(crate) use reseal::SealedKeys;
pub(crate) use rows::past;
pub use sqlite::SqliteKeyStore;
pub(crate) use sqlite::{open_file, pairings};

/// Rows of devices: a value under the device's number, a kind and a name.
///
/// What the rows mean is the business of whoever writes them, the adapter over the WhatsApp client. This is what
/// they can rely on:
///
/// - What was [appended](Self::append) is read from then on, whether it is on the disk yet or not.
/// - What is on the disk is everything up to some append, and nothing after it: an append is there as a whole or
///   not at all, of all devices in the order in which they were made. So whoever waits for one [durable
///   append](Durability::Durable) has waited for all before it.
/// - An append that failed to reach the disk is tried again until it does, and never lost while the process lives.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// In which epoch this process has `device`; `None` while another one may have it, and nothing can be appended.
    /// Without a cluster that is always the first.
    fn epoch(&self, device: InstanceId) -> Option<Epoch> {
        let _ = device;
        Some(Epoch::default())
    }

    /// The value of one row.
    ///
    /// # Errors
    /// When the store cannot be read, or the value was damaged or sealed for another row.
    async fn get(&self, device: InstanceId, kind: Kind, name: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The rows of a kind whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn range(&self, device: InstanceId, kind: Kind, prefix: &[u8]) -> Result<Vec<Row>, StoreError>;

    /// The names of the rows of a kind that were last written at least `age` ago. Of what is not on the disk yet
    /// it knows nothing, since that is new.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn unwritten_for(
        &self,
        device: InstanceId,
        kind: Kind,
        age: Duration,
    ) -> Result<Vec<Bytes>, StoreError>;

    /// The row of this kind that has an empty name, of every device that has it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn of_all(&self, kind: Kind) -> Result<Vec<(InstanceId, Bytes)>, StoreError>;

    /// The devices that have keys.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn devices(&self) -> Result<BTreeSet<InstanceId>, StoreError>;

    /// Makes `changes`, all of them or none. Only [`Durability::Durable`] waits for the disk; its error means that
    /// the changes were made, but may not be on the disk yet.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when somebody with a higher `epoch` has written to the device;
    /// [`StoreError::Overloaded`] when too much waits for the disk. In both cases nothing was changed.
    async fn append(
        &self,
        device: InstanceId,
        epoch: Epoch,
        changes: Vec<RowChange>,
        durability: Durability,
    ) -> Result<(), StoreError>;

    /// Deletes every row of `device`, durably, and what was not on the disk yet. Doing it again is no error.
    ///
    /// # Errors
    /// When the disk cannot be written. The rows are gone all the same, and from the disk as soon as it can.
    async fn wipe(&self, device: InstanceId) -> Result<(), StoreError>;
}

/// The name and the value of a row.
pub type Row = (Bytes, Bytes);

/// Which of a device's keys a row is. The numbers are given out by whoever writes the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

/// How often a device has changed hands. One node alone never changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub i64);

/// A row that changes.
#[derive(Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Of which kind.
    pub kind: Kind,
    /// Under which name.
    pub name: Bytes,
    /// What it becomes; `None`: it goes.
    pub value: Option<Bytes>,
}

impl std::fmt::Debug for RowChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names are phone numbers, values are keys.
        f.debug_struct("RowChange")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What must have happened before an append returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: the disk is written behind its back, within a fifth of a second when it works. A killed process
    /// loses what was appended since; a power cut may lose a few seconds more.
    Behind,
    /// It is on the disk, and survives a power cut.
    Durable,
}
