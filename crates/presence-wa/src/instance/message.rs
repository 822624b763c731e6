//! What an instance's task is asked.

use std::time::Duration;

use presence_core::{ChatJid, Command, Recipient, Shown};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::numbers::Address;
use crate::error::{ConnectError, ReconnectError, ShowError};
use crate::pairing::PairWith;
use crate::presence_change::PresenceChange;

/// A message to the task of an instance. Whoever drops the other end of a reply has given up waiting.
#[derive(Debug)]
pub(crate) enum Message {
    /// Show or end an indicator.
    Presence(PresenceRequest),
    /// Get online, or begin to pair. Answered when the task is at it; what comes of it is in the status.
    Connect {
        how: PairWith,
        reply: oneshot::Sender<Result<(), ConnectError>>,
    },
    /// Close the session if it is open, and open it anew.
    Reconnect {
        reply: oneshot::Sender<Result<(), ReconnectError>>,
    },
    /// Unlink the device and wipe its keys.
    Logout { reply: oneshot::Sender<()> },
    /// The same, and end. The answer is whether no key is left.
    Remove { reply: oneshot::Sender<bool> },
    /// Tell what is shown now.
    Shown {
        reply: oneshot::Sender<Vec<(ChatJid, Shown)>>,
    },
    /// The same, and from then on each change of it, for as long as the queue takes them.
    Watch {
        changes: mpsc::Sender<PresenceChange>,
        reply: oneshot::Sender<Vec<(ChatJid, Shown)>>,
    },
}

/// A command for one chat, and who waits for its stanza.
#[derive(Debug)]
pub(crate) struct PresenceRequest {
    pub(crate) recipient: Recipient,
    pub(crate) command: Command,
    /// It is not begun after this; the caller has stopped waiting then.
    pub(crate) deadline: Instant,
    /// Answered when the command's own stanza is on the socket.
    pub(crate) reply: oneshot::Sender<Result<ShownIn, ShowError>>,
}

/// A request whose command was given to the indicators.
#[derive(Debug)]
pub(super) struct BegunRequest {
    pub(super) request: PresenceRequest,
    pub(super) address: Address,
    /// An indicator in the chat had yet to end.
    pub(super) replaces: bool,
}

/// Where a command was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownIn {
    /// The chat, in the spelling that WhatsApp uses.
    pub(crate) chat: ChatJid,
    /// WhatsApp has said that it knows no such number.
    pub(crate) unknown: bool,
}

impl PresenceRequest {
    /// Nobody waits for it any more.
    pub(super) fn is_given_up(&self, now: Instant) -> bool {
        self.reply.is_closed() || now >= self.deadline
    }

    /// How long ago it came. The caller waits for `patience` altogether.
    pub(super) fn age(&self, now: Instant, patience: Duration) -> Duration {
        patience.saturating_sub(self.deadline.saturating_duration_since(now))
    }

    pub(super) fn answer(self, result: Result<ShownIn, ShowError>) {
        // Nobody to tell is fine: the caller just gave up.
        let _ = self.reply.send(result);
    }
}
