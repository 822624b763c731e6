//! Chats: who a presence is shown to.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::phone::MAX_WRITTEN;
use crate::{InvalidPhone, PhoneNumber};

/// LIDs and group ids are numbers that WhatsApp keeps in 64 bits: 20 digits at most. Each half of an old
/// group id (its founder's number, and seconds since 1970) is shorter.
const MAX_ID_DIGITS: usize = 20;

/// Device numbers have 16 bits: 5 digits at most.
const MAX_DEVICE_DIGITS: usize = 5;

/// The canonical JID of a chat: a person, a person's hidden id, or a group. At most 46 bytes; cheap to clone.
///
/// It is parsed from a JID, or from a phone number in any human writing (see [`PhoneNumber`]):
///
/// | written | becomes |
/// |---|---|
/// | a phone number; `<number>@s.whatsapp.net`, `<number>@c.us` | `<number>@s.whatsapp.net` |
/// | `<digits>@lid` | itself |
/// | `<digits>@g.us`, `<digits>-<digits>@g.us` | itself |
///
/// A person's device (`:n` before the `@`) is dropped: a chat is with the person. Everything else is refused.
/// `Debug` shows the last two digits only. In JSON it is a string.
///
/// ```
/// use presence_core::ChatJid;
/// let chat: ChatJid = "+55 11 91234-5678".parse()?;
/// assert_eq!(chat.as_str(), "5511912345678@s.whatsapp.net");
/// assert_eq!("5511912345678:7@c.us".parse(), Ok(chat));
/// assert!("123@newsletter".parse::<ChatJid>().is_err());
/// # Ok::<(), presence_core::InvalidChat>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChatJid(Arc<str>);

impl ChatJid {
    /// `user` must be what the kind's [`InvalidChat`] check accepts.
    fn from_parts(kind: ChatKind, user: &str) -> Self {
        Self([user, "@", kind.server()].concat().into())
    }

    /// The whole JID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is before the `@`.
    #[must_use]
    pub fn user(&self) -> &str {
        self.parts().0
    }

    /// What is behind the `@`: `s.whatsapp.net`, `lid` or `g.us`.
    #[must_use]
    pub fn server(&self) -> &str {
        self.parts().1
    }

    /// What it is a chat with.
    #[must_use]
    pub fn kind(&self) -> ChatKind {
        ChatKind::of(self.server()).expect("a JID is made with one of these servers")
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('@').expect("a JID is made with an @")
    }
}

// Here, since chats are made of phone numbers and not the other way round.
impl PhoneNumber {
    /// The chat with the person of this number, the number being spelt as it is here.
    #[must_use]
    pub fn jid(&self) -> ChatJid {
        ChatJid::from_parts(ChatKind::User, self.as_str())
    }
}

impl FromStr for ChatJid {
    type Err = InvalidChat;

    fn from_str(text: &str) -> Result<Self, InvalidChat> {
        text.parse().map(|recipient: Recipient| recipient.into_chat())
    }
}

impl fmt::Display for ChatJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChatJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, server) = self.parts();
        write!(f, "ChatJid(…{}@{server})", &user[user.len().saturating_sub(2)..])
    }
}

impl Serialize for ChatJid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ChatJid {}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ChatJid {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::Type::String)
            .pattern(Some(r"^[0-9]+(@s\.whatsapp\.net|@lid|(-[0-9]+)?@g\.us)$"))
            .description(Some("The canonical JID of a chat: of a person, or of a group."))
            .examples(["5511999999999@s.whatsapp.net"])
            .into()
    }
}

/// From a string, as [`FromStr`] reads it.
impl<'de> Deserialize<'de> for ChatJid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a chat is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChatKind {
    /// A person, known by a phone number.
    User,
    /// A person, known by an id that hides the phone number.
    Lid,
    /// A group.
    Group,
}

impl ChatKind {
    fn server(self) -> &'static str {
        match self {
            Self::User => "s.whatsapp.net",
            Self::Lid => "lid",
            Self::Group => "g.us",
        }
    }

    fn of(server: &str) -> Option<Self> {
        match server {
            // The second is what WhatsApp's web client once called the first.
            "s.whatsapp.net" | "c.us" => Some(Self::User),
            "lid" => Some(Self::Lid),
            "g.us" => Some(Self::Group),
            _ => None,
        }
    }
}

/// Who a request named: by a phone number, which WhatsApp may know in another spelling
/// ([`PhoneNumber::spellings`]), or by a JID that needs no look-up.
///
/// `<number>@s.whatsapp.net` is a phone number too: the same person, written differently.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// A person, by phone number.
    Phone(PhoneNumber),
    /// A LID or a group.
    Jid(ChatJid),
}

impl Recipient {
    /// The chat as it was named, without any look-up.
    #[must_use]
    pub fn chat(&self) -> ChatJid {
        self.clone().into_chat()
    }

    fn into_chat(self) -> ChatJid {
        match self {
            Self::Phone(number) => number.jid(),
            Self::Jid(chat) => chat,
        }
    }
}

impl FromStr for Recipient {
    type Err = InvalidChat;

    fn from_str(text: &str) -> Result<Self, InvalidChat> {
        let text = text.trim();
        let Some((user, server)) = text.split_once('@') else {
            return Ok(Self::Phone(text.parse()?));
        };
        if text.len() > MAX_WRITTEN {
            return Err(InvalidChat::TooLong(text.len()));
        }
        // A second @ is in `server` and makes it unknown.
        let kind = ChatKind::of(server).ok_or(InvalidChat::Server)?;
        match kind {
            ChatKind::User => {
                let number = without_device(user)?;
                // Inside a JID a number is digits alone, not any human writing.
                if !is_id(number) {
                    Err(InvalidChat::Id)
                } else if number.starts_with('0') {
                    // Also `00`, which people write before a country code.
                    Err(InvalidPhone::LeadingZero.into())
                } else {
                    Ok(Self::Phone(number.parse()?))
                }
            }
            ChatKind::Lid => {
                let id = without_device(user)?;
                if is_id(id) {
                    Ok(Self::Jid(ChatJid::from_parts(kind, id)))
                } else {
                    Err(InvalidChat::Id)
                }
            }
            ChatKind::Group => {
                let known = match user.split_once('-') {
                    Some((founder, founded)) => is_id(founder) && is_id(founded),
                    None => is_id(user),
                };
                if known {
                    Ok(Self::Jid(ChatJid::from_parts(kind, user)))
                } else {
                    Err(InvalidChat::Id)
                }
            }
        }
    }
}

fn without_device(user: &str) -> Result<&str, InvalidChat> {
    match user.split_once(':') {
        None => Ok(user),
        Some((user, device)) if is_digits(device, MAX_DEVICE_DIGITS) => Ok(user),
        Some(_) => Err(InvalidChat::Id),
    }
}

fn is_id(text: &str) -> bool {
    is_digits(text, MAX_ID_DIGITS)
}

fn is_digits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Why a text names no chat.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidChat {
    /// There is no `@` in it, or a person's JID: and it is no phone number.
    #[error("not a phone number")]
    Phone(#[from] InvalidPhone),
    /// More bytes than any JID has; how many.
    #[error("{0} bytes are too long for a JID")]
    TooLong(usize),
    /// What is behind the first `@` is no server of persons or groups.
    #[error("the JID's server is not a person's or a group's")]
    Server,
    /// What is before the `@` is not an id of its server.
    #[error("the JID's user is not an id of its server")]
    Id,
}

#[cfg(test)]
mod tests;
