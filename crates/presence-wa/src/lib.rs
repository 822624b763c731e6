//! WhatsApp sessions: kept connected, paired, and told what to show.
//!
//! The service above calls the [`Fleet`]: it adds its instances, pairs them, and has them show presences. The
//! fleet opens a [`Session`] for each, which is one connection, and decides by its [`End`] what follows. The
//! WhatsApp client below is known to one module only, the adapter ([`WhatsApp`]).
//!

mod client;
mod dial;
mod pairing;
mod session;

pub use client::{DeviceKeys, Edge, Keys, LinkedDevice, QUIET_CLIENT, WhatsApp, WhatsAppConfig};
pub use dial::{ByteStream, Dial, InvalidEdge};
pub use pairing::{LinkCode, PairError, PairingUpdate};
pub use session::{
    Connector, Contact, End, Identity, KeysError, Online, SendError, Session, SessionState, VersionError,
};
#[cfg(any(test, feature = "mock"))]
pub use session::{MockConnector, MockSession};
