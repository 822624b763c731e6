//! Accounts and instances in a SQLite file.

mod connection;
mod read;
mod schema;
mod write;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use presence_core::InstanceId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::account::AccountId;
use crate::backend::{Appended, Backend, Refreshed};
use crate::contents::Contents;
use crate::directory::Change;
use crate::error::StoreError;
use crate::files;
use crate::key::{SealedProxy, SealedToken, SealedWebhook, TokenKey};
use connection::data_version;

pub(crate) use connection::{connect, failed, renew_if_stuck};
pub(crate) use schema::migrate;

/// One connection: writers take turns anyway, and `PRAGMA data_version` on it tells exactly whether *another*
/// connection wrote.
pub(crate) struct SqliteBackend {
    options: SqliteConnectOptions,
    connection: SqliteConnection,
    /// Up to where everything was read or appended; `None` before the first read.
    told: Option<Told>,
}

#[derive(Clone, Copy)]
struct Told {
    /// The file's `data_version`; `None` when it is in doubt whether a write of ours took place.
    version: Option<i64>,
    /// The last row of the table `change`.
    seq: i64,
}

impl SqliteBackend {
    /// Opens the file at `path`, creates it when there is none, and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        files::create_private(path).map_err(|source| StoreError::File {
            doing: "create presence.db",
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives a power cut too.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = connect(&options).await.map_err(failed("open presence.db"))?;
        migrate(&mut connection, &schema::MIGRATIONS).await?;
        Ok(Self {
            options,
            connection,
            told: None,
        })
    }

    /// Has a connection on which a transaction can be begun.
    async fn settle(&mut self) -> sqlx::Result<()> {
        if self.connection.is_in_transaction()
            && let Some(told) = &mut self.told
        {
            // Each connection counts its own versions, and nobody may wait to hear that this one is another.
            told.version = None;
        }
        renew_if_stuck(&mut self.connection, &self.options).await
    }

    /// Lets go of the file. The last one to do so writes its log into it.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        let closed = self.connection.close().await;
        closed.map_err(failed("close presence.db"))
    }

    /// The value by which the token key is known again, once there is one.
    pub(crate) async fn key_check(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar("SELECT value FROM meta WHERE key = 'token_key_check'")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(failed("read the check of the token key"))
    }

    /// Keeps `check`, unless there is a value already; the answer is what is there now.
    pub(crate) async fn claim_key_check(&mut self, check: &[u8]) -> Result<Vec<u8>, StoreError> {
        sqlx::query("INSERT INTO meta (key, value) VALUES ('token_key_check', ?) ON CONFLICT DO NOTHING")
            .bind(check)
            .execute(&mut self.connection)
            .await
            .map_err(failed("write the check of the token key"))?;
        self.key_check().await?.ok_or(StoreError::Corrupt {
            what: "check of the token key",
        })
    }

    /// Makes an empty registry one that holds `contents`, in one transaction.
    pub(crate) async fn fill(&mut self, contents: &Contents) -> Result<(), StoreError> {
        let doing = "write to the registry";
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed(doing))?;
        let accounts = contents.accounts.iter().cloned().map(Change::PutAccount);
        let instances = contents.instances.iter().cloned().map(Change::PutInstance);
        for change in accounts.chain(instances) {
            write::change(&mut transaction, &change).await?;
        }
        for change in &contents.changes {
            write::change(&mut transaction, change).await?;
        }
        write::reserve_accounts(&mut transaction, contents.last_account)
            .await
            .map_err(failed(doing))?;
        transaction.commit().await.map_err(failed(doing))
    }

    /// Replaces every sealed token, proxy and webhook by what `reseal` makes of it, and the check of the key, in
    /// one transaction. What `reseal` makes nothing of stays as it is.
    pub(crate) async fn reseal(&mut self, reseal: &Reseal) -> Result<Resealed, StoreError> {
        let doing = "seal the tokens anew";
        let check = reseal.new.check_value()?;
        // What the old key opens is overwritten.
        sqlx::query("PRAGMA secure_delete = ON")
            .execute(&mut self.connection)
            .await
            .map_err(failed(doing))?;
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed(doing))?;
        let mut resealed = Resealed::default();
        for (id, token, proxy) in read::sealed(&mut transaction).await? {
            if let Some(proxy) = proxy {
                match reseal.proxy(id, &proxy)? {
                    Some(sealed) => {
                        write::sealed_proxy(&mut transaction, id, &sealed)
                            .await
                            .map_err(failed(doing))?;
                        resealed.proxies += 1;
                    }
                    None => resealed.unreadable += 1,
                }
            }
            match reseal.token(id, &token)? {
                Some(sealed) => {
                    write::sealed_token(&mut transaction, id, &sealed)
                        .await
                        .map_err(failed(doing))?;
                    resealed.tokens += 1;
                }
                None => resealed.unreadable += 1,
            }
        }
        for (id, webhook) in read::sealed_webhooks(&mut transaction).await? {
            match reseal.webhook(id, &webhook)? {
                Some(sealed) => {
                    write::sealed_webhook(&mut transaction, id, &sealed)
                        .await
                        .map_err(failed(doing))?;
                    resealed.webhooks += 1;
                }
                None => resealed.unreadable += 1,
            }
        }
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('token_key_check', ?)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(check)
        .execute(&mut *transaction)
        .await
        .map_err(failed(doing))?;
        transaction.commit().await.map_err(failed(doing))?;
        Ok(resealed)
    }
}

/// What became of all that is sealed when the key was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// How many tokens the new key opens now.
    pub tokens: usize,
    /// How many proxies the new key opens now.
    pub proxies: usize,
    /// How many webhooks the new key opens now.
    pub webhooks: usize,
    /// How many device keys the new key opens now.
    pub keys: usize,
    /// How many of all could not be opened before, and were left as they are.
    pub unreadable: usize,
}

/// From one key to another.
#[derive(Debug)]
pub(crate) struct Reseal {
    pub(crate) old: TokenKey,
    pub(crate) new: TokenKey,
}

impl Reseal {
    /// `None` for one that was lost before; that must not keep the others from being sealed anew.
    fn token(&self, id: InstanceId, sealed: &SealedToken) -> Result<Option<SealedToken>, StoreError> {
        let token = self.old.open_token(id, sealed).ok();
        token.map(|token| self.new.seal_token(id, &token)).transpose()
    }

    fn proxy(&self, id: InstanceId, sealed: &SealedProxy) -> Result<Option<SealedProxy>, StoreError> {
        let proxy = self.old.open_proxy(id, sealed).ok();
        proxy.map(|proxy| self.new.seal_proxy(id, &proxy)).transpose()
    }

    fn webhook(&self, id: AccountId, sealed: &SealedWebhook) -> Result<Option<SealedWebhook>, StoreError> {
        let webhook = self.old.open_webhook(id, sealed).ok();
        webhook
            .map(|webhook| self.new.seal_webhook(id, &webhook))
            .transpose()
    }
}

#[async_trait]
impl Backend for SqliteBackend {
    async fn refresh(&mut self) -> Result<Refreshed, StoreError> {
        let doing = "read the registry";
        self.settle().await.map_err(failed(doing))?;
        if let Some(Told {
            version: Some(version),
            ..
        }) = self.told
            && version == data_version(&mut self.connection).await.map_err(failed(doing))?
        {
            return Ok(Refreshed::Nothing);
        }
        // One transaction, so that all of it is of one moment.
        let mut snapshot = self.connection.begin().await.map_err(failed(doing))?;
        let version = data_version(&mut snapshot).await.map_err(failed(doing))?;
        let seq = read::last_change(&mut snapshot).await?;
        let refreshed = match self.told {
            Some(told) => read::changes_since(&mut snapshot, told.seq, seq).await?,
            None => read::everything(&mut snapshot).await?,
        };
        snapshot.rollback().await.map_err(failed(doing))?;
        self.told = Some(Told {
            version: Some(version),
            seq,
        });
        Ok(refreshed)
    }

    async fn append(&mut self, change: &Change) -> Result<Appended, StoreError> {
        let doing = "write to the registry";
        self.settle().await.map_err(failed(doing))?;
        // IMMEDIATE: from here to the end nobody else writes, so what is checked stays true.
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed(doing))?;
        let version = data_version(&mut transaction).await.map_err(failed(doing))?;
        let Some(told) = self.told.filter(|told| told.version == Some(version)) else {
            transaction.rollback().await.map_err(failed(doing))?;
            return Ok(Appended::Outdated);
        };
        // A commit that fails, or whose answer nobody waits for, may have happened or not.
        self.told = Some(Told {
            version: None,
            ..told
        });
        write::change(&mut transaction, change).await?;
        let seq = read::last_change(&mut transaction).await?;
        transaction.commit().await.map_err(failed(doing))?;
        self.told = Some(Told {
            version: Some(version),
            seq,
        });
        Ok(Appended::Durable)
    }

    async fn deleted(&mut self) -> Result<BTreeSet<InstanceId>, StoreError> {
        read::deleted(&mut self.connection).await
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        // A row of its own: it grows nothing, and no other process takes it for a change. It goes to the log
        // and that to the disk, as every change does, so what keeps it out keeps them out too: a held lock, a
        // disk that cannot be written, and a full one, once the log has used up the room that it has already.
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('check', x'00')
             ON CONFLICT (key) DO UPDATE SET value = CASE value WHEN x'00' THEN x'01' ELSE x'00' END",
        )
        .execute(&mut self.connection)
        .await
        .map_err(failed("check the registry"))?;
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        SqliteBackend::close(*self).await
    }
}

/// How long a write waits for another process's; theirs take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    //! What a file does on demand only from inside: a disk without room, a change that fits nothing.

    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::account::Account;
    use crate::token::Token;

    async fn backend() -> (tempfile::TempDir, SqliteBackend) {
        let dir = tempfile::tempdir().unwrap();
        let mut backend = SqliteBackend::open(&dir.path().join("presence.db"))
            .await
            .unwrap();
        assert!(matches!(backend.refresh().await, Ok(Refreshed::Everything(_))));
        (dir, backend)
    }

    fn put_account(number: i64) -> Change {
        Change::PutAccount(Arc::new(Account {
            id: AccountId(number),
            name: format!("account-{number}-{}", "x".repeat(80)).parse().unwrap(),
            quota: None,
            created_at: DateTime::UNIX_EPOCH,
            token: Token::for_instance().unwrap().hash(),
            sealed_webhook: None,
        }))
    }

    #[tokio::test]
    async fn a_full_disk_is_told_from_other_failures() {
        let (_dir, mut backend) = backend().await;
        // As many pages as there are: SQLite's own way to run out of room.
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&mut backend.connection)
            .await
            .unwrap();
        let mut refused = None;
        for number in 1..1000 {
            match backend.append(&put_account(number)).await {
                Ok(Appended::Durable) => {}
                Ok(Appended::Outdated) => panic!("nobody else writes"),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        assert!(matches!(refused, Some(StoreError::Full { .. })), "{refused:?}");
        backend
            .check()
            .await
            .expect("a row of its own needs no more room");
    }

    /// As it does when a commit finds no room, and sqlx does not learn of it.
    #[tokio::test]
    async fn what_sqlite_rolls_back_by_itself_holds_nobody_up() {
        let (dir, mut backend) = backend().await;
        let path = dir.path().join("presence.db");
        let execute = async |sql: &'static str| {
            let options = SqliteConnectOptions::new().filename(&path);
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        };
        execute("CREATE TRIGGER full BEFORE INSERT ON account BEGIN SELECT RAISE(ROLLBACK, 'full'); END")
            .await;
        for number in 1..=3 {
            backend.refresh().await.unwrap();
            assert!(backend.append(&put_account(number)).await.is_err());
        }
        execute("DROP TRIGGER full").await;
        let mut other = SqliteBackend::open(&path).await.unwrap();
        for backend in [&mut backend, &mut other] {
            backend.refresh().await.unwrap();
        }
        assert_eq!(backend.append(&put_account(1)).await.unwrap(), Appended::Durable);
        assert_eq!(other.append(&put_account(2)).await.unwrap(), Appended::Outdated);
        other.refresh().await.unwrap();
        assert_eq!(other.append(&put_account(2)).await.unwrap(), Appended::Durable);
        assert!(matches!(backend.refresh().await, Ok(Refreshed::Changes(_))));
    }

    #[tokio::test]
    async fn a_store_that_may_only_be_read_is_not_well() {
        let (_dir, mut backend) = backend().await;
        backend.check().await.unwrap();
        sqlx::query("PRAGMA query_only = ON")
            .execute(&mut backend.connection)
            .await
            .unwrap();
        assert!(matches!(backend.refresh().await, Ok(Refreshed::Nothing)));
        assert!(matches!(backend.check().await, Err(StoreError::Database { .. })));
    }

    #[tokio::test]
    async fn a_change_that_fits_nothing_in_the_file_is_not_made() {
        let (_dir, mut backend) = backend().await;
        let stray = backend.append(&Change::DropAccount(AccountId(7))).await;
        assert!(matches!(stray, Err(StoreError::Corrupt { what: "registry" })));
        // In doubt after that, it reads before it writes.
        let outdated = backend.append(&put_account(1)).await.unwrap();
        assert_eq!(outdated, Appended::Outdated);
        assert!(matches!(backend.refresh().await, Ok(Refreshed::Nothing)));
        assert_eq!(backend.append(&put_account(1)).await.unwrap(), Appended::Durable);
    }
}
