//! One stanza on its way to the socket, for a bounded time.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use presence_core::Transmit;
use tokio::time::timeout;

use crate::session::{SendError, Session};

/// A stanza on its way to the socket.
pub(super) struct StanzaWrite {
    pub(super) transmit: Transmit,
    done: BoxFuture<'static, Result<(), WriteError>>,
}

/// What became of a stanza.
pub(super) struct Written {
    pub(super) transmit: Transmit,
    pub(super) written: Result<(), WriteError>,
}

/// Why a stanza was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("the session did not take it in time")]
    TooSlow,
    #[error(transparent)]
    Failed(SendError),
}

impl StanzaWrite {
    /// Begins to write `transmit`. A peer that does not read is waited for no longer than `limit`.
    pub(super) fn begin(session: Arc<dyn Session>, transmit: Transmit, limit: Duration) -> Self {
        let done = write(session, transmit.clone(), limit);
        Self { transmit, done }
    }

    /// Returns when the stanza of `write` is written or not, and takes it out of there.
    pub(super) async fn done(write: &mut Option<Self>) -> Written {
        let Some(under_way) = write else {
            return pending().await;
        };
        let written = (&mut under_way.done).await;
        let under_way = write.take().expect("it was there");
        Written {
            transmit: under_way.transmit,
            written,
        }
    }
}

fn write(
    session: Arc<dyn Session>,
    transmit: Transmit,
    limit: Duration,
) -> BoxFuture<'static, Result<(), WriteError>> {
    Box::pin(async move {
        let send = async {
            match &transmit {
                Transmit::ChatState { chat, state, .. } => session.send_chat_state(chat, *state).await,
                Transmit::Availability(availability) => session.set_availability(*availability).await,
            }
        };
        match timeout(limit, send).await {
            Ok(sent) => sent.map_err(WriteError::Failed),
            Err(_) => Err(WriteError::TooSlow),
        }
    })
}
