//! The runtime that one session's client runs on: tokio, but every task is counted and can be ended.
//!
//! The client starts detached tasks that nobody can await, some of which sleep for a minute. A session that
//! is closed must leave none behind, or reopening it would race with its own past.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ::whatsapp_rust::Runtime;
use ::whatsapp_rust::wacore::runtime::AbortHandle;
use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// A handle to one session's tasks; its clones are the same set of tasks.
#[derive(Clone, Default)]
pub(super) struct SessionRuntime {
    tasks: TaskTracker,
    cancelled: CancellationToken,
}

impl SessionRuntime {
    /// Runs `task` until it ends or [`end`](Self::end) is called.
    pub(super) fn start(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let cancelled = self.cancelled.clone();
        let task = async move {
            cancelled.run_until_cancelled_owned(task).await;
        };
        // Whatever it logs belongs to the instance.
        self.tasks.spawn(task.in_current_span())
    }

    /// Ends every task, without waiting, when the guard is dropped.
    pub(super) fn cancel_on_drop(&self) -> DropGuard {
        self.cancelled.clone().drop_guard()
    }

    /// Something that [`end`](Self::end) waits for besides the tasks.
    pub(super) fn token(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Ends every task at the point where it waits, and returns when all of them are gone.
    pub(super) async fn end(&self) {
        self.cancelled.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[async_trait]
impl Runtime for SessionRuntime {
    fn spawn(&self, future: BoxFuture) -> AbortHandle {
        let task = self.start(future);
        AbortHandle::new(move || task.abort())
    }

    fn spawn_detached(&self, future: BoxFuture) {
        drop(self.start(future));
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn_blocking(
        &self,
        work: Box<dyn FnOnce() + Send + 'static>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let task = self.tasks.spawn_blocking(work);
        Box::pin(async move {
            // Its outcome travels by other means; a panic in there is the client's to report.
            let _ = task.await;
        })
    }

    fn yield_now(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ending_drops_every_task_however_long_it_would_sleep() {
        let runtime = SessionRuntime::default();
        let held = Arc::new(());
        for _ in 0..3 {
            let held = Arc::clone(&held);
            let sleep = runtime.sleep(Duration::from_secs(3600));
            runtime.spawn_detached(Box::pin(async move {
                sleep.await;
                drop(held);
            }));
        }
        let start = tokio::time::Instant::now();
        runtime.end().await;
        assert_eq!((Arc::strong_count(&held), start.elapsed()), (1, Duration::ZERO));
    }

    #[tokio::test]
    async fn ending_waits_for_tokens_too() {
        let runtime = SessionRuntime::default();
        let token = runtime.token();
        let ending = tokio::spawn({
            let runtime = runtime.clone();
            async move { runtime.end().await }
        });
        tokio::task::yield_now().await;
        assert!(!ending.is_finished());
        drop(token);
        ending.await.unwrap();
    }
}
