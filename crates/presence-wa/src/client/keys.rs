//! The keys of every device: loaded once, used by one session at a time, wiped.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::Jid;
use ::whatsapp_rust::wacore::store::device::DevicePropsOverride;
use ::whatsapp_rust::waproto::whatsapp::device_props::PlatformType;
use async_trait::async_trait;
use presence_core::InstanceId;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::device::{self, Device};
use super::storage::{DeviceRows, Storage};
use super::version::Version;
use crate::session::{Identity, KeysError};

/// How long opening or wiping a device waits for its last session to let go.
const LAST_SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Where device keys live.
#[derive(Clone)]
pub enum Keys {
    /// In memory, for tests: they last as long as the connector.
    Memory,
    /// In a SQLite file that all devices share.
    File(Arc<dyn DeviceKeys>),
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "Memory",
            Self::File(_) => "File(..)",
        })
    }
}

/// A SQLite file of device keys. The WhatsApp client creates its tables; every row names its device.
#[async_trait]
pub trait DeviceKeys: Send + Sync + 'static {
    /// The file, as a path or a `sqlite://` URL.
    fn url(&self) -> String;

    /// Every row of the client's table `device` with an `account`: the devices that a phone has linked. None
    /// before the file exists.
    ///
    /// # Errors
    /// When the file cannot be read.
    async fn linked(&self) -> Result<Vec<LinkedDevice>, Box<dyn Error + Send + Sync>>;

    /// Deletes every row of the device of `instance`. No session of it is open, and none is opened
    /// meanwhile. Doing it again, or before the file exists, is no error.
    ///
    /// # Errors
    /// When the file cannot be written.
    async fn wipe(&self, instance: InstanceId) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// What the row of a linked device says of its account.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkedDevice {
    /// The column `id`.
    pub instance: InstanceId,
    /// The column `pn`: the account's number as a JID of this device, `<digits>:<device>@s.whatsapp.net`.
    pub pn: String,
    /// The column `push_name`; empty while it is not known.
    pub push_name: String,
}

impl fmt::Debug for LinkedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkedDevice")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Every device that was opened since the start, and its keys.
pub(super) struct Devices {
    keys: Keys,
    /// What the phone's list of linked devices shows.
    name: String,
    /// The key file, once it has its tables. Two openings that create them at the same time fail each other.
    rows: OnceCell<Arc<DeviceRows>>,
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
    pub(super) fn new(keys: Keys, name: String) -> Self {
        Self {
            keys,
            name,
            rows: OnceCell::new(),
            slots: Mutex::default(),
        }
    }

    /// Opens the keys of `instance`, making new ones when there are none.
    pub(super) async fn open(&self, instance: InstanceId) -> Result<OpenDevice, KeysError> {
        let slot = self.slot(instance);
        let permit = slot.acquire(instance).await?;
        let mut device = slot.device.lock().await;
        let opened = match &*device {
            Some(device) => device.clone(),
            None => {
                let loaded = Device::load(self.storage(instance).await?).await;
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
        match &self.keys {
            Keys::Memory => {
                let slots: Vec<_> = {
                    let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
                    slots.iter().map(|(id, slot)| (*id, Arc::clone(slot))).collect()
                };
                let mut paired = Vec::new();
                for (instance, slot) in slots {
                    let device = slot.device.lock().await;
                    paired.extend(
                        device
                            .as_ref()
                            .and_then(Device::identity)
                            .map(|me| (instance, me)),
                    );
                }
                Ok(paired)
            }
            Keys::File(file) => {
                let linked = file.linked().await.map_err(|source| KeysError {
                    instance: None,
                    doing: "listing the linked ones",
                    source,
                })?;
                Ok(linked.into_iter().filter_map(linked_identity).collect())
            }
        }
    }

    /// Who `instance` is paired with. Creates nothing.
    pub(super) async fn saved(&self, instance: InstanceId) -> Result<Option<Identity>, KeysError> {
        let slot = self.slot(instance);
        let opened = slot.device.lock().await;
        if let Some(device) = &*opened {
            return Ok(device.identity());
        }
        let Some(rows) = self.rows(instance).await? else {
            return Ok(None);
        };
        let row = rows.load(instance.get()).await;
        let row = row.map_err(failed(instance, "loading"))?;
        Ok(row.as_ref().and_then(device::identity))
    }

    /// The client version that the last session of `instance` named; `None` when there was none since the start.
    pub(super) async fn version(&self, instance: InstanceId) -> Option<Version> {
        let slot = self.slot(instance);
        let opened = slot.device.lock().await;
        opened.as_ref().map(Device::version)
    }

    /// Wipes the keys of `instance`.
    pub(super) async fn wipe(&self, instance: InstanceId) -> Result<(), KeysError> {
        let slot = self.slot(instance);
        let _permit = slot.acquire(instance).await?;
        let mut device = slot.device.lock().await;
        *device = None;
        if let Keys::File(file) = &self.keys {
            file.wipe(instance).await.map_err(|source| KeysError {
                instance: Some(instance),
                doing: "wiping",
                source,
            })?;
        }
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

    async fn storage(&self, instance: InstanceId) -> Result<Storage, KeysError> {
        let props = DevicePropsOverride::new()
            .with_os(&self.name)
            .with_platform_type(PlatformType::CHROME);
        Ok(match self.rows(instance).await? {
            Some(rows) => Storage::file(rows, instance.get(), props),
            None => Storage::memory(props),
        })
    }

    /// The key file; `None` when keys live in memory.
    async fn rows(&self, instance: InstanceId) -> Result<Option<Arc<DeviceRows>>, KeysError> {
        let Keys::File(file) = &self.keys else {
            return Ok(None);
        };
        let rows = self
            .rows
            .get_or_try_init(async || DeviceRows::open(file.url()).await.map(Arc::new))
            .await
            .map_err(failed(instance, "opening their file"))?;
        Ok(Some(Arc::clone(rows)))
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

fn linked_identity(linked: LinkedDevice) -> Option<(InstanceId, Identity)> {
    let Ok(pn) = linked.pn.parse::<Jid>() else {
        tracing::warn!(instance = %linked.instance, "a linked device has no readable number; not resuming it");
        return None;
    };
    let identity = Identity {
        jid: format!("{}@s.whatsapp.net", pn.user),
        push_name: (!linked.push_name.is_empty()).then_some(linked.push_name),
    };
    Some((linked.instance, identity))
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

#[cfg(test)]
mod tests {
    //! Devices on one file.

    use futures_util::future::try_join_all;
    use tempfile::TempDir;

    use super::*;

    struct File(TempDir);

    #[async_trait]
    impl DeviceKeys for File {
        fn url(&self) -> String {
            self.0.path().join("devices.db").display().to_string()
        }

        async fn linked(&self) -> Result<Vec<LinkedDevice>, Box<dyn Error + Send + Sync>> {
            let linked = |id, pn: &str, push_name: &str| LinkedDevice {
                instance: InstanceId::new(id).unwrap(),
                pn: pn.to_owned(),
                push_name: push_name.to_owned(),
            };
            Ok(vec![
                linked(1, "5511999990000:7@s.whatsapp.net", "Ana"),
                linked(2, "5511999991111@s.whatsapp.net", ""),
                linked(3, "", "Bia"),
            ])
        }

        async fn wipe(&self, _: InstanceId) -> Result<(), Box<dyn Error + Send + Sync>> {
            Ok(())
        }
    }

    fn devices() -> Devices {
        let file = File(tempfile::tempdir().unwrap());
        Devices::new(Keys::File(Arc::new(file)), "Presence".to_owned())
    }

    #[tokio::test]
    async fn devices_that_are_opened_together_create_one_file() {
        let devices = devices();
        let ids = (1..=16).map(|id| InstanceId::new(id).unwrap());
        let opened = try_join_all(ids.map(|id| devices.open(id))).await.unwrap();
        assert_eq!(opened.len(), 16);
    }

    #[tokio::test]
    async fn the_linked_devices_are_told_without_opening_any() {
        let paired = devices().paired().await.unwrap();
        let rows: Vec<_> = paired
            .iter()
            .map(|(id, me)| (id.get(), me.jid.as_str(), me.push_name.as_deref()))
            .collect();
        assert_eq!(
            rows,
            [
                (1, "5511999990000@s.whatsapp.net", Some("Ana")),
                (2, "5511999991111@s.whatsapp.net", None),
            ]
        );
    }
}
