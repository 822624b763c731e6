//! From changes to rows.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use presence_core::InstanceId;

use crate::account::{Account, AccountId};
use crate::directory::Change;
use crate::edge::Edge;
use crate::error::StoreError;
use crate::instance::Instance;
use crate::postgres::database::Transaction;

/// Writes `change`, in a transaction that has counted the registry's version up.
///
/// # Errors
/// [`StoreError::Corrupt`] when the database does not hold what it was decided on.
pub(super) async fn change(transaction: &mut Transaction, change: &Change) -> Result<(), StoreError> {
    let written = match change {
        Change::PutAccount(account) => put_account(transaction, account).await?,
        Change::DropAccount(id) => drop_account(transaction, *id).await?,
        Change::PutInstance(instance) => put_instances(transaction, std::slice::from_ref(instance)).await?,
        Change::DropInstance(id) => drop_instance(transaction, *id).await?,
        Change::PinEdge(edge) => pin_edge(transaction, *edge).await?,
        Change::Touch(used) => return touch(transaction, used).await,
        Change::MarkWiped(ids) => return mark_wiped(transaction, ids).await,
        Change::RememberDeleted(ids) => return remember_deleted(transaction, ids).await,
        Change::ReserveIds(id) => return reserve_ids(transaction, *id).await,
    };
    match written {
        1 => Ok(()),
        _ => Err(StoreError::Corrupt { what: "registry" }),
    }
}

/// Writes when instances were used; those that are gone are left out.
pub(super) async fn touch(
    transaction: &mut Transaction,
    used: &[(InstanceId, DateTime<Utc>)],
) -> Result<(), StoreError> {
    let (ids, times): (Vec<i32>, Vec<i64>) = used
        .iter()
        .map(|(id, at)| (id.get(), at.timestamp_millis()))
        .unzip();
    // In order, as nodes may do it at the same time.
    let query = sqlx::query(
        "WITH used AS (
             SELECT id, at FROM instance JOIN unnest($1, $2) AS given (id, at) USING (id)
             ORDER BY id FOR NO KEY UPDATE OF instance
         )
         UPDATE instance SET last_used = used.at FROM used WHERE instance.id = used.id",
    );
    transaction.execute(query.bind(ids).bind(times)).await?;
    Ok(())
}

/// The answer is how many rows were written, as of all of these.
pub(super) async fn put_account(transaction: &mut Transaction, account: &Account) -> Result<u64, StoreError> {
    let query = sqlx::query(
        "INSERT INTO account (id, name, token_hash, quota, created_at, sealed_webhook)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, quota = excluded.quota,
                                        sealed_webhook = excluded.sealed_webhook
         WHERE account.name = excluded.name",
    )
    .bind(account.id.0)
    .bind(account.name.as_str())
    .bind(&account.token.0[..])
    .bind(account.quota.map(i64::from))
    .bind(account.created_at.timestamp_millis())
    .bind(account.sealed_webhook.as_ref().map(|sealed| &sealed.0[..]));
    transaction.execute(query).await
}

/// Its instances go with it.
async fn drop_account(transaction: &mut Transaction, id: AccountId) -> Result<u64, StoreError> {
    let query = sqlx::query("DELETE FROM account WHERE id = $1").bind(id.0);
    transaction.execute(query).await
}

pub(super) async fn put_instances(
    transaction: &mut Transaction,
    instances: &[Arc<Instance>],
) -> Result<u64, StoreError> {
    let column = Column(instances);
    let query = sqlx::query(
        "INSERT INTO instance (id, account_id, name, token_hash, sealed_token, keep_online, logged_out,
                               banned_until, last_used, created_at, pairing_number, sealed_proxy)
         SELECT * FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::bytea[], $5::bytea[], $6::boolean[],
                              $7::boolean[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                              $12::bytea[])
         ON CONFLICT (id) DO UPDATE SET
             keep_online = excluded.keep_online, logged_out = excluded.logged_out,
             banned_until = excluded.banned_until, pairing_number = excluded.pairing_number,
             sealed_proxy = excluded.sealed_proxy
         WHERE instance.token_hash = excluded.token_hash",
    )
    .bind(column.of(|instance| instance.id.get()))
    .bind(column.of(|instance| instance.account.0))
    .bind(column.of(|instance| instance.name.as_str().to_owned()))
    .bind(column.of(|instance| instance.token.0.to_vec()))
    .bind(column.of(|instance| instance.sealed_token.0.to_vec()))
    .bind(column.of(|instance| instance.keep_online))
    .bind(column.of(|instance| instance.logged_out))
    .bind(column.of(|instance| instance.banned_until.map(|time| time.timestamp_millis())))
    .bind(column.of(|instance| instance.last_used.map(|time| time.timestamp_millis())))
    .bind(column.of(|instance| instance.created_at.timestamp_millis()))
    .bind(column.of(|instance| i64::from(instance.pairing_number)))
    .bind(column.of(|instance| instance.sealed_proxy.as_ref().map(|sealed| sealed.0.to_vec())));
    transaction.execute(query).await
}

/// Instances, a column of which is a parameter of a statement.
struct Column<'a>(&'a [Arc<Instance>]);

impl Column<'_> {
    fn of<T>(&self, value: impl Fn(&Instance) -> T) -> Vec<T> {
        self.0.iter().map(|instance| value(instance)).collect()
    }
}

async fn drop_instance(transaction: &mut Transaction, id: InstanceId) -> Result<u64, StoreError> {
    let query = sqlx::query("DELETE FROM instance WHERE id = $1").bind(id.get());
    transaction.execute(query).await
}

async fn pin_edge(transaction: &mut Transaction, edge: Edge) -> Result<u64, StoreError> {
    let query = sqlx::query("INSERT INTO meta (key, value) VALUES ('edge', $1)");
    let pinned = transaction.execute(query.bind(edge.as_str().as_bytes())).await?;
    tell_others(transaction, &[]).await?;
    Ok(pinned)
}

async fn mark_wiped(transaction: &mut Transaction, ids: &[InstanceId]) -> Result<(), StoreError> {
    let query = sqlx::query(
        "UPDATE deleted SET wiped_at = unix_millis() WHERE instance_id = ANY ($1) AND wiped_at IS NULL",
    );
    transaction.execute(query.bind(numbers(ids))).await?;
    tell_others(transaction, ids).await
}

async fn remember_deleted(transaction: &mut Transaction, ids: &[InstanceId]) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO deleted (instance_id, deleted_at) SELECT id, unix_millis() FROM unnest($1) AS given (id)
         ON CONFLICT (instance_id) DO UPDATE SET wiped_at = NULL",
    );
    transaction.execute(query.bind(numbers(ids))).await?;
    if let Some(highest) = ids.iter().max() {
        never_again(transaction, *highest).await?;
    }
    tell_others(transaction, ids).await
}

async fn reserve_ids(transaction: &mut Transaction, id: InstanceId) -> Result<(), StoreError> {
    never_again(transaction, id).await?;
    tell_others(transaction, &[]).await
}

/// New accounts get higher numbers than `last`.
pub(super) async fn reserve_accounts(transaction: &mut Transaction, last: i64) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE registry SET last_account = $1 WHERE last_account < $1");
    transaction.execute(query.bind(last)).await?;
    Ok(())
}

async fn never_again(transaction: &mut Transaction, id: InstanceId) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE registry SET last_instance = $1 WHERE last_instance < $1");
    transaction.execute(query.bind(id.get())).await?;
    Ok(())
}

/// Of what no trigger tells them: these instances, or what is none's.
async fn tell_others(transaction: &mut Transaction, ids: &[InstanceId]) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO change (version, instance_id)
         SELECT version, id FROM registry LEFT JOIN unnest($1) AS given (id) ON true",
    );
    transaction.execute(query.bind(numbers(ids))).await?;
    Ok(())
}

fn numbers(ids: &[InstanceId]) -> Vec<i32> {
    ids.iter().map(|id| id.get()).collect()
}
