//! The database that the nodes share, as its operator sees it.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, FromRow};
use tokio::runtime::Handle;

use super::postgres::{Ending, Postgres};
use super::proxy::Proxy;
use crate::service::say;

/// Names a server to use in place of one of our own: the URL of a user who may create databases.
pub(super) const OWN_SERVER: &str = "PRESENCE_TEST_DATABASE_URL";
/// What the nodes connect as, on a server of our own. It may do no more than they need, so a limit holds for it.
const ROLE: &str = "presence";

pub(crate) struct Database {
    runtime: Handle,
    /// As its operator.
    operator: PgConnectOptions,
    /// As the nodes.
    nodes: PgConnectOptions,
    /// `None`: somebody else's server.
    server: Option<Mutex<Postgres>>,
    log: PathBuf,
}

impl Database {
    /// An empty database, on a server of our own unless another one is named. Servers log to `log`.
    pub(crate) fn create(runtime: &Handle, log: PathBuf) -> anyhow::Result<Self> {
        let name = format!("presence_cluster_{}", std::process::id());
        let (operator, server) = match std::env::var(OWN_SERVER) {
            Ok(url) => {
                let operator = PgConnectOptions::from_str(&url)
                    .with_context(|| format!("{OWN_SERVER} is no URL of PostgreSQL"))?;
                (operator, None)
            }
            Err(_) => {
                let server = Postgres::start(&log)?;
                let operator = PgConnectOptions::new_without_pgpass()
                    .host("127.0.0.1")
                    .port(server.address().port())
                    .username("postgres")
                    .ssl_mode(PgSslMode::Disable)
                    .database("postgres");
                (operator, Some(Mutex::new(server)))
            }
        };
        let mut database = Self {
            runtime: runtime.clone(),
            nodes: operator.clone(),
            operator,
            server,
            log,
        };
        if database.is_ours() {
            database.execute(&format!("CREATE ROLE {ROLE} LOGIN"))?;
            database.nodes = database.nodes.clone().username(ROLE);
        }
        let user = database.nodes.get_username().to_owned();
        database.execute(&format!("CREATE DATABASE {name} OWNER \"{user}\""))?;
        database.nodes = database.nodes.clone().database(&name);
        database.operator = database.operator.clone().database(&name);
        Ok(database)
    }

    /// Whether the server is one of our own, which may be stopped.
    pub(super) fn is_ours(&self) -> bool {
        self.server.is_some()
    }

    /// Where its server listens.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let host = (self.operator.get_host(), self.operator.get_port());
        let mut addresses = host
            .to_socket_addrs()
            .context("PostgreSQL's host has no address")?;
        addresses.next().context("PostgreSQL's host has no address")
    }

    /// The URL with which nodes connect; `proxy` is in between, and the server knows who they are by `name`.
    pub(crate) fn url(&self, proxy: Option<&Proxy>, name: &str) -> String {
        let nodes = self.nodes.clone();
        let mut url = match proxy {
            Some(proxy) => nodes.host("127.0.0.1").port(proxy.port()),
            None => nodes,
        }
        .to_url_lossy();
        url.query_pairs_mut().append_pair("application_name", name);
        url.into()
    }

    /// Runs statements as its operator.
    pub(super) fn execute(&self, sql: &str) -> anyhow::Result<()> {
        self.run(async |connection| {
            connection.execute(AssertSqlSafe(sql)).await?;
            Ok(())
        })
    }

    /// Reads rows as its operator.
    pub(crate) fn read<T>(&self, sql: &'static str) -> anyhow::Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.run(async |connection| sqlx::query_as(sql).fetch_all(connection).await)
    }

    fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> anyhow::Result<T> {
        // A connection each time: the server may have been started again.
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect_with(&self.operator).await?;
            let done = work(&mut connection).await?;
            connection.close().await?;
            Ok(done)
        })
    }

    /// Lets the nodes have so many connections at most, and ends those that they have. `None`: no limit.
    pub(super) fn limit_connections(&self, most: Option<u32>) -> anyhow::Result<()> {
        let limit = most.map_or_else(|| "-1".to_owned(), |most| most.to_string());
        self.execute(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT {limit}"))?;
        if most.is_some() {
            self.execute(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"
            ))?;
        }
        Ok(())
    }

    /// Ends the server.
    pub(super) fn end(&self, ending: Ending) -> anyhow::Result<()> {
        self.server()?.end(ending)
    }

    /// Starts the server, if it was ended, and lets the nodes have all the connections that they want.
    pub(super) fn heal(&self) -> anyhow::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        if !self.server()?.is_running() {
            self.begin()?;
        }
        self.limit_connections(None)
    }

    /// Starts the server again.
    pub(super) fn begin(&self) -> anyhow::Result<()> {
        self.server()?.begin(&self.log)
    }

    fn server(&self) -> anyhow::Result<MutexGuard<'_, Postgres>> {
        let server = self.server.as_ref().context("the server is not ours to stop")?;
        Ok(server.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.is_ours() {
            return;
        }
        let name = self.nodes.get_database().unwrap_or_default().to_owned();
        self.operator = self.operator.clone().database("postgres");
        if let Err(error) = self.execute(&format!("DROP DATABASE \"{name}\" WITH (FORCE)")) {
            say(format_args!(
                "The database {name} is left on your server: {error:#}"
            ));
        }
    }
}
