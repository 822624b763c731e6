//! From changes to rows.

use chrono::{DateTime, Utc};
use presence_core::InstanceId;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteQueryResult;

use super::connection::failed;
use crate::account::{Account, AccountId};
use crate::directory::Change;
use crate::edge::Edge;
use crate::error::StoreError;
use crate::instance::Instance;
use crate::key::{SealedProxy, SealedToken, SealedWebhook};

/// Writes `change`, in the caller's transaction.
///
/// # Errors
/// [`StoreError::Corrupt`] when the file does not hold what it was decided on.
pub(super) async fn change(connection: &mut SqliteConnection, change: &Change) -> Result<(), StoreError> {
    let written = match change {
        Change::PutAccount(account) => put_account(connection, account).await,
        Change::DropAccount(id) => drop_account(connection, *id).await,
        Change::PutInstance(instance) => put_instance(connection, instance).await,
        Change::DropInstance(id) => drop_instance(connection, *id).await,
        Change::PinEdge(edge) => pin_edge(connection, *edge).await,
        Change::Touch(used) => touch(connection, used).await,
        Change::MarkWiped(ids) => mark_wiped(connection, ids).await,
        Change::RememberDeleted(ids) => remember_deleted(connection, ids).await,
        Change::ReserveIds(id) => reserve_ids(connection, *id).await,
    };
    match written.map_err(failed("write to the registry"))? {
        Rows::Any | Rows::Exactly(1) => Ok(()),
        Rows::Exactly(_) => Err(StoreError::Corrupt { what: "registry" }),
    }
}

/// How many rows were written.
enum Rows {
    /// What must have been one.
    Exactly(u64),
    /// What is gone meanwhile was left out.
    Any,
}

impl From<SqliteQueryResult> for Rows {
    fn from(done: SqliteQueryResult) -> Self {
        Self::Exactly(done.rows_affected())
    }
}

pub(super) async fn sealed_token(
    connection: &mut SqliteConnection,
    id: InstanceId,
    sealed: &SealedToken,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE instance SET sealed_token = ? WHERE id = ?")
        .bind(&sealed.0[..])
        .bind(id.get())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn sealed_proxy(
    connection: &mut SqliteConnection,
    id: InstanceId,
    sealed: &SealedProxy,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE instance SET sealed_proxy = ? WHERE id = ?")
        .bind(&sealed.0[..])
        .bind(id.get())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn sealed_webhook(
    connection: &mut SqliteConnection,
    id: AccountId,
    sealed: &SealedWebhook,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE account SET sealed_webhook = ? WHERE id = ?")
        .bind(&sealed.0[..])
        .bind(id.0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_account(connection: &mut SqliteConnection, account: &Account) -> sqlx::Result<Rows> {
    let query = sqlx::query(
        "INSERT INTO account (id, name, token_hash, quota, created_at, sealed_webhook) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, quota = excluded.quota,
                                        sealed_webhook = excluded.sealed_webhook
         WHERE name = excluded.name",
    )
    .bind(account.id.0)
    .bind(account.name.as_str())
    .bind(&account.token.0[..])
    .bind(account.quota)
    .bind(account.created_at.timestamp_millis())
    .bind(account.sealed_webhook.as_ref().map(|sealed| &sealed.0[..]));
    Ok(query.execute(connection).await?.into())
}

/// Its instances go with it.
async fn drop_account(connection: &mut SqliteConnection, id: AccountId) -> sqlx::Result<Rows> {
    let query = sqlx::query("DELETE FROM account WHERE id = ?").bind(id.0);
    Ok(query.execute(connection).await?.into())
}

async fn put_instance(connection: &mut SqliteConnection, instance: &Instance) -> sqlx::Result<Rows> {
    let query = sqlx::query(
        "INSERT INTO instance (id, account_id, name, token_hash, sealed_token, keep_online, logged_out,
                               banned_until, last_used, created_at, pairing_number, sealed_proxy)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET
             keep_online = excluded.keep_online, logged_out = excluded.logged_out,
             banned_until = excluded.banned_until, pairing_number = excluded.pairing_number,
             sealed_proxy = excluded.sealed_proxy
         WHERE token_hash = excluded.token_hash",
    )
    .bind(instance.id.get())
    .bind(instance.account.0)
    .bind(instance.name.as_str())
    .bind(&instance.token.0[..])
    .bind(&instance.sealed_token.0[..])
    .bind(instance.keep_online)
    .bind(instance.logged_out)
    .bind(instance.banned_until.map(|time| time.timestamp_millis()))
    .bind(instance.last_used.map(|time| time.timestamp_millis()))
    .bind(instance.created_at.timestamp_millis())
    .bind(instance.pairing_number)
    .bind(instance.sealed_proxy.as_ref().map(|sealed| &sealed.0[..]));
    Ok(query.execute(connection).await?.into())
}

async fn drop_instance(connection: &mut SqliteConnection, id: InstanceId) -> sqlx::Result<Rows> {
    let query = sqlx::query("DELETE FROM instance WHERE id = ?").bind(id.get());
    Ok(query.execute(connection).await?.into())
}

async fn pin_edge(connection: &mut SqliteConnection, edge: Edge) -> sqlx::Result<Rows> {
    let query =
        sqlx::query("INSERT INTO meta (key, value) VALUES ('edge', ?)").bind(edge.as_str().as_bytes());
    Ok(query.execute(connection).await?.into())
}

async fn touch(
    connection: &mut SqliteConnection,
    used: &[(InstanceId, DateTime<Utc>)],
) -> sqlx::Result<Rows> {
    for (id, at) in used {
        sqlx::query("UPDATE instance SET last_used = ? WHERE id = ?")
            .bind(at.timestamp_millis())
            .bind(id.get())
            .execute(&mut *connection)
            .await?;
    }
    Ok(Rows::Any)
}

async fn mark_wiped(connection: &mut SqliteConnection, ids: &[InstanceId]) -> sqlx::Result<Rows> {
    for id in ids {
        sqlx::query(
            "UPDATE deleted SET wiped_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
             WHERE instance_id = ? AND wiped_at IS NULL",
        )
        .bind(id.get())
        .execute(&mut *connection)
        .await?;
    }
    Ok(Rows::Any)
}

async fn remember_deleted(connection: &mut SqliteConnection, ids: &[InstanceId]) -> sqlx::Result<Rows> {
    for id in ids {
        sqlx::query(
            "INSERT INTO deleted (instance_id, deleted_at)
             VALUES (?, CAST(unixepoch('subsec') * 1000 AS INTEGER))
             ON CONFLICT (instance_id) DO UPDATE SET wiped_at = NULL",
        )
        .bind(id.get())
        .execute(&mut *connection)
        .await?;
        tell_others(connection, Some(*id)).await?;
    }
    Ok(Rows::Any)
}

async fn reserve_ids(connection: &mut SqliteConnection, id: InstanceId) -> sqlx::Result<Rows> {
    reserve(connection, "instance", id.get().into()).await?;
    tell_others(connection, None).await?;
    Ok(Rows::Any)
}

/// New accounts get higher numbers than `last`.
pub(super) async fn reserve_accounts(connection: &mut SqliteConnection, last: i64) -> sqlx::Result<()> {
    reserve(connection, "account", last).await
}

/// SQLite keeps the last number that AUTOINCREMENT gave in a table like any other.
async fn reserve(connection: &mut SqliteConnection, table: &str, last: i64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, 0
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)",
    )
    .bind(table)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1 AND seq < ?2")
        .bind(table)
        .bind(last)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Of what no trigger tells them.
async fn tell_others(connection: &mut SqliteConnection, id: Option<InstanceId>) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO change (instance_id) VALUES (?)")
        .bind(id.map(InstanceId::get))
        .execute(connection)
        .await?;
    Ok(())
}
