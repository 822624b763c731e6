//! The answer to a presence that was sent.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ChatJid, ChatPresence, Command, Hold, PresenceState};

/// The body of the answer to a request that was carried out: what was sent, to whom, and for how long.
///
/// `Serialize` gives the contract's JSON object, its fields in the contract's order. `Deserialize` reads it,
/// for clients; it takes nothing from `message`, which only says the other fields in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceSent {
    chat: ChatJid,
    command: Command,
    warning: Option<Cow<'static, str>>,
}

impl PresenceSent {
    /// `presence` was sent to `chat`. That is [`Recipient::chat`](crate::Recipient::chat), unless WhatsApp
    /// knows the recipient under another JID.
    #[must_use]
    pub fn new(chat: ChatJid, presence: &ChatPresence) -> Self {
        Self {
            chat,
            command: presence.command(),
            warning: None,
        }
    }

    /// The same, with the warning that WhatsApp has said that it knows no such number.
    #[must_use]
    pub fn with_unknown_number(self) -> Self {
        let warning = Some(Cow::Borrowed("WhatsApp knows no such number"));
        Self { warning, ..self }
    }

    /// The chat that it was sent to.
    #[must_use]
    pub fn chat(&self) -> &ChatJid {
        &self.chat
    }

    /// What is shown there.
    #[must_use]
    pub fn state(&self) -> PresenceState {
        self.command.state()
    }

    /// After how long it is paused; `None` when nothing will be.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.command.hold()
    }

    /// Why nobody may see it, in words for people; `None` when nothing speaks against it.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

impl Serialize for PresenceSent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answer = Written {
            success: true,
            message: Message(self.command),
            chat_jid: &self.chat,
            state: self.state(),
            duration: self.hold().map_or(0, Hold::as_secs),
            warning: self.warning(),
        };
        answer.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PresenceSent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let answer = Read::deserialize(deserializer)?;
        if !answer.success {
            return Err(serde::de::Error::custom("the presence was not sent"));
        }
        Ok(Self {
            chat: answer.chat_jid,
            command: Command::new(answer.state, Hold::from_secs(answer.duration)),
            warning: answer.warning.map(Cow::Owned),
        })
    }
}

/// The contract's object.
#[derive(Serialize)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(description = "The presence was sent: its stanza is on the socket to WhatsApp.")
)]
struct Written<'a> {
    #[cfg_attr(feature = "openapi", schema(schema_with = schema::success))]
    success: bool,
    /// The other fields in words.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    message: Message,
    #[cfg_attr(feature = "openapi", schema(value_type = ChatJid))]
    chat_jid: &'a ChatJid,
    state: PresenceState,
    /// After how many seconds it will be ended: send your message then. 0 when nothing will end it, and for `pause`.
    #[cfg_attr(feature = "openapi", schema(maximum = 60))]
    duration: u8,
    /// Why nobody may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    warning: Option<&'a str>,
}

#[cfg(feature = "openapi")]
mod schema {
    //! The schema of the answer is that of what is written.

    use utoipa::openapi::extensions::Extensions;
    use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    use super::{PresenceSent, Written};

    impl PartialSchema for PresenceSent {
        fn schema() -> RefOr<Schema> {
            Written::schema()
        }
    }

    impl ToSchema for PresenceSent {
        fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            Written::schemas(schemas);
        }
    }

    pub(super) fn success() -> Object {
        ObjectBuilder::new()
            .schema_type(Type::Boolean)
            // The builder has no word of its own for a constant.
            .extensions(Some(Extensions::from_iter([("const", true)])))
            .build()
    }
}

/// The same, as far as it says anything new.
#[derive(Deserialize)]
struct Read {
    success: bool,
    chat_jid: ChatJid,
    state: PresenceState,
    duration: u64,
    warning: Option<String>,
}

/// Written when it is serialised, so that an answer costs no string.
struct Message(Command);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presence '{}' sent successfully", self.0.state())?;
        match self.0.hold() {
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
mod tests;
