//! Access to the database, bounded in time: the pool, transactions, and what failures mean.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Either, FromRow};
use tokio::time::{Instant, timeout_at};

use crate::error::{StoreError, cause_of};

/// A bounded pool of connections.
#[derive(Clone)]
pub(super) struct Database {
    pool: PgPool,
    /// When there was last no connection to be had; `None` once there was.
    refused_at: Arc<Mutex<Option<Instant>>>,
}

impl Database {
    pub(super) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            refused_at: Arc::default(),
        }
    }

    /// Runs one statement that is a transaction by itself: the database ends it without hearing of the caller again.
    /// `statement` has its values written out, so it takes numbers and the like only.
    pub(super) async fn call<T: for<'r> FromRow<'r, PgRow>>(
        &self,
        doing: &'static str,
        statement: &str,
    ) -> Result<Vec<T>, StoreError> {
        let mut access = self.acquire(doing, Instant::now() + ACCESS).await?;
        let rows = access.simple(format!("{LIMITS} {statement}")).await?;
        access.is_over = true;
        read(doing, &rows)
    }

    /// Begins a transaction that changes something.
    pub(super) async fn begin(&self, doing: &'static str) -> Result<Transaction, StoreError> {
        self.begin_with(doing, "BEGIN;", ACCESS).await
    }

    /// Begins a transaction that reads, all of one moment.
    pub(super) async fn begin_reading(&self, doing: &'static str) -> Result<Transaction, StoreError> {
        self.begin_with(doing, BEGIN_READING, ACCESS).await
    }

    /// Begins a transaction by `begin`, one or several statements. It has `limit` to end.
    pub(super) async fn begin_with(
        &self,
        doing: &'static str,
        begin: &str,
        limit: Duration,
    ) -> Result<Transaction, StoreError> {
        let mut access = self.acquire(doing, Instant::now() + limit).await?;
        access.simple(format!("{begin} {LIMITS}")).await?;
        Ok(Transaction(access))
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Of all that come while the database is away, one waits for a connection and the others are refused for a
    /// moment after: they may take turns, and would wait for each other.
    async fn acquire(&self, doing: &'static str, ends_by: Instant) -> Result<Access, StoreError> {
        if self.refused_at().is_some_and(|at| at.elapsed() < REFUSES_FOR) {
            return Err(failed(doing)(sqlx::Error::PoolTimedOut));
        }
        let acquired = bounded(doing, ends_by, self.pool.acquire()).await;
        *self.refused_at() = match &acquired {
            Err(StoreError::Away { .. }) => Some(Instant::now()),
            _ => None,
        };
        Ok(Access {
            connection: acquired?,
            doing,
            ends_by,
            is_over: false,
        })
    }

    fn refused_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refused_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The use of a connection.
struct Access {
    connection: PoolConnection<sqlx::Postgres>,
    doing: &'static str,
    ends_by: Instant,
    is_over: bool,
}

impl Access {
    /// Runs statements without parameters, in one message.
    async fn simple(&mut self, statements: String) -> Result<Vec<PgRow>, StoreError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(&mut *self.connection);
        bounded(self.doing, self.ends_by, rows).await
    }

    /// The same; the rows of each statement.
    async fn several(&mut self, statements: String) -> Result<Vec<Vec<PgRow>>, StoreError> {
        let mut steps = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_many(&mut *self.connection);
        let rows = async {
            let (mut ended, mut rows) = (Vec::new(), Vec::new());
            while let Some(step) = steps.try_next().await? {
                match step {
                    Either::Left(_) => ended.push(std::mem::take(&mut rows)),
                    Either::Right(row) => rows.push(row),
                }
            }
            Ok(ended)
        };
        bounded(self.doing, self.ends_by, rows).await
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        // Given up halfway: the pool would have to wait for an answer that may never come.
        if !self.is_over {
            self.connection.close_on_drop();
        }
    }
}

/// A transaction. Dropped, or after a failure, nothing of it happened.
pub(super) struct Transaction(Access);

impl Transaction {
    pub(super) async fn fetch<T: for<'r> FromRow<'r, PgRow>>(
        &mut self,
        query: Query<'_, sqlx::Postgres, PgArguments>,
    ) -> Result<Vec<T>, StoreError> {
        read(self.0.doing, &self.rows(query).await?)
    }

    pub(super) async fn fetch_optional<T: for<'r> FromRow<'r, PgRow>>(
        &mut self,
        query: Query<'_, sqlx::Postgres, PgArguments>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.fetch(query).await?.pop())
    }

    pub(super) async fn rows(
        &mut self,
        query: Query<'_, sqlx::Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let access = &mut self.0;
        let rows = query.persistent(false).fetch_all(&mut *access.connection);
        bounded(access.doing, access.ends_by, rows).await
    }

    /// How many rows it concerned.
    pub(super) async fn execute(
        &mut self,
        query: Query<'_, sqlx::Postgres, PgArguments>,
    ) -> Result<u64, StoreError> {
        let access = &mut self.0;
        let done = query.persistent(false).execute(&mut *access.connection);
        Ok(bounded(access.doing, access.ends_by, done).await?.rows_affected())
    }

    /// Runs as many statements in one message, which is answered once; the rows of each. They have their values
    /// written out, so they take numbers and the like only.
    pub(super) async fn together<const N: usize>(
        &mut self,
        statements: [String; N],
    ) -> Result<[Vec<PgRow>; N], StoreError> {
        let rows = self.0.several(statements.join("; ")).await?;
        rows.try_into().map_err(|_| {
            let source = sqlx::Error::Protocol("as many answers as statements were to come".to_owned());
            failed(self.0.doing)(source)
        })
    }

    /// What rows hold that this transaction has read.
    pub(super) fn parse<T: for<'r> FromRow<'r, PgRow>>(&self, rows: &[PgRow]) -> Result<Vec<T>, StoreError> {
        read(self.0.doing, rows)
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&mut self, statements: &'static str) -> Result<(), StoreError> {
        self.0.simple(statements.to_owned()).await?;
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), StoreError> {
        self.run(statement).await?;
        self.0.is_over = true;
        Ok(())
    }
}

async fn bounded<T>(
    doing: &'static str,
    ends_by: Instant,
    access: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, StoreError> {
    match timeout_at(ends_by, access).await {
        Ok(done) => done.map_err(failed(doing)),
        Err(_) => Err(failed(doing)(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))),
    }
}

fn read<T: for<'r> FromRow<'r, PgRow>>(doing: &'static str, rows: &[PgRow]) -> Result<Vec<T>, StoreError> {
    let rows = rows.iter().map(|row| T::from_row(row).map_err(failed(doing)));
    rows.collect()
}

pub(super) fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| {
        let code = error
            .as_database_error()
            .and_then(|error| Some(error.code()?.into_owned()));
        let is_away = match (code.as_deref(), &error) {
            (Some(LIVES_NO_LONGER), _) => return StoreError::Fenced,
            (Some("53100"), _) => {
                let source = cause_of(error);
                return StoreError::Full { doing, source };
            }
            (Some(code), _) => is_away(code),
            (None, sqlx::Error::PoolClosed) => return StoreError::Closed,
            (None, error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::WorkerCrashed
                    | sqlx::Error::BeginFailed
            ),
        };
        let source = cause_of(error);
        if is_away {
            StoreError::Away { doing, source }
        } else {
            StoreError::Database { doing, source }
        }
    }
}

/// Whether the database said by `code` that it does not answer now, but may soon: it is shutting down or starting, has
/// no connection left, was too slow, kept a lock, or is a standby that somebody failed over from.
fn is_away(code: &str) -> bool {
    ["08", "53", "57P", "40"]
        .iter()
        .any(|class| code.starts_with(class))
        || ["57014", "55000", "55P03", "25006", "25P03"].contains(&code)
}

/// What the schema's functions say to a node that was struck off.
const LIVES_NO_LONGER: &str = "PN001";

/// Statements without parameters are answered in text, and bytes in such of the database's choice unless it is told.
const BEGIN_READING: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL bytea_output = 'hex';";

/// For how long nobody waits for a connection after somebody waited for nothing.
const REFUSES_FOR: Duration = Duration::from_millis(250);

/// How long one access may take, the connection included.
const ACCESS: Duration = Duration::from_secs(8);

/// What keeps an access from holding locks when this end of it is frozen or cut off. They are set anew for each
/// transaction, because of a pooler's connections nobody else may be left with them.
const LIMITS: &str = "SET LOCAL statement_timeout = '7s'; SET LOCAL lock_timeout = '4s'; \
                      SET LOCAL idle_in_transaction_session_timeout = '3s';";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_by_itself_is_told_from_what_does_not() {
        for away in [
            "57P01", "57P03", "53300", "57014", "25006", "08006", "40P01", "55P03",
        ] {
            assert!(is_away(away), "{away}");
        }
        for lasting in ["42501", "23505", "42P01", "28P01", "3D000"] {
            assert!(!is_away(lasting), "{lasting}");
        }
        let refused = sqlx::Error::Io(io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(
            failed("x")(refused),
            StoreError::Away { doing: "x", .. }
        ));
    }
}
