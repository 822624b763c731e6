//! The adapter over the `whatsapp-rust` client. Nothing outside of this module names that crate.
//!
//! One [`Session`] is one connection of the client, with the client's own reconnecting turned off. The module
//! decides nothing about what follows from an end. It decides what the client leaves open: how far a session
//! truly is (`progress`), when a peer has gone mute (`liveness`), when a session is over and nothing of it
//! runs any more (`monitor`, `runtime`), what is on disk before WhatsApp hears of it (`transport`), what is
//! kept where (`keys`, `storage`, `import`), what the client must not know (`push_name`), and which version it
//! names (`version`). What it says of the account's own messages is read from
//! their stanzas (`own_message`).

mod connection;
mod device;
mod import;
mod jid;
mod keys;
mod liveness;
mod monitor;
mod own_message;
mod progress;
mod push_name;
mod runtime;
mod storage;
mod stream;
mod tracker;
mod transport;
mod version;
mod web;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::whatsapp_rust::Client;
use ::whatsapp_rust::cache_config::{CacheConfig, CacheEntryConfig, MsgSecretPolicy};
use ::whatsapp_rust::wacore::net::WHATSAPP_WEB_WS_URL;
use async_trait::async_trait;
use http::Uri;
use ipnet::IpNet;
use presence_core::InstanceId;
use presence_store::KeyStore;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::connection::Connection;
pub use self::import::{ImportError, import_client_store};
use self::keys::Devices;
pub use self::keys::linked_devices;
use self::monitor::SessionMonitor;
use self::progress::{Limits, Progress};
use self::runtime::SessionRuntime;
use self::tracker::Tracker;
use self::transport::{BeforeFrame, ConnectFailure, EdgeTransport};
use self::version::{SERVICE_WORKER, Versions};
use self::web::{AT_A_TIME, Files, Web};
use crate::dial::{Connectors, Dial, EdgeDial, InvalidEdge, NoDial};
use crate::network::AllowedNetworks;
use crate::proxy::{Proxies, ProxyFault};
use crate::session::{Connector, Identity, KeysError, Session, SessionState, VersionError};

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
/// Which WhatsApp the sessions connect to.
#[derive(Clone, Debug)]
pub enum Edge {
    /// The real one.
    WhatsApp,
    /// A sandbox. Its keys and those of real pairings must not share a store.
    Sandbox {
        /// A `ws://` URL.
        url: Uri,
        /// Its static public key.
        key: [u8; 32],
    },
}

/// How sessions connect.
#[derive(Clone)]
#[non_exhaustive]
pub struct WhatsAppConfig {
    /// Where to.
    pub edge: Edge,
    /// Where device keys live.
    pub keys: Arc<dyn KeyStore>,
    /// What the phone's list of linked devices shows. Default: `Presence`.
    pub device_name: String,
    /// For DNS, TCP, TLS and the WebSocket upgrade together. Default: 10 s.
    pub dial_timeout: Duration,
    /// From the handshake to WhatsApp's answer to the login. Default: 10 s.
    pub login_timeout: Duration,
    /// How long after the login a session waits for the client to finish what it does then, before it calls
    /// itself online all the same. WhatsApp may let the client wait for a minute. Default: 2 s.
    pub ready_timeout: Duration,
    /// Networks in which proxies may be, besides at public addresses. Default: none, so that whoever may name a
    /// proxy cannot reach with it what only this machine reaches.
    pub proxy_networks: Vec<IpNet>,
    /// How long a peer who is never met is remembered: its keys, devices and names. When it writes after that, its
    /// first message is asked for once more. Default: 180 days.
    pub forget_peers_after: Duration,
}

impl fmt::Debug for WhatsAppConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhatsAppConfig")
            .field("edge", &self.edge)
            .field("device_name", &self.device_name)
            .finish_non_exhaustive()
    }
}

impl WhatsAppConfig {
    /// The defaults for `edge`, with device keys in `keys`.
    #[must_use]
    pub fn new(edge: Edge, keys: Arc<dyn KeyStore>) -> Self {
        Self {
            edge,
            keys,
            device_name: "Presence".to_owned(),
            dial_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(10),
            ready_timeout: Duration::from_secs(2),
            proxy_networks: Vec::new(),
            forget_peers_after: Duration::from_secs(180 * 24 * 60 * 60),
        }
    }
}

/// Opens sessions with the `whatsapp-rust` client.
pub struct WhatsApp {
    config: WhatsAppConfig,
    url: Uri,
    connectors: Connectors,
    proxies: Arc<dyn Proxies>,
    dial: Arc<dyn Dial>,
    devices: Devices,
    /// `None` with a sandbox, like the next: a test must not ask the internet.
    web: Option<Arc<Web>>,
    /// For what is fetched through proxies, so that a slow one holds up only others that have one.
    proxied_turns: Arc<Semaphore>,
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
        let networks = AllowedNetworks::new(&config.proxy_networks);
        let connectors = Connectors::new(config.dial_timeout, networks);
        let (url, web) = match &config.edge {
            Edge::Sandbox { url, .. } => (url.clone(), None),
            Edge::WhatsApp => (
                Uri::from_static(WHATSAPP_WEB_WS_URL),
                Some(Arc::new(Web::new(connectors.direct()))),
            ),
        };
        let page = Uri::from_static(SERVICE_WORKER);
        let versions = web
            .as_ref()
            .map(|web| Arc::new(Versions::new(Arc::clone(web), page)));
        let dial = Arc::new(EdgeDial::new(connectors.direct(), &url)?);
        let devices = Devices::new(Arc::clone(&config.keys), config.device_name.clone());
        Ok(Self {
            config,
            url,
            connectors,
            proxies: Arc::new(()),
            dial,
            devices,
            web,
            proxied_turns: Arc::new(Semaphore::new(AT_A_TIME)),
            versions,
        })
    }

    /// Connects instances through the proxies that they have by `proxies`. Without it, none has one.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Arc<dyn Proxies>) -> Self {
        self.proxies = proxies;
        self
    }

    /// Replaces the way byte streams are opened without a proxy.
    #[must_use]
    pub fn with_dial(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = dial;
        self
    }

    /// How `instance` reaches WhatsApp from now on: through its proxy, if it has one, and then in no other way.
    fn route(&self, instance: InstanceId) -> Route {
        let proxy = match self.proxies.proxy(instance) {
            Ok(Some(proxy)) => proxy,
            Ok(None) => {
                return Route {
                    dial: Arc::clone(&self.dial),
                    web: self.web.clone(),
                    proxied: false,
                };
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the instance is not connected without its proxy");
                return Route {
                    dial: Arc::new(NoDial(ProxyFault::Unreadable)),
                    web: None,
                    proxied: true,
                };
            }
        };
        let connector = self.connectors.through(&proxy);
        let web = self.web.as_ref().map(|_| {
            let turns = Arc::clone(&self.proxied_turns);
            Arc::new(Web::taking_turns(connector.clone(), turns))
        });
        let dial: Arc<dyn Dial> = match EdgeDial::new(connector, &self.url) {
            Ok(dial) => Arc::new(dial),
            // The URL was looked at when this was made.
            Err(InvalidEdge) => Arc::new(NoDial(ProxyFault::Refused)),
        };
        Route {
            dial,
            web,
            proxied: true,
        }
    }
}

/// How one instance reaches WhatsApp.
struct Route {
    dial: Arc<dyn Dial>,
    web: Option<Arc<Web>>,
    proxied: bool,
}

#[async_trait]
impl Connector for WhatsApp {
    async fn paired(&self) -> Result<Vec<(InstanceId, Identity)>, KeysError> {
        self.devices.paired().await
    }

    async fn saved(&self, instance: InstanceId) -> Result<Option<Identity>, KeysError> {
        self.devices.saved(instance).await
    }

    async fn open(&self, instance: InstanceId) -> Result<Box<dyn Session>, KeysError> {
        let opened = self.devices.open(instance).await?;
        let device = opened.device.clone();
        if let Edge::Sandbox { key, .. } = &self.config.edge {
            device.pin_sandbox(*key).await;
        }
        device.reveal_name().await;
        let paired = device.is_paired();

        let runtime = SessionRuntime::default();
        let unfinished = runtime.cancel_on_drop();
        let cut = CancellationToken::new();
        let failure = Arc::<Mutex<Option<ConnectFailure>>>::default();
        let Route { dial, web, proxied } = self.route(instance);
        let transport = EdgeTransport {
            dial,
            url: self.url.clone(),
            timeout: self.config.dial_timeout,
            cut: cut.clone(),
            runtime: runtime.clone(),
            device: device.clone(),
            before_frame: if paired {
                BeforeFrame::HideName {
                    logins: device.logins(),
                }
            } else {
                BeforeFrame::Save
            },
            proxied,
            failure: Arc::clone(&failure),
        };
        let client = Client::builder()
            .with_runtime(runtime.clone())
            .with_persistence_manager(Arc::clone(&device.manager))
            .with_transport_factory(transport)
            .with_http_client(Files { web })
            .with_cache_config(lean_caches())
            .with_skip_history_sync(true)
            .with_wanted_pre_key_count(PRE_KEYS)
            .build()
            .await;
        let client = client.map_err(|source| KeysError {
            instance: Some(instance),
            doing: "building its client",
            source: Box::new(source),
        })?;
        let client = client.into_client();
        unfinished.disarm();
        if paired {
            runtime.start(device.clone().keep(self.config.forget_peers_after));
        }

        let limits = Limits {
            login: self.config.login_timeout,
            ready: self.config.ready_timeout,
        };
        let progress = Progress::new(limits, paired);
        let (tracker, own_messages) = Tracker::new(progress, device.clone());
        let tracker = Arc::new(tracker);
        let stop = CancellationToken::new();
        let (publish, state) = watch::channel(SessionState::Connecting);
        let monitor = SessionMonitor {
            client: Arc::clone(&client),
            opened,
            versions: self.versions.clone(),
            proxied,
            runtime: runtime.clone(),
            cut,
            failure,
            tracker: Arc::clone(&tracker),
            stop: stop.clone(),
            state: publish,
        };
        tokio::spawn(monitor.run().in_current_span());
        Ok(Box::new(Connection {
            client,
            device,
            tracker,
            runtime,
            proxied,
            state,
            own_messages: Mutex::new(own_messages),
            _close_on_drop: stop.clone().drop_guard(),
            stop,
            link_code_turn: tokio::sync::Mutex::default(),
        }))
    }

    async fn wipe(&self, instance: InstanceId) -> Result<(), KeysError> {
        self.devices.wipe(instance).await
    }

    async fn forget(&self, instance: InstanceId) {
        self.devices.forget(instance);
    }

    async fn refresh_version(&self, instance: InstanceId) -> Result<bool, VersionError> {
        let Some(versions) = &self.versions else {
            return Ok(false);
        };
        let Some(web) = self.route(instance).web else {
            return Err(VersionError(ProxyFault::Unreadable.into()));
        };
        let refused = self.devices.version(instance).await;
        // To one that named none, any version is another.
        versions
            .refresh(&web, refused.unwrap_or_default())
            .await
            .map_err(VersionError)
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
