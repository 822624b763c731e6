//! The one task that writes device keys, of all devices together.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use presence_core::InstanceId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pending::{Pending, Work};
use crate::error::StoreError;

/// Where device keys are written.
pub(crate) trait Disk: Send + 'static {
    /// How long after a commit what nobody waits for gathers for the next one.
    const GATHERS_FOR: Duration;

    /// Writes `work`, all of it or nothing, but for devices that another node has by now: these are the answer, and
    /// nothing of them is written.
    fn commit(
        &mut self,
        work: &Work,
    ) -> impl Future<Output = Result<BTreeSet<InstanceId>, StoreError>> + Send;

    fn close(self) -> impl Future<Output = ()> + Send;
}

/// How long after a commit that failed the next one is tried. SQLite waits for others' locks by itself.
const RETRY: Duration = Duration::from_millis(200);

/// What the writer shares with those who append. The lock is held for operations on maps alone, never while
/// anybody waits.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Told whenever there may be something to do.
    wake: Notify,
}

struct State {
    pending: Pending,
    stage: Stage,
    flushes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// What is pending is written, then the writer ends.
    Closing,
    Closed,
}

impl Shared {
    pub(crate) fn new(pending: Pending) -> Self {
        Self {
            state: Mutex::new(State {
                pending,
                stage: Stage::Open,
                flushes: 0,
            }),
            wake: Notify::new(),
        }
    }

    /// Reads what is pending.
    pub(crate) fn seen<T>(&self, read: impl FnOnce(&Pending) -> T) -> T {
        read(&self.state().pending)
    }

    /// Changes what is pending, and wakes the writer.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the writer has ended.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Pending) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state();
        if state.stage == Stage::Closed {
            return Err(StoreError::Closed);
        }
        let changed = change(&mut state.pending)?;
        drop(state);
        // Kept for the writer when it is busy.
        self.wake.notify_one();
        Ok(changed)
    }

    /// Has the writer end, as soon as nothing is pending or the disk refuses it.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        if state.stage == Stage::Open {
            state.stage = Stage::Closing;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// `may_gather`: what nobody waits for has time.
    fn next(&self, may_gather: bool) -> Next {
        let mut state = self.state();
        if may_gather && state.stage == Stage::Open && state.pending.may_gather() {
            return Next::Gather;
        }
        match state.pending.take() {
            Some(work) => Next::Commit(work),
            None if state.stage == Stage::Open => Next::Wait,
            None => {
                state.stage = Stage::Closed;
                Next::End
            }
        }
    }

    fn committed(&self, work: Work, fenced: &BTreeSet<InstanceId>) {
        let mut state = self.state();
        state.flushes += u64::from(work.has_keys());
        state.pending.committed(work, fenced);
    }

    /// How many commits of keys there have been; one for the sake of writing alone is none.
    pub(crate) fn flushes(&self) -> u64 {
        self.state().flushes
    }

    /// Whether the writer ends over it.
    fn gives_up(&self) -> bool {
        let mut state = self.state();
        let closing = state.stage != Stage::Open;
        if closing {
            state.stage = Stage::Closed;
        }
        closing
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Commit(Work),
    Gather,
    Wait,
    End,
}

/// Writes what is pending until it is closed. While one commit is on its way, what the next one takes gathers: so
/// the busier the sessions, the more of them share a commit, and nobody waits for a timer. The answer is whether
/// everything was written.
pub(crate) async fn run<D: Disk>(shared: Arc<Shared>, mut disk: D) -> bool {
    let mut failing = false;
    let mut gathers_until = Instant::now();
    let is_all_written = loop {
        let work = match shared.next(Instant::now() < gathers_until) {
            Next::Commit(work) => work,
            Next::Gather => {
                tokio::select! {
                    () = tokio::time::sleep_until(gathers_until) => {}
                    // Somebody may be waiting from now on.
                    () = shared.wake.notified() => {}
                }
                continue;
            }
            Next::Wait => {
                shared.wake.notified().await;
                continue;
            }
            Next::End => break true,
        };
        match disk.commit(&work).await {
            Ok(fenced) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("device keys are saved again");
                }
                shared.committed(work, &fenced);
                gathers_until = Instant::now() + D::GATHERS_FOR;
            }
            Err(error) => {
                let error = Arc::new(error);
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(
                        error = &*error as &dyn std::error::Error,
                        "device keys cannot be saved; trying on"
                    );
                }
                work.failed(|| StoreError::Shared(Arc::clone(&error)));
                if shared.gives_up() {
                    tracing::error!("the last device keys could not be saved");
                    break false;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    disk.close().await;
    is_all_written
}
