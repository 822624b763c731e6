//! Whether the service does its work: named checks, each bounded in time, asked at most once a second.

use std::error::Error;
use std::sync::RwLock;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Something that can be well or not. [`Server::watch`](crate::Server::watch) adds it to `/health`.
#[async_trait]
pub trait HealthCheck: Send + Sync + 'static {
    /// Its name in `checks`, a lower-case word.
    fn name(&self) -> &'static str;

    /// How it is now. After 2 s it counts as failed; it is asked at most once a second, however many ask us.
    async fn check(&self) -> Finding;

    /// Counters of it for `/metrics`.
    fn counters(&self) -> Vec<CheckCounter> {
        Vec::new()
    }
}

/// A counter of a [`HealthCheck`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckCounter {
    /// Its name in `/metrics`, without the `_total` at the end.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How far it is.
    pub value: u64,
}

/// What a check found. Its words are shown to anybody who asks: no path, number or token is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is well.
    Ok,
    /// Somebody should look at it, but the service does its work.
    Warning(String),
    /// The service cannot do its work.
    Failed(String),
}

impl Finding {
    /// The finding of an operation on a file: a full disk is told from other failures.
    #[must_use]
    pub fn of(result: Result<(), impl Error + 'static>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(error) if disk_is_full(&error) => Self::Failed("disk full".to_owned()),
            Err(_) => Self::Failed("failed".to_owned()),
        }
    }

    /// `ok`, or what is wrong.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ok => "ok",
            Self::Warning(text) | Self::Failed(text) => text,
        }
    }

    /// Whether the service cannot do its work.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// All checks, and what they found last.
#[derive(Default)]
pub(crate) struct Health {
    checks: RwLock<Vec<Arc<dyn HealthCheck>>>,
    last: Mutex<Option<Report>>,
}

#[derive(Clone)]
struct Report {
    at: Instant,
    findings: Vec<(&'static str, Finding)>,
}

/// How long findings stand, so that probes cannot keep the disk busy.
const STANDS_FOR: Duration = Duration::from_secs(1);
/// What takes longer is not well.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

impl Health {
    pub(crate) fn add(&self, check: Arc<dyn HealthCheck>) {
        self.checks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(check);
    }

    /// What the checks find, at most a second old. They run at the same time.
    pub(crate) async fn findings(&self) -> Vec<(&'static str, Finding)> {
        let mut last = self.last.lock().await;
        if let Some(report) = &*last
            && report.at.elapsed() < STANDS_FOR
        {
            return report.findings.clone();
        }
        let checks = self.checks();
        let findings = join_all(checks.iter().map(|check| async move {
            let found = timeout(CHECK_TIMEOUT, check.check()).await;
            let found = found.unwrap_or_else(|_| Finding::Failed("no answer in time".to_owned()));
            (check.name(), found)
        }))
        .await;
        *last = Some(Report {
            at: Instant::now(),
            findings: findings.clone(),
        });
        findings
    }

    pub(crate) fn counters(&self) -> Vec<CheckCounter> {
        self.checks().iter().flat_map(|check| check.counters()).collect()
    }

    fn checks(&self) -> Vec<Arc<dyn HealthCheck>> {
        self.checks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// SQLite and the system each have words of their own for it, and the types between here and there do not.
fn disk_is_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            )
        {
            return true;
        }
        if error.to_string().contains("disk is full") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    //! Findings, and that a check that hangs holds nobody up.

    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Hangs;

    #[async_trait]
    impl HealthCheck for Hangs {
        fn name(&self) -> &'static str {
            "hangs"
        }

        async fn check(&self) -> Finding {
            std::future::pending().await
        }
    }

    #[derive(Default)]
    struct Counts(AtomicU64);

    #[async_trait]
    impl HealthCheck for Counts {
        fn name(&self) -> &'static str {
            "counts"
        }

        async fn check(&self) -> Finding {
            self.0.fetch_add(1, Ordering::Relaxed);
            Finding::Ok
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the registry failed")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let rows = [
            (Ok(()), "ok"),
            (Err(Wrapped(io::ErrorKind::StorageFull.into())), "disk full"),
            (
                Err(Wrapped(io::Error::other("(code: 13) database or disk is full"))),
                "disk full",
            ),
            (Err(Wrapped(io::ErrorKind::PermissionDenied.into())), "failed"),
        ];
        for (result, expected) in rows {
            assert_eq!(Finding::of(result).as_str(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_fails_and_all_are_asked_once_a_second_at_most() {
        let health = Health::default();
        let counts = Arc::new(Counts::default());
        health.add(counts.clone());
        health.add(Arc::new(Hangs));
        let start = Instant::now();
        for _ in 0..20 {
            let findings = health.findings().await;
            assert_eq!(findings[0], ("counts", Finding::Ok));
            assert_eq!(
                findings[1],
                ("hangs", Finding::Failed("no answer in time".into()))
            );
        }
        assert_eq!(start.elapsed(), CHECK_TIMEOUT);
        assert_eq!(counts.0.load(Ordering::Relaxed), 1);
        tokio::time::sleep(STANDS_FOR).await;
        health.findings().await;
        assert_eq!(counts.0.load(Ordering::Relaxed), 2);
    }
}
