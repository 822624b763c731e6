//! Stanzas on their way to the socket, for a bounded time.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use presence_core::{ChatJid, Transmit};
use tokio::time::Instant;
use tokio_util::sync::ReusableBoxFuture;

use super::message::BegunRequest;
use crate::session::{SendError, Session};

/// How many stanzas of a session may be under way: as many as the client takes in without waiting, whose queue of
/// stanzas to encrypt has this many places. What is in there when it writes leaves in one write.
pub(super) const MAX_UNDER_WAY: usize = 8;

// A command whose stanza is under way may yet turn out void.
const _: () = assert!(MAX_UNDER_WAY <= presence_core::MAX_OPEN_COMMANDS);

/// The stanzas of a session that are under way.
#[derive(Default)]
pub(super) struct StanzaWrites {
    /// In the order in which they were begun.
    under_way: Vec<StanzaWrite>,
    /// Those that have ended and were not yet taken note of.
    ended: Vec<Written>,
    /// What held those that are written, to be used again: each is of the same size.
    spare: Vec<Sending>,
}

type Sending = ReusableBoxFuture<'static, Result<(), SendError>>;

/// A stanza, and the request it is for, if it is one's.
pub(super) struct Stanza {
    pub(super) transmit: Transmit,
    pub(super) begun: Option<BegunRequest>,
}

/// What became of a stanza.
pub(super) struct Written {
    pub(super) stanza: Stanza,
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

struct StanzaWrite {
    stanza: Stanza,
    until: Instant,
    sending: Sending,
}

impl StanzaWrites {
    /// Begins to write `stanza`. A peer that does not read is waited for no longer than `until`, which is never
    /// before that of the one begun last.
    pub(super) fn begin(&mut self, session: &Arc<dyn Session>, stanza: Stanza, until: Instant) {
        let send = send(Arc::clone(session), stanza.transmit.clone());
        let sending = match self.spare.pop() {
            Some(mut spare) => {
                spare.set(send);
                spare
            }
            None => ReusableBoxFuture::new(send),
        };
        self.under_way.push(StanzaWrite {
            stanza,
            until,
            sending,
        });
    }

    /// Whether another may be begun. An availability is under way alone.
    pub(super) fn has_room(&self) -> bool {
        let is_availability =
            |write: &StanzaWrite| matches!(write.stanza.transmit, Transmit::Availability(_));
        self.under_way.len() < MAX_UNDER_WAY && !self.under_way.first().is_some_and(is_availability)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Where chat states are under way to.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &ChatJid> + Clone {
        self.under_way
            .iter()
            .filter_map(|write| match &write.stanza.transmit {
                Transmit::ChatState { chat, .. } => Some(chat),
                Transmit::Availability(_) => None,
            })
    }

    /// When the first of them has taken too long.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.first().map(|write| write.until)
    }

    /// Returns when stanzas are written or not. [`take_ended`](Self::take_ended) says which.
    pub(super) async fn some_ended(&mut self) {
        poll_fn(|cx| self.poll_ended(cx)).await;
    }

    /// What has ended and was not yet taken, in the order in which it was begun.
    pub(super) fn take_ended(&mut self) -> Option<Written> {
        (!self.ended.is_empty()).then(|| self.ended.remove(0))
    }

    /// Gives up all that is under way.
    pub(super) fn give_up(&mut self) -> Vec<Stanza> {
        self.under_way.drain(..).map(|write| write.stanza).collect()
    }

    /// Those that end together are noted in one pass, and each pass looks at all: there are few, and their task
    /// wakes up for nearly nothing else meanwhile.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (mut place, now) = (0, Instant::now());
        while let Some(write) = self.under_way.get_mut(place) {
            let written = match write.sending.poll(cx) {
                Poll::Ready(sent) => sent.map_err(WriteError::Failed),
                Poll::Pending if write.until <= now => Err(WriteError::TooSlow),
                Poll::Pending => {
                    place += 1;
                    continue;
                }
            };
            let StanzaWrite { stanza, sending, .. } = self.under_way.remove(place);
            // One that is not done would hold its session for as long as it lies there.
            if !matches!(written, Err(WriteError::TooSlow)) {
                self.spare.push(sending);
            }
            self.ended.push(Written { stanza, written });
        }
        if self.ended.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

async fn send(session: Arc<dyn Session>, transmit: Transmit) -> Result<(), SendError> {
    match &transmit {
        Transmit::ChatState { chat, state, .. } => session.send_chat_state(chat, *state).await,
        Transmit::Availability(availability) => session.set_availability(*availability).await,
    }
}
