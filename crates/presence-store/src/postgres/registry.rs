//! Accounts and instances in PostgreSQL.

mod read;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use presence_core::InstanceId;
use tokio::sync::watch;

use super::database::{Database, Transaction};
use super::hints::Hints;
use crate::backend::{Appended, Backend, Refreshed};
use crate::contents::Contents;
use crate::directory::Change;
use crate::error::StoreError;

/// The tables of the registry. Whoever changes them counts their version up, from the one that the change was decided
/// on.
pub(super) struct PostgresBackend {
    database: Database,
    hints: Arc<Hints>,
    /// Up to which version everything was read or appended; `None` before the first read.
    told: Option<i64>,
}

impl PostgresBackend {
    pub(super) fn new(database: Database, hints: Arc<Hints>) -> Self {
        Self {
            database,
            hints,
            told: None,
        }
    }

    /// Keeps `check`, by which the token key is known again, unless there is a value already; the answer is what is
    /// there now.
    pub(super) async fn claim_key_check(&self, check: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut transaction = self.database.begin("write the check of the token key").await?;
        let claim = sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('token_key_check', $1) ON CONFLICT DO NOTHING",
        );
        transaction.execute(claim.bind(check)).await?;
        let query = sqlx::query("SELECT value FROM meta WHERE key = 'token_key_check'");
        let found: Option<(Vec<u8>,)> = transaction.fetch_optional(query).await?;
        transaction.commit().await?;
        found.map(|(value,)| value).ok_or(StoreError::Corrupt {
            what: "check of the token key",
        })
    }
}

/// Makes an empty registry one that holds `contents`, in a transaction that has counted its version up.
pub(super) async fn fill(transaction: &mut Transaction, contents: &Contents) -> Result<(), StoreError> {
    for account in &contents.accounts {
        write::put_account(transaction, account).await?;
    }
    for instances in contents.instances.chunks(AT_ONCE) {
        write::put_instances(transaction, instances).await?;
    }
    for change in &contents.changes {
        write::change(transaction, change).await?;
    }
    write::reserve_accounts(transaction, contents.last_account).await
}

#[async_trait]
impl Backend for PostgresBackend {
    async fn refresh(&mut self) -> Result<Refreshed, StoreError> {
        if let Some(told) = self.told {
            let current: Vec<(i64,)> = self
                .database
                .call("look for changes of the registry", "SELECT version FROM registry")
                .await?;
            if current == [(told,)] {
                return Ok(Refreshed::Nothing);
            }
        }
        let mut snapshot = self.database.begin_reading("read the registry").await?;
        let head = read::head(&mut snapshot, self.told).await?;
        let version = head.version;
        let refreshed = match self.told {
            // Otherwise an older database was restored, or the changes are remembered no longer.
            Some(told) if told <= version && version - told <= REMEMBERED => {
                read::changes(&mut snapshot, head).await?
            }
            _ => read::everything(&mut snapshot, head).await?,
        };
        snapshot.rollback().await?;
        self.told = Some(version);
        Ok(refreshed)
    }

    async fn append(&mut self, change: &Change) -> Result<Appended, StoreError> {
        let Some(told) = self.told else {
            return Ok(Appended::Outdated);
        };
        let mut transaction = self.database.begin("write to the registry").await?;
        if let Change::Touch(used) = change {
            // Written all the time, and nothing is decided on it: the others need not be outdated by it.
            write::touch(&mut transaction, used).await?;
            transaction.commit().await?;
            return Ok(Appended::Durable);
        }
        // From here to the end nobody else writes, so what is checked stays true.
        let query =
            sqlx::query("UPDATE registry SET version = version + 1 WHERE version = $1 RETURNING version");
        let Some((version,)) = transaction.fetch_optional::<(i64,)>(query.bind(told)).await? else {
            transaction.rollback().await?;
            return Ok(Appended::Outdated);
        };
        write::change(&mut transaction, change).await?;
        transaction.commit().await?;
        self.told = Some(version);
        Ok(Appended::Durable)
    }

    async fn deleted(&mut self) -> Result<BTreeSet<InstanceId>, StoreError> {
        let mut snapshot = self
            .database
            .begin_reading("read which instances were deleted")
            .await?;
        let deleted = read::deleted(&mut snapshot).await?;
        snapshot.rollback().await?;
        Ok(deleted)
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        // A row of its own: it grows nothing, and nobody takes it for a change.
        let statement = r"INSERT INTO meta (key, value) VALUES ('check', '\x00')
             ON CONFLICT (key) DO UPDATE SET value = CASE meta.value WHEN '\x00' THEN '\x01'::bytea ELSE '\x00' END";
        self.database.call::<()>("check the registry", statement).await?;
        Ok(())
    }

    fn hints(&self) -> Option<watch::Receiver<u64>> {
        Some(self.hints.registry())
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        // The connections are not its own.
        Ok(())
    }
}

/// For how many versions the schema remembers what changed.
pub(super) const REMEMBERED: i64 = 1000;

/// How many instances are written by one statement.
const AT_ONCE: usize = 1000;
