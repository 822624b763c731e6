//! The registry against the device keys beside it.

use std::collections::BTreeSet;

use presence_core::InstanceId;

use super::Store;
use crate::directory::Change;
use crate::error::StoreError;
use crate::key_check::{CheckKeysError, KeyCheck, UnknownKeys};
use crate::key_store::{KeyStore as _, SqliteKeyStore};

impl Store {
    /// Compares the registry with the device keys beside it, as a server must before it opens any. Instances
    /// whose keys are of a later pairing than the registry knows are logged out no longer; deleted ones that
    /// have keys again are back in [`deleted_unwiped`](crate::Registry::deleted_unwiped); and no number that the key
    /// file names is given to a new instance.
    ///
    /// # Errors
    /// [`CheckKeysError::Unknown`] when there are keys of which the registry knows nothing: it was lost, or
    /// restored from an older back-up. Then nothing was changed, and no server may start.
    pub async fn check_keys(&self, keys: &SqliteKeyStore) -> Result<(), CheckKeysError> {
        let check = self.compare_keys(keys).await?;
        if !check.unknown.is_empty() {
            return Err(CheckKeysError::Unknown(UnknownKeys {
                dir: self
                    .dir
                    .as_ref()
                    .map(|dir| dir.path().to_owned())
                    .unwrap_or_default(),
                devices: check.unknown,
                instances: self.current.load().all_instances().count(),
            }));
        }
        for (id, since) in &check.paired_since {
            self.edit_instance(*id, |instance| {
                instance.pairing_number = since.pairing_number;
                instance.logged_out &= !since.has_keys;
                true
            })
            .await?;
        }
        self.remember_deleted(&check.to_wipe).await?;
        // From here on, pairings are noted there.
        let _ = self.keys.set(keys.clone());
        if let Some(highest) = check.highest {
            self.change(|directory| {
                let lower = directory.last_instance() < highest.get();
                Ok::<_, StoreError>((lower.then_some(Change::ReserveIds(highest)), ()))
            })
            .await?;
        }
        Ok(())
    }

    /// Gives up the keys of which the registry knows nothing: from here on they are remembered as those of
    /// deleted instances, and to be wiped. The answer is whose they are. For an operator who has no registry
    /// that fits the keys.
    ///
    /// # Errors
    /// When either file fails.
    pub async fn give_up_unknown_keys(
        &self,
        keys: &SqliteKeyStore,
    ) -> Result<BTreeSet<InstanceId>, CheckKeysError> {
        let check = self.compare_keys(keys).await?;
        self.remember_deleted(&check.unknown).await?;
        Ok(check.unknown)
    }

    pub(crate) async fn compare_keys(&self, keys: &SqliteKeyStore) -> Result<KeyCheck, StoreError> {
        let devices = keys.devices().await?;
        let pairing_numbers = keys.pairing_numbers().await?;
        let mut backend = self.backend.lock().await;
        self.catch_up(&mut **backend).await?;
        let deleted = backend.deleted().await?;
        let directory = self.current.load();
        let instance = |id| directory.instance_by_id(id).map(|instance| &**instance);
        Ok(KeyCheck::new(&devices, &pairing_numbers, instance, &deleted))
    }

    async fn remember_deleted(&self, ids: &BTreeSet<InstanceId>) -> Result<(), StoreError> {
        self.change(|directory| {
            let ids: Vec<_> = ids
                .iter()
                .copied()
                .filter(|id| !directory.is_unwiped(*id) && directory.instance_by_id(*id).is_none())
                .collect();
            Ok(((!ids.is_empty()).then_some(Change::RememberDeleted(ids)), ()))
        })
        .await
    }
}
