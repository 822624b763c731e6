//! WhatsApp sessions: kept connected, paired, and told what to show.
//!
//! The service above calls the fleet; the WhatsApp client below is known to one module only, the adapter.

mod backoff;
mod dial;
mod driver;
#[cfg(test)]
mod fake;
mod fleet;
mod numbers;
mod pairing;
mod session;
mod whatsapp_rust;

pub use self::whatsapp_rust::{Connection, DeviceKeys, Edge, Keys, QUIET_CLIENT, WhatsApp, WhatsAppConfig};
pub use backoff::Backoff;
pub use dial::{ByteStream, Dial, InvalidEdge};
pub use fleet::{
    ConnectError, Connected, Fleet, FleetSettings, InstanceOptions, InstanceState, InstanceStatus, Ledger,
    LedgerError, PairWith, Reason, ReconnectError, ShowError,
};
pub use pairing::{LinkCode, PairError, PairingUpdate};
pub use session::{
    Connector, DeviceId, End, Identity, OpenError, SendError, Session, SessionState, VersionError,
};
#[cfg(any(test, feature = "mock"))]
pub use session::{MockConnector, MockSession};
