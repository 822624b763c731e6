//! Notifications that something changed.

use std::sync::OnceLock;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Counts notifications, from one connection that listens for all of them. They may be late, lost or for nothing, so
/// who waits for one looks now and then without any. It listens until the last who wants them is gone.
pub(super) struct Hints {
    options: PgConnectOptions,
    registry: watch::Sender<u64>,
    ledger: watch::Sender<u64>,
    /// From when somebody wants them.
    listening: OnceLock<JoinHandle<()>>,
}

impl Hints {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            registry: watch::Sender::new(0),
            ledger: watch::Sender::new(0),
            listening: OnceLock::new(),
        }
    }

    fn listen(&self) {
        self.listening.get_or_init(|| {
            let (registry, ledger) = (self.registry.clone(), self.ledger.clone());
            tokio::spawn(listen(self.options.clone(), registry, ledger))
        });
    }

    /// Of the registry.
    pub(super) fn registry(&self) -> watch::Receiver<u64> {
        self.listen();
        self.registry.subscribe()
    }

    /// Of the ledger of nodes.
    pub(super) fn ledger(&self) -> watch::Receiver<u64> {
        self.listen();
        self.ledger.subscribe()
    }

    pub(super) fn stop(&self) {
        if let Some(listening) = self.listening.get() {
            listening.abort();
        }
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn listen(options: PgConnectOptions, registry: watch::Sender<u64>, ledger: watch::Sender<u64>) {
    let mut outage = Outage::default();
    loop {
        let error = match connect(&options).await {
            Ok(None) => {
                tracing::warn!(
                    "a pooler stands between this and the database, so no notifications are listened for; what other \
                     nodes change is looked for twice a second. Give the address of the database itself as \
                     --database-listen-url"
                );
                return;
            }
            Ok(Some(mut listener)) => {
                if outage.handle_end() {
                    tracing::info!("notifications from the database are heard again");
                }
                // Who knows what was missed.
                count(&registry);
                count(&ledger);
                match hear(&mut listener, &registry, &ledger).await {
                    Ok(()) => continue,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let error = &error as &(dyn std::error::Error + Send + Sync);
        if outage.handle_failure() {
            tracing::warn!(
                error,
                "no notifications from the database, so what other nodes change is looked for twice a second; if it \
                 answers otherwise, --database-listen-url leads elsewhere"
            );
        } else {
            tracing::debug!(error, "no notifications from the database");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// How long there have been no notifications.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
    is_told: bool,
}

impl Outage {
    /// Whether people are to be told. They are once, and not of a database that is only started again.
    fn handle_failure(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        since.elapsed() >= TELL_AFTER && !std::mem::replace(&mut self.is_told, true)
    }

    /// Whether people are to be told that it is over.
    fn handle_end(&mut self) -> bool {
        std::mem::take(self).is_told
    }
}

/// Counts notifications until the connection is lost.
async fn hear(
    listener: &mut PgListener,
    registry: &watch::Sender<u64>,
    ledger: &watch::Sender<u64>,
) -> sqlx::Result<()> {
    while let Some(told) = listener.try_recv().await? {
        count(if told.channel() == REGISTRY {
            registry
        } else {
            ledger
        });
    }
    Ok(())
}

/// `None` where nobody may listen.
async fn connect(options: &PgConnectOptions) -> sqlx::Result<Option<PgListener>> {
    let is_direct = timeout(CONNECT, is_direct(options)).await;
    if !is_direct.map_err(|_| sqlx::Error::PoolTimedOut)?? {
        return Ok(None);
    }
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(CONNECT)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen_all([REGISTRY, LEDGER]).await?;
    Ok(Some(listener))
}

/// Whether a connection has one process of the database to itself for good. Behind a transaction pooler it has not: a
/// process that was told to listen would give the notifications to whoever gets it next, in the middle of their
/// answers.
async fn is_direct(options: &PgConnectOptions) -> sqlx::Result<bool> {
    let (mut one, mut other) = (options.connect().await?, options.connect().await?);
    let mut is_direct = true;
    // Each time, a pooler may happen to give the same one.
    for _ in 0..5 {
        let before = process(&mut one).await?;
        sqlx::raw_sql("BEGIN").execute(&mut other).await?;
        let of_other = process(&mut other).await?;
        let after = process(&mut one).await?;
        sqlx::raw_sql("COMMIT").execute(&mut other).await?;
        is_direct &= before == after && before != of_other;
    }
    one.close().await?;
    other.close().await?;
    Ok(is_direct)
}

/// The number of the database's process that serves this connection now.
async fn process(connection: &mut PgConnection) -> sqlx::Result<i32> {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection);
    row.await?.try_get(0)
}

fn count(hints: &watch::Sender<u64>) {
    hints.send_modify(|count| *count += 1);
}

const REGISTRY: &str = "presence_registry";
const LEDGER: &str = "presence_ledger";

const CONNECT: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_secs(1);
const TELL_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn people_are_told_once_that_there_are_no_notifications_and_once_when_there_are() {
        let mut outage = Outage::default();
        for _ in 0..2 {
            let mut told = Vec::new();
            for second in 0..60 {
                if outage.handle_failure() {
                    told.push(second);
                }
                sleep(RETRY).await;
            }
            assert_eq!(told, [10]);
            assert!(outage.handle_end() && !outage.handle_end());
        }
        assert!(!outage.handle_failure() && !outage.handle_end(), "it was short");
    }
}
