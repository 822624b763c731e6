//! One device: its keys as the client holds them, and what is read from them.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::Jid;
use ::whatsapp_rust::store::commands::DeviceCommand;
use ::whatsapp_rust::store::error::StoreError;
use ::whatsapp_rust::store::persistence_manager::PersistenceManager;
use ::whatsapp_rust::wacore::store::Device as DeviceData;
use ::whatsapp_rust::wacore::store::device::{CachedNoiseCert, CachedServerCertChain};
use presence_store::Epoch;
use tokio::time::Instant;

use super::storage::Storage;
use super::version::Version;
use crate::session::Identity;

/// The account that an unpaired device names to a sandbox. The client shakes hands with a pinned key only
/// when it believes it is paired, and a sandbox has no certificate for any other way.
const PLACEHOLDER: &str = "1000000000";
/// How often changes of a paired device are saved. What WhatsApp must not hear of before, the client saves
/// itself.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How often peers are forgotten that were not met for long.
const FORGET_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// A device that was loaded. Its clones are the same device.
#[derive(Clone)]
pub(super) struct Device {
    pub(super) manager: Arc<PersistenceManager>,
    storage: Arc<Storage>,
    /// When peers are forgotten next.
    forget_at: Arc<Mutex<Instant>>,
}

impl Device {
    /// Loads the device from `storage`.
    pub(super) async fn load(storage: Storage) -> Result<Self, StoreError> {
        let storage = Arc::new(storage);
        let manager = PersistenceManager::new(Arc::clone(&storage) as _).await?;
        Ok(Self {
            manager: Arc::new(manager),
            storage,
            // Devices that are loaded together, at a start, are not busy together.
            forget_at: Arc::new(Mutex::new(Instant::now() + FORGET_EVERY.mul_f64(rand::random()))),
        })
    }

    /// In which epoch it was loaded. In another one its keys may be others.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.storage.epoch
    }

    /// Whether a phone has linked it.
    pub(super) fn is_paired(&self) -> bool {
        self.manager.get_device_snapshot().account.is_some()
    }

    /// Who it is paired with.
    pub(super) fn identity(&self) -> Option<Identity> {
        let device = self.manager.get_device_snapshot();
        Some(Identity {
            push_name: self.storage.name.of(&device),
            ..identity(&device)?
        })
    }

    /// The account's name, once it is known.
    pub(super) fn push_name(&self) -> Option<String> {
        self.storage.name.of(&self.manager.get_device_snapshot())
    }

    /// The client version that it names when it connects.
    pub(super) fn version(&self) -> Version {
        version(&self.manager.get_device_snapshot())
    }

    /// How often it has logged in since it was linked. The client counts a login before it looks whether it
    /// knows the account's name.
    pub(super) fn logins(&self) -> i32 {
        self.manager.get_device_snapshot().login_counter
    }

    /// Keeps the account's name from the client.
    pub(super) async fn hide_name(&self) {
        self.storage.name.hide(&self.manager).await;
    }

    /// The same at once; `false` when the client was busy.
    pub(super) fn try_hide_name(&self) -> bool {
        self.storage.name.try_hide(&self.manager)
    }

    /// Gives the account's name back to the client, for the next login.
    pub(super) async fn reveal_name(&self) {
        self.storage.name.reveal(&self.manager).await;
    }

    /// Pins the static key of a sandbox. It is done at every opening, because each sandbox has a key of its
    /// own and the client drops a pinned key that did not fit.
    pub(super) async fn pin_sandbox(&self, key: [u8; 32]) {
        let device = self.manager.get_device_snapshot();
        if device.pn.is_none() {
            let placeholder = Jid::pn_device(PLACEHOLDER, 1);
            self.manager
                .process_command(DeviceCommand::SetId(Some(placeholder)))
                .await;
        }
        if device
            .server_cert_chain
            .as_ref()
            .is_some_and(|chain| chain.leaf.key == key)
        {
            return;
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

    /// Saves what changes and forgets peers that were not met for `forget_after`, until it is dropped.
    ///
    /// The client has a saver of its own, which saves each step of a login, and gives up for good when ten
    /// saves in a row fail.
    pub(super) async fn keep(self, forget_after: Duration) {
        let mut failing = false;
        loop {
            tokio::time::sleep(SAVE_EVERY).await;
            if self.is_time_to_forget()
                && let Err(error) = self.storage.forget_peers(forget_after).await
            {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "old peers cannot be forgotten; tomorrow again"
                );
            }
            match self.manager.flush().await {
                Ok(()) if failing => {
                    tracing::info!("the device is saved again");
                    failing = false;
                }
                Err(error) if !failing => {
                    tracing::error!(
                        error = &error as &dyn Error,
                        "the device cannot be saved; trying on"
                    );
                    failing = true;
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Saves it.
    pub(super) async fn save(&self) -> Result<(), StoreError> {
        self.manager.modify_device(|_| ()).await;
        self.manager.flush().await
    }

    /// Once a day, in whatever session of the device.
    fn is_time_to_forget(&self) -> bool {
        let mut at = self.forget_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_time = *at <= now;
        if is_time {
            *at = now + FORGET_EVERY;
        }
        is_time
    }
}

/// Who `device` is paired with. Only a finished pairing leaves the account's signature; a number alone may be
/// the sandbox's placeholder.
pub(super) fn identity(device: &DeviceData) -> Option<Identity> {
    device.account.as_ref()?;
    let number = device.pn.as_ref()?;
    Some(Identity {
        jid: format!("{}@s.whatsapp.net", number.user),
        push_name: (!device.push_name.is_empty()).then(|| device.push_name.clone()),
    })
}

/// The client version that `device` names when it connects.
pub(super) fn version(device: &DeviceData) -> Version {
    (
        device.app_version_primary,
        device.app_version_secondary,
        device.app_version_tertiary,
    )
}
