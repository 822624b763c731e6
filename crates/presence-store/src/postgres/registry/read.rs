//! From rows to accounts and instances.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use presence_core::InstanceId;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::account::{Account, AccountId};
use crate::backend::Refreshed;
use crate::directory::{Change, Directory};
use crate::edge::Edge;
use crate::error::StoreError;
use crate::instance::Instance;
use crate::key::{SealedProxy, SealedToken, SealedWebhook};
use crate::postgres::database::Transaction;
use crate::token::TokenHash;

/// Everything, which must be read in one transaction to be of one moment.
pub(super) async fn everything(snapshot: &mut Transaction) -> Result<Refreshed, StoreError> {
    let mut directory = Directory::default();
    for row in snapshot
        .rows(sqlx::query("SELECT * FROM account ORDER BY id"))
        .await?
    {
        directory.apply(&Change::PutAccount(Arc::new(account(&row)?)));
    }
    for row in snapshot
        .rows(sqlx::query("SELECT * FROM instance ORDER BY id"))
        .await?
    {
        directory.apply(&Change::PutInstance(Arc::new(instance(&row)?)));
    }
    if let Some(edge) = edge(snapshot).await? {
        directory.apply(&Change::PinEdge(edge));
    }
    let query = sqlx::query("SELECT instance_id FROM deleted WHERE wiped_at IS NULL");
    let unwiped = ids(snapshot.fetch(query).await?);
    directory.apply(&Change::RememberDeleted(unwiped));
    let (last_account, last_instance) = last_numbers(snapshot).await?;
    directory.never_again(last_account, last_instance);
    Ok(Refreshed::Everything(Box::new(directory)))
}

/// The version of the registry.
pub(super) async fn version(snapshot: &mut Transaction) -> Result<i64, StoreError> {
    let query = sqlx::query("SELECT version FROM registry");
    let version = snapshot.fetch_optional(query).await?;
    version.map(|(version,)| version).ok_or(NO_REGISTRY)
}

/// What changed after `version`.
pub(super) async fn changes_since(snapshot: &mut Transaction, version: i64) -> Result<Refreshed, StoreError> {
    let query = sqlx::query("SELECT DISTINCT account_id, instance_id FROM change WHERE version > $1");
    let touched: Vec<(Option<i64>, Option<i32>)> = snapshot.fetch(query.bind(version)).await?;
    let mut accounts: BTreeSet<i64> = touched.iter().filter_map(|(account, _)| *account).collect();
    let mut instances: BTreeSet<i32> = touched.iter().filter_map(|(_, instance)| *instance).collect();
    // What is gone comes first, since what is new may have its name or token.
    let (mut gone, mut there) = (Vec::new(), Vec::new());
    let query = sqlx::query("SELECT * FROM account WHERE id = ANY ($1)");
    for row in snapshot.rows(query.bind(numbers(&accounts))).await? {
        let account = account(&row)?;
        accounts.remove(&account.id.0);
        there.push(Change::PutAccount(Arc::new(account)));
    }
    let query = sqlx::query("SELECT * FROM instance WHERE id = ANY ($1)");
    for row in snapshot.rows(query.bind(numbers(&instances))).await? {
        let instance = instance(&row)?;
        instances.remove(&instance.id.get());
        there.push(Change::PutInstance(Arc::new(instance)));
    }
    gone.extend(accounts.iter().map(|id| Change::DropAccount(AccountId(*id))));
    gone.extend(
        instances
            .iter()
            .filter_map(|id| InstanceId::new(*id).map(Change::DropInstance)),
    );
    // Another node has wiped them.
    let query =
        sqlx::query("SELECT instance_id FROM deleted WHERE instance_id = ANY ($1) AND wiped_at IS NOT NULL");
    let wiped = ids(snapshot.fetch(query.bind(numbers(&instances))).await?);
    gone.push(Change::MarkWiped(wiped));
    there.extend(edge(snapshot).await?.map(Change::PinEdge));
    let (_, last_instance) = last_numbers(snapshot).await?;
    there.extend(InstanceId::new(last_instance).map(Change::ReserveIds));
    gone.append(&mut there);
    Ok(Refreshed::Changes(gone))
}

/// Every instance that is remembered as deleted.
pub(super) async fn deleted(snapshot: &mut Transaction) -> Result<BTreeSet<InstanceId>, StoreError> {
    let query = sqlx::query("SELECT instance_id FROM deleted");
    Ok(ids(snapshot.fetch(query).await?).into_iter().collect())
}

/// The highest numbers of an account and of an instance that were ever given, or are never to be.
async fn last_numbers(snapshot: &mut Transaction) -> Result<(i64, i32), StoreError> {
    let query = sqlx::query("SELECT last_account, last_instance FROM registry");
    snapshot.fetch_optional(query).await?.ok_or(NO_REGISTRY)
}

async fn edge(snapshot: &mut Transaction) -> Result<Option<Edge>, StoreError> {
    let query = sqlx::query("SELECT value FROM meta WHERE key = 'edge'");
    let edge: Option<(Vec<u8>,)> = snapshot.fetch_optional(query).await?;
    edge.map(|(edge,)| Edge::from_bytes(&edge).ok_or(StoreError::Corrupt { what: "edge" }))
        .transpose()
}

/// The schema has none that is not positive.
fn ids(numbers: Vec<(i32,)>) -> Vec<InstanceId> {
    numbers
        .into_iter()
        .filter_map(|(id,)| InstanceId::new(id))
        .collect()
}

fn numbers<T: Copy>(numbers: &BTreeSet<T>) -> Vec<T> {
    numbers.iter().copied().collect()
}

fn account(row: &PgRow) -> Result<Account, StoreError> {
    read_account(row).map_err(|_| StoreError::Corrupt { what: "account" })
}

fn instance(row: &PgRow) -> Result<Instance, StoreError> {
    read_instance(row).map_err(|_| StoreError::Corrupt { what: "instance" })
}

/// What a row cannot be read for; not shown, since it may repeat the row.
type Unreadable = Box<dyn Error + Send + Sync>;

fn read_account(row: &PgRow) -> Result<Account, Unreadable> {
    Ok(Account {
        id: AccountId(row.try_get("id")?),
        name: row.try_get::<&str, _>("name")?.parse()?,
        quota: row
            .try_get::<Option<i64>, _>("quota")?
            .map(u32::try_from)
            .transpose()?,
        created_at: time(row.try_get("created_at")?)?,
        token: hash(row)?,
        sealed_webhook: row
            .try_get::<Option<&[u8]>, _>("sealed_webhook")?
            .map(|sealed| SealedWebhook(sealed.into())),
    })
}

fn read_instance(row: &PgRow) -> Result<Instance, Unreadable> {
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
        pairing_number: row.try_get::<i64, _>("pairing_number")?.try_into()?,
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

fn hash(row: &PgRow) -> Result<TokenHash, Unreadable> {
    Ok(TokenHash(row.try_get::<&[u8], _>("token_hash")?.try_into()?))
}

const NO_REGISTRY: StoreError = StoreError::Corrupt { what: "registry" };
