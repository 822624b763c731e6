//! A WhatsApp on loopback: what the real one would do to us, for tests, demos and benchmarks.
//!
//! A [`Sandbox`] speaks the protocol that WhatsApp's own edge speaks with linked devices, as far as a client
//! that shows presences needs it: Noise handshakes, binary stanzas, login, pairing by QR code and by link
//! code, number look-ups, chat states. The phones that scan codes and show "typing…" are simulated, and so
//! is everything that can go wrong.
//!
//! Clients cannot check the sandbox's certificates, so they must know its key: the one way in that needs no
//! check disabled is the IK handshake, with [`Sandbox::edge_key`] stored as the server's.
//!
//! Tests hold a [`Sandbox`] and look into its [`World`]; people run the binary and its HTTP control API.

mod app_state;
mod clock;
mod control;
mod http;
mod hub;
mod memory;
mod messaging;
mod pairing;
mod phone;
mod sandbox;
mod server;
mod signal;
mod wire;
mod world;

pub use sandbox::{Builder, Sandbox};
pub use world::{
    Answer, DeviceLogins, DeviceLoginsPage, Fault, FaultId, FaultKind, Indicator, InvalidFault, InvalidGroup,
    InvalidNumber, JournalEntry, JournalPage, Lid, Number, PairError, PhoneMessage, PhoneReceipt, Place,
    Refused, SendError, Shown, Spell, State, TooManyNumbers, When, Why, World,
};
