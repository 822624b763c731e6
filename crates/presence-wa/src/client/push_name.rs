//! The account's name, and how it is kept from the client.
//!
//! Whenever the client is logged in and knows the account's name, it tells WhatsApp `available` by itself:
//! after each login, and each time the name is learnt or changed. While a device is available the account's
//! phone stays silent, so nothing may be told by accident. Without a name the client cannot tell it. So the
//! name is taken from the client as soon as the login needs it no more, and kept here; what is saved always
//! has it (see `storage`).
//!
//! It cannot be kept from the client for good: with an empty name at `<success>` the client takes the device
//! for one that was paired a moment ago, and waits for the phone to send the account's settings.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ::whatsapp_rust::futures::FutureExt as _;
use ::whatsapp_rust::store::persistence_manager::PersistenceManager;
use ::whatsapp_rust::wacore::store::Device as DeviceData;

/// How often [`PushName::try_hide`] tries for the client's lock. Its other holders only copy a few fields,
/// unless they wait for a disk.
const ATTEMPTS: u32 = 1000;

/// What was taken from the client; empty while nothing was.
#[derive(Default)]
pub(super) struct PushName(Mutex<String>);

impl PushName {
    /// The name of the account of `device`; `None` while nobody knows it.
    pub(super) fn of(&self, device: &DeviceData) -> Option<String> {
        let name = if device.push_name.is_empty() {
            self.hidden().clone()
        } else {
            device.push_name.clone()
        };
        (!name.is_empty()).then_some(name)
    }

    /// Takes the name from the client, if it has it.
    pub(super) async fn hide(&self, manager: &PersistenceManager) {
        if is_visible(manager) {
            manager.modify_device(|device| self.take(device)).await;
        }
    }

    /// The same at once, for where nobody can wait. `false` when somebody else held the client's lock.
    pub(super) fn try_hide(&self, manager: &PersistenceManager) -> bool {
        for _ in 0..ATTEMPTS {
            if self.hide(manager).now_or_never().is_some() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    /// Gives the name back to the client: it needs it when it logs in.
    pub(super) async fn reveal(&self, manager: &PersistenceManager) {
        let name = self.hidden().clone();
        if !name.is_empty() && !is_visible(manager) {
            manager.modify_device(|device| device.push_name = name).await;
        }
    }

    fn take(&self, device: &mut DeviceData) {
        if !device.push_name.is_empty() {
            *self.hidden() = std::mem::take(&mut device.push_name);
        }
    }

    fn hidden(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_visible(manager: &PersistenceManager) -> bool {
    !manager.get_device_snapshot().push_name.is_empty()
}
