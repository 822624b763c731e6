//! From a data directory into a database.

use sqlx::{Connection as _, SqliteConnection};

use super::{LIMIT, Moved, PAGE, PATIENTLY, SealedKey, TransferError, exists, expect_no_node};
use crate::data_dir::{DataDir, DataLock};
use crate::error::StoreError;
use crate::key::KeySource;
use crate::key_store::open_file;
use crate::postgres::Postgres;
use crate::postgres::database::Transaction;
use crate::postgres::registry::{self, REMEMBERED};
use crate::sqlite::failed;
use crate::store::Store;

impl Postgres {
    /// Moves everything in `dir` into this database, which must be empty: all of it, or nothing. `dir` stays as it is,
    /// and no server may run on it any more, since its keys grow old. Nodes are to be given the same token key.
    ///
    /// # Errors
    /// [`TransferError`]; then nothing was changed.
    pub async fn import(
        &self,
        dir: &DataDir,
        lock: &DataLock,
        key: KeySource,
        progress: &mut (dyn FnMut(Moved) + Send),
    ) -> Result<Moved, TransferError> {
        let path = || dir.path().to_owned();
        if !exists(&dir.database())? {
            return Err(TransferError::Missing(path()));
        }
        let store = Store::open(dir, key).await?;
        let key = store.token_key().cloned().ok_or(StoreError::NoKey)?;
        let keys = dir.open_keys(lock, &store).await?;
        if dir.old_keys(&keys).await?.is_some() {
            return Err(TransferError::Earlier(path()));
        }
        store.check_keys(&keys).await?;
        keys.close().await;
        let contents = store.contents().await?;
        let mut moved = Moved {
            accounts: contents.accounts.len(),
            instances: contents.instances.len(),
            keys: 0,
        };
        store.close().await?;

        let check = self.backend().claim_key_check(&key.check_value()?).await?;
        if !key.matches(&check) {
            return Err(StoreError::WrongKey.into());
        }
        let mut transaction = self.database.begin_with(DOING, "BEGIN;", LIMIT).await?;
        transaction.run(PATIENTLY).await?;
        // So many versions on that whoever has read the empty registry reads all of it.
        let query = sqlx::query("UPDATE registry SET version = version + $1").bind(REMEMBERED + 1);
        transaction.execute(query).await?;
        expect_no_node(&mut transaction).await?;
        expect_empty(&mut transaction).await?;
        registry::fill(&mut transaction, &contents).await?;
        progress(moved);
        let mut file = open_file(&dir.keys()).await?;
        move_keys(&mut file, &mut transaction, &mut moved, progress).await?;
        file.close().await.map_err(failed("close keys.db"))?;
        transaction.run("DELETE FROM change").await?;
        transaction.commit().await?;
        Ok(moved)
    }
}

async fn expect_empty(transaction: &mut Transaction) -> Result<(), TransferError> {
    let query = sqlx::query(
        "SELECT EXISTS (SELECT FROM account) OR EXISTS (SELECT FROM deleted) OR EXISTS (SELECT FROM device)
             OR EXISTS (SELECT FROM meta WHERE key = 'edge')",
    );
    match transaction.fetch_optional(query).await? {
        Some((false,)) => Ok(()),
        _ => Err(TransferError::DatabaseTaken),
    }
}

async fn move_keys(
    file: &mut SqliteConnection,
    transaction: &mut Transaction,
    moved: &mut Moved,
    progress: &mut (dyn FnMut(Moved) + Send),
) -> Result<(), StoreError> {
    let devices: Vec<i32> = sqlx::query_scalar("SELECT id FROM device")
        .fetch_all(&mut *file)
        .await
        .map_err(failed(DOING))?;
    let query = sqlx::query("INSERT INTO device (id) SELECT unnest($1)");
    transaction.execute(query.bind(devices)).await?;
    let mut last: (i32, i16, Vec<u8>) = (0, 0, Vec::new());
    loop {
        let page: Vec<SealedKey> = sqlx::query_as(
            "SELECT device, kind, name, value, written_at FROM key
             WHERE (device, kind, name) > (?, ?, ?) ORDER BY device, kind, name LIMIT ?",
        )
        .bind(last.0)
        .bind(last.1)
        .bind(&last.2)
        .bind(PAGE)
        .fetch_all(&mut *file)
        .await
        .map_err(failed(DOING))?;
        let Some((device, kind, name, ..)) = page.last() else {
            return Ok(());
        };
        last = (*device, *kind, name.clone());
        moved.keys += page.len();
        let mut columns: (Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>) = Default::default();
        columns.extend(page);
        let query = sqlx::query(
            "INSERT INTO key (device, kind, name, value, written_at)
             SELECT device, kind, name, value, to_timestamp(written_at)
             FROM unnest($1, $2, $3, $4, $5) AS given (device, kind, name, value, written_at)",
        )
        .bind(columns.0)
        .bind(columns.1)
        .bind(columns.2)
        .bind(columns.3)
        .bind(columns.4);
        transaction.execute(query).await?;
        progress(*moved);
    }
}

const DOING: &str = "move a data directory into the database";
