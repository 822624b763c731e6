//! One stanza, for a bounded time.

use presence_core::Transmit;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::driver::Link;
use crate::session::{SendError, Session};

/// Why a stanza was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    #[error("the account's name is not known yet")]
    NoPushName,
    #[error("the session did not take it in time")]
    TooSlow,
    #[error(transparent)]
    Failed(SendError),
}

/// Writes one stanza, and stops waiting for it when the session ends or `limit` has come: a peer that does
/// not read would hold the driver for as long as it likes.
pub(super) async fn write<S: Session>(
    link: &Link<S>,
    transmit: &Transmit,
    limit: Instant,
) -> Result<(), Unwritten> {
    let send = async {
        match transmit {
            Transmit::ChatState { chat, state } => link.session.send_chat_state(chat, *state).await,
            Transmit::Availability(availability) => link.session.set_availability(*availability).await,
        }
    };
    let sent = tokio::select! {
        biased;
        sent = send => sent,
        () = link.offline() => Err(SendError::Offline),
        () = sleep_until(limit) => return Err(Unwritten::TooSlow),
    };
    match (sent, transmit) {
        (Ok(()), _) => Ok(()),
        (Err(SendError::NoPushName), Transmit::Availability(_)) => {
            debug!("availability not told: the account's name is not known yet");
            Err(Unwritten::NoPushName)
        }
        (Err(error), _) => Err(Unwritten::Failed(error)),
    }
}
