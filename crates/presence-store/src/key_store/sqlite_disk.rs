//! Commits of device keys to a SQLite file.

use std::collections::BTreeSet;
use std::time::Duration;

use presence_core::InstanceId;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use super::pending::Work;
use super::rows::Seal;
use super::writer::Disk;
use crate::error::StoreError;
use crate::sqlite::{failed, renew_if_stuck};

/// The one connection that writes.
pub(super) struct SqliteDisk {
    options: SqliteConnectOptions,
    connection: SqliteConnection,
    seal: Seal,
}

impl SqliteDisk {
    /// `options` are those that it was opened with.
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection, seal: Seal) -> Self {
        Self {
            options,
            connection,
            seal,
        }
    }
}

impl Disk for SqliteDisk {
    /// The busier the sessions, the longer a commit takes anyway.
    const GATHERS_FOR: Duration = Duration::ZERO;

    async fn commit(&mut self, work: &Work) -> Result<BTreeSet<InstanceId>, StoreError> {
        let Self {
            options,
            connection,
            seal,
        } = self;
        let doing = "write the device keys";
        renew_if_stuck(connection, options).await.map_err(failed(doing))?;
        // One log for all: when a durable commit is on the disk, everything that was committed before it is too.
        let synchronous = if work.is_durable() {
            "PRAGMA synchronous = FULL"
        } else {
            "PRAGMA synchronous = NORMAL"
        };
        sqlx::query(synchronous)
            .execute(&mut *connection)
            .await
            .map_err(failed(doing))?;
        let mut transaction = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed(doing))?;
        seal.write(&mut transaction, work).await?;
        transaction.commit().await.map_err(failed(doing))?;
        if !work.wipes.is_empty() {
            empty_log(connection).await;
        }
        // Nobody else writes to the file.
        Ok(BTreeSet::new())
    }

    async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "closing the device keys failed"
            );
        }
    }
}

/// Removes old pages, which hold wiped keys, from the write-ahead log. That needs a moment in which nobody reads;
/// without one, the log overwrites itself soon enough.
async fn empty_log(connection: &mut SqliteConnection) {
    let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(connection);
    if let Err(error) = emptied.await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "emptying the log of the device keys failed"
        );
    }
}
