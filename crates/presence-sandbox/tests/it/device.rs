//! A device: the real client with its keys in memory, on a connection to a sandbox.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use presence_sandbox::{Number, Sandbox, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::runtime_impl::TokioRuntime;
use whatsapp_rust::store::commands::DeviceCommand;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory, from_websocket};
use whatsapp_rust::types::events::Event;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::wacore::store::{CachedNoiseCert, CachedServerCertChain, InMemoryBackend};
use whatsapp_rust::wacore::types::events::{ChannelEventHandler, Subscription};
use whatsapp_rust::wacore_binary::OwnedNodeRef;
use whatsapp_rust::{Client, ClientBuilder, Jid, RawNodeLease, anyhow, async_channel, async_trait};

/// Longer than anything honest takes; on a paused clock it passes at once.
const LONG: Duration = Duration::from_secs(300);

/// Waits until the world is so, which it must be sooner or later.
pub(crate) async fn until(sandbox: &Sandbox, is_so: impl FnMut(&World) -> bool) {
    timeout(LONG, sandbox.wait_for(is_so)).await.expect("it happens");
}

/// A device's keys, and how it reaches its sandbox.
pub(crate) struct Device {
    keys: Arc<PersistenceManager>,
    reach: Reach,
}

#[derive(Clone)]
enum Reach {
    Dial(Arc<Sandbox>),
    Url(String),
    /// Through a line that tells how the server ended it, and hides from it that the client did.
    Tapped(Arc<Sandbox>, mpsc::UnboundedSender<Ended>),
    /// Through a line that keeps from it what the server says, while this is so.
    Deaf(Arc<Sandbox>, watch::Receiver<bool>),
}

/// How the server ended a connection.
pub(crate) struct Ended {
    pub(crate) at: Instant,
    /// The last that came from it.
    pub(crate) last: Vec<u8>,
}

/// A running client. It ends when the value is dropped.
pub(crate) struct Connection {
    pub(crate) client: Arc<Client>,
    events: async_channel::Receiver<Arc<Event>>,
    run: JoinHandle<()>,
    _subscription: Subscription,
    _raw: RawNodeLease,
}

impl Device {
    /// A device that was never linked, on connections without sockets.
    pub(crate) async fn new(sandbox: &Arc<Sandbox>) -> Self {
        Self::provisioned(sandbox.edge_key(), Reach::Dial(sandbox.clone())).await
    }

    /// The same over TCP.
    pub(crate) async fn over_tcp(sandbox: &Sandbox) -> Self {
        Self::provisioned(sandbox.edge_key(), Reach::Url(sandbox.edge_url().unwrap())).await
    }

    /// The same device, which finds its sandbox somewhere else.
    pub(crate) fn moved_to(mut self, sandbox: &Sandbox) -> Self {
        self.reach = Reach::Url(sandbox.edge_url().unwrap());
        self
    }

    /// The same device on connections that tell how the server ends them.
    pub(crate) fn tapped(mut self, sandbox: &Arc<Sandbox>) -> (Self, mpsc::UnboundedReceiver<Ended>) {
        let (ended, ends) = mpsc::unbounded_channel();
        self.reach = Reach::Tapped(sandbox.clone(), ended);
        (self, ends)
    }

    /// The same device on connections on which it hears nothing while it is deaf.
    pub(crate) fn deafened(&self, sandbox: &Arc<Sandbox>) -> (Self, watch::Sender<bool>) {
        let (deaf, is_deaf) = watch::channel(false);
        let device = Self {
            keys: self.keys.clone(),
            reach: Reach::Deaf(sandbox.clone(), is_deaf),
        };
        (device, deaf)
    }

    /// A device that is linked to `number`.
    pub(crate) async fn linked(sandbox: &Arc<Sandbox>, number: Number) -> Self {
        let device = Self::new(sandbox).await;
        let mut connection = device.connect().await;
        let qr = connection.qr_code().await;
        sandbox.scan(number, &qr).await.unwrap();
        connection.ended().await;
        device
    }

    /// What the service does before it first connects: a placeholder number and the server's key make the
    /// client use the IK handshake.
    async fn provisioned(key: [u8; 32], reach: Reach) -> Self {
        let keys = Arc::new(
            PersistenceManager::new(Arc::new(InMemoryBackend::new()))
                .await
                .unwrap(),
        );
        let certificate = CachedNoiseCert {
            key,
            not_before: 0,
            not_after: i64::MAX,
        };
        let chain = CachedServerCertChain {
            intermediate: certificate.clone(),
            leaf: certificate,
        };
        keys.process_command(DeviceCommand::SetId(Some(
            "1000000000:1@s.whatsapp.net".parse().unwrap(),
        )))
        .await;
        keys.process_command(DeviceCommand::SetServerCertChain(chain))
            .await;
        Self { keys, reach }
    }

    pub(crate) fn jid(&self) -> Jid {
        self.keys.get_device_snapshot().pn.clone().unwrap()
    }

    pub(crate) fn lid(&self) -> Jid {
        self.keys.get_device_snapshot().lid.clone().unwrap()
    }

    /// Starts one connection; it is not repeated.
    pub(crate) async fn connect(&self) -> Connection {
        let client = ClientBuilder::new()
            .with_runtime(TokioRuntime)
            .with_persistence_manager(self.keys.clone())
            .with_transport_factory(self.reach.clone())
            .with_http_client(NoHttp)
            .with_version_override((2, 3000, 1))
            .with_skip_history_sync(true)
            .with_wanted_pre_key_count(5)
            .build()
            .await
            .unwrap()
            .into_client();
        client
            .enable_auto_reconnect
            .store(false, std::sync::atomic::Ordering::SeqCst);
        let (handler, events) = ChannelEventHandler::new();
        let subscription = client.subscribe_handler(handler);
        let raw = client.acquire_raw_node_forwarding();
        let running = client.clone();
        let run = tokio::spawn(async move { running.run().await });
        Connection {
            client,
            events,
            run,
            _subscription: subscription,
            _raw: raw,
        }
    }

    /// Connects and waits until the client says it is connected.
    pub(crate) async fn online(&self) -> Connection {
        let mut connection = self.connect().await;
        connection
            .event(|event| matches!(event, Event::Connected(_)).then_some(()))
            .await;
        connection
    }
}

impl Connection {
    /// The next event that is what `pick` looks for.
    pub(crate) async fn event<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the client lives");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        timeout(LONG, next).await.expect("the event comes")
    }

    /// The next stanza of the server's with this name.
    pub(crate) async fn stanza(&mut self, tag: &str) -> Arc<OwnedNodeRef> {
        self.event(|event| match event {
            Event::RawNode(stanza) if stanza.tag() == tag => Some(stanza.clone()),
            _ => None,
        })
        .await
    }

    /// The stanzas of the server's that came since the last call.
    pub(crate) fn stanzas(&mut self) -> Vec<Arc<OwnedNodeRef>> {
        let mut stanzas = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            if let Event::RawNode(stanza) = &*event {
                stanzas.push(stanza.clone());
            }
        }
        stanzas
    }

    pub(crate) async fn qr_code(&mut self) -> String {
        self.event(|event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn link_code(&mut self, number: Number) -> String {
        self.qr_code().await;
        let options = PairCodeOptions {
            phone_number: number.to_string(),
            ..Default::default()
        };
        self.client.pair_with_code(options).await.unwrap()
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(&mut self) {
        timeout(LONG, &mut self.run)
            .await
            .expect("the connection ends")
            .unwrap();
    }

    /// The client closes its connection.
    pub(crate) async fn hang_up(&self) {
        self.client.disconnect().await;
    }

    pub(crate) async fn types_to(&self, to: &str) {
        self.client
            .chatstate()
            .send_composing(&to.parse().unwrap())
            .await
            .unwrap();
    }

    pub(crate) async fn records_to(&self, to: &str) {
        self.client
            .chatstate()
            .send_recording(&to.parse().unwrap())
            .await
            .unwrap();
    }

    pub(crate) async fn pauses_to(&self, to: &str) {
        self.client
            .chatstate()
            .send_paused(&to.parse().unwrap())
            .await
            .unwrap();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.run.abort();
    }
}

#[async_trait]
impl TransportFactory for Reach {
    async fn create_transport(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        let builder = |url: &str| tokio_websockets::ClientBuilder::new().uri(url);
        Ok(match self {
            Self::Dial(sandbox) => {
                let (stream, _) = builder("ws://sandbox/ws/chat")?
                    .connect_on(sandbox.dial())
                    .await?;
                from_websocket(stream)
            }
            Self::Tapped(sandbox, ended) => {
                let (near, far) = tokio::io::duplex(64 * 1024);
                tokio::spawn(tap(far, sandbox.dial(), ended.clone()));
                let (stream, _) = builder("ws://sandbox/ws/chat")?.connect_on(near).await?;
                from_websocket(stream)
            }
            Self::Deaf(sandbox, deaf) => {
                let (near, far) = tokio::io::duplex(64 * 1024);
                tokio::spawn(deafen(far, sandbox.dial(), deaf.clone()));
                let (stream, _) = builder("ws://sandbox/ws/chat")?.connect_on(near).await?;
                from_websocket(stream)
            }
            Self::Url(url) => {
                let (stream, _) = builder(url)?.connect().await?;
                from_websocket(stream)
            }
        })
    }
}

/// Carries bytes both ways until the server ends it.
async fn tap(client: DuplexStream, server: DuplexStream, ended: mpsc::UnboundedSender<Ended>) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            // A WebSocket's closing frame: it would end the connection too early.
            if buffer[0] == 0x88 || to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut buffer = vec![0; 4096];
        let mut last = Vec::new();
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            last = buffer[..read].to_vec();
            // The client may be gone.
            let _ = to_client.write_all(&last).await;
        }
        let at = Instant::now();
        let _ = ended.send(Ended { at, last });
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// Nothing here may depend on HTTP.
struct NoHttp;

#[async_trait]
impl HttpClient for NoHttp {
    async fn execute(&self, _: HttpRequest) -> anyhow::Result<HttpResponse> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }
}

/// Carries bytes both ways, those to the client only while it is not deaf.
async fn deafen(client: DuplexStream, server: DuplexStream, mut deaf: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let down = async {
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let heard = deaf.wait_for(|deaf| !deaf).await.is_ok();
            if !heard || to_client.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = down => {}
    }
}
