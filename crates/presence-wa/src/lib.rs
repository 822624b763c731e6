//! WhatsApp sessions: kept connected, paired, and told what to show.
//!
//! The service above calls the [`Fleet`]: it adds its instances, pairs them, and has them show presences. Each
//! instance has one task, which opens a [`Session`] (one connection), decides by its [`End`] what follows, and
//! writes what the indicators of [`presence_core`] want written. The WhatsApp client below is known to one
//! module only, the adapter ([`WhatsApp`]).
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//! use presence_core::{ChatPresence, Hold, InstanceId};
//! use presence_store::KeyStore;
//! use presence_wa::{
//!     Connected, Edge, Fleet, FleetSettings, InstanceOptions, PairWith, WhatsApp, WhatsAppConfig,
//! };
//!
//! # async fn example(keys: Arc<dyn KeyStore>) -> Result<(), Box<dyn std::error::Error>> {
//! let whatsapp = Arc::new(WhatsApp::new(WhatsAppConfig::new(Edge::WhatsApp, keys))?);
//! // `()`: nothing outlives the process.
//! let fleet = Fleet::new(whatsapp, Arc::new(()), FleetSettings::default());
//! let instance = InstanceId::new(1).expect("positive");
//! fleet.add(instance, InstanceOptions::default());
//!
//! if let Connected::Qr { code, valid_for } = fleet.connect(instance, PairWith::Qr).await? {
//!     // … draw `code`, and call `connect` again when `valid_for` has passed …
//! }
//! let typing = ChatPresence::typing("+55 11 99999-9999".parse()?, Hold::from_secs(5));
//! let sent = fleet.show(instance, &typing).await?;
//! # let _ = sent;
//! fleet.shutdown(Duration::from_secs(8)).await; // pauses what is still shown
//! # Ok(())
//! # }
//! ```

mod backoff;
mod client;
mod context;
mod counters;
mod dial;
mod error;
#[cfg(test)]
mod fake;
mod fleet;
mod instance;
mod login_limiter;
mod network;
mod pairing;
mod pairing_record;
mod presence_change;
mod proxy;
mod session;
mod settings;
mod status;
mod watch;
mod wire;

pub use backoff::Backoff;
pub use client::{
    Edge, ImportError, QUIET_CLIENT, WhatsApp, WhatsAppConfig, import_client_store, linked_devices,
};
pub use counters::{ByState, EarlyEnd, FleetCounters, LookUpResult, PresenceOutcome, SessionEnd};
pub use dial::{ByteStream, Dial, ForbiddenAddress, GuardedConnector, InvalidEdge};
pub use error::{ConnectError, ReconnectError, ShowError};
pub use fleet::Fleet;
pub use instance::{InstanceOptions, SavedKeys};
pub use ipnet::IpNet;
pub use network::AllowedNetworks;
pub use pairing::{Connected, LinkCode, PairError, PairWith, PairingUpdate};
pub use pairing_record::{PairingRecord, PairingRecordError};
pub use presence_change::PresenceChange;
pub use proxy::{
    InvalidProxy, Proxies, Proxy, ProxyCredentials, ProxyFault, ProxyHost, ProxyProtocol, UnreadableProxy,
};
pub use session::{
    Connector, Contact, End, Identity, KeysError, Online, OwnMessage, SendError, Session, SessionState,
    VersionError,
};
#[cfg(any(test, feature = "mock"))]
pub use session::{MockConnector, MockSession};
pub use settings::{FleetSettings, RetrySettings};
pub use status::{InstanceState, InstanceStatus, Reason};
pub use watch::{InstanceUpdate, InstanceWatch, StatusWatch};
