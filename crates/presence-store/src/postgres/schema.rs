//! The schema, and the way to it from an older one.

use std::time::Duration;

use super::database::{Database, Transaction};
use crate::error::StoreError;

/// Makes those of [`MIGRATIONS`] that the database has not seen yet.
///
/// # Errors
/// [`StoreError::Newer`] when a newer version of the service made it; then nothing is changed.
pub(super) async fn migrate(database: &Database) -> Result<(), StoreError> {
    create_version_table(database).await?;
    let mut transaction = database.begin_with(DOING, "BEGIN;", LIMIT).await?;
    // Whoever comes second waits here, and finds nothing left to do.
    transaction
        .run(
            "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '60s'; \
             SET LOCAL idle_in_transaction_session_timeout = '30s'; LOCK TABLE schema_version",
        )
        .await?;
    let found = version(&mut transaction).await?;
    let missing = usize::try_from(found)
        .ok()
        .and_then(|seen| MIGRATIONS.get(seen..));
    let Some(missing) = missing else {
        return Err(StoreError::Newer {
            found: found.into(),
            known: MIGRATIONS.len() as i64,
        });
    };
    if missing.is_empty() {
        return transaction.rollback().await;
    }
    for migration in missing {
        transaction.run(migration).await?;
    }
    let known = MIGRATIONS.len() as i32;
    let query = sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(known);
    transaction.execute(query).await?;
    transaction.commit().await
}

/// Two that create a table at once may collide, whatever `IF NOT EXISTS` says; the second attempt finds it.
async fn create_version_table(database: &Database) -> Result<(), StoreError> {
    let statement = "CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)";
    let mut attempts = 0;
    loop {
        // A user without the right to create tables may still use those that are there.
        let found = database
            .call::<(bool,)>(DOING, "SELECT to_regclass('schema_version') IS NOT NULL")
            .await?;
        if found == [(true,)] {
            return Ok(());
        }
        match database.call::<()>(DOING, statement).await {
            Err(StoreError::Database { .. }) if attempts < 3 => attempts += 1,
            created => return created.map(|_| ()),
        }
    }
}

async fn version(transaction: &mut Transaction) -> Result<i32, StoreError> {
    let query = sqlx::query("SELECT coalesce(max(version), 0) FROM schema_version");
    let found: Option<(i32,)> = transaction.fetch_optional(query).await?;
    Ok(found.map_or(0, |(version,)| version))
}

/// Changes of the schema in the order in which they were made. They only add, since nodes of the version before go on
/// while they are made.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/postgres/0001_registry.sql"),
    include_str!("../../migrations/postgres/0002_keys.sql"),
    include_str!("../../migrations/postgres/0003_ledger.sql"),
];

/// How long all of it may take, waiting for other nodes' turns included.
const LIMIT: Duration = Duration::from_secs(90);

const DOING: &str = "bring the schema of the database up to date";
