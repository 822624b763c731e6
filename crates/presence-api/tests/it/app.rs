//! A service, a WhatsApp and its phones, in one process.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use presence_api::{HttpSettings, Instances, Limits, RegistryProxies, Server};
use presence_cluster::Standing;
use presence_sandbox::{Builder, Number, Sandbox, Spell, State, Why, World};
use presence_store::{Edge as PinnedEdge, MemoryKeyStore, Registry, Store};
use presence_wa::{Backoff, ByteStream, Dial, Edge, FleetSettings, RetrySettings, WhatsApp, WhatsAppConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::documented::assert_documented;
use crate::nodes::Town;
use crate::troubled::{Trouble, Troubled};

/// The account that an instance stands for, unless a test says otherwise.
pub(crate) const SHOP: &str = "5511988887777";
/// Somebody whose phone shows what the shop does. Not of Brazil, so that no look-up comes in between.
pub(crate) const CUSTOMER: &str = "14155550123";

/// How long the pipe to the server may be before a writer waits.
const PIPE: usize = 64 * 1024;

pub(crate) struct TestApp {
    pub(crate) server: Server,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) registry: Arc<Store>,
    /// The token of the one account there is at first.
    pub(crate) token: String,
    /// The device keys too: they outlive a restart.
    whatsapp: Arc<WhatsApp>,
    dials: Arc<AtomicUsize>,
    fleet: FleetSettings,
    /// What its instances will be made of.
    not_open: Mutex<Option<Ingredients>>,
}

type Ingredients = (Arc<dyn Registry>, FleetSettings);

/// What a test may change before the start.
pub(crate) struct Options {
    pub(crate) http: HttpSettings,
    pub(crate) fleet: FleetSettings,
    pub(crate) quota: Option<u32>,
    pub(crate) sandbox: Builder,
}

/// Rate limits are off; reconnecting takes next to no time.
impl Default for Options {
    fn default() -> Self {
        let limits = Limits {
            requests: 0,
            new_instances: 0,
            failures: 0,
        };
        let backoff = Backoff {
            base: Duration::from_millis(100),
            cap: Duration::from_millis(200),
        };
        Self {
            http: HttpSettings {
                limits,
                ..HttpSettings::default()
            },
            fleet: FleetSettings {
                retry: RetrySettings {
                    backoff,
                    // Tests strike a session more often than the world does.
                    opens_a_minute: 1000,
                    ..RetrySettings::default()
                },
                ..FleetSettings::default()
            },
            quota: None,
            sandbox: Sandbox::builder(),
        }
    }
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);

        let registry = Arc::new(Store::in_memory().unwrap());
        let token = new_account(&registry, "acme", options.quota).await;
        Self::over(registry, token, options).await
    }

    /// A service whose registry is in `trouble`.
    pub(crate) async fn in_trouble(trouble: Trouble) -> Self {
        let options = Options::default();
        let registry = Arc::new(Store::in_memory().unwrap());
        let token = new_account(&registry, "acme", options.quota).await;
        let troubled = Arc::new(Troubled::new(registry.clone(), trouble));
        Self::between(registry, troubled, token, options).await
    }

    /// A service over accounts that are there already, one of them with `token`.
    pub(crate) async fn over(registry: Arc<Store>, token: String, options: Options) -> Self {
        Self::between(registry.clone(), registry, token, options).await
    }

    /// `seen` is what the service sees of `registry`.
    async fn between(registry: Arc<Store>, seen: Arc<dyn Registry>, token: String, options: Options) -> Self {
        let app = Self::not_open(registry, seen, token, options);
        app.open().await;
        app
    }

    fn not_open(registry: Arc<Store>, seen: Arc<dyn Registry>, token: String, mut options: Options) -> Self {
        let sandbox = std::mem::replace(&mut options.sandbox, Sandbox::builder());
        let sandbox = Arc::new(sandbox.detached());
        Self::around(sandbox, Arc::default(), registry, seen, token, options)
    }

    fn around(
        sandbox: Arc<Sandbox>,
        keys: Arc<MemoryKeyStore>,
        registry: Arc<Store>,
        seen: Arc<dyn Registry>,
        token: String,
        options: Options,
    ) -> Self {
        let url = "ws://sandbox.invalid/ws/chat".parse().unwrap();
        let edge = Edge::Sandbox {
            url,
            key: sandbox.edge_key(),
        };
        let whatsapp = WhatsApp::new(WhatsAppConfig::new(edge, keys)).unwrap();
        let dials = Arc::new(AtomicUsize::new(0));
        let pipe = Pipe {
            sandbox: Arc::clone(&sandbox),
            dials: Arc::clone(&dials),
        };
        let proxies = RegistryProxies::new(registry.clone());
        Self {
            server: Server::new(options.http),
            sandbox,
            registry,
            token,
            whatsapp: Arc::new(whatsapp.with_dial(Arc::new(pipe)).with_proxies(Arc::new(proxies))),
            dials,
            fleet: options.fleet.clone(),
            not_open: Mutex::new(Some((seen, options.fleet))),
        }
    }

    /// A service that others' instances may be at, of `town`.
    pub(crate) async fn node(town: &Town, name: &str) -> Self {
        Self::node_seeing(town, name, town.registry.clone()).await
    }

    /// The same, with what this one sees of the town's registry.
    pub(crate) async fn node_seeing(town: &Town, name: &str, seen: Arc<dyn Registry>) -> Self {
        let options = Options::default();
        let app = Self::around(
            Arc::clone(&town.sandbox),
            Arc::clone(&town.keys),
            town.registry.clone(),
            seen,
            town.token.clone(),
            Options {
                http: town.http.clone(),
                ..options
            },
        );
        let (registry, fleet) = app.not_open.lock().unwrap().take().expect("it is not open");
        let nodes = town.join(name, &app.server);
        let instances = Instances::join(
            registry,
            PinnedEdge::Sandbox,
            app.whatsapp.clone(),
            fleet,
            nodes.nodes,
        );
        town.instances
            .lock()
            .unwrap()
            .insert(name.to_owned(), instances.clone());
        tokio::spawn(nodes.driver.run(Arc::new(instances.clone())));
        let mut standing = nodes.cluster.standing();
        standing
            .wait_for(|standing| *standing == Standing::Member)
            .await
            .unwrap();
        app.server.open(instances);
        app
    }

    /// Stops the service, and starts another over the same registry, keys and WhatsApp.
    pub(crate) async fn restart(self) -> Self {
        self.server.stop(secs(5.0)).await;
        let seen = self.registry.clone();
        let app = Self {
            server: Server::new(Options::default().http),
            not_open: Mutex::new(Some((seen, self.fleet.clone()))),
            ..self
        };
        app.open().await;
        app
    }

    /// How many connections to WhatsApp were opened.
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    /// A service that has only begun to start, until it is [`open`](Self::open).
    pub(crate) async fn starting() -> Self {
        let registry = Arc::new(Store::in_memory().unwrap());
        let token = new_account(&registry, "acme", None).await;
        Self::not_open(registry.clone(), registry, token, Options::default())
    }

    /// Gives the service its instances.
    pub(crate) async fn open(&self) {
        let (registry, fleet) = self.not_open.lock().unwrap().take().expect("it is opened once");
        let instances = Instances::open(registry, PinnedEdge::Sandbox, self.whatsapp.clone(), fleet).await;
        self.server.open(instances);
    }

    /// Another account's token.
    pub(crate) async fn another_account(&self, name: &str) -> String {
        new_account(&self.registry, name, None).await
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::POST, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::DELETE, path)
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call::new(self, method.parse().unwrap(), path)
    }

    /// A connection to the server, for bytes that are no proper request.
    pub(crate) fn connect(&self) -> DuplexStream {
        self.connection().0
    }

    /// A connection with its task in the server, which a test may abort: a reset connection ends like that.
    pub(crate) fn connection(&self) -> (DuplexStream, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(PIPE);
        let server = self.server.clone();
        let serving = tokio::spawn(async move {
            server
                .serve_connection(far, IpAddr::V4(Ipv4Addr::LOCALHOST))
                .await
        });
        (near, serving)
    }

    /// Sends `bytes` as they are, and reads until the server hangs up.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Creates an instance and returns its token.
    pub(crate) async fn new_instance(&self, name: &str) -> String {
        let reply = self
            .post("/api/instance/new")
            .json(&json!({ "name": name }))
            .send()
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        reply.json()["instance"]["token"].as_str().unwrap().to_owned()
    }

    /// The QR code that `connect` answers.
    pub(crate) async fn qr(&self, name: &str) -> String {
        let reply = self.get(&format!("/api/instance/connect/{name}")).send().await;
        assert_eq!(reply.json()["status"], "qr", "{}", reply.text);
        reply.json()["qrCode"].as_str().unwrap().to_owned()
    }

    /// Links `name` to the phone of `number`, and waits until it is connected.
    pub(crate) async fn link(&self, name: &str, number: &str) {
        let qr = self.qr(name).await;
        self.sandbox.scan(phone(number), &qr).await.unwrap();
        let reply = self.get(&format!("/api/instance/connect/{name}")).send().await;
        assert_eq!(reply.json()["status"], "connected", "{}", reply.text);
    }

    /// A new instance that is connected as `number`.
    pub(crate) async fn connected(&self, name: &str, number: &str) {
        self.new_instance(name).await;
        self.link(name, number).await;
    }

    /// A service whose instance `shop` is connected as [`SHOP`].
    pub(crate) async fn with_shop() -> Self {
        let app = Self::start().await;
        app.connected("shop", SHOP).await;
        app
    }

    /// Shows `state` for `duration` seconds from `shop` to [`CUSTOMER`].
    pub(crate) async fn show(&self, state: &str, duration: u64) {
        let body = json!({"number": CUSTOMER, "state": state, "duration": duration});
        let reply = self.post("/api/chat/presence/shop").json(&body).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    /// Asks `shop` for `state` in the chat of `number`.
    pub(crate) async fn presence(&self, number: &str, state: &str, duration: u64) -> Reply {
        let body = json!({"number": number, "state": state, "duration": duration});
        self.post("/api/chat/presence/shop").json(&body).send().await
    }

    /// What `list` says of the connection of `name`.
    pub(crate) async fn connection_of(&self, name: &str) -> Value {
        let path = format!("/api/instance/list?instanceName={name}");
        self.get(&path).send().await.json()["instances"][0]["connection"].clone()
    }

    /// What `list` says of the state of `name`.
    pub(crate) async fn state(&self, name: &str) -> String {
        let reply = self
            .get(&format!("/api/instance/list?instanceName={name}"))
            .send()
            .await;
        reply.json()["instances"][0]["connection"]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits, on the paused clock, until `list` says that `name` is in `state`; a minute at most.
    pub(crate) async fn wait_for_state(&self, name: &str, state: &str) {
        let start = Instant::now();
        loop {
            let found = self.state(name).await;
            if found == state {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{name} is {found}, and not {state}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the sandbox is as `is_so` says; a minute at most.
    pub(crate) async fn wait_for(&self, is_so: impl FnMut(&World) -> bool) {
        timeout(secs(60.0), self.sandbox.wait_for(is_so))
            .await
            .expect("it comes to be");
    }

    /// The phone of `number` showed `typing` once, without a gap, for `time`.
    #[track_caller]
    pub(crate) fn assert_typed(&self, number: &str, time: Duration) {
        let spells = self.timeline(number);
        assert_eq!(spells.len(), 1, "{spells:?}");
        assert_eq!(
            (spells[0].state, spells[0].why),
            (State::Typing, Some(Why::Paused))
        );
        assert_near(spells[0].hidden_at.unwrap() - spells[0].shown_at, time);
    }

    /// What the phone of `number` showed, one after the other.
    pub(crate) fn timeline(&self, number: &str) -> Vec<Spell> {
        self.sandbox.timeline(phone(number))
    }

    /// The chat states and availabilities that `from` sent, and when.
    pub(crate) fn sent(&self, from: &str) -> Vec<(Duration, String)> {
        let entries = self.sandbox.journal().entries.into_iter();
        entries
            .filter(|entry| entry.from == Some(phone(from)))
            .filter(|entry| entry.stanza.starts_with("<chatstate") || entry.stanza.starts_with("<presence"))
            .map(|entry| (entry.at, entry.stanza))
            .collect()
    }

    /// The chat states that `from` sent, and when.
    pub(crate) fn chat_states(&self, from: &str) -> Vec<(Duration, String)> {
        self.sent(from)
            .into_iter()
            .filter(|(_, stanza)| stanza.starts_with("<chatstate"))
            .collect()
    }

    /// How many times `from` has looked somebody up.
    pub(crate) fn look_ups(&self, from: &str) -> usize {
        let entries = self.sandbox.journal().entries.into_iter();
        let from = Some(phone(from));
        entries
            .filter(|entry| entry.from == from && entry.stanza.contains("<usync"))
            .count()
    }

    /// When `from` sent a `paused`.
    pub(crate) fn pauses(&self, from: &str) -> Vec<Duration> {
        let states = self.chat_states(from).into_iter();
        states
            .filter(|(_, stanza)| stanza.contains("<paused/>"))
            .map(|(at, _)| at)
            .collect()
    }

    /// No more than this is asked of a service that was sent rubbish: it still serves.
    pub(crate) async fn assert_alive(&self) {
        assert_eq!(self.get("/livez").send().await.status, 200);
    }
}

/// One request, with the account's token unless told otherwise.
pub(crate) struct Call<'a> {
    app: &'a TestApp,
    request: hyper::http::request::Builder,
    token: Option<String>,
    body: Bytes,
}

impl<'a> Call<'a> {
    fn new(app: &'a TestApp, method: Method, path: &str) -> Self {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "presence");
        Self {
            app,
            request,
            token: Some(app.token.clone()),
            body: Bytes::new(),
        }
    }

    pub(crate) fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn no_token(mut self) -> Self {
        self.token = None;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    pub(crate) async fn send(mut self) -> Reply {
        if let Some(token) = &self.token {
            self.request = self.request.header("token", token);
        }
        let request = self.request.body(Full::new(self.body)).unwrap();
        let (method, target) = (request.method().clone(), request.uri().clone());
        let stream = TokioIo::new(self.app.connect());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut text = String::from_utf8(body.to_vec()).unwrap();
        let is_json = head
            .headers
            .get("content-type")
            .is_some_and(|kind| kind == "application/json");
        // The answers of MCP are the library's.
        if is_json && !text.is_empty() && target.path() != "/mcp" {
            assert_eq!(text.pop(), Some('\n'), "JSON is a line");
        }
        let reply = Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            text,
        };
        assert_documented(method.as_str(), target.path(), &reply);
        reply
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    /// It is exactly the contract's error.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, message: &str) {
        assert_eq!((self.status, &self.text), (status, &error(message)));
        assert_eq!(self.header("content-type"), Some("application/json"));
    }
}

pub(crate) async fn new_account(registry: &Store, name: &str, quota: Option<u32>) -> String {
    let created = registry
        .create_account(name.parse().unwrap(), quota, DateTime::UNIX_EPOCH)
        .await;
    created.unwrap().1.expose().to_owned()
}

/// The contract's error, exactly.
pub(crate) fn error(message: &str) -> String {
    format!(
        r#"{{"success":false,"error":{{"message":{}}}}}"#,
        Value::from(message)
    )
}

pub(crate) fn phone(number: &str) -> Number {
    number.parse().unwrap()
}

/// `seconds` in a way that reads well next to a journal's times.
pub(crate) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Times on the paused clock differ only by what tokio's timer rounds up.
#[track_caller]
pub(crate) fn assert_near(found: Duration, expected: Duration) {
    assert!(
        found.abs_diff(expected) <= Duration::from_millis(20),
        "{found:?} is not {expected:?}"
    );
}

/// The way from the client to the sandbox.
struct Pipe {
    sandbox: Arc<Sandbox>,
    dials: Arc<AtomicUsize>,
}

#[async_trait]
impl Dial for Pipe {
    async fn dial(&self) -> io::Result<Box<dyn ByteStream>> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(self.sandbox.dial()))
    }
}
