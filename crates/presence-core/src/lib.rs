//! What a chat presence is, and when it ends.
//!
//! A *presence* is what somebody's phone shows above a chat: "typing…", "recording audio…", or nothing. This
//! crate decides everything about it and does nothing: it reads no clock, opens no socket, spawns no task.
//! The service's server and transport use it, and so can any other tool that speaks the same contract.
//!
//! 1. **Request → decision.** [`ChatPresenceRequest::from_json`] reads a request body;
//!    [`ChatPresence::try_from`] turns it into checked values, or into the [`InvalidRequest`] whose text the
//!    client gets. [`PresenceSent`] is the answer to a request that was carried out. A client in Rust goes
//!    the other way with the same types: it writes the request, and reads the answer.
//! 2. **Decision → stanzas.** [`Indicators`] is told what happens, and when, and says what to send: the
//!    presence itself, the re-sends that keep it up, the `paused` that ends it.
//!
//! ```
//! use presence_core::{ChatPresence, ChatPresenceRequest, PresenceSent};
//!
//! let body = br#"{"number": "+55 (11) 99999-9999", "state": " Typing ", "duration": 5}"#;
//! let presence = ChatPresence::try_from(ChatPresenceRequest::from_json(body)?)?;
//! let sent = PresenceSent::new(presence.recipient().chat(), &presence);
//! assert_eq!(
//!     serde_json::to_string(&sent)?,
//!     r#"{"success":true,"message":"Presence 'typing' sent successfully (will auto-pause after 5 seconds)","chat_jid":"5511999999999@s.whatsapp.net","state":"typing","duration":5}"#
//! );
//!
//! let fault = ChatPresenceRequest::from_json(br#"{"state": "typing"}"#)
//!     .and_then(ChatPresence::try_from)
//!     .unwrap_err();
//! assert_eq!(fault.to_string(), "Number is required");
//! assert_eq!(fault.detail(), "number: a phone number or a JID is needed");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A request may say how long its message will be instead of a duration; [`Pace`] says how long a person would
//! take for it.
//!
//! With the feature `openapi`, the request, the answer and what is in them have schemas (`utoipa::ToSchema`).
//!
//! # Phone numbers and logs
//! `Debug` of every type here hides phone numbers but for their last two digits. `Display` shows them.

mod chat;
mod command;
mod hold;
mod indicators;
mod instance;
mod invalid_request;
mod pace;
mod phone;
mod presence;
mod request;
mod sent;
mod state;

pub use chat::{ChatJid, ChatKind, InvalidChat, Recipient};
pub use command::Command;
pub use hold::Hold;
pub use indicators::{
    Availability, Cause, Indicators, MAX_CHATS, MAX_OPEN_COMMANDS, NextTransmit, Policy, Refused, Shown,
    ShownChange, Timing, Transmit,
};
pub use instance::{InstanceId, NotPositive};
pub use invalid_request::InvalidRequest;
pub use pace::Pace;
pub use phone::{InvalidPhone, PhoneNumber};
pub use presence::ChatPresence;
pub use request::ChatPresenceRequest;
pub use sent::PresenceSent;
pub use state::{ChatState, Indicator, InvalidState, PresenceState};
