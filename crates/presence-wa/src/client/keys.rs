//! The keys of every device: loaded once, used by one session at a time, wiped.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::wacore::store::device::DevicePropsOverride;
use ::whatsapp_rust::waproto::whatsapp::device_props::PlatformType;
use presence_core::InstanceId;
use presence_store::{KeyStore, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::device::{self, Device};
use super::storage::{Storage, rows};
use super::version::Version;
use crate::session::{Identity, KeysError};

/// How long opening or wiping a device waits for its last session to let go.
const LAST_SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Every device that was opened since the start, and its keys.
pub(super) struct Devices {
    keys: Arc<dyn KeyStore>,
    /// What the phone's list of linked devices shows.
    name: String,
    slots: Mutex<HashMap<InstanceId, Arc<Slot>>>,
}

struct Slot {
    /// Its one permit is the right to use the keys.
    free: Arc<Semaphore>,
    device: tokio::sync::Mutex<Option<Device>>,
}

/// A device whose keys nobody else may use until this is dropped.
pub(super) struct OpenDevice {
    pub(super) device: Device,
    _permit: OwnedSemaphorePermit,
}

impl Devices {
    pub(super) fn new(keys: Arc<dyn KeyStore>, name: String) -> Self {
        Self {
            keys,
            name,
            slots: Mutex::default(),
        }
    }

    /// Opens the keys of `instance`, making new ones when there are none.
    pub(super) async fn open(&self, instance: InstanceId) -> Result<OpenDevice, KeysError> {
        let slot = self.slot(instance);
        let permit = slot.acquire(instance).await?;
        let mut device = slot.device.lock().await;
        let opened = match &*device {
            Some(device) if device.epoch() == self.keys.epoch(instance) => device.clone(),
            _ => {
                let loaded = Device::load(self.storage(instance)).await;
                device
                    .insert(loaded.map_err(failed(instance, "loading"))?)
                    .clone()
            }
        };
        Ok(OpenDevice {
            device: opened,
            _permit: permit,
        })
    }

    /// Every device that is paired, and with whom. Creates nothing.
    pub(super) async fn paired(&self) -> Result<Vec<(InstanceId, Identity)>, KeysError> {
        let paired = paired(&*self.keys).await;
        paired.map_err(|source| KeysError {
            instance: None,
            doing: "listing them",
            source: Box::new(source),
        })
    }

    /// Who `instance` is paired with. Creates nothing.
    pub(super) async fn saved(&self, instance: InstanceId) -> Result<Option<Identity>, KeysError> {
        let slot = self.slot(instance);
        let opened = slot.device.lock().await;
        if let Some(device) = &*opened
            && device.epoch() == self.keys.epoch(instance)
        {
            return Ok(device.identity());
        }
        let row = self.keys.get(instance, rows::DEVICE, b"").await;
        let Some(row) = row.map_err(failed(instance, "loading"))? else {
            return Ok(None);
        };
        let row = rows::device(row).map_err(failed(instance, "loading"))?;
        Ok(device::identity(&row))
    }

    /// The client version that the last session of `instance` named; `None` when there was none since the start.
    pub(super) async fn version(&self, instance: InstanceId) -> Option<Version> {
        let slot = self.slot(instance);
        let opened = slot.device.lock().await;
        opened.as_ref().map(Device::version)
    }

    /// Lets go of what is in memory of the keys of `instance`: another process may change them from now on.
    pub(super) fn forget(&self, instance: InstanceId) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.remove(&instance);
    }

    /// Wipes the keys of `instance`.
    pub(super) async fn wipe(&self, instance: InstanceId) -> Result<(), KeysError> {
        let slot = self.slot(instance);
        let _permit = slot.acquire(instance).await?;
        let mut device = slot.device.lock().await;
        *device = None;
        self.keys
            .wipe(instance)
            .await
            .map_err(failed(instance, "wiping"))?;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else can have the slot, nor get it while the map is locked: it may go.
        if Arc::strong_count(&slot) == 2 {
            slots.remove(&instance);
        }
        Ok(())
    }

    fn slot(&self, instance: InstanceId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(instance).or_insert_with(|| {
            Arc::new(Slot {
                free: Arc::new(Semaphore::new(1)),
                device: tokio::sync::Mutex::default(),
            })
        }))
    }

    fn storage(&self, instance: InstanceId) -> Storage {
        let props = DevicePropsOverride::new()
            .with_os(&self.name)
            .with_platform_type(PlatformType::CHROME);
        Storage::new(Arc::clone(&self.keys), instance, props)
    }
}

impl Slot {
    async fn acquire(&self, instance: InstanceId) -> Result<OwnedSemaphorePermit, KeysError> {
        let free = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(LAST_SESSION_TIMEOUT, free).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(late) => Err(failed(instance, "waiting for its last session to end")(late)),
        }
    }
}

fn failed<E: Error + Send + Sync + 'static>(
    instance: InstanceId,
    doing: &'static str,
) -> impl FnOnce(E) -> KeysError {
    move |source| KeysError {
        instance: Some(instance),
        doing,
        source: Box::new(source),
    }
}

/// The devices in `keys` that a phone has linked. Others may have keys too: those that have shown a QR code.
///
/// # Errors
/// When the keys cannot be read.
pub async fn linked_devices(keys: &dyn KeyStore) -> Result<BTreeSet<InstanceId>, StoreError> {
    let paired = paired(keys).await?;
    Ok(paired.into_iter().map(|(instance, _)| instance).collect())
}

async fn paired(keys: &dyn KeyStore) -> Result<Vec<(InstanceId, Identity)>, StoreError> {
    let listed = keys.of_all(rows::DEVICE).await?;
    let paired = listed.into_iter().filter_map(|(instance, row)| {
        let row = rows::device(row).inspect_err(|error| {
            let error = error as &dyn Error;
            tracing::warn!(%instance, error, "a device cannot be read; not resuming it");
        });
        Some((instance, device::identity(&row.ok()?)?))
    });
    Ok(paired.collect())
}

#[cfg(test)]
mod tests {
    //! Devices over rows that are there already.

    use ::whatsapp_rust::wacore::store::Device as DeviceData;
    use ::whatsapp_rust::waproto::whatsapp::ADVSignedDeviceIdentity;
    use presence_store::{Durability, Epoch, MemoryKeyStore, RowChange};

    use super::*;

    fn linked(pn: &str, push_name: &str) -> RowChange {
        let device = DeviceData {
            pn: Some(pn.parse().unwrap()),
            account: Some(Arc::new(ADVSignedDeviceIdentity::default())),
            push_name: push_name.to_owned(),
            ..DeviceData::new()
        };
        rows::put_device(&device).unwrap()
    }

    #[tokio::test]
    async fn the_linked_devices_are_told_without_opening_any_and_a_damaged_one_hides_no_other() {
        let keys = Arc::<MemoryKeyStore>::default();
        let damaged = RowChange {
            value: Some("not a device".into()),
            ..linked("5511999992222@s.whatsapp.net", "Cid")
        };
        let stored = [
            linked("5511999990000:7@s.whatsapp.net", "Ana"),
            damaged,
            linked("5511999991111@s.whatsapp.net", ""),
            rows::put_device(&DeviceData::new()).unwrap(),
        ];
        for (number, row) in (1..).zip(stored) {
            let instance = InstanceId::new(number).unwrap();
            keys.append(instance, Epoch::default(), vec![row], Durability::Behind)
                .await
                .unwrap();
        }
        let devices = Devices::new(keys, "Presence".to_owned());
        let paired = devices.paired().await.unwrap();
        let told: Vec<_> = paired
            .iter()
            .map(|(id, me)| (id.get(), me.jid.as_str(), me.push_name.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                (1, "5511999990000@s.whatsapp.net", Some("Ana")),
                (3, "5511999991111@s.whatsapp.net", None),
            ]
        );
        let damaged = InstanceId::new(2).unwrap();
        assert!(devices.saved(damaged).await.is_err());
        assert!(
            devices.open(damaged).await.is_err(),
            "no new device takes its place"
        );
    }
}
