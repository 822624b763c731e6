//! What only PostgreSQL can do, and a database for each test.

mod keys;
mod ledger;
mod proxy;
mod registry;
mod transfer;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use presence_store::{
    Ledger as _, NodeId, Ownership, Postgres, PostgresKeyStore, PostgresLedger, PostgresOptions, Store,
    TokenKey,
};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use crate::support::{account, instance};

/// A lease that lasts longer than any test.
pub(crate) const LEASE: Duration = Duration::from_secs(600);

/// A new database on the server of `PRESENCE_TEST_DATABASE_URL`, gone when dropped.
pub(crate) struct TestDatabase {
    name: String,
}

impl TestDatabase {
    pub(crate) async fn create() -> Self {
        let name = format!("presence_{}", NodeId::generate().expect("random bytes")).replace('-', "");
        let mut connection = server().connect().await.expect("a server");
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create)
            .execute(&mut connection)
            .await
            .expect("a database");
        connection.close().await.expect("a connection that ends");
        Self { name }
    }

    /// Connects to it as one more node does.
    pub(crate) async fn connect(&self) -> Postgres {
        Postgres::connect(&self.options()).await.expect("a connection")
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions {
            url: server().database(&self.name).to_url_lossy().into(),
            listen_url: None,
            connections: 4,
        }
    }

    pub(crate) async fn registry(&self) -> Store {
        registry(&self.connect().await).await
    }

    /// The device keys of a node that has a hundred instances.
    pub(crate) async fn keys_of_everything(&self) -> PostgresKeyStore {
        let postgres = self.connect().await;
        many_instances(self, 100).await;
        let (_, keys, _) = node_with_keys(&postgres).await;
        keys
    }

    /// Lets nobody connect, and ends all connections; or lets them again.
    pub(crate) async fn set_reachable(&self, reachable: bool) {
        let mut connection = server().connect().await.expect("a server");
        let statements = AssertSqlSafe(format!(
            "ALTER DATABASE {0} ALLOW_CONNECTIONS {reachable};
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{0}' AND NOT {reachable}",
            self.name
        ));
        sqlx::raw_sql(statements)
            .execute(&mut connection)
            .await
            .expect("a change");
        connection.close().await.expect("a connection that ends");
    }

    /// A connection past everything that is tested.
    pub(crate) async fn raw(&self) -> PgConnection {
        server()
            .database(&self.name)
            .connect()
            .await
            .expect("a connection")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let dropping = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut connection = server().connect().await?;
                sqlx::raw_sql(drop).execute(&mut connection).await?;
                connection.close().await
            })
        });
        // A test that fails says why by itself.
        let _ = dropping.join();
    }
}

pub(crate) fn key() -> TokenKey {
    TokenKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("32 bytes")
}

pub(crate) async fn registry(postgres: &Postgres) -> Store {
    postgres.open_registry(Some(key())).await.expect("a registry")
}

/// A node that lives, and its view of the ledger.
pub(crate) async fn node(postgres: &Postgres) -> (NodeId, Arc<PostgresLedger>) {
    let (node, ledger) = (NodeId::generate().expect("random bytes"), postgres.ledger(key()));
    ledger.enter(node, "http://node", LEASE).await.expect("an entry");
    (node, ledger)
}

/// A node that lives, with the keys of everything that nobody else has.
pub(crate) async fn node_with_keys(postgres: &Postgres) -> (NodeId, PostgresKeyStore, Arc<PostgresLedger>) {
    let (node, ledger) = node(postgres).await;
    let keys = postgres.open_keys(key());
    keys.begin(node).expect("an open store");
    keys.own(&claim_all(&ledger, node).await).expect("an open store");
    (node, keys, ledger)
}

/// Makes instances with the numbers up to `count`.
pub(crate) async fn instances(store: &Store, count: usize) {
    let (owner, _) = account(store, "acme", None).await;
    for number in 1..=count {
        instance(store, &owner, &format!("instance-{number}")).await;
    }
}

/// The same of many instances, past the registry.
pub(crate) async fn many_instances(database: &TestDatabase, count: i32) {
    let rows = "INSERT INTO account (id, name, token_hash, created_at) VALUES (1, 'acme', sha256('acme'), 0);
                INSERT INTO instance SELECT number, 1, 'i' || number, sha256(number::text::bytea), '', false, false,
                                            0, NULL, number, 0, NULL FROM generate_series(1, ";
    let rows = AssertSqlSafe(format!("{rows}{count}) AS number"));
    sqlx::raw_sql(rows)
        .execute(&mut database.raw().await)
        .await
        .expect("rows");
}

/// Everything that `node` can get.
pub(crate) async fn claim_all(ledger: &PostgresLedger, node: NodeId) -> Vec<Ownership> {
    let mut claimed = ledger.claim(node, u32::MAX).await.expect("a claim");
    claimed.sort_by_key(|owned| owned.instance);
    claimed
}

fn server() -> PgConnectOptions {
    let url = std::env::var("PRESENCE_TEST_DATABASE_URL")
        .expect("PRESENCE_TEST_DATABASE_URL is the URL of a PostgreSQL whose user may create databases");
    PgConnectOptions::from_str(&url)
        .expect("PRESENCE_TEST_DATABASE_URL is a URL")
        // It may be a pooler.
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .disable_statement_logging()
}
