//! The adapter over the `whatsapp-rust` client. Nothing outside of this module names that crate.
//!
//! It maps and decides nothing: one [`Connection`] is one connection of the client, with the client's own
//! reconnecting turned off. What it adds is what the client leaves open: a state that is true (see
//! `progress`), an end that leaves no task behind (`runtime`, `supervisor`), keys that are on disk before
//! WhatsApp hears of them (`transport`), a peer that is found out when it goes mute (`pulse`), and what all
//! sessions share: the TLS configuration, the version look-up, the key file.

mod connection;
mod keys;
mod progress;
mod liveness;
mod runtime;
mod monitor;
mod transport;
mod version;
mod web;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ::whatsapp_rust::Client;
use ::whatsapp_rust::cache_config::{CacheConfig, CacheEntryConfig, MsgSecretPolicy};
use ::whatsapp_rust::wacore::net::WHATSAPP_WEB_WS_URL;
use http::Uri;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::connection::Connection;
use self::connection::Tracker;
use self::keys::Devices;
pub use self::keys::{DeviceKeys, Keys};
use self::progress::{Limits, Progress};
use self::runtime::SessionRuntime;
use self::monitor::Supervisor;
use self::transport::Wire;
use self::version::{SERVICE_WORKER, Versions};
use self::web::{Files, Web};
use crate::dial::{self, Dial, Direct, InvalidEdge};
use crate::session::{Connector, DeviceId, Identity, OpenError, SessionState, VersionError};

/// Directives for an `EnvFilter` that silence the client's own log.
///
/// It names phone numbers, push names and link codes at `info`, and whole stanzas in warnings; everything in
/// it that the service needs to know reaches the log through this crate. A target is matched by its
/// beginning: `Client` stands for `Client/PairCode` and twenty others.
pub const QUIET_CLIENT: &str = "whatsapp_rust=off,wacore=off,waproto=off,Client=off,Bot=off,AppState=off,\
                                Blocking=off,Chatstate=off,MessageQueue=off,Mex=off,PresenceHandler=off,\
                                TcToken=off,UnifiedSession=off,blocklist=off,usync=off";

/// How many one-time keys a device keeps on the server. Each incoming first message of a stranger uses one
/// up, and they are refilled; the client's default of 812 costs 100 KiB a session.
const PRE_KEYS: usize = 30;
/// How often changes of a paired device are saved at the latest. Most are saved at once.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// Which WhatsApp the sessions connect to.
#[derive(Clone, Debug)]
pub enum Edge {
    /// The real one.
    WhatsApp,
    /// A sandbox. Its keys and those of real pairings must not share a key file.
    Sandbox {
        /// A `ws://` URL.
        url: Uri,
        /// Its static public key.
        key: [u8; 32],
    },
}

/// How sessions connect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WhatsAppConfig {
    /// Where to.
    pub edge: Edge,
    /// Where device keys live.
    pub keys: Keys,
    /// What the phone's list of linked devices shows. Default: `Presence`.
    pub device_name: String,
    /// Whether people are addressed by LID once the account has moved to LIDs and theirs is known. Default: yes.
    pub use_lids: bool,
    /// For DNS, TCP, TLS and the WebSocket upgrade together. Default: 10 s.
    pub dial_timeout: Duration,
    /// From the handshake to WhatsApp's answer to the login. Default: 10 s.
    pub login_timeout: Duration,
    /// How long after the login a session waits for the client to finish what it does then, before it calls
    /// itself online all the same. WhatsApp may let the client wait for a minute. Default: 2 s.
    pub ready_timeout: Duration,
}

impl WhatsAppConfig {
    /// The defaults for `edge`, with device keys in `keys`.
    #[must_use]
    pub fn new(edge: Edge, keys: Keys) -> Self {
        Self {
            edge,
            keys,
            device_name: "Presence".to_owned(),
            use_lids: true,
            dial_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(10),
            ready_timeout: Duration::from_secs(2),
        }
    }
}

/// Opens sessions with the `whatsapp-rust` client.
pub struct WhatsApp {
    config: WhatsAppConfig,
    url: Uri,
    dial: Arc<dyn Dial>,
    devices: Devices,
    /// `None` with a sandbox, like the next: a test must not ask the internet.
    web: Option<Arc<Web>>,
    versions: Option<Arc<Versions>>,
}

impl fmt::Debug for WhatsApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhatsApp")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl WhatsApp {
    /// Prepares to connect over TCP, and TLS where the URL says so.
    ///
    /// # Errors
    /// When the sandbox's URL is not a WebSocket URL.
    pub fn new(config: WhatsAppConfig) -> Result<Self, InvalidEdge> {
        let connector = dial::connector(config.dial_timeout);
        let (url, web) = match &config.edge {
            Edge::Sandbox { url, .. } => (url.clone(), None),
            Edge::WhatsApp => (
                Uri::from_static(WHATSAPP_WEB_WS_URL),
                Some(Arc::new(Web::new(connector.clone()))),
            ),
        };
        let page = Uri::from_static(SERVICE_WORKER);
        let versions = web
            .as_ref()
            .map(|web| Arc::new(Versions::new(Arc::clone(web), page)));
        let dial = Arc::new(Direct::new(connector, &url)?);
        let devices = Devices::new(config.keys.clone());
        Ok(Self {
            config,
            url,
            dial,
            devices,
            web,
            versions,
        })
    }

    /// Replaces the way byte streams are opened.
    #[must_use]
    pub fn with_dial(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = dial;
        self
    }
}

impl Connector for WhatsApp {
    type Session = Connection;

    async fn open(&self, device: DeviceId) -> Result<Connection, OpenError> {
        let lease = self.devices.lease(device).await?;
        lease.name(&self.config.device_name).await;
        if let Edge::Sandbox { key, .. } = &self.config.edge {
            lease.pin_sandbox(*key).await;
        }
        let paired = lease.is_paired();

        let runtime = SessionRuntime::default();
        let unfinished = runtime.cancel_on_drop();
        let cut = CancellationToken::new();
        let failure = Arc::<Mutex<Option<String>>>::default();
        let wire = Wire {
            dial: Arc::clone(&self.dial),
            url: self.url.clone(),
            timeout: self.config.dial_timeout,
            cut: cut.clone(),
            runtime: runtime.clone(),
            write_ahead: (!paired).then(|| Arc::clone(&lease.manager)),
            failure: Arc::clone(&failure),
        };
        let mut client = Client::builder()
            .with_runtime(runtime.clone())
            .with_persistence_manager(Arc::clone(&lease.manager))
            .with_transport_factory(wire)
            .with_http_client(Files {
                web: self.web.clone(),
            })
            .with_cache_config(lean_caches())
            .with_skip_history_sync(true)
            .with_wanted_pre_key_count(PRE_KEYS);
        if paired {
            client = client.with_background_saver_interval(SAVE_EVERY);
        }
        let client = client.build().await.map_err(|source| OpenError {
            device,
            doing: "building its client",
            source: Box::new(source),
        })?;
        let client = client.into_client();
        unfinished.disarm();

        let limits = Limits {
            login: self.config.login_timeout,
            ready: self.config.ready_timeout,
        };
        let tracker = Arc::new(Tracker::new(Progress::new(limits, paired)));
        let stop = CancellationToken::new();
        let (publish, state) = watch::channel(SessionState::Connecting);
        let supervisor = Supervisor {
            client: Arc::clone(&client),
            lease,
            versions: self.versions.clone(),
            runtime,
            cut,
            failure,
            tracker: Arc::clone(&tracker),
            stop: stop.clone(),
            state: publish,
        };
        tokio::spawn(supervisor.run());
        Ok(Connection {
            client,
            tracker,
            state,
            _close_on_drop: stop.clone().drop_guard(),
            stop,
            use_lids: self.config.use_lids,
            addresses: OnceLock::new(),
            linking: tokio::sync::Mutex::default(),
        })
    }

    async fn saved(&self, device: DeviceId) -> Result<Option<Identity>, OpenError> {
        self.devices.saved(device).await
    }

    async fn forget(&self, device: DeviceId) -> Result<(), OpenError> {
        self.devices.forget(device).await
    }

    async fn refresh_version(&self, device: DeviceId) -> Result<bool, VersionError> {
        let Some(versions) = &self.versions else {
            return Ok(false);
        };
        let refused = self.devices.version(device).await;
        let refused = refused.map_err(|error| VersionError(error.into()))?;
        // To one that named none, any version is another.
        let refused = refused.unwrap_or_default();
        versions.refresh(refused).await.map_err(VersionError)
    }
}

/// Caches for a session that sends presences and reads nothing.
fn lean_caches() -> CacheConfig {
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    CacheConfig {
        group_cache: CacheEntryConfig::new(minutes(60), 16),
        device_registry_cache: CacheEntryConfig::new(minutes(60), 64),
        // What is evicted is read from the store again.
        lid_pn_cache: CacheEntryConfig::new(None, 4096),
        message_retry_counts: CacheEntryConfig::new(minutes(60), 128),
        undecryptable_dispatched: CacheEntryConfig::new(minutes(5), 128),
        pdo_requested: CacheEntryConfig::new(minutes(24 * 60), 128),
        sender_key_devices_cache: CacheEntryConfig::new(minutes(60), 16),
        session_recreate_history: CacheEntryConfig::new(minutes(60), 64),
        session_locks_capacity: 256,
        chat_lanes_capacity: 32,
        group_distribution_locks_capacity: 16,
        resend_rate_limiter_capacity: 64,
        msg_secret_policy: MsgSecretPolicy::Disabled,
        seed_msg_secrets_from_history: false,
        ..CacheConfig::default()
    }
}
