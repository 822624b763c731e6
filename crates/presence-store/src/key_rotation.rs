//! Another token key for the tokens, proxies, webhooks and device keys that are there.

use crate::data_dir::{DataDir, DataLock};
use crate::error::StoreError;
use crate::key::TokenKey;
use crate::key_file::KeyFile;
use crate::key_store::{SealedKeys, SqliteKeyStore};
use crate::sqlite::{Reseal, Resealed, SqliteBackend};
use crate::store::Store;

/// Which key takes which one's place.
#[derive(Debug)]
pub enum KeyChange {
    /// A new one that of the file `token.key`.
    File,
    /// One that the caller keeps elsewhere another.
    Given {
        /// Which one everything is sealed with.
        old: TokenKey,
        /// Which one it is to be sealed with.
        new: TokenKey,
    },
}

impl DataDir {
    /// Seals every instance's token and proxy, every account's webhook and every device key with another key. They themselves stay.
    ///
    /// The registry decides which key is in force, and each of the two databases is sealed anew as a whole or not
    /// at all, the device keys first. Of a key in `token.key`, a crash at any moment leaves either the old or the
    /// new one in force, and the next opening finds which: the new one is written to `token.key.new` first, and
    /// renamed when everything is sealed with it. Device keys that are ahead are brought back. Of keys that are
    /// kept elsewhere, the one that [`Store::open`] takes is in force; that the device keys are ahead is an error
    /// then, until the same change is made again.
    ///
    /// It takes the lock, because a running server would go on with the old key.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] or [`StoreError::MissingKey`] when the old key is not in force; otherwise
    /// whatever kept the files from being read and written.
    pub async fn rotate_token_key(
        &self,
        _lock: &DataLock,
        change: KeyChange,
    ) -> Result<Resealed, StoreError> {
        let mut backend = SqliteBackend::open(&self.database()).await?;
        let check_value = backend.key_check().await?;
        let resealed = match change {
            KeyChange::File => {
                let file = KeyFile::new(self.token_key());
                let old = file.open(check_value.as_deref())?;
                self.settle_seal(&old).await?;
                let new = TokenKey::generate()?;
                file.write_next(&new)?;
                let resealed = self.reseal(&mut backend, Reseal { old, new }).await?;
                file.promote_next()?;
                resealed
            }
            KeyChange::Given { old, new } => {
                if check_value.is_some_and(|value| !old.matches(&value)) {
                    return Err(StoreError::WrongKey);
                }
                self.reseal(&mut backend, Reseal { old, new }).await?
            }
        };
        backend.close().await?;
        Ok(resealed)
    }

    /// Opens the device keys, sealed with the key of `registry`. It takes the lock, because two servers that write
    /// them would undo each other's changes.
    ///
    /// # Errors
    /// [`StoreError::WrongSeal`] when they are sealed with another key; otherwise as [`SqliteKeyStore::open`].
    pub async fn open_keys(&self, _lock: &DataLock, registry: &Store) -> Result<SqliteKeyStore, StoreError> {
        let key = registry.token_key();
        if let Some(key) = key {
            self.settle_seal(key).await?;
        }
        SqliteKeyStore::open(&self.keys(), key.cloned()).await
    }

    async fn reseal(&self, backend: &mut SqliteBackend, reseal: Reseal) -> Result<Resealed, StoreError> {
        let keys = self.reseal_keys(&reseal).await?;
        let registry = backend.reseal(&reseal).await?;
        Ok(Resealed {
            keys: keys.keys,
            unreadable: keys.unreadable + registry.unreadable,
            ..registry
        })
    }

    async fn reseal_keys(&self, reseal: &Reseal) -> Result<Resealed, StoreError> {
        let Some(mut keys) = SealedKeys::open(&self.keys()).await? else {
            return Ok(Resealed::default());
        };
        let resealed = if keys.is_sealed_with(&reseal.old).await? {
            keys.reseal(reseal).await?
        } else if keys.is_sealed_with(&reseal.new).await? {
            Resealed::default()
        } else {
            return Err(StoreError::WrongSeal);
        };
        keys.close().await?;
        Ok(resealed)
    }

    /// Brings device keys back that a change, which was cut off before the registry took part in it, has sealed
    /// with the key to come.
    pub(crate) async fn settle_seal(&self, in_force: &TokenKey) -> Result<(), StoreError> {
        let Some(next) = KeyFile::new(self.token_key()).next()? else {
            return Ok(());
        };
        let Some(mut keys) = SealedKeys::open(&self.keys()).await? else {
            return Ok(());
        };
        if !keys.is_sealed_with(in_force).await? && keys.is_sealed_with(&next).await? {
            let back = Reseal {
                old: next,
                new: in_force.clone(),
            };
            keys.reseal(&back).await?;
        }
        keys.close().await
    }
}

#[cfg(test)]
mod tests {
    //! A key that is changed, cut off after each step.

    use bytes::Bytes;
    use chrono::DateTime;

    use super::*;
    use crate::instance::NewInstance;
    use crate::key::KeySource;
    use crate::key_store::{Durability, Epoch, KeyStore as _, Kind, RowChange};
    use crate::registry::Registry as _;
    use crate::secret_text::SecretText;
    use crate::store::Store;

    /// How far the change comes.
    #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
    enum Step {
        Nothing,
        NextWritten,
        KeysResealed,
        Resealed,
        Promoted,
    }

    async fn change_up_to(dir: &DataDir, step: Step) {
        let mut backend = SqliteBackend::open(&dir.database()).await.unwrap();
        let file = KeyFile::new(dir.token_key());
        let old = file.open(backend.key_check().await.unwrap().as_deref()).unwrap();
        let new = TokenKey::generate().unwrap();
        if step >= Step::NextWritten {
            file.write_next(&new).unwrap();
        }
        let reseal = Reseal { old, new };
        if step >= Step::KeysResealed {
            assert_eq!(dir.reseal_keys(&reseal).await.unwrap().keys, 2);
        }
        if step >= Step::Resealed {
            let resealed = backend.reseal(&reseal).await.unwrap();
            let counts = (
                resealed.tokens,
                resealed.proxies,
                resealed.webhooks,
                resealed.unreadable,
            );
            assert_eq!(counts, (2, 1, 1, 0));
        }
        if step >= Step::Promoted {
            file.promote_next().unwrap();
        }
    }

    async fn open(dir: &DataDir) -> Store {
        Store::open(dir, KeySource::File).await.unwrap()
    }

    /// The device keys are what they were, under whatever key is in force.
    async fn check_keys(dir: &DataDir, store: &Store) {
        let lock = dir.lock().unwrap();
        let keys = dir.open_keys(&lock, store).await.unwrap();
        for row in ROWS {
            let (device, kind, name) = (store.all_instances()[0].id, row.kind, &row.name);
            assert_eq!(keys.get(device, kind, name).await.unwrap(), row.value);
        }
        keys.close().await;
    }

    const ROWS: [RowChange; 2] = [row(b"one"), row(b"")];

    const fn row(name: &'static [u8]) -> RowChange {
        RowChange {
            kind: Kind(1),
            name: Bytes::from_static(name),
            value: Some(Bytes::from_static(b"a key")),
        }
    }

    #[tokio::test]
    async fn a_change_of_the_key_may_be_cut_off_anywhere() {
        use Step::{KeysResealed, NextWritten, Nothing, Promoted, Resealed};
        for step in [Nothing, NextWritten, KeysResealed, Resealed, Promoted] {
            let temporary = tempfile::tempdir().unwrap();
            let dir = DataDir::open(temporary.path().join("data")).unwrap();
            let store = open(&dir).await;
            let now = DateTime::UNIX_EPOCH;
            let (account, _) = store
                .create_account("acme".parse().unwrap(), None, now)
                .await
                .unwrap();
            let webhook = SecretText::new("a webhook".to_owned());
            store
                .set_webhook(account.id, Some(webhook.clone()))
                .await
                .unwrap();
            let mut tokens = Vec::new();
            for name in ["one", "two"] {
                let new = NewInstance {
                    name: name.parse().unwrap(),
                    token: None,
                    keep_online: false,
                    proxy: (name == "two").then(|| SecretText::new("a proxy".to_owned())),
                    now,
                };
                tokens.push(store.create_instance(account.id, new).await.unwrap().1);
            }
            let lock = dir.lock().unwrap();
            let keys = dir.open_keys(&lock, &store).await.unwrap();
            let device = store.all_instances()[0].id;
            keys.append(device, Epoch::default(), ROWS.to_vec(), Durability::Durable)
                .await
                .unwrap();
            keys.close().await;
            drop(lock);
            store.close().await.unwrap();
            let before = std::fs::read(dir.token_key()).unwrap();

            change_up_to(&dir, step).await;
            // Twice, since the first opening may have something to end; and the change can be made again.
            for opening in 0..2 {
                let store = open(&dir).await;
                let kept: Vec<_> = store
                    .all_instances()
                    .iter()
                    .map(|instance| store.instance_token(instance).unwrap())
                    .collect();
                assert_eq!(kept, tokens, "after {step:?}, opening {opening}");
                let proxies: Vec<_> = store
                    .all_instances()
                    .iter()
                    .map(|instance| store.instance_proxy(instance).unwrap())
                    .collect();
                let proxy = SecretText::new("a proxy".to_owned());
                assert_eq!(proxies, [None, Some(proxy)], "after {step:?}, opening {opening}");
                let account = store.account(account.id).unwrap();
                let kept = store.account_webhook(&account).unwrap();
                assert_eq!(kept.as_ref(), Some(&webhook), "after {step:?}, opening {opening}");
                check_keys(&dir, &store).await;
                store.close().await.unwrap();
            }
            let changed = std::fs::read(dir.token_key()).unwrap() != before;
            assert_eq!(changed, step >= Resealed, "after {step:?}");
            change_up_to(&dir, Promoted).await;
            let store = open(&dir).await;
            assert_eq!(
                store.instance_token(&store.all_instances()[0]).unwrap(),
                tokens[0]
            );
            assert!(!dir.path().join("token.key.new").exists());
            check_keys(&dir, &store).await;
        }
    }
}
