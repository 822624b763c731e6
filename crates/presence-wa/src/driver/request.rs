//! What a driver is asked.

use presence_core::{ChatJid, Command, PhoneNumber};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::fleet::ShowError;

/// A command for one chat, and who waits for its stanza.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) chat: ChatJid,
    /// The number that it was asked for by, if that can be written in two ways and is looked up.
    pub(crate) number: Option<PhoneNumber>,
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

    /// The other chats that the same person may be shown something in: before WhatsApp said how it writes the
    /// number, it was taken as given.
    pub(super) fn aliases(&self) -> impl Iterator<Item = ChatJid> {
        let spellings = self.number.into_iter().flat_map(|number| number.spellings());
        spellings
            .map(|number| number.jid())
            .filter(|chat| *chat != self.chat)
    }

    pub(super) fn answer(self, result: Result<(), ShowError>) {
        // Nobody to tell is fine: the caller just gave up.
        let _ = self.reply.send(result);
    }
}
