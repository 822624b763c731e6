//! What makes a change durable before anyone sees it.

use async_trait::async_trait;

use crate::directory::{Change, Directory};
use crate::registry::StoreError;

/// Where changes become durable.
#[async_trait]
pub(crate) trait Journal: Send + Sync + 'static {
    /// Everything in the journal, if it may hold more than this process read or appended so far.
    async fn refresh(&mut self) -> Result<Option<Directory>, StoreError>;

    /// Makes `change`, which was decided on what this journal last told, durable.
    async fn append(&mut self, change: &Change) -> Result<Appended, StoreError>;
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is durable.
    Durable,
    /// Nothing was written: another process wrote meanwhile, so it must be decided anew.
    Outdated,
}

/// A journal that keeps nothing.
pub(crate) struct MemoryJournal;

#[async_trait]
impl Journal for MemoryJournal {
    async fn refresh(&mut self) -> Result<Option<Directory>, StoreError> {
        Ok(None)
    }

    async fn append(&mut self, _change: &Change) -> Result<Appended, StoreError> {
        Ok(Appended::Durable)
    }
}
