//! The keys of every device: opened once, lent to one session at a time, wiped.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::Jid;
use ::whatsapp_rust::store::commands::DeviceCommand;
use ::whatsapp_rust::store::persistence_manager::PersistenceManager;
use ::whatsapp_rust::store::{Backend, SqliteStore, SqliteStoreConfig};
use ::whatsapp_rust::wacore::store::InMemoryBackend;
use ::whatsapp_rust::wacore::store::device::{
    CachedNoiseCert, CachedServerCertChain, Device as DeviceData, DevicePropsOverride,
};
use ::whatsapp_rust::waproto::whatsapp::device_props::PlatformType;
use async_trait::async_trait;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::version::Version;
use crate::session::{DeviceId, Identity, OpenError};

/// The account that an unpaired device names to a sandbox. The client shakes hands with a pinned key only
/// when it believes it is paired, and a sandbox has no certificate for any other way.
const PLACEHOLDER: &str = "1000000000";
/// How long opening or wiping a device waits for its last session to let go.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of each device's connection to the key file, in KiB. A session reads a handful of rows.
const PAGE_CACHE: u32 = 128;

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

    /// Deletes every row of `device`. No session of it is open, and none is opened meanwhile. Doing it
    /// again, or before the file exists, is no error.
    ///
    /// # Errors
    /// When the file cannot be written.
    async fn wipe(&self, device: DeviceId) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Every device that was opened since the start, and its keys.
pub(super) struct Devices {
    keys: Keys,
    /// Set once the key file has its tables. Two openings that create them at the same time fail each other.
    tables: OnceCell<()>,
    slots: Mutex<HashMap<DeviceId, Arc<Slot>>>,
}

struct Slot {
    /// Its one permit is the right to use the keys.
    free: Arc<Semaphore>,
    manager: tokio::sync::Mutex<Option<Arc<PersistenceManager>>>,
}

/// The right to use a device's keys until it is dropped.
pub(super) struct Lease {
    pub(super) manager: Arc<PersistenceManager>,
    _permit: OwnedSemaphorePermit,
}

impl Devices {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            tables: OnceCell::new(),
            slots: Mutex::default(),
        }
    }

    /// Borrows the keys of `device`, creating them when there are none.
    pub(super) async fn lease(&self, device: DeviceId) -> Result<Lease, OpenError> {
        let slot = self.slot(device);
        let permit = slot.acquire(device).await?;
        let mut manager = slot.manager.lock().await;
        let opened = match &*manager {
            Some(manager) => Arc::clone(manager),
            None => {
                let backend = self.backend(device).await?;
                let opened = PersistenceManager::new(backend)
                    .await
                    .map_err(failed(device, "loading its keys"))?;
                Arc::clone(manager.insert(Arc::new(opened)))
            }
        };
        Ok(Lease {
            manager: opened,
            _permit: permit,
        })
    }

    /// Who `device` is paired with. Creates nothing.
    pub(super) async fn saved(&self, device: DeviceId) -> Result<Option<Identity>, OpenError> {
        Ok(self.look(device, identity).await?.flatten())
    }

    /// The client version that the last session of `device` named; `None` when it has no keys any more.
    pub(super) async fn version(&self, device: DeviceId) -> Result<Option<Version>, OpenError> {
        self.look(device, version).await
    }

    async fn look<T>(
        &self,
        device: DeviceId,
        read: impl FnOnce(&DeviceData) -> T,
    ) -> Result<Option<T>, OpenError> {
        let slot = self.slot(device);
        let manager = slot.manager.lock().await;
        if let Some(manager) = &*manager {
            return Ok(Some(read(&manager.get_device_snapshot())));
        }
        let backend = self.backend(device).await?;
        let saved = backend.load().await.map_err(failed(device, "loading its keys"))?;
        Ok(saved.as_ref().map(read))
    }

    /// Wipes the keys of `device`.
    pub(super) async fn forget(&self, device: DeviceId) -> Result<(), OpenError> {
        let slot = self.slot(device);
        let _permit = slot.acquire(device).await?;
        let mut manager = slot.manager.lock().await;
        *manager = None;
        if let Keys::File(file) = &self.keys {
            file.wipe(device).await.map_err(|source| OpenError {
                device,
                doing: "wiping its keys",
                source,
            })?;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else can have the slot, nor get it while the map is locked: it may go.
        if Arc::strong_count(&slot) == 2 {
            slots.remove(&device);
        }
        Ok(())
    }

    fn slot(&self, device: DeviceId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(device).or_insert_with(|| {
            Arc::new(Slot {
                free: Arc::new(Semaphore::new(1)),
                manager: tokio::sync::Mutex::default(),
            })
        }))
    }

    async fn backend(&self, device: DeviceId) -> Result<Arc<dyn Backend>, OpenError> {
        match &self.keys {
            Keys::Memory => Ok(Arc::new(InMemoryBackend::new())),
            Keys::File(file) => {
                let open = async || {
                    let config = SqliteStoreConfig {
                        cache_size_kib: PAGE_CACHE,
                        ..SqliteStoreConfig::default()
                    };
                    let opened = SqliteStore::with_config_for_device(&file.url(), device.0, config).await;
                    opened.map_err(failed(device, "opening the key file"))
                };
                let mut first = None;
                let create = async || {
                    first = Some(open().await?);
                    Ok(())
                };
                self.tables.get_or_try_init(create).await?;
                match first {
                    Some(store) => Ok(Arc::new(store)),
                    None => Ok(Arc::new(open().await?)),
                }
            }
        }
    }
}

impl Slot {
    async fn acquire(&self, device: DeviceId) -> Result<OwnedSemaphorePermit, OpenError> {
        let free = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(PATIENCE, free).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(late) => Err(failed(device, "waiting for its last session to end")(late)),
        }
    }
}

impl Lease {
    /// Whether a phone has linked this device.
    pub(super) fn is_paired(&self) -> bool {
        self.manager.get_device_snapshot().account.is_some()
    }

    /// Names this device as the phone's list of linked devices shows it.
    pub(super) async fn name(&self, name: &str) {
        let props = DevicePropsOverride::new()
            .with_os(name)
            .with_platform_type(PlatformType::CHROME);
        self.manager
            .process_command(DeviceCommand::SetDeviceProps(props))
            .await;
    }

    /// Pins the sandbox's static key. It is done at every opening, because each sandbox has a key of its own
    /// and the client drops a pinned key that did not fit.
    pub(super) async fn pin_sandbox(&self, key: [u8; 32]) {
        if self.manager.get_device_snapshot().pn.is_none() {
            let placeholder = Jid::pn_device(PLACEHOLDER, 1);
            self.manager
                .process_command(DeviceCommand::SetId(Some(placeholder)))
                .await;
        }
        let cert = CachedNoiseCert {
            key,
            not_before: 0,
            not_after: i64::MAX,
        };
        let chain = CachedServerCertChain {
            intermediate: cert.clone(),
            leaf: cert,
        };
        self.manager
            .process_command(DeviceCommand::SetServerCertChain(chain))
            .await;
    }

    /// Saves the device, and returns only when every write before it is over too: the store takes them one
    /// at a time.
    pub(super) async fn settle(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.manager.modify_device(|_| ()).await;
        Ok(self.manager.flush().await?)
    }
}

/// Who the device is paired with. Only a finished pairing leaves the account's signature; a number alone may
/// be the sandbox's placeholder.
pub(super) fn identity(device: &DeviceData) -> Option<Identity> {
    device.account.as_ref()?;
    let number = device.pn.as_ref()?;
    Some(Identity {
        jid: format!("{}@s.whatsapp.net", number.user),
        push_name: (!device.push_name.is_empty()).then(|| device.push_name.clone()),
    })
}

/// The client version that the device names when it connects.
pub(super) fn version(device: &DeviceData) -> Version {
    (
        device.app_version_primary,
        device.app_version_secondary,
        device.app_version_tertiary,
    )
}

fn failed<E: Error + Send + Sync + 'static>(
    device: DeviceId,
    doing: &'static str,
) -> impl FnOnce(E) -> OpenError {
    move |source| OpenError {
        device,
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

        async fn wipe(&self, _device: DeviceId) -> Result<(), Box<dyn Error + Send + Sync>> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn devices_that_are_opened_together_create_one_file() {
        let devices = Devices::new(Keys::File(Arc::new(File(tempfile::tempdir().unwrap()))));
        let leases = try_join_all((1..=16).map(|device| devices.lease(DeviceId(device)))).await;
        assert_eq!(
            leases
                .map(|leases| leases.len())
                .map_err(|error| error.to_string()),
            Ok(16)
        );
    }
}
