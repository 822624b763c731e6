//! What is pending over what is written, as those who read and append see it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use presence_core::InstanceId;

use super::pending::{Pending, Seen, Task, merged};
use super::writer::Shared;
use super::{Durability, Epoch, Kind, Row, RowChange};
use crate::error::StoreError;

/// Reads. What is pending is looked at first, and `written` asked then, if need be: what leaves the one meanwhile is in
/// the other by then.
impl Shared {
    pub(crate) async fn get(
        &self,
        (device, kind): (InstanceId, Kind),
        name: &[u8],
        written: impl Future<Output = Result<Option<Bytes>, StoreError>>,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.seen(|pending| pending.get(device, kind, name)) {
            Some(changed) => Ok(changed),
            None => written.await,
        }
    }

    pub(crate) async fn range(
        &self,
        (device, kind): (InstanceId, Kind),
        prefix: &[u8],
        written: impl Future<Output = Result<Vec<Row>, StoreError>>,
    ) -> Result<Vec<Row>, StoreError> {
        match self.seen(|pending| pending.range(device, kind, prefix)) {
            Seen::Instead(rows) => Ok(merged(Vec::new(), rows)),
            Seen::Over(changed) => Ok(merged(written.await?, changed)),
        }
    }

    pub(crate) async fn unwritten_for(
        &self,
        (device, kind): (InstanceId, Kind),
        written: impl Future<Output = Result<Vec<Bytes>, StoreError>>,
    ) -> Result<Vec<Bytes>, StoreError> {
        match self.seen(|pending| pending.range(device, kind, b"")) {
            Seen::Instead(_) => Ok(Vec::new()),
            Seen::Over(changed) => {
                let mut names = written.await?;
                names.retain(|name| !changed.contains_key(name));
                Ok(names)
            }
        }
    }

    pub(crate) async fn of_all(
        &self,
        kind: Kind,
        written: impl Future<Output = Result<BTreeMap<InstanceId, Bytes>, StoreError>>,
    ) -> Result<Vec<(InstanceId, Bytes)>, StoreError> {
        let changed = self.seen(|pending| pending.of_all(kind));
        let mut rows = written.await?;
        for (device, value) in changed {
            match value {
                Some(value) => rows.insert(device, value),
                None => rows.remove(&device),
            };
        }
        Ok(rows.into_iter().collect())
    }

    pub(crate) async fn devices(
        &self,
        written: impl Future<Output = Result<BTreeSet<InstanceId>, StoreError>>,
    ) -> Result<BTreeSet<InstanceId>, StoreError> {
        let changed = self.seen(Pending::devices);
        let mut devices = written.await?;
        for (device, has_keys) in changed {
            if has_keys {
                devices.insert(device);
            } else {
                devices.remove(&device);
            }
        }
        Ok(devices)
    }
}

/// Changes.
impl Shared {
    pub(crate) async fn append(
        &self,
        device: InstanceId,
        epoch: Epoch,
        changes: Vec<RowChange>,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let synced = self.change(|pending| {
            pending.append(device, epoch, changes)?;
            Ok((durability == Durability::Durable).then(|| pending.wait(Task::Sync(device))))
        })?;
        match synced {
            Some(synced) => synced.await.unwrap_or(Err(StoreError::Closed)),
            None => Ok(()),
        }
    }

    pub(crate) async fn wipe(&self, device: InstanceId) -> Result<(), StoreError> {
        let wiped = self.change(|pending| {
            pending.wipe(device);
            Ok(pending.wait(Task::Sync(device)))
        })?;
        wiped.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits until `task` is done with all that is pending now.
    pub(crate) async fn wait(&self, task: Task) -> Result<(), StoreError> {
        let answer = self.change(|pending| Ok(pending.wait(task)))?;
        // The writer drops nobody who waits, unless it is dropped itself with its runtime.
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}
