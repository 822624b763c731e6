//! The answer to a presence that was sent.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{ChatJid, ChatPresence, Hold, PresenceState};

/// The body of the answer to a request that was carried out: what was sent, to whom, and for how long.
///
/// `Serialize` gives the contract's JSON object, its fields in the contract's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PresenceSent {
    success: bool,
    message: Message,
    chat_jid: ChatJid,
    state: PresenceState,
    duration: u8,
}

impl PresenceSent {
    /// `presence` was sent to `chat`. That is [`Recipient::chat`](crate::Recipient::chat), unless WhatsApp
    /// knows the recipient under another JID.
    #[must_use]
    pub fn new(chat: ChatJid, presence: &ChatPresence) -> Self {
        let ChatPresence { state, hold, .. } = *presence;
        Self {
            success: true,
            message: Message { state, hold },
            chat_jid: chat,
            state,
            duration: hold.map_or(0, Hold::as_secs),
        }
    }

    /// The chat that it was sent to.
    #[must_use]
    pub fn chat(&self) -> &ChatJid {
        &self.chat_jid
    }
}

/// Kept in parts and written when it is serialised, so that an answer costs no string.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    state: PresenceState,
    hold: Option<Hold>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presence '{}' sent successfully", self.state)?;
        match self.hold {
            // "1 seconds" is the contract's: the text is literal for every number.
            Some(hold) => write!(f, " (will auto-pause after {} seconds)", hold.as_secs()),
            None => Ok(()),
        }
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(state: PresenceState, secs: u64) -> String {
        let recipient = "5511999999999".parse().unwrap();
        let presence = ChatPresence {
            recipient,
            state,
            hold: Hold::from_secs(secs),
        };
        serde_json::to_string(&PresenceSent::new(presence.recipient.chat(), &presence)).unwrap()
    }

    #[test]
    fn the_answer_is_the_contracts_to_the_letter() {
        assert_eq!(
            json(PresenceState::Typing, 5),
            "{\"success\":true,\
             \"message\":\"Presence 'typing' sent successfully (will auto-pause after 5 seconds)\",\
             \"chat_jid\":\"5511999999999@s.whatsapp.net\",\"state\":\"typing\",\"duration\":5}"
        );
        assert_eq!(
            json(PresenceState::Recording, 0),
            "{\"success\":true,\"message\":\"Presence 'recording' sent successfully\",\
             \"chat_jid\":\"5511999999999@s.whatsapp.net\",\"state\":\"recording\",\"duration\":0}"
        );
        assert!(json(PresenceState::Pause, 0).contains("\"Presence 'pause' sent successfully\""));
        assert!(json(PresenceState::Typing, 1).contains("(will auto-pause after 1 seconds)"));
    }
}
