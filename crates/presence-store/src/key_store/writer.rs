//! The one task that writes device keys, of all devices together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::Notify;

use super::pending::{Pending, Work};
use super::rows::Seal;
use crate::error::StoreError;
use crate::sqlite::failed;

/// How long after a commit that failed the next one is tried. SQLite waits for others' locks by itself.
const RETRY: Duration = Duration::from_millis(200);

/// What the writer shares with those who append. The lock is held for operations on maps alone, never while
/// anybody waits.
pub(super) struct Shared {
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
    pub(super) fn new(pending: Pending) -> Self {
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
    pub(super) fn seen<T>(&self, read: impl FnOnce(&Pending) -> T) -> T {
        read(&self.state().pending)
    }

    /// Changes what is pending, and wakes the writer.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the writer has ended.
    pub(super) fn change<T>(
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
    pub(super) fn close(&self) {
        let mut state = self.state();
        if state.stage == Stage::Open {
            state.stage = Stage::Closing;
        }
        drop(state);
        self.wake.notify_one();
    }

    fn next(&self) -> Next {
        let mut state = self.state();
        match state.pending.take() {
            Some(work) => Next::Commit(work),
            None if state.stage == Stage::Open => Next::Wait,
            None => {
                state.stage = Stage::Closed;
                Next::End
            }
        }
    }

    fn committed(&self, work: Work) {
        let mut state = self.state();
        state.pending.committed(work);
        state.flushes += 1;
    }

    /// How many commits there have been.
    pub(super) fn flushes(&self) -> u64 {
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
    Wait,
    End,
}

/// Writes what is pending until it is closed. While one commit is on its way, what the next one takes gathers: so
/// the busier the sessions, the more of them share a commit, and nobody waits for a timer.
pub(super) async fn run(shared: Arc<Shared>, mut connection: SqliteConnection, seal: Seal) {
    let mut failing = false;
    loop {
        let work = match shared.next() {
            Next::Commit(work) => work,
            Next::Wait => {
                shared.wake.notified().await;
                continue;
            }
            Next::End => break,
        };
        match commit(&mut connection, &seal, &work).await {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("device keys are saved again");
                }
                shared.committed(work);
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
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "closing the device keys failed"
        );
    }
}

async fn commit(connection: &mut SqliteConnection, seal: &Seal, work: &Work) -> Result<(), StoreError> {
    let doing = "write the device keys";
    // One log for all: when a durable commit is on the disk, everything that was committed before it is too.
    let synchronous = if work.is_durable() {
        "PRAGMA synchronous = FULL"
    } else {
        "PRAGMA synchronous = NORMAL"
    };
    sqlx::query(synchronous)
        .execute(&mut *connection)
        .await
        .map_err(failed(doing))?;
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed(doing))?;
    seal.write(&mut transaction, work).await?;
    transaction.commit().await.map_err(failed(doing))?;
    if !work.wipes.is_empty() {
        empty_log(connection).await;
    }
    Ok(())
}

/// Removes old pages, which hold wiped keys, from the write-ahead log. That needs a moment in which nobody reads;
/// without one, the log overwrites itself soon enough.
async fn empty_log(connection: &mut SqliteConnection) {
    let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(connection);
    if let Err(error) = emptied.await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "emptying the log of the device keys failed"
        );
    }
}
