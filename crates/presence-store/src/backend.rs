//! What makes a change durable before anyone sees it, and tells what others changed.

use std::collections::BTreeSet;

use async_trait::async_trait;
use presence_core::InstanceId;
use tokio::sync::watch;

use crate::directory::{Change, Directory};
use crate::error::StoreError;

/// Where the records of a [`Store`](crate::Store) are kept.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    /// What was written there since this backend last told or appended, by whomever.
    async fn refresh(&mut self) -> Result<Refreshed, StoreError>;

    /// Makes `change`, which was decided on what this backend last told, durable.
    async fn append(&mut self, change: &Change) -> Result<Appended, StoreError>;

    /// The instances that are remembered as deleted, whether their keys were wiped since or not.
    async fn deleted(&mut self) -> Result<BTreeSet<InstanceId>, StoreError>;

    /// Reads, and writes durably.
    async fn check(&mut self) -> Result<(), StoreError>;

    /// Counts hints that others wrote; `None` where there are none to be had.
    fn hints(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Lets go of the files, tidied up.
    async fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// What others wrote.
pub(crate) enum Refreshed {
    /// Nothing.
    Nothing,
    /// This, in an order in which it can be applied to what was told before.
    Changes(Vec<Change>),
    /// So much that it is told as a whole.
    Everything(Box<Directory>),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is durable.
    Durable,
    /// Nothing was written: another process wrote meanwhile, so it must be decided anew.
    Outdated,
}

/// Keeps nothing: the snapshot in memory is all there is.
pub(crate) struct MemoryBackend;

#[async_trait]
impl Backend for MemoryBackend {
    async fn refresh(&mut self) -> Result<Refreshed, StoreError> {
        Ok(Refreshed::Nothing)
    }

    async fn append(&mut self, _change: &Change) -> Result<Appended, StoreError> {
        Ok(Appended::Durable)
    }

    async fn deleted(&mut self) -> Result<BTreeSet<InstanceId>, StoreError> {
        Ok(BTreeSet::new())
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
