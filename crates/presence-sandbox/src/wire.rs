//! The bytes: WebSocket messages, WhatsApp's frames inside them, the Noise handshake, and binary stanzas.
//!
//! Nothing here knows what a stanza means. Everything a peer sends is bounded and may be garbage.

mod channel;
mod frames;
mod noise;
mod xml;

pub(crate) use channel::{Channel, WireError};
pub(crate) use noise::ServerIdentity;
pub(crate) use xml::{jids, to_xml};
