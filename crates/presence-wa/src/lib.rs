//! WhatsApp sessions: kept connected, paired, and told what to show.
//!
//! The service above calls the fleet; the WhatsApp client below is known to one module only, the adapter.

mod pairing;
mod session;

pub use pairing::{LinkCode, PairError, PairingUpdate};
pub use session::{
    Connector, DeviceId, End, Identity, OpenError, SendError, Session, SessionState, VersionError,
};
#[cfg(any(test, feature = "mock"))]
pub use session::{MockConnector, MockSession};
