//! The formats of our files, and the way to them from older ones.

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::connection::failed;
use crate::error::StoreError;

/// Makes those of `migrations` that the file has not seen yet.
///
/// # Errors
/// [`StoreError::Newer`] when a newer version of the service made it; then nothing is changed.
pub(crate) async fn migrate(
    connection: &mut SqliteConnection,
    migrations: &[&'static str],
) -> Result<(), StoreError> {
    let doing = "bring the schema up to date";
    // Whoever comes second finds nothing left to do.
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed(doing))?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed(doing))?;
    let missing = usize::try_from(found)
        .ok()
        .and_then(|seen| migrations.get(seen..));
    let Some(missing) = missing else {
        return Err(StoreError::Newer {
            found,
            known: migrations.len() as i64,
        });
    };
    if missing.is_empty() {
        return transaction.rollback().await.map_err(failed(doing));
    }
    for migration in missing {
        sqlx::raw_sql(*migration)
            .execute(&mut *transaction)
            .await
            .map_err(failed(doing))?;
    }
    // A pragma takes no parameters.
    let count = format!("PRAGMA user_version = {}", migrations.len());
    sqlx::query(AssertSqlSafe(count))
        .execute(&mut *transaction)
        .await
        .map_err(failed(doing))?;
    transaction.commit().await.map_err(failed(doing))
}

/// Changes of the schema of `presence.db` in the order in which they were made. `PRAGMA user_version` counts those that a file
/// has seen.
pub(super) const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001_registry.sql"),
    include_str!("../../migrations/0002_remembered.sql"),
    include_str!("../../migrations/0003_proxy.sql"),
    include_str!("../../migrations/0004_webhook.sql"),
];
