//! From rows to accounts and instances.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use presence_core::InstanceId;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::connection::failed;
use crate::account::{Account, AccountId};
use crate::backend::Refreshed;
use crate::directory::{Change, Directory};
use crate::edge::Edge;
use crate::error::StoreError;
use crate::instance::Instance;
use crate::key::{SealedProxy, SealedToken, SealedWebhook};
use crate::token::TokenHash;

/// Everything, which must be read in one transaction to be of one moment.
pub(super) async fn everything(connection: &mut SqliteConnection) -> Result<Refreshed, StoreError> {
    let mut directory = Directory::default();
    let accounts = sqlx::query("SELECT * FROM account ORDER BY id")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(DOING))?;
    for row in &accounts {
        directory.apply(&Change::PutAccount(Arc::new(account(row)?)));
    }
    let instances = sqlx::query("SELECT * FROM instance ORDER BY id")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(DOING))?;
    for row in &instances {
        directory.apply(&Change::PutInstance(Arc::new(instance(row)?)));
    }
    if let Some(edge) = edge(connection).await? {
        directory.apply(&Change::PinEdge(edge));
    }
    let unwiped = sqlx::query_scalar("SELECT instance_id FROM deleted WHERE wiped_at IS NULL")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(DOING))?;
    directory.apply(&Change::RememberDeleted(ids(unwiped)));
    let (last_account, last_instance) = last_numbers(connection).await?;
    directory.never_again(last_account, last_instance);
    Ok(Refreshed::Everything(Box::new(directory)))
}

/// The highest numbers of an account and of an instance that were ever given, or are never to be.
async fn last_numbers(connection: &mut SqliteConnection) -> Result<(i64, i32), StoreError> {
    sqlx::query_as(
        "SELECT coalesce(max(seq) FILTER (WHERE name = 'account'), 0),
                max(coalesce(max(seq) FILTER (WHERE name = 'instance'), 0),
                    (SELECT coalesce(max(instance_id), 0) FROM deleted)) FROM sqlite_sequence",
    )
    .fetch_one(connection)
    .await
    .map_err(failed(DOING))
}

/// The number of the last change that the file tells of; 0 before the first.
pub(super) async fn last_change(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM change")
        .fetch_one(connection)
        .await
        .map_err(failed(DOING))
}

/// What changed after the change numbered `seen`, up to the last one; everything when it tells no longer.
pub(super) async fn changes_since(
    connection: &mut SqliteConnection,
    seen: i64,
    last: i64,
) -> Result<Refreshed, StoreError> {
    let touched: Vec<(i64, Option<i64>, Option<i32>)> =
        sqlx::query_as("SELECT seq, account_id, instance_id FROM change WHERE seq > ? ORDER BY seq")
            .bind(seen)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed(DOING))?;
    match touched.first() {
        None if seen == last => return Ok(Refreshed::Nothing),
        Some((first, ..)) if *first == seen + 1 => {}
        _ => return everything(connection).await,
    }
    let accounts: BTreeSet<i64> = touched.iter().filter_map(|(_, account, _)| *account).collect();
    let instances: BTreeSet<i32> = touched.iter().filter_map(|(.., instance)| *instance).collect();
    // What is gone comes first, since what is new may have its name or token.
    let (mut gone, mut there) = (Vec::new(), Vec::new());
    for id in accounts {
        let row = sqlx::query("SELECT * FROM account WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed(DOING))?;
        match row {
            Some(row) => there.push(Change::PutAccount(Arc::new(account(&row)?))),
            None => gone.push(Change::DropAccount(AccountId(id))),
        }
    }
    for id in instances {
        let row = sqlx::query("SELECT * FROM instance WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed(DOING))?;
        match row {
            Some(row) => there.push(Change::PutInstance(Arc::new(instance(&row)?))),
            None => gone.extend(InstanceId::new(id).map(Change::DropInstance)),
        }
    }
    there.extend(edge(connection).await?.map(Change::PinEdge));
    let (_, last_instance) = last_numbers(connection).await?;
    there.extend(InstanceId::new(last_instance).map(Change::ReserveIds));
    gone.append(&mut there);
    Ok(Refreshed::Changes(gone))
}

/// Every instance that is remembered as deleted.
pub(super) async fn deleted(connection: &mut SqliteConnection) -> Result<BTreeSet<InstanceId>, StoreError> {
    let deleted = sqlx::query_scalar("SELECT instance_id FROM deleted")
        .fetch_all(connection)
        .await
        .map_err(failed("read which instances were deleted"))?;
    Ok(ids(deleted).into_iter().collect())
}

/// What is sealed of each instance: its token, and its proxy if it has one.
pub(super) async fn sealed(
    connection: &mut SqliteConnection,
) -> Result<Vec<(InstanceId, SealedToken, Option<SealedProxy>)>, StoreError> {
    let rows: Vec<(i32, Vec<u8>, Option<Vec<u8>>)> =
        sqlx::query_as("SELECT id, sealed_token, sealed_proxy FROM instance")
            .fetch_all(connection)
            .await
            .map_err(failed("read what is sealed"))?;
    let sealed = rows.into_iter().filter_map(|(id, token, proxy)| {
        let proxy = proxy.map(|proxy| SealedProxy(proxy.into()));
        Some((InstanceId::new(id)?, SealedToken(token.into()), proxy))
    });
    Ok(sealed.collect())
}

/// The sealed webhook of each account that has one.
pub(super) async fn sealed_webhooks(
    connection: &mut SqliteConnection,
) -> Result<Vec<(AccountId, SealedWebhook)>, StoreError> {
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT id, sealed_webhook FROM account WHERE sealed_webhook IS NOT NULL")
            .fetch_all(connection)
            .await
            .map_err(failed("read what is sealed"))?;
    let sealed = rows.into_iter();
    Ok(sealed
        .map(|(id, webhook)| (AccountId(id), SealedWebhook(webhook.into())))
        .collect())
}

/// The schema has none that is not positive.
fn ids(numbers: Vec<i32>) -> Vec<InstanceId> {
    numbers.into_iter().filter_map(InstanceId::new).collect()
}

async fn edge(connection: &mut SqliteConnection) -> Result<Option<Edge>, StoreError> {
    let edge: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'edge'")
        .fetch_optional(connection)
        .await
        .map_err(failed(DOING))?;
    edge.map(|edge| Edge::from_bytes(&edge).ok_or(StoreError::Corrupt { what: "edge" }))
        .transpose()
}

fn account(row: &SqliteRow) -> Result<Account, StoreError> {
    read_account(row).map_err(|_| StoreError::Corrupt { what: "account" })
}

fn instance(row: &SqliteRow) -> Result<Instance, StoreError> {
    read_instance(row).map_err(|_| StoreError::Corrupt { what: "instance" })
}

/// What a row cannot be read for; not shown, since it may repeat the row.
type Unreadable = Box<dyn Error + Send + Sync>;

fn read_account(row: &SqliteRow) -> Result<Account, Unreadable> {
    Ok(Account {
        id: AccountId(row.try_get("id")?),
        name: row.try_get::<&str, _>("name")?.parse()?,
        quota: row.try_get("quota")?,
        created_at: time(row.try_get("created_at")?)?,
        token: hash(row)?,
        sealed_webhook: row
            .try_get::<Option<&[u8]>, _>("sealed_webhook")?
            .map(|sealed| SealedWebhook(sealed.into())),
    })
}

fn read_instance(row: &SqliteRow) -> Result<Instance, Unreadable> {
    let optional_time = |column| row.try_get::<Option<i64>, _>(column)?.map(time).transpose();
    Ok(Instance {
        id: InstanceId::new(row.try_get("id")?).ok_or("not positive")?,
        account: AccountId(row.try_get("account_id")?),
        name: row.try_get::<&str, _>("name")?.parse()?,
        keep_online: row.try_get("keep_online")?,
        logged_out: row.try_get("logged_out")?,
        banned_until: optional_time("banned_until")?,
        last_used: optional_time("last_used")?,
        created_at: time(row.try_get("created_at")?)?,
        pairing_number: row.try_get("pairing_number")?,
        token: hash(row)?,
        sealed_token: SealedToken(row.try_get::<&[u8], _>("sealed_token")?.into()),
        sealed_proxy: row
            .try_get::<Option<&[u8]>, _>("sealed_proxy")?
            .map(|sealed| SealedProxy(sealed.into())),
    })
}

fn time(millis: i64) -> Result<DateTime<Utc>, Unreadable> {
    Ok(DateTime::from_timestamp_millis(millis).ok_or("out of range")?)
}

fn hash(row: &SqliteRow) -> Result<TokenHash, Unreadable> {
    Ok(TokenHash(row.try_get::<&[u8], _>("token_hash")?.try_into()?))
}

const DOING: &str = "read the registry";
