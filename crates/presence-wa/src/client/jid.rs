//! The addresses of chats, as the client writes them.

use ::whatsapp_rust::Jid;
use presence_core::{ChatJid, ChatKind};

pub(super) fn jid(chat: &ChatJid) -> Jid {
    match chat.kind() {
        ChatKind::User => Jid::pn(chat.user()),
        ChatKind::Lid => Jid::lid(chat.user()),
        ChatKind::Group => Jid::group(chat.user()),
    }
}

/// `None` when it is no chat in which presences are shown.
pub(super) fn chat(jid: &Jid) -> Option<ChatJid> {
    jid.to_non_ad().to_string().parse().ok()
}
