//! Deleting the rows of one device, a piece at a time.
//!
//! SQLite has one writer at a time, and whoever waits for it polls. So a piece is small, what is to go is
//! looked up before the lock is taken, and between two pieces the lock is free for longer than others poll.

use std::error::Error;
use std::time::Duration;

use presence_core::InstanceId;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

/// A table with rows of devices.
pub(super) struct DeviceTable {
    name: String,
    /// Which of its columns is the device's number.
    column: String,
    /// Its rows have no number of their own.
    without_rowid: bool,
    /// An index leads from one device to the next.
    indexed: bool,
}

/// Every table with rows of devices. The table `device` comes last: rows elsewhere may refer to it, and as long
/// as it has its row, a wipe that a crash ended is seen to be unfinished.
pub(super) async fn device_tables(connection: &mut SqliteConnection) -> sqlx::Result<Vec<DeviceTable>> {
    let rows: Vec<(String, String, bool, bool)> = sqlx::query_as(
        "SELECT t.name, c.name, t.wr,
                EXISTS (SELECT 1 FROM pragma_index_list(t.name) AS i, pragma_index_info(i.name) AS first
                        WHERE first.seqno = 0 AND first.name = c.name)
         FROM pragma_table_list AS t, pragma_table_info(t.name) AS c
         WHERE t.schema = 'main' AND t.type = 'table'
           AND (c.name = 'device_id' OR (t.name = 'device' AND c.name = 'id'))
         ORDER BY t.name = 'device'",
    )
    .fetch_all(connection)
    .await?;
    let tables = rows
        .into_iter()
        .map(|(name, column, without_rowid, indexed)| DeviceTable {
            name,
            column,
            without_rowid,
            indexed,
        });
    Ok(tables.collect())
}

impl DeviceTable {
    /// Every number that stands where a device's does.
    pub(super) async fn numbers(&self, connection: &mut SqliteConnection) -> sqlx::Result<Vec<i64>> {
        let (column, table) = (&self.column, self.quoted());
        // A device has hundreds of rows: with an index, SQLite leaps from each number to the next.
        let select = if self.indexed {
            format!(
                "WITH RECURSIVE number (n) AS (
                     SELECT min({column}) FROM {table}
                     UNION ALL
                     SELECT (SELECT min({column}) FROM {table} WHERE {column} > n) FROM number
                     WHERE n IS NOT NULL)
                 SELECT n FROM number WHERE n IS NOT NULL"
            )
        } else {
            format!("SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL")
        };
        sqlx::query_scalar(AssertSqlSafe(select))
            .fetch_all(connection)
            .await
    }

    /// Deletes the rows of `device`.
    pub(super) async fn wipe(
        &self,
        connection: &mut SqliteConnection,
        device: InstanceId,
    ) -> sqlx::Result<()> {
        let Self { column, .. } = self;
        if self.without_rowid {
            let delete = format!("DELETE FROM {} WHERE {column} = ?", self.quoted());
            sqlx::query(AssertSqlSafe(delete))
                .bind(device.get())
                .execute(connection)
                .await?;
            return Ok(());
        }
        let select = format!(
            "SELECT rowid FROM {} WHERE {column} = ? AND rowid > ? ORDER BY rowid LIMIT {PIECE}",
            self.quoted()
        );
        // Rows are named by number and device: a number may be another device's by the time it is written.
        let delete = format!(
            "DELETE FROM {} WHERE {column} = ? AND rowid IN (SELECT value FROM json_each(?))",
            self.quoted()
        );
        let mut last = i64::MIN;
        loop {
            let rows: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(select.clone()))
                .bind(device.get())
                .bind(last)
                .fetch_all(&mut *connection)
                .await?;
            let Some(highest) = rows.last() else { return Ok(()) };
            last = *highest;
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(AssertSqlSafe(delete.clone()))
                .bind(device.get())
                .bind(json_array(&rows))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.name.replace('"', "\"\""))
    }
}

/// Removes old pages, which may hold wiped keys, from the write-ahead log. That needs a moment in which nobody
/// reads; without one, the log overwrites itself soon enough.
pub(super) async fn empty_log(connection: &mut SqliteConnection) {
    for pragma in [
        "PRAGMA busy_timeout = 100",
        // Copies without a lock what it can, so that little is left for the next one, which others wait for.
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ] {
        if let Err(error) = sqlx::query(pragma).execute(&mut *connection).await {
            tracing::debug!(
                error = &error as &dyn Error,
                "emptying the log of devices.db failed"
            );
        }
    }
}

fn json_array(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// How many rows one transaction deletes: a few milliseconds' worth.
const PIECE: u32 = 200;
/// How long the lock is free between two pieces. Others that wait for it look after 1, 2, 5, 10, … ms.
const PAUSE: Duration = Duration::from_millis(10);
