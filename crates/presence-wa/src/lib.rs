//! WhatsApp sessions: kept connected, paired, and told what to show.
//!
//! The service above calls the [`Fleet`]: it adds its instances, pairs them, and has them show presences. The
//! fleet opens a [`Session`] for each, which is one connection, and decides by its [`End`] what follows. The
//! WhatsApp client below is known to one module only, the adapter ([`WhatsApp`]).
//!
//! ```no_run
//! use std::time::Duration;
//! use presence_core::{ChatPresence, ChatPresenceRequest, Hold};
//! use presence_wa::{
//!     Connected, DeviceId, Edge, Fleet, FleetSettings, InstanceOptions, Keys, PairWith, WhatsApp, WhatsAppConfig,
//! };
//!
//! # async fn example(keys: Keys) -> Result<(), Box<dyn std::error::Error>> {
//! let whatsapp = WhatsApp::new(WhatsAppConfig::new(Edge::WhatsApp, keys))?;
//! let fleet = Fleet::new(whatsapp, (), FleetSettings::default()); // `()`: nothing outlives the process
//! let device = DeviceId(1);
//! fleet.add(device, InstanceOptions::default());
//!
//! if let Connected::Qr { code, valid_for } = fleet.connect(device, PairWith::Qr).await? {
//!     // … draw `code`, and call `connect` again when `valid_for` has passed …
//! }
//! let typing = ChatPresenceRequest::new("+55 11 99999-9999", "typing", Hold::from_secs(5));
//! let sent = fleet.show(device, &ChatPresence::try_from(typing)?).await?;
//! # let _ = sent;
//! fleet.shutdown(Duration::from_secs(10)).await; // pauses what is still shown
//! # Ok(())
//! # }
//! ```

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
