//! Commits of device keys to PostgreSQL, of no device that another node has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use presence_core::InstanceId;
use tokio::sync::broadcast;

use super::database::{Database, Transaction};
use crate::error::StoreError;
use crate::key::TokenKey;
use crate::key_store::Epoch;
use crate::key_store::pending::{Task, Work};
use crate::key_store::writer::Disk;

/// Where the device keys of a node are written.
pub(super) struct PostgresDisk {
    database: Database,
    key: TokenKey,
    /// Who wants to know of devices that another node has by now.
    fenced: broadcast::Sender<(InstanceId, Epoch)>,
}

impl PostgresDisk {
    pub(super) fn new(
        database: Database,
        key: TokenKey,
        fenced: broadcast::Sender<(InstanceId, Epoch)>,
    ) -> Self {
        Self {
            database,
            key,
            fenced,
        }
    }

    async fn write(
        &self,
        transaction: &mut Transaction,
        work: &Work,
        fenced: &BTreeSet<InstanceId>,
    ) -> Result<(), StoreError> {
        let wiped = work.wipes.iter().map(|(device, _)| device);
        let wiped: Vec<i32> = wiped
            .filter(|device| !fenced.contains(device))
            .map(|device| device.get())
            .collect();
        if !wiped.is_empty() {
            for wipe in [
                "DELETE FROM key WHERE device = ANY ($1)",
                "DELETE FROM device WHERE id = ANY ($1)",
            ] {
                transaction.execute(sqlx::query(wipe).bind(&wiped)).await?;
            }
        }
        let (mut put, mut deleted) = (Rows::default(), Rows::default());
        for (device, change) in &work.rows {
            if fenced.contains(device) {
                continue;
            }
            let rows = match &change.value {
                Some(value) => {
                    let sealed = self.key.seal_row(*device, change.kind.0, &change.name, value)?;
                    put.values.push(sealed.into());
                    &mut put
                }
                None => &mut deleted,
            };
            rows.devices.push(device.get());
            rows.kinds.push(change.kind.0.into());
            rows.names.push(change.name.to_vec());
        }
        put.put(transaction).await?;
        deleted.delete(transaction).await?;
        if work.tasks.contains(&Task::Check) {
            let query = sqlx::query(
                r"INSERT INTO meta (key, value) VALUES ('check_keys', '\x00')
                  ON CONFLICT (key) DO UPDATE
                  SET value = CASE meta.value WHEN '\x00' THEN '\x01'::bytea ELSE '\x00' END",
            );
            transaction.execute(query).await?;
        }
        Ok(())
    }
}

impl Disk for PostgresDisk {
    /// Each commit is work for a server that all nodes share.
    const GATHERS_FOR: Duration = Duration::from_millis(200);

    async fn commit(&mut self, work: &Work) -> Result<BTreeSet<InstanceId>, StoreError> {
        let begin = if work.is_durable() {
            "BEGIN;"
        } else {
            "BEGIN; SET LOCAL synchronous_commit = off;"
        };
        let mut transaction = self
            .database
            .begin_with("write the device keys", begin, LIMIT)
            .await?;
        let fenced = fenced(&mut transaction, work).await?;
        self.write(&mut transaction, work, &fenced).await?;
        transaction.commit().await?;
        for told in work.epochs().filter(|(device, _)| fenced.contains(device)) {
            // Nobody may be listening.
            let _ = self.fenced.send(told);
        }
        Ok(fenced)
    }

    async fn close(self) {}
}

/// Which devices of `work` this node does not have, or not in that epoch. The others stay its own until the end of the
/// transaction. Devices of deleted instances nobody has: they may be wiped.
async fn fenced(transaction: &mut Transaction, work: &Work) -> Result<BTreeSet<InstanceId>, StoreError> {
    let (devices, epochs): (Vec<i32>, Vec<i64>) = work
        .epochs()
        .map(|(device, epoch)| (device.get(), epoch.0))
        .chain(
            work.wipes
                .iter()
                .filter(|(_, epoch)| epoch.is_none())
                .map(|(device, _)| (device.get(), -1)),
        )
        .unzip();
    if devices.is_empty() {
        return Ok(BTreeSet::new());
    }
    let node = work.node.map_or([0; 16], |node| *node.as_bytes());
    // In order, as those who take them lock them too.
    let query = sqlx::query(
        "SELECT instance_id, coalesce(node_id = encode($1, 'hex')::uuid, false) AND ownership.epoch = given.epoch
         FROM ownership JOIN unnest($2, $3) AS given (instance_id, epoch) USING (instance_id)
         ORDER BY instance_id FOR SHARE OF ownership",
    )
    .bind(&node[..])
    .bind(devices)
    .bind(epochs);
    let found: BTreeMap<i32, bool> = transaction.fetch(query).await?.into_iter().collect();
    let has = |device: &InstanceId| found.get(&device.get()).copied();
    let rows = work.devices.iter().map(|(device, _)| device);
    let rows = rows.filter(|device| has(device) != Some(true));
    let wipes = work.wipes.iter().map(|(device, _)| device);
    let wipes = wipes.filter(|device| has(device) == Some(false));
    Ok(rows.chain(wipes).copied().collect())
}

/// Rows, column by column, so that any number of them is one statement.
#[derive(Default)]
struct Rows {
    devices: Vec<i32>,
    kinds: Vec<i16>,
    names: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl Rows {
    async fn put(self, transaction: &mut Transaction) -> Result<(), StoreError> {
        if self.devices.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(
            "WITH known AS (
                 INSERT INTO device (id) SELECT DISTINCT device FROM unnest($1) AS given (device)
                 ON CONFLICT DO NOTHING
             )
             INSERT INTO key (device, kind, name, value, written_at)
             SELECT device, kind, name, value, clock_timestamp()
             FROM unnest($1, $2, $3, $4) AS given (device, kind, name, value)
             ON CONFLICT (device, kind, name)
             DO UPDATE SET value = excluded.value, written_at = excluded.written_at",
        )
        .bind(self.devices)
        .bind(self.kinds)
        .bind(self.names)
        .bind(self.values);
        transaction.execute(query).await?;
        Ok(())
    }

    async fn delete(self, transaction: &mut Transaction) -> Result<(), StoreError> {
        if self.devices.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(
            "DELETE FROM key USING unnest($1, $2, $3) AS given (device, kind, name)
             WHERE (key.device, key.kind, key.name) = (given.device, given.kind, given.name)",
        )
        .bind(self.devices)
        .bind(self.kinds)
        .bind(self.names);
        transaction.execute(query).await?;
        Ok(())
    }
}

/// How long a commit may take. Who waits for it is told then that it failed, and it is tried again.
const LIMIT: Duration = Duration::from_secs(10);
