//! From a database back into a data directory.

use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};

use super::{LIMIT, Moved, PAGE, PATIENTLY, SealedKey, TransferError, exists, expect_no_node};
use crate::data_dir::{DataDir, DataLock};
use crate::error::StoreError;
use crate::files;
use crate::instance::Instance;
use crate::key::{KeySource, TokenKey};
use crate::key_store::{SqliteKeyStore, open_file};
use crate::postgres::Postgres;
use crate::postgres::database::Transaction;
use crate::registry::Registry as _;
use crate::sqlite::{SqliteBackend, failed};
use crate::store::Store;

impl Postgres {
    /// Moves everything in this database into `dir`, which must have neither a registry nor device keys: all of it, or
    /// nothing. The database stays as it is, and no node may run on it any more, since its keys grow old. The server
    /// on `dir` is to be given the same token key.
    ///
    /// # Errors
    /// [`TransferError`]; then nothing was changed.
    pub async fn export(
        &self,
        dir: &DataDir,
        _lock: &DataLock,
        key: &TokenKey,
        progress: &mut (dyn FnMut(Moved) + Send),
    ) -> Result<Moved, TransferError> {
        for file in [dir.database(), dir.keys(), dir.path().join("devices.db")] {
            if exists(&file)? {
                return Err(TransferError::DirectoryTaken(dir.path().to_owned()));
            }
        }
        let mut transaction = self.database.begin_with(DOING, "BEGIN;", LIMIT).await?;
        transaction.run(PATIENTLY).await?;
        // Nothing of it changes meanwhile: keys only by nodes, of which there are none, and the registry by nobody.
        transaction
            .execute(sqlx::query("SELECT version FROM registry FOR UPDATE"))
            .await?;
        expect_no_node(&mut transaction).await?;
        let store = self.open_registry(Some(key.clone())).await?;
        let mut moved = Moved {
            accounts: store.accounts().len(),
            instances: store.all_instances().len(),
            keys: 0,
        };

        // Under their names in the end alone, so that one that was cut off can be begun again.
        let draft = tempfile::Builder::new()
            .prefix(".export-")
            .tempdir_in(dir.path())
            .map_err(TransferError::file("create a directory in", dir.path()))?;
        let draft = DataDir::at(draft.path());
        write_registry(&draft, &store, key).await?;
        progress(moved);
        let mut file = write_key_file(&draft, &store, key).await?;
        move_keys(&mut transaction, &mut file, &mut moved, progress).await?;
        file.close().await.map_err(failed("close keys.db"))?;
        transaction.rollback().await?;
        // Keys without a registry are refused; a registry without keys would have every phone linked again.
        rename(&draft.keys(), &dir.keys())?;
        rename(&draft.database(), &dir.database())?;
        Ok(moved)
    }
}

async fn write_registry(draft: &DataDir, store: &Store, key: &TokenKey) -> Result<(), StoreError> {
    let mut backend = SqliteBackend::open(&draft.database()).await?;
    backend.fill(&store.contents().await?).await?;
    backend.close().await?;
    // With the check of the key.
    Store::open(draft, KeySource::Given(key.clone()))
        .await?
        .close()
        .await
}

/// The file of device keys, with everything in it but the keys.
async fn write_key_file(
    draft: &DataDir,
    store: &Store,
    key: &TokenKey,
) -> Result<SqliteConnection, StoreError> {
    let keys = SqliteKeyStore::open(&draft.keys(), Some(key.clone())).await?;
    keys.set_successor().await?;
    keys.close().await;
    let mut file = open_file(&draft.keys()).await?;
    let mut transaction = file.begin().await.map_err(failed(DOING))?;
    for instance in store.all_instances() {
        let Instance {
            id, pairing_number, ..
        } = &*instance;
        if *pairing_number > 0 {
            sqlx::query("INSERT INTO pairing (instance, number) VALUES (?, ?)")
                .bind(id.get())
                .bind(pairing_number)
                .execute(&mut *transaction)
                .await
                .map_err(failed(DOING))?;
        }
    }
    transaction.commit().await.map_err(failed(DOING))?;
    Ok(file)
}

async fn move_keys(
    transaction: &mut Transaction,
    file: &mut SqliteConnection,
    moved: &mut Moved,
    progress: &mut (dyn FnMut(Moved) + Send),
) -> Result<(), StoreError> {
    let mut writing = file.begin().await.map_err(failed(DOING))?;
    let devices: Vec<(i32,)> = transaction.fetch(sqlx::query("SELECT id FROM device")).await?;
    for (device,) in devices {
        sqlx::query("INSERT INTO device (id, epoch) VALUES (?, 0)")
            .bind(device)
            .execute(&mut *writing)
            .await
            .map_err(failed(DOING))?;
    }
    let mut last: (i32, i16, Vec<u8>) = (0, 0, Vec::new());
    loop {
        let query = sqlx::query(
            "SELECT device, kind, name, value, extract(epoch FROM written_at)::bigint FROM key
             WHERE (device, kind, name) > ($1, $2, $3) ORDER BY device, kind, name LIMIT $4",
        )
        .bind(last.0)
        .bind(last.1)
        .bind(&last.2)
        .bind(PAGE);
        let page: Vec<SealedKey> = transaction.fetch(query).await?;
        let Some((device, kind, name, ..)) = page.last() else {
            break;
        };
        last = (*device, *kind, name.clone());
        for (device, kind, name, value, written_at) in &page {
            sqlx::query("INSERT INTO key (device, kind, name, value, written_at) VALUES (?, ?, ?, ?, ?)")
                .bind(device)
                .bind(kind)
                .bind(name)
                .bind(value)
                .bind(written_at)
                .execute(&mut *writing)
                .await
                .map_err(failed(DOING))?;
        }
        moved.keys += page.len();
        progress(*moved);
    }
    writing.commit().await.map_err(failed(DOING))
}

fn rename(from: &Path, to: &Path) -> Result<(), TransferError> {
    files::rename(from, to).map_err(TransferError::file("write", to))
}

const DOING: &str = "move the database into a data directory";
