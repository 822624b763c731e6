//! Device keys in PostgreSQL.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::database::Database;
use crate::error::StoreError;
use crate::key::TokenKey;
use crate::key_store::pending::{Pending, Task};
use crate::key_store::writer::{self, Shared};
use crate::key_store::{Durability, Epoch, KeyStore, Kind, Row, RowChange, past};
use crate::ledger::{NodeId, Ownership};
use crate::postgres::disk::PostgresDisk;

/// A [`KeyStore`] in a PostgreSQL database, of what one node has. Its clones are the same store.
///
/// What is appended is held in memory until it is written, behind the sessions' backs; while the database is away, up
/// to 64 MiB of it. Each commit asks the database first whether this node still has the devices, in the same epoch:
/// of those that it has no more, nothing is written or tried again, and [`fenced`](Self::fenced) tells.
#[derive(Clone)]
pub struct PostgresKeyStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    database: Database,
    key: TokenKey,
    fenced: broadcast::Sender<(InstanceId, Epoch)>,
    writer: Mutex<Option<JoinHandle<bool>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl PostgresKeyStore {
    pub(super) fn open(database: Database, key: TokenKey) -> Self {
        let shared = Arc::new(Shared::new(Pending::fenced()));
        let fenced = broadcast::Sender::new(TOLD_LATE);
        let disk = PostgresDisk::new(database.clone(), key.clone(), fenced.clone());
        let writing = tokio::spawn(writer::run(Arc::clone(&shared), disk));
        Self {
            inner: Arc::new(Inner {
                shared,
                database,
                key,
                fenced,
                writer: Mutex::new(Some(writing)),
            }),
        }
    }

    /// From now on this process is `node`, which has nothing yet. What it had before, and all that waits to be written
    /// of it, is forgotten.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the store was closed.
    pub fn begin(&self, node: NodeId) -> Result<(), StoreError> {
        self.change(|pending| pending.begin(node))
    }

    /// From now on this node has these, each in its epoch, and their keys can be changed.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn own(&self, owned: &[Ownership]) -> Result<(), StoreError> {
        self.change(|pending| {
            for owned in owned {
                pending.own(owned.instance, owned.epoch);
            }
        })
    }

    /// From now on this node has none of these. What waits to be written of them is forgotten:
    /// [`flush`](Self::flush) before handing one over.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn disown(&self, lost: &[InstanceId]) -> Result<(), StoreError> {
        let lost = lost.iter().copied().collect();
        self.change(|pending| pending.disown(&lost))
    }

    /// Tells which devices another node had, in another epoch than the one that is told, when this one would have
    /// written to them. It is disowned by then. Who is told of so many at once that some are skipped reads the ledger.
    #[must_use]
    pub fn fenced(&self) -> broadcast::Receiver<(InstanceId, Epoch)> {
        self.inner.fenced.subscribe()
    }

    /// Waits until everything that was appended before is in the database.
    ///
    /// # Errors
    /// When it cannot be written; it is tried on.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.inner.shared.wait(Task::Flush).await
    }

    /// Tells whether the store is well: writes everything that is pending and a row of its own.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.inner.shared.wait(Task::Check).await
    }

    /// How often keys were written since the store was opened: a [check](Self::check) alone is none. One flush takes what
    /// all devices have gathered.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.inner.shared.flushes()
    }

    /// Writes what is pending. Once; what is changed through any clone afterwards fails. The answer is whether
    /// everything was written: a database that refuses is not tried again.
    pub async fn close(&self) -> bool {
        self.inner.shared.close();
        let writer = {
            let mut writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.take()
        };
        match writer {
            // It panics over nothing that could be handled here.
            Some(writer) => writer.await.unwrap_or(false),
            None => true,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Pending)) -> Result<(), StoreError> {
        self.inner.shared.change(|pending| {
            change(pending);
            Ok(())
        })
    }

    async fn written(
        &self,
        device: InstanceId,
        kind: Kind,
        name: &[u8],
    ) -> Result<Option<Bytes>, StoreError> {
        let statement = format!(
            "SELECT value FROM key WHERE device = {device} AND kind = {} AND name = {}",
            kind.0,
            bytes(name)
        );
        let found: Vec<(Vec<u8>,)> = self.inner.database.call(READ, &statement).await?;
        let sealed = found.first();
        sealed
            .map(|(sealed,)| self.opened(device, kind, name, sealed))
            .transpose()
    }

    async fn written_range(
        &self,
        device: InstanceId,
        kind: Kind,
        prefix: &[u8],
    ) -> Result<Vec<Row>, StoreError> {
        let end = past(prefix).map(|end| format!("AND name < {}", bytes(&end)));
        let statement = format!(
            "SELECT name, value FROM key WHERE device = {device} AND kind = {} AND name >= {} {} ORDER BY name",
            kind.0,
            bytes(prefix),
            end.unwrap_or_default()
        );
        let found: Vec<(Vec<u8>, Vec<u8>)> = self.inner.database.call(READ, &statement).await?;
        let rows = found.into_iter().map(|(name, sealed)| {
            let value = self.opened(device, kind, &name, &sealed)?;
            Ok((Bytes::from(name), value))
        });
        rows.collect()
    }

    fn opened(
        &self,
        device: InstanceId,
        kind: Kind,
        name: &[u8],
        sealed: &[u8],
    ) -> Result<Bytes, StoreError> {
        let opened = self.inner.key.open_row(device, kind.0, name, sealed);
        opened
            .map(Bytes::from)
            .ok_or(StoreError::Corrupt { what: "device key" })
    }
}

#[async_trait]
impl KeyStore for PostgresKeyStore {
    fn epoch(&self, device: InstanceId) -> Option<Epoch> {
        self.inner.shared.seen(|pending| pending.epoch(device))
    }

    async fn get(&self, device: InstanceId, kind: Kind, name: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let written = self.written(device, kind, name);
        self.inner.shared.get((device, kind), name, written).await
    }

    async fn range(&self, device: InstanceId, kind: Kind, prefix: &[u8]) -> Result<Vec<Row>, StoreError> {
        let written = self.written_range(device, kind, prefix);
        self.inner.shared.range((device, kind), prefix, written).await
    }

    async fn unwritten_for(
        &self,
        device: InstanceId,
        kind: Kind,
        age: Duration,
    ) -> Result<Vec<Bytes>, StoreError> {
        // Times of a database reach back some thousand years.
        let age = age.min(Duration::from_secs(1 << 36)).as_secs();
        let written = async {
            let statement = format!(
                "SELECT name FROM key WHERE device = {device} AND kind = {}
                 AND written_at <= clock_timestamp() - {age} * interval '1 second' ORDER BY name",
                kind.0
            );
            let found: Vec<(Vec<u8>,)> = self.inner.database.call(READ, &statement).await?;
            Ok(found.into_iter().map(|(name,)| Bytes::from(name)).collect())
        };
        self.inner.shared.unwritten_for((device, kind), written).await
    }

    async fn of_all(&self, kind: Kind) -> Result<Vec<(InstanceId, Bytes)>, StoreError> {
        let written = async {
            let statement = format!(
                "SELECT id, value FROM device JOIN key ON device = id AND kind = {} AND name = ''",
                kind.0
            );
            let found: Vec<(i32, Vec<u8>)> = self.inner.database.call(READ, &statement).await?;
            let rows = found.into_iter().map(|(id, sealed)| {
                let device = instance(id)?;
                Ok((device, self.opened(device, kind, b"", &sealed)?))
            });
            rows.collect()
        };
        self.inner.shared.of_all(kind, written).await
    }

    async fn devices(&self) -> Result<BTreeSet<InstanceId>, StoreError> {
        let written = async {
            let found: Vec<(i32,)> = self.inner.database.call(READ, "SELECT id FROM device").await?;
            found.into_iter().map(|(id,)| instance(id)).collect()
        };
        self.inner.shared.devices(written).await
    }

    async fn append(
        &self,
        device: InstanceId,
        epoch: Epoch,
        changes: Vec<RowChange>,
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.inner.shared.append(device, epoch, changes, durability).await
    }

    /// Another node's device is not wiped: [`StoreError::Fenced`]. That of a deleted instance is, by any node.
    async fn wipe(&self, device: InstanceId) -> Result<(), StoreError> {
        self.inner.shared.wipe(device).await
    }
}

/// Bytes as PostgreSQL reads them.
fn bytes(bytes: &[u8]) -> String {
    let mut literal = String::from(r"'\x");
    for byte in bytes {
        // A string takes whatever is written to it.
        let _ = write!(literal, "{byte:02x}");
    }
    literal + "'::bytea"
}

fn instance(id: i32) -> Result<InstanceId, StoreError> {
    InstanceId::new(id).ok_or(StoreError::Corrupt {
        what: "number of a device",
    })
}

/// Of how many fenced devices who listens may be told late.
const TOLD_LATE: usize = 1024;

const READ: &str = "read the device keys";
