//! What the client keeps of one device: its store, over the rows of ours.
//!
//! Nothing of it stays in memory here. What is not on the disk yet, the [`KeyStore`] holds; what is used often,
//! the client caches itself. So an idle session costs nothing, a call that writes waits for no disk, and there is
//! nothing that a session's end would have to save.
//!
//! One row is worth waiting for: that of the device, when it says something new that WhatsApp is about to believe
//! in. Everything that was written before it is on the disk with it.

mod app_sync;
#[cfg(test)]
mod conformance;
mod protocol;
pub(super) mod rows;
mod secrets;
mod signal;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::wacore::store::error::{Result, StoreError};
use ::whatsapp_rust::wacore::store::traits::DeviceStore;
use ::whatsapp_rust::wacore::store::{
    Device as DeviceData, DeviceCommand, DevicePropsOverride, apply_command_to_device,
};
use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;
use presence_store::{Durability, Epoch, KeyStore, Kind, Row, RowChange};
use tokio::sync::Mutex;

use self::rows::Name;
use super::push_name::PushName;

/// What the client keeps of one device.
pub(super) struct Storage {
    keys: Arc<dyn KeyStore>,
    device: InstanceId,
    /// What it writes, it writes in this epoch, so that it writes nothing once somebody else has had the device.
    pub(super) epoch: Option<Epoch>,
    /// The account's name, while it is kept from the client.
    pub(super) name: PushName,
    /// What the phone's list of linked devices shows. No store keeps it.
    props: DevicePropsOverride,
    /// What the disk surely has of it.
    believed: StdMutex<Option<Believed>>,
    empty: StdMutex<Empty>,
    /// Those who write what they have read take turns. Nobody waits for a disk's write in his.
    turn: Mutex<()>,
}

/// Which kinds have no rows, as far as [`Storage::delete_where`] has looked.
#[derive(Debug, Default)]
struct Empty {
    kinds: BTreeSet<Kind>,
    /// How often rows were put.
    puts: u64,
}

/// What WhatsApp believes of a linked device. It must never be told of more than the disk knows: a link that the
/// device forgets, or a number of a key that the device would give to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Believed {
    next_pre_key_id: u32,
    /// Those below it were offered to WhatsApp, which may have given them out: they are never offered again.
    first_unupload_pre_key_id: u32,
    signed_pre_key_id: u32,
}

impl Believed {
    /// `None` of a device that no phone has linked: nobody believes in it.
    fn of(device: &DeviceData) -> Option<Self> {
        device.account.as_ref()?;
        Some(Self {
            next_pre_key_id: device.next_pre_key_id,
            first_unupload_pre_key_id: device.first_unupload_pre_key_id,
            signed_pre_key_id: device.signed_pre_key_id,
        })
    }
}

impl Storage {
    /// That of `device`, in `keys`.
    pub(super) fn new(keys: Arc<dyn KeyStore>, device: InstanceId, props: DevicePropsOverride) -> Self {
        Self {
            epoch: keys.epoch(device),
            keys,
            device,
            name: PushName::default(),
            props,
            believed: StdMutex::default(),
            empty: StdMutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Forgets peers of whom nothing was written for `age`. When they write again, they are asked to begin anew,
    /// as those who write for the first time do.
    pub(super) async fn forget_peers(&self, age: Duration) -> Result<()> {
        let mut changes = Vec::new();
        for kind in rows::OF_PEERS {
            let names = self.keys.unwritten_for(self.device, kind, age).await;
            changes.extend(
                names
                    .map_err(failed)?
                    .into_iter()
                    .map(|name| rows::delete(kind, name)),
            );
        }
        self.append(changes).await?;
        // An identity is written once; it goes with its session.
        let sessions = self.range(rows::SESSION, b"").await?;
        let sessions: BTreeSet<_> = sessions.into_iter().map(|(address, _)| address).collect();
        let identities = self
            .keys
            .unwritten_for(self.device, rows::IDENTITY, age)
            .await
            .map_err(failed)?;
        let lonely = identities
            .into_iter()
            .filter(|address| !sessions.contains(address));
        self.append(
            lonely
                .map(|address| rows::delete(rows::IDENTITY, address))
                .collect(),
        )
        .await
    }

    async fn get(&self, kind: Kind, name: impl Into<Name>) -> Result<Option<Bytes>> {
        let Name(name) = name.into();
        self.keys.get(self.device, kind, &name).await.map_err(failed)
    }

    async fn range(&self, kind: Kind, prefix: &[u8]) -> Result<Vec<Row>> {
        self.keys.range(self.device, kind, prefix).await.map_err(failed)
    }

    /// Makes `changes`; they are on the disk soon.
    async fn append(&self, changes: Vec<RowChange>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(changes, Durability::Behind).await
    }

    async fn delete_range(&self, kind: Kind, prefix: &[u8]) -> Result<()> {
        let _turn = self.turn.lock().await;
        let rows = self.range(kind, prefix).await?;
        let changes = rows.into_iter().map(|(name, _)| rows::delete(kind, name));
        self.append(changes.collect()).await
    }

    /// Deletes the rows of a kind whose value `is_over` says is, and counts them.
    ///
    /// The client does that every five minutes. Of a kind that it does not use, what is read once is remembered: ten
    /// thousand idle sessions would ask a database that they share a hundred times a second otherwise.
    async fn delete_where(&self, kind: Kind, is_over: impl Fn(Bytes) -> Result<bool> + Send) -> Result<u32> {
        let _turn = self.turn.lock().await;
        let puts = {
            let empty = self.empty();
            if empty.kinds.contains(&kind) {
                return Ok(0);
            }
            empty.puts
        };
        let rows = self.range(kind, b"").await?;
        if rows.is_empty() {
            let mut empty = self.empty();
            // What was put meanwhile may not have been read.
            if empty.puts == puts {
                empty.kinds.insert(kind);
            }
        }
        let mut changes = Vec::new();
        for (name, value) in rows {
            if is_over(value)? {
                changes.push(rows::delete(kind, name));
            }
        }
        let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        self.append(changes).await?;
        Ok(count)
    }

    async fn write(&self, changes: Vec<RowChange>, durability: Durability) -> Result<()> {
        let epoch = self
            .epoch
            .ok_or_else(|| failed(presence_store::StoreError::Fenced))?;
        let put = changes.iter().filter(|change| change.value.is_some());
        let put: BTreeSet<Kind> = put.map(|change| change.kind).collect();
        let written = self.keys.append(self.device, epoch, changes, durability);
        let written = written.await.map_err(failed);
        if !put.is_empty() {
            // Only now that they can be read, or somebody would find nothing and believe it.
            let mut empty = self.empty();
            empty.puts += 1;
            empty.kinds.retain(|kind| !put.contains(kind));
        }
        written
    }

    fn empty(&self) -> MutexGuard<'_, Empty> {
        self.empty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_believed(&self, believed: Option<Believed>) {
        *self.believed.lock().unwrap_or_else(PoisonError::into_inner) = believed;
    }

    fn believed(&self) -> Option<Believed> {
        *self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DeviceStore for Storage {
    async fn save(&self, device: &DeviceData) -> Result<()> {
        let named;
        let device = match self.name.of(device) {
            Some(push_name) if device.push_name.is_empty() => {
                named = DeviceData {
                    push_name,
                    ..device.clone()
                };
                &named
            }
            _ => device,
        };
        let changes = vec![rows::put_device(device)?];
        let believed = Believed::of(device);
        if believed.is_some() && believed != self.believed() {
            self.write(changes, Durability::Durable).await?;
            self.set_believed(believed);
            Ok(())
        } else {
            self.append(changes).await
        }
    }

    /// A device that has no row yet is a new one. It is saved when something of it is worth it.
    async fn load(&self) -> Result<Option<DeviceData>> {
        let saved = self.get(rows::DEVICE, b"").await?;
        let saved = saved.map(rows::device).transpose()?;
        self.set_believed(saved.as_ref().and_then(Believed::of));
        let mut device = saved.unwrap_or_else(DeviceData::new);
        apply_command_to_device(&mut device, DeviceCommand::SetDeviceProps(self.props.clone()));
        Ok(Some(device))
    }

    async fn exists(&self) -> Result<bool> {
        Ok(true)
    }

    async fn create(&self) -> Result<i32> {
        Err(StoreError::Validation(
            "no device is created before it is saved".to_owned(),
        ))
    }
}

fn failed(error: presence_store::StoreError) -> StoreError {
    StoreError::Database(Box::new(error))
}
