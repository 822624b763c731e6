//! What one connection is doing, as the requests on it, its stream, and the table of all connections see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Shared by all who have to do with one connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    phase: Mutex<Phase>,
    /// Cancelled when the client has hung up while its request was being answered, or when the service stops. Its own,
    /// so that a request waits for both without what all connections share.
    given_up: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Accepted at this time; no request has come yet.
    New(Instant),
    /// The last request was answered at this time.
    Idle(Instant),
    /// A request is on its way, and its body is being read.
    ReadingBody,
    /// A request is on its way, and nothing more of it is wanted.
    Answering,
    /// A request was answered with a stream that goes on.
    Streaming,
}

/// A request on a connection, until it is dropped.
pub(crate) struct RequestGuard(Arc<ConnectionState>);

/// An answer on a connection that goes on until it is dropped.
pub(crate) struct StreamGuard(Arc<ConnectionState>);

impl ConnectionState {
    /// Of a connection whose requests are given up when `stop` is cancelled.
    pub(crate) fn new(stop: &CancellationToken) -> Self {
        Self {
            phase: Mutex::new(Phase::New(Instant::now())),
            given_up: stop.child_token(),
        }
    }

    /// A request's head has come.
    pub(crate) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        *self.lock() = Phase::Answering;
        RequestGuard(Arc::clone(self))
    }

    /// Whether no request has come yet.
    pub(crate) fn is_new(&self) -> bool {
        matches!(*self.lock(), Phase::New(_))
    }

    /// Since when no request is on its way; `None` while one is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        match *self.lock() {
            Phase::New(at) | Phase::Idle(at) => Some(at),
            Phase::ReadingBody | Phase::Answering | Phase::Streaming => None,
        }
    }

    /// Whether what is on its way has no end of its own.
    pub(crate) fn is_streaming(&self) -> bool {
        matches!(*self.lock(), Phase::Streaming)
    }

    /// Tells of the end of what the client sends. Whether hyper may know: it ends a connection, and drops the
    /// request on it, where a client that has nothing more to send still waits for its answer.
    pub(super) fn end_of_stream(&self) -> EndOfStream {
        if matches!(*self.lock(), Phase::Answering) {
            self.given_up.cancel();
            EndOfStream::Hold
        } else {
            EndOfStream::Pass
        }
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do at the end of what the client sends.
pub(super) enum EndOfStream {
    Pass,
    Hold,
}

impl RequestGuard {
    /// Done when the client has hung up, or the service stops. Also who only says that it will send nothing more has
    /// hung up: the two look alike.
    pub(crate) fn given_up(&self) -> WaitForCancellationFuture<'_> {
        self.0.given_up.cancelled()
    }

    /// Whether the client has hung up, or the service stops.
    pub(crate) fn is_given_up(&self) -> bool {
        self.0.given_up.is_cancelled()
    }

    /// The answer goes on when the request is done.
    pub(crate) fn begin_stream(&self) -> StreamGuard {
        *self.0.lock() = Phase::Streaming;
        StreamGuard(Arc::clone(&self.0))
    }

    /// Runs `reading` as what reads the request's body: a client that stops in the middle of it is noticed.
    pub(crate) async fn reading_body<T>(&self, reading: impl Future<Output = T>) -> T {
        *self.0.lock() = Phase::ReadingBody;
        let read = reading.await;
        *self.0.lock() = Phase::Answering;
        read
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut phase = self.0.lock();
        if !matches!(*phase, Phase::Streaming) {
            *phase = Phase::Idle(Instant::now());
        }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        *self.0.lock() = Phase::Idle(Instant::now());
    }
}
