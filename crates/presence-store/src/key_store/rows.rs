//! Rows of device keys in SQLite, sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use presence_core::InstanceId;
use sqlx::SqliteConnection;

use super::pending::{Task, Work};
use super::{Epoch, Kind, Row, RowChange};
use crate::error::StoreError;
use crate::key::TokenKey;
use crate::sqlite::failed;

/// The key that values are sealed with; none for who only lists and wipes.
#[derive(Clone)]
pub(super) struct Seal(pub(super) Option<TokenKey>);

impl Seal {
    fn seal(&self, device: InstanceId, change: &RowChange, value: &[u8]) -> Result<Box<[u8]>, StoreError> {
        let key = self.0.as_ref().ok_or(StoreError::NoKey)?;
        key.seal_row(device, change.kind.0, &change.name, value)
    }

    fn open(&self, device: InstanceId, kind: Kind, name: &[u8], sealed: &[u8]) -> Result<Bytes, StoreError> {
        let key = self.0.as_ref().ok_or(StoreError::NoKey)?;
        key.open_row(device, kind.0, name, sealed)
            .map(Bytes::from)
            .ok_or(StoreError::Corrupt { what: "device key" })
    }

    pub(super) async fn get(
        &self,
        connection: &mut SqliteConnection,
        (device, kind): (InstanceId, Kind),
        name: &[u8],
    ) -> Result<Option<Bytes>, StoreError> {
        let sealed: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT value FROM key WHERE device = ? AND kind = ? AND name = ?")
                .bind(device.get())
                .bind(kind.0)
                .bind(name)
                .fetch_optional(connection)
                .await
                .map_err(failed(READ))?;
        sealed
            .map(|sealed| self.open(device, kind, name, &sealed))
            .transpose()
    }

    pub(super) async fn range(
        &self,
        connection: &mut SqliteConnection,
        (device, kind): (InstanceId, Kind),
        prefix: &[u8],
    ) -> Result<Vec<Row>, StoreError> {
        let query = match past(prefix) {
            Some(end) => sqlx::query_as(
                "SELECT name, value FROM key
                 WHERE device = ? AND kind = ? AND name >= ? AND name < ? ORDER BY name",
            )
            .bind(device.get())
            .bind(kind.0)
            .bind(prefix)
            .bind(end),
            None => sqlx::query_as(
                "SELECT name, value FROM key WHERE device = ? AND kind = ? AND name >= ? ORDER BY name",
            )
            .bind(device.get())
            .bind(kind.0)
            .bind(prefix),
        };
        let rows: Vec<(Vec<u8>, Vec<u8>)> = query.fetch_all(connection).await.map_err(failed(READ))?;
        rows.into_iter()
            .map(|(name, sealed)| {
                let value = self.open(device, kind, &name, &sealed)?;
                Ok((Bytes::from(name), value))
            })
            .collect()
    }

    pub(super) async fn of_all(
        &self,
        connection: &mut SqliteConnection,
        kind: Kind,
    ) -> Result<BTreeMap<InstanceId, Bytes>, StoreError> {
        let rows: Vec<(i32, Vec<u8>)> = sqlx::query_as(
            "SELECT id, value FROM device JOIN key ON device = id AND kind = ? AND name = x''",
        )
        .bind(kind.0)
        .fetch_all(connection)
        .await
        .map_err(failed(READ))?;
        rows.into_iter()
            .map(|(id, sealed)| {
                let device = instance(id)?;
                Ok((device, self.open(device, kind, b"", &sealed)?))
            })
            .collect()
    }

    /// How many values do not open.
    pub(super) async fn unreadable(&self, connection: &mut SqliteConnection) -> Result<usize, StoreError> {
        let mut rows =
            sqlx::query_as::<_, (i32, u8, Vec<u8>, Vec<u8>)>("SELECT device, kind, name, value FROM key")
                .fetch(connection);
        let mut unreadable = 0;
        while let Some((device, kind, name, sealed)) = rows.try_next().await.map_err(failed(READ))? {
            match self.open(instance(device)?, Kind(kind), &name, &sealed) {
                Ok(_) => {}
                Err(StoreError::Corrupt { .. }) => unreadable += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(unreadable)
    }

    /// Writes `work`, all of it or none.
    pub(super) async fn write(
        &self,
        transaction: &mut SqliteConnection,
        work: &Work,
    ) -> Result<(), StoreError> {
        for (device, _) in &work.wipes {
            wipe(transaction, *device).await.map_err(failed(WRITE))?;
        }
        for (device, epoch) in &work.devices {
            sqlx::query(
                "INSERT INTO device (id, epoch) VALUES (?, ?)
                 ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch WHERE epoch <> excluded.epoch",
            )
            .bind(device.get())
            .bind(epoch.0)
            .execute(&mut *transaction)
            .await
            .map_err(failed(WRITE))?;
        }
        for (device, change) in &work.rows {
            let sealed = match &change.value {
                Some(value) => Some(self.seal(*device, change, value)?),
                None => None,
            };
            put(transaction, *device, change, sealed.as_deref())
                .await
                .map_err(failed(WRITE))?;
        }
        for task in &work.tasks {
            let done = match task {
                Task::Flush | Task::Sync(_) => Ok(()),
                Task::Check => touch(transaction).await,
                Task::Successor => set_successor(transaction).await,
                Task::Pairing { instance, number } => {
                    set_pairing_number(transaction, *instance, *number).await
                }
            };
            done.map_err(failed(WRITE))?;
        }
        Ok(())
    }
}

async fn put(
    connection: &mut SqliteConnection,
    device: InstanceId,
    change: &RowChange,
    sealed: Option<&[u8]>,
) -> sqlx::Result<()> {
    let put = "INSERT INTO key (device, kind, name, value, written_at) VALUES (?, ?, ?, ?, unixepoch())
               ON CONFLICT (device, kind, name)
               DO UPDATE SET value = excluded.value, written_at = excluded.written_at";
    let delete = "DELETE FROM key WHERE device = ? AND kind = ? AND name = ?";
    let query = sqlx::query(if sealed.is_some() { put } else { delete })
        .bind(device.get())
        .bind(change.kind.0)
        .bind(&change.name[..]);
    let query = match sealed {
        Some(sealed) => query.bind(sealed),
        None => query,
    };
    query.execute(connection).await?;
    Ok(())
}

async fn wipe(connection: &mut SqliteConnection, device: InstanceId) -> sqlx::Result<()> {
    for delete in [
        "DELETE FROM key WHERE device = ?",
        "DELETE FROM device WHERE id = ?",
    ] {
        sqlx::query(delete)
            .bind(device.get())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A row of its own, which means nothing: it reaches the disk as every key does, so what keeps it out keeps them
/// out too.
async fn touch(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES ('check', x'00')
         ON CONFLICT (key) DO UPDATE SET value = CASE value WHEN x'00' THEN x'01' ELSE x'00' END",
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn set_successor(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO meta (key, value) VALUES ('successor', x'01') ON CONFLICT DO NOTHING")
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn is_successor(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'successor')")
        .fetch_one(connection)
        .await
        .map_err(failed(READ))
}

async fn set_pairing_number(
    connection: &mut SqliteConnection,
    instance: InstanceId,
    number: u32,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO pairing (instance, number) VALUES (?, ?)
         ON CONFLICT (instance) DO UPDATE SET number = max(number, excluded.number)",
    )
    .bind(instance.get())
    .bind(number)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn pairing_numbers(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<InstanceId, u32>, StoreError> {
    let rows: Vec<(i32, u32)> = sqlx::query_as("SELECT instance, number FROM pairing")
        .fetch_all(connection)
        .await
        .map_err(failed(READ))?;
    rows.into_iter()
        .map(|(id, number)| Ok((instance(id)?, number)))
        .collect()
}

pub(super) async fn epochs(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<InstanceId, Epoch>, StoreError> {
    let rows: Vec<(i32, i64)> = sqlx::query_as("SELECT id, epoch FROM device")
        .fetch_all(connection)
        .await
        .map_err(failed(READ))?;
    rows.into_iter()
        .map(|(id, epoch)| Ok((instance(id)?, Epoch(epoch))))
        .collect()
}

pub(super) async fn devices(connection: &mut SqliteConnection) -> Result<BTreeSet<InstanceId>, StoreError> {
    Ok(epochs(connection).await?.into_keys().collect())
}

pub(super) async fn unwritten_for(
    connection: &mut SqliteConnection,
    (device, kind): (InstanceId, Kind),
    age: Duration,
) -> Result<Vec<Bytes>, StoreError> {
    let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    let names: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT name FROM key WHERE device = ? AND kind = ? AND written_at <= unixepoch() - ? ORDER BY name",
    )
    .bind(device.get())
    .bind(kind.0)
    .bind(seconds)
    .fetch_all(connection)
    .await
    .map_err(failed(READ))?;
    Ok(names.into_iter().map(Bytes::from).collect())
}

/// The first name after all that begin with `prefix`; `None` when there is no such name.
pub(crate) fn past(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The schema lets no other number in.
pub(super) fn instance(id: i32) -> Result<InstanceId, StoreError> {
    InstanceId::new(id).ok_or(StoreError::Corrupt {
        what: "number of a device",
    })
}

const READ: &str = "read the device keys";
const WRITE: &str = "write the device keys";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_where_its_prefix_does() {
        let rows: [(&[u8], Option<&[u8]>); 5] = [
            (b"", None),
            (b"ab", Some(b"ac")),
            (b"a\xff", Some(b"b")),
            (b"a\x00", Some(b"a\x01")),
            (b"\xff\xff", None),
        ];
        for (prefix, end) in rows {
            assert_eq!(past(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
