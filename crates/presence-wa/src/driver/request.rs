//! What a driver is asked.

use presence_core::{ChatJid, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::fleet::ShowError;

/// A command for one chat, and who waits for its stanza.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) chat: ChatJid,
    pub(crate) command: Command,
    /// When the caller stops waiting. It is not executed after that.
    pub(crate) deadline: Instant,
    /// Answered when the command's own stanza is on the socket. A caller that drops the other end has given
    /// up: the command is not executed any more.
    pub(crate) reply: oneshot::Sender<Result<(), ShowError>>,
}

impl Request {
    pub(super) fn given_up(&self) -> bool {
        self.reply.is_closed() || Instant::now() >= self.deadline
    }

    pub(super) fn answer(self, result: Result<(), ShowError>) {
        // Nobody to tell is fine: the caller just gave up.
        let _ = self.reply.send(result);
    }
}
