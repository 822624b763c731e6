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

/// What there is of it once, and where to look for what changed.
pub(super) struct Head {
    /// The version of the registry.
    pub(super) version: i64,
    /// The highest numbers of an account and of an instance that were ever given, or are never to be.
    last_account: i64,
    last_instance: i32,
    edge: Option<Edge>,
    /// The accounts and instances that changed since a version.
    touched: Vec<(Option<i64>, Option<i32>)>,
}

/// The head; what changed, since the version `told`. A request may wait for this and what follows, and each answer of
/// the database is one to wait for, so what can be asked together is.
pub(super) async fn head(snapshot: &mut Transaction, told: Option<i64>) -> Result<Head, StoreError> {
    let told = told.unwrap_or(i64::MAX);
    let [registry, edge, touched] = snapshot
        .together([
            "SELECT version, last_account, last_instance FROM registry".to_owned(),
            "SELECT value FROM meta WHERE key = 'edge'".to_owned(),
            format!("SELECT DISTINCT account_id, instance_id FROM change WHERE version > {told}"),
        ])
        .await?;
    let (version, last_account, last_instance) = snapshot.parse(&registry)?.pop().ok_or(NO_REGISTRY)?;
    let edge: Option<(Vec<u8>,)> = snapshot.parse(&edge)?.pop();
    Ok(Head {
        version,
        last_account,
        last_instance,
        edge: edge
            .map(|(edge,)| Edge::from_bytes(&edge).ok_or(StoreError::Corrupt { what: "edge" }))
            .transpose()?,
        touched: snapshot.parse(&touched)?,
    })
}

/// Everything, which must be read in one transaction to be of one moment.
pub(super) async fn everything(snapshot: &mut Transaction, head: Head) -> Result<Refreshed, StoreError> {
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
    if let Some(edge) = head.edge {
        directory.apply(&Change::PinEdge(edge));
    }
    let query = sqlx::query("SELECT instance_id FROM deleted WHERE wiped_at IS NULL");
    let unwiped = ids(snapshot.fetch(query).await?);
    directory.apply(&Change::RememberDeleted(unwiped));
    directory.never_again(head.last_account, head.last_instance);
    Ok(Refreshed::Everything(Box::new(directory)))
}

/// What the head says that changed.
pub(super) async fn changes(snapshot: &mut Transaction, head: Head) -> Result<Refreshed, StoreError> {
    let mut accounts: BTreeSet<i64> = head.touched.iter().filter_map(|(account, _)| *account).collect();
    let mut instances: BTreeSet<i32> = head
        .touched
        .iter()
        .filter_map(|(_, instance)| *instance)
        .collect();
    let of_instances = list(&instances);
    let [read_accounts, read_instances, wiped] = snapshot
        .together([
            format!("SELECT * FROM account WHERE id = ANY ('{}')", list(&accounts)),
            format!("SELECT * FROM instance WHERE id = ANY ('{of_instances}')"),
            // Another node has wiped these.
            format!(
                "SELECT instance_id FROM deleted WHERE instance_id = ANY ('{of_instances}') AND wiped_at IS NOT NULL"
            ),
        ])
        .await?;
    // What is gone comes first, since what is new may have its name or token.
    let (mut gone, mut there) = (Vec::new(), Vec::new());
    for row in read_accounts {
        let account = account(&row)?;
        accounts.remove(&account.id.0);
        there.push(Change::PutAccount(Arc::new(account)));
    }
    for row in read_instances {
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
    let wiped = ids(snapshot.parse(&wiped)?);
    // Of those that are gone: an instance that is there has no row.
    let is_gone = |id: &InstanceId| instances.contains(&id.get());
    gone.push(Change::MarkWiped(wiped.into_iter().filter(is_gone).collect()));
    there.extend(head.edge.map(Change::PinEdge));
    there.extend(InstanceId::new(head.last_instance).map(Change::ReserveIds));
    gone.append(&mut there);
    Ok(Refreshed::Changes(gone))
}

/// Every instance that is remembered as deleted.
pub(super) async fn deleted(snapshot: &mut Transaction) -> Result<BTreeSet<InstanceId>, StoreError> {
    let query = sqlx::query("SELECT instance_id FROM deleted");
    Ok(ids(snapshot.fetch(query).await?).into_iter().collect())
}

/// The schema has none that is not positive.
fn ids(numbers: Vec<(i32,)>) -> Vec<InstanceId> {
    numbers
        .into_iter()
        .filter_map(|(id,)| InstanceId::new(id))
        .collect()
}

/// As PostgreSQL reads an array.
fn list<T: ToString>(numbers: &BTreeSet<T>) -> String {
    let numbers: Vec<String> = numbers.iter().map(T::to_string).collect();
    format!("{{{}}}", numbers.join(","))
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
            .try_get::<Option<Vec<u8>>, _>("sealed_webhook")?
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
        sealed_token: SealedToken(row.try_get::<Vec<u8>, _>("sealed_token")?.into()),
        sealed_proxy: row
            .try_get::<Option<Vec<u8>>, _>("sealed_proxy")?
            .map(|sealed| SealedProxy(sealed.into())),
    })
}

fn time(millis: i64) -> Result<DateTime<Utc>, Unreadable> {
    Ok(DateTime::from_timestamp_millis(millis).ok_or("out of range")?)
}

fn hash(row: &PgRow) -> Result<TokenHash, Unreadable> {
    let hash: Vec<u8> = row.try_get("token_hash")?;
    Ok(TokenHash(hash.try_into().map_err(|_| "of another length")?))
}

const NO_REGISTRY: StoreError = StoreError::Corrupt { what: "registry" };
