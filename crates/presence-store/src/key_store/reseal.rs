//! Another key for the device keys that are there.

use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};

use super::sqlite::{open_file, seal_check, set_seal_check};
use crate::error::StoreError;
use crate::key::TokenKey;
use crate::sqlite::{Reseal, Resealed, failed};

/// A file of device keys that nobody else has open.
pub(crate) struct SealedKeys(SqliteConnection);

impl SealedKeys {
    /// `None` when there is no file at `path`.
    pub(crate) async fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let found = path.try_exists().map_err(|source| StoreError::File {
            doing: "open keys.db",
            source,
        })?;
        if !found {
            return Ok(None);
        }
        Ok(Some(Self(open_file(path).await?)))
    }

    /// Whether `key` seals it; anybody's does when nothing was sealed yet.
    pub(crate) async fn is_sealed_with(&mut self, key: &TokenKey) -> Result<bool, StoreError> {
        let check = seal_check(&mut self.0).await?;
        Ok(check.is_none_or(|check| key.matches(&check)))
    }

    /// Seals every value with another key, all of them or none. What the old key does not open stays as it is.
    pub(crate) async fn reseal(&mut self, Reseal { old, new }: &Reseal) -> Result<Resealed, StoreError> {
        let doing = "seal the device keys anew";
        let mut transaction = self
            .0
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed(doing))?;
        let mut counts = Resealed::default();
        let mut last: (i32, u8, Vec<u8>) = (0, 0, Vec::new());
        loop {
            let page: Vec<(i32, u8, Vec<u8>, Vec<u8>)> = sqlx::query_as(
                "SELECT device, kind, name, value FROM key
                 WHERE (device, kind, name) > (?, ?, ?) ORDER BY device, kind, name LIMIT 500",
            )
            .bind(last.0)
            .bind(last.1)
            .bind(&last.2)
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed(doing))?;
            let Some((device, kind, name, _)) = page.last() else {
                break;
            };
            last = (*device, *kind, name.clone());
            for (device, kind, name, sealed) in page {
                let instance = super::rows::instance(device)?;
                let Some(value) = old.open_row(instance, kind, &name, &sealed) else {
                    counts.unreadable += 1;
                    continue;
                };
                let sealed = new.seal_row(instance, kind, &name, &value)?;
                sqlx::query("UPDATE key SET value = ? WHERE device = ? AND kind = ? AND name = ?")
                    .bind(&sealed[..])
                    .bind(device)
                    .bind(kind)
                    .bind(name)
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed(doing))?;
                counts.keys += 1;
            }
        }
        set_seal_check(&mut transaction, &new.check_value()?).await?;
        transaction.commit().await.map_err(failed(doing))?;
        Ok(counts)
    }

    pub(crate) async fn close(self) -> Result<(), StoreError> {
        self.0.close().await.map_err(failed("close keys.db"))
    }
}
