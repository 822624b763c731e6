//! The registry, the device keys and the ledger of nodes in a PostgreSQL that several nodes share.

mod database;
mod disk;
mod hints;
mod keys;
mod ledger;
mod registry;
mod schema;
mod transfer;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::error::StoreError;
use crate::key::TokenKey;
use crate::store::Store;
use database::{Database, failed};
use hints::Hints;
use registry::PostgresBackend;

pub use keys::PostgresKeyStore;
pub use ledger::PostgresLedger;
pub use transfer::{Moved, TransferError};

/// Where a database is, and how much of it one process may use.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Its URL, `postgres://…`. A transaction pooler may stand between.
    pub url: String,
    /// Where notifications are listened for, which no transaction pooler passes on; `None`: at `url`.
    pub listen_url: Option<String>,
    /// The most connections at once, besides one that listens.
    pub connections: u32,
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // URLs hold passwords.
        f.debug_struct("PostgresOptions")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// A PostgreSQL database with the schema of this version. Its clones are the same database.
#[derive(Clone)]
pub struct Postgres {
    database: Database,
    hints: Arc<Hints>,
}

impl Postgres {
    /// Connects, and brings the schema up to date. Several nodes may do so at once, and nodes of the version before go
    /// on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Away`] when the database cannot be reached; [`StoreError::Newer`] when a newer version has been
    /// there.
    pub async fn connect(options: &PostgresOptions) -> Result<Self, StoreError> {
        let direct = connect_options(options.listen_url.as_deref().unwrap_or(&options.url))?;
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(connect_options(&options.url)?);
        let database = Database::new(pool);
        schema::migrate(&database).await?;
        Ok(Self {
            database,
            hints: Arc::new(Hints::new(direct)),
        })
    }

    /// Opens the registry. Without a key, accounts can be managed, but instances' tokens neither made nor shown.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] when the token key is not the one that was used here before; otherwise whatever kept
    /// the database from being read and written.
    pub async fn open_registry(&self, key: Option<TokenKey>) -> Result<Store, StoreError> {
        let backend = self.backend();
        if let Some(key) = &key {
            let check_value = backend.claim_key_check(&key.check_value()?).await?;
            if !key.matches(&check_value) {
                return Err(StoreError::WrongKey);
            }
        }
        Store::over(Box::new(backend), key, None).await
    }

    /// Opens the device keys of what this node has, which is nothing yet. They are sealed with `key`.
    #[must_use]
    pub fn open_keys(&self, key: TokenKey) -> PostgresKeyStore {
        PostgresKeyStore::open(self.database.clone(), key)
    }

    /// The ledger of nodes. What instances show is sealed with `key`.
    #[must_use]
    pub fn ledger(&self, key: TokenKey) -> Arc<PostgresLedger> {
        Arc::new(PostgresLedger::new(
            self.database.clone(),
            key,
            self.hints.clone(),
        ))
    }

    fn backend(&self) -> PostgresBackend {
        PostgresBackend::new(self.database.clone(), self.hints.clone())
    }

    /// Lets go of every connection.
    pub async fn close(&self) {
        self.hints.stop();
        self.database.close().await;
    }
}

fn connect_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(failed("read the URL of the database"))?;
    // An operator tells processes apart by it.
    let name = options
        .get_application_name()
        .unwrap_or("presence-server")
        .to_owned();
    Ok(options
        .application_name(&name)
        // A pooler may give each transaction another connection, which knows nothing of statements prepared before; and
        // it refuses settings that it does not know.
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .disable_statement_logging())
}

/// How long a connection of the pool is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
