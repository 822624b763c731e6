//! Accounts and instances as rows.

use std::error::Error;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::failed;
use crate::account::{Account, AccountId};
use crate::directory::{Change, Directory};
use crate::edge::Edge;
use crate::instance::{Instance, InstanceId};
use crate::key::SealedToken;
use crate::registry::StoreError;
use crate::token::TokenHash;

/// Tells how many rows `change` touched.
pub(super) async fn write(connection: &mut SqliteConnection, change: &Change) -> sqlx::Result<u64> {
    let query = match change {
        Change::PutAccount(account) => sqlx::query(
            "INSERT INTO account (id, name, token_hash, quota, created_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, quota = excluded.quota
             WHERE name = excluded.name",
        )
        .bind(account.id.0)
        .bind(account.name.as_str())
        .bind(&account.token.0[..])
        .bind(account.quota)
        .bind(account.created_at.timestamp_millis()),
        Change::DropAccount(id) => sqlx::query("DELETE FROM account WHERE id = ?").bind(id.0),
        Change::PutInstance(instance) => sqlx::query(
            "INSERT INTO instance
                 (id, account_id, name, token_hash, sealed_token, keep_online, logged_out, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET keep_online = excluded.keep_online, logged_out = excluded.logged_out
             WHERE token_hash = excluded.token_hash",
        )
        .bind(instance.id.device())
        .bind(instance.account.0)
        .bind(instance.name.as_str())
        .bind(&instance.token.0[..])
        .bind(&instance.sealed_token.0[..])
        .bind(instance.keep_online)
        .bind(instance.logged_out)
        .bind(instance.created_at.timestamp_millis()),
        Change::DropInstance(account, id) => sqlx::query("DELETE FROM instance WHERE id = ? AND account_id = ?")
            .bind(id.device())
            .bind(account.0),
        Change::PinEdge(edge) => sqlx::query("INSERT INTO meta (key, value) VALUES ('edge', ?)")
            .bind(edge.as_str().as_bytes()),
    };
    Ok(query.execute(connection).await?.rows_affected())
}

/// Everything, which must be read in one transaction to be of one moment.
pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Directory, StoreError> {
    let doing = "read the registry";
    let mut directory = Directory::default();
    let accounts = sqlx::query("SELECT id, name, token_hash, quota, created_at FROM account ORDER BY id")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(doing))?;
    for row in &accounts {
        let account = account(row).map_err(corrupt("account"))?;
        directory.apply(&Change::PutAccount(Arc::new(account)));
    }
    let instances = sqlx::query("SELECT * FROM instance ORDER BY id")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(doing))?;
    for row in &instances {
        let instance = instance(row).map_err(corrupt("instance"))?;
        directory.apply(&Change::PutInstance(Arc::new(instance)));
    }
    let edge: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'edge'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed(doing))?;
    if let Some(edge) = edge {
        let edge = Edge::from_bytes(&edge).ok_or(StoreError::Corrupt { what: "edge" })?;
        directory.apply(&Change::PinEdge(edge));
    }
    // The highest numbers ever given, those of deleted records included.
    let last: (i64, i32) = sqlx::query_as(
        "SELECT coalesce(max(seq) FILTER (WHERE name = 'account'), 0),
                coalesce(max(seq) FILTER (WHERE name = 'instance'), 0) FROM sqlite_sequence",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed(doing))?;
    directory.never_again(last.0, last.1);
    Ok(directory)
}

/// What a row cannot be read for; not shown, since it may repeat the row.
type Unreadable = Box<dyn Error + Send + Sync>;

fn account(row: &SqliteRow) -> Result<Account, Unreadable> {
    Ok(Account {
        id: AccountId(row.try_get("id")?),
        name: row.try_get::<&str, _>("name")?.parse()?,
        quota: row.try_get("quota")?,
        created_at: time(row)?,
        token: hash(row)?,
    })
}

fn instance(row: &SqliteRow) -> Result<Instance, Unreadable> {
    Ok(Instance {
        id: InstanceId::from_device(row.try_get("id")?).ok_or("not positive")?,
        account: AccountId(row.try_get("account_id")?),
        name: row.try_get::<&str, _>("name")?.parse()?,
        keep_online: row.try_get("keep_online")?,
        logged_out: row.try_get("logged_out")?,
        created_at: time(row)?,
        token: hash(row)?,
        sealed_token: SealedToken(row.try_get::<&[u8], _>("sealed_token")?.into()),
    })
}

fn time(row: &SqliteRow) -> Result<DateTime<Utc>, Unreadable> {
    Ok(DateTime::from_timestamp_millis(row.try_get("created_at")?).ok_or("out of range")?)
}

fn hash(row: &SqliteRow) -> Result<TokenHash, Unreadable> {
    Ok(TokenHash(row.try_get::<&[u8], _>("token_hash")?.try_into()?))
}

fn corrupt(what: &'static str) -> impl FnOnce(Unreadable) -> StoreError {
    move |_| StoreError::Corrupt { what }
}
