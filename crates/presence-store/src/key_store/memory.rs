//! Device keys that last as long as the process, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;
use tokio::time::Instant;

use super::{Durability, Epoch, KeyStore, Kind, Row, RowChange};
use crate::error::StoreError;

/// A [`KeyStore`] in memory.
#[derive(Default)]
pub struct MemoryKeyStore {
    devices: Mutex<BTreeMap<InstanceId, Device>>,
}

#[derive(Default)]
struct Device {
    epoch: Epoch,
    rows: BTreeMap<(Kind, Bytes), (Bytes, Instant)>,
}

impl Device {
    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&Bytes, &(Bytes, Instant))> {
        self.rows
            .range((kind, Bytes::new())..)
            .take_while(move |((found, _), _)| *found == kind)
            .map(|((_, name), value)| (name, value))
    }
}

impl MemoryKeyStore {
    fn devices(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Device>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyStore for MemoryKeyStore {
    async fn get(&self, device: InstanceId, kind: Kind, name: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let devices = self.devices();
        let row = devices
            .get(&device)
            .and_then(|device| device.rows.get(&(kind, Bytes::copy_from_slice(name))));
        Ok(row.map(|(value, _)| value.clone()))
    }

    async fn range(&self, device: InstanceId, kind: Kind, prefix: &[u8]) -> Result<Vec<Row>, StoreError> {
        let devices = self.devices();
        let rows = devices
            .get(&device)
            .into_iter()
            .flat_map(|device| device.of_kind(kind));
        Ok(rows
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect())
    }

    async fn unwritten_for(
        &self,
        device: InstanceId,
        kind: Kind,
        age: Duration,
    ) -> Result<Vec<Bytes>, StoreError> {
        let devices = self.devices();
        let rows = devices
            .get(&device)
            .into_iter()
            .flat_map(|device| device.of_kind(kind));
        Ok(rows
            .filter(|(_, (_, written))| written.elapsed() >= age)
            .map(|(name, _)| name.clone())
            .collect())
    }

    async fn of_all(&self, kind: Kind) -> Result<Vec<(InstanceId, Bytes)>, StoreError> {
        let devices = self.devices();
        let rows = devices.iter().filter_map(|(id, device)| {
            let (value, _) = device.rows.get(&(kind, Bytes::new()))?;
            Some((*id, value.clone()))
        });
        Ok(rows.collect())
    }

    async fn devices(&self) -> Result<BTreeSet<InstanceId>, StoreError> {
        Ok(self.devices().keys().copied().collect())
    }

    async fn append(
        &self,
        device: InstanceId,
        epoch: Epoch,
        changes: Vec<RowChange>,
        _durability: Durability,
    ) -> Result<(), StoreError> {
        let mut devices = self.devices();
        let device = devices.entry(device).or_default();
        if epoch < device.epoch {
            return Err(StoreError::Fenced);
        }
        device.epoch = epoch;
        for RowChange { kind, name, value } in changes {
            match value {
                Some(value) => device.rows.insert((kind, name), (value, Instant::now())),
                None => device.rows.remove(&(kind, name)),
            };
        }
        Ok(())
    }

    async fn wipe(&self, device: InstanceId) -> Result<(), StoreError> {
        self.devices().remove(&device);
        Ok(())
    }
}
