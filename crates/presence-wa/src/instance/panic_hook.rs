//! How the soak makes an instance's task panic. Only a build with the feature `panic-hook` has it.

use presence_core::ChatJid;

/// A presence for this chat is the panic. No person has the number: the country code 999 is given to nobody
/// (ITU-T E.164, "reserved").
const CHAT: &str = "999000000000@s.whatsapp.net";

/// Panics if `chat` asks for it.
pub(super) fn panic_if_asked(chat: &ChatJid) {
    assert_ne!(chat.to_string(), CHAT, "the panic that was asked for");
}
