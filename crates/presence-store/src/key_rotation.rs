//! Another token key for the tokens and proxies that are there.

use crate::data_dir::{DataDir, DataLock};
use crate::error::StoreError;
use crate::key::TokenKey;
use crate::key_file::KeyFile;
use crate::sqlite::{Reseal, Resealed, SqliteBackend};

/// Which key takes which one's place.
#[derive(Debug)]
pub enum KeyChange {
    /// A new one that of the file `token.key`.
    File,
    /// One that the caller keeps elsewhere another.
    Given {
        /// Which one the tokens are sealed with.
        old: TokenKey,
        /// Which one they are to be sealed with.
        new: TokenKey,
    },
}

impl DataDir {
    /// Seals every instance's token and proxy with another key, all of them or none. They themselves stay.
    ///
    /// Of a key in `token.key`, a crash at any moment leaves either the old or the new one in force, and the
    /// next opening finds which: the new one is written to `token.key.new` first, and renamed when the tokens
    /// are sealed with it. Of keys that are kept elsewhere, the one that [`Store::open`](crate::Store::open)
    /// takes is in force.
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
                let new = TokenKey::generate()?;
                file.write_next(&new)?;
                let resealed = backend.reseal(&Reseal { old, new }).await?;
                file.promote_next()?;
                resealed
            }
            KeyChange::Given { old, new } => {
                if check_value.is_some_and(|value| !old.matches(&value)) {
                    return Err(StoreError::WrongKey);
                }
                backend.reseal(&Reseal { old, new }).await?
            }
        };
        backend.close().await?;
        Ok(resealed)
    }
}

#[cfg(test)]
mod tests {
    //! A key that is changed, cut off after each step.

    use chrono::DateTime;

    use super::*;
    use crate::instance::NewInstance;
    use crate::key::KeySource;
    use crate::proxy::ProxySecret;
    use crate::registry::Registry as _;
    use crate::store::Store;

    /// How far the change comes.
    #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
    enum Step {
        Nothing,
        NextWritten,
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
        if step >= Step::Resealed {
            let resealed = backend.reseal(&Reseal { old, new }).await.unwrap();
            let counts = (resealed.tokens, resealed.proxies, resealed.unreadable);
            assert_eq!(counts, (2, 1, 0));
        }
        if step >= Step::Promoted {
            file.promote_next().unwrap();
        }
    }

    async fn open(dir: &DataDir) -> Store {
        Store::open(dir, KeySource::File).await.unwrap()
    }

    #[tokio::test]
    async fn a_change_of_the_key_may_be_cut_off_anywhere() {
        use Step::{NextWritten, Nothing, Promoted, Resealed};
        for step in [Nothing, NextWritten, Resealed, Promoted] {
            let temporary = tempfile::tempdir().unwrap();
            let dir = DataDir::open(temporary.path().join("data")).unwrap();
            let store = open(&dir).await;
            let now = DateTime::UNIX_EPOCH;
            let (account, _) = store
                .create_account("acme".parse().unwrap(), None, now)
                .await
                .unwrap();
            let mut tokens = Vec::new();
            for name in ["one", "two"] {
                let new = NewInstance {
                    name: name.parse().unwrap(),
                    token: None,
                    keep_online: false,
                    proxy: (name == "two").then(|| ProxySecret::new("a proxy".to_owned())),
                    now,
                };
                tokens.push(store.create_instance(account.id, new).await.unwrap().1);
            }
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
                let proxy = ProxySecret::new("a proxy".to_owned());
                assert_eq!(proxies, [None, Some(proxy)], "after {step:?}, opening {opening}");
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
        }
    }
}
