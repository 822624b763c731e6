//! A journal that keeps nothing, for tests.

use async_trait::async_trait;

use crate::directory::{Change, Directory};
use crate::registry::StoreError;
use crate::store::{Appended, Journal};

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
