//! Connections: accepted, served, and ended in good order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::client_address::is_in;
use crate::connection::{self, ConnectionState, HttpConnection};
use crate::connections::{Connections, NoPlace, Place};
use crate::health::HealthCheck;
use crate::http::{self, Surface};
use crate::instances::Instances;
use crate::nodes::{self, NodesCheck};
use crate::registry_check::RegistryCheck;
use crate::settings::HttpSettings;
use crate::throttle::Throttle;
use crate::webhook;

/// The most a request's head may take: its line and all fields. hyper answers 431 beyond.
const MAX_HEAD: usize = 16 * 1024;
/// How long to wait before accepting again after accepting failed, which is when the process has no file
/// handle left: trying at once would only burn a core.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How often a new client looks for a connection that has become idle, while requests are on all of them.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a connection that has to go, and on which no request is, may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Connections of probes at the same time. They are few and short.
const MAX_PROBES: usize = 64;
/// Connections of other nodes at the same time, but those for calls: a few of each, and one for each who follows
/// events there.
const MAX_NODES: usize = 4096;

/// The service over HTTP. Cheap to clone.
///
/// It answers from the first moment: `/livez` that it lives, and everything that needs an instance 503, until
/// [`open`](Self::open) has given it the instances.
#[derive(Clone)]
pub struct Server {
    app: Arc<App>,
}

impl Server {
    /// A server that starts.
    #[must_use]
    pub fn new(settings: HttpSettings) -> Self {
        Self {
            app: Arc::new(App::new(settings)),
        }
    }

    /// Gives the server its instances: from here on it is ready. Once; later calls change nothing.
    pub fn open(&self, instances: Instances) {
        if self.app.instances.set(instances.clone()).is_ok() {
            self.watch(Arc::new(RegistryCheck(instances.clone())));
            if let Some(nodes) = instances.nodes() {
                self.watch(Arc::new(NodesCheck(nodes.clone())));
            }
            let (settings, counters) = (&self.app.settings.webhooks, &self.app.webhooks);
            let report = webhook::report(instances, settings.clone(), Arc::clone(counters));
            tokio::spawn(self.app.stopping.clone().run_until_cancelled_owned(report));
            let app = Arc::clone(&self.app);
            tokio::spawn(async move {
                app.stopping
                    .run_until_cancelled(app.refusals.tell_by_the_minute())
                    .await
            });
        }
    }

    /// Adds a check to `/health`, and its counters to `/metrics`.
    pub fn watch(&self, check: Arc<dyn HealthCheck>) {
        self.app.health.add(check);
    }

    /// Serves one connection of a client at `peer` until it ends, or the server [stops](Self::stop).
    pub async fn serve_connection<S>(&self, stream: S, peer: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let app = &self.app;
        let state = Arc::new(ConnectionState::new(&app.stopping));
        let serving = self.serve_stream(stream, peer, Surface::Api, &state, &app.stopping);
        app.serving.track_future(serving).await;
    }

    /// Serves one connection of another node until it ends, or the server has [stopped](Self::stop).
    pub async fn serve_node<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let app = &self.app;
        let state = Arc::new(ConnectionState::new(&app.stopped));
        if let Some(calls) = nodes::serve(app, stream, &state, &app.stopped).await {
            app.stopped.run_until_cancelled(calls.serve(app)).await;
        }
    }

    /// Accepts connections until the server stops.
    pub async fn accept(&self, listener: TcpListener) {
        let app = &self.app;
        let serve = |stream, peer, place| {
            let server = self.clone();
            let serve = async move { server.serve_placed(stream, peer, place, Surface::Api).await };
            app.serving.spawn(serve);
        };
        app.stopping
            .run_until_cancelled(self.accept_on(&listener, &app.connections, serve))
            .await;
    }

    /// Accepts connections of probes: `/livez`, `/readyz`, `/health` and `/metrics` alone, with no part in the
    /// limits of the others. They are answered until [`stop`](Self::stop) has ended.
    pub async fn accept_probes(&self, listener: TcpListener) {
        let stopped = &self.app.stopped;
        let connections = Arc::new(Connections::new(MAX_PROBES, 0, stopped.clone()));
        let serve = |stream, peer, place| {
            let server = self.clone();
            tokio::spawn(async move { server.serve_placed(stream, peer, place, Surface::Probes).await });
        };
        stopped
            .run_until_cancelled(self.accept_on(&listener, &connections, serve))
            .await;
    }

    /// Accepts connections of the other nodes of a cluster, and answers their calls until [`stop`](Self::stop) has
    /// ended. They prove who they are by the cluster's secret.
    pub async fn accept_nodes(&self, listener: TcpListener) {
        let stopped = &self.app.stopped;
        let connections = Arc::new(Connections::new(MAX_NODES, 0, stopped.clone()));
        let serve = |stream, _, place| {
            let server = self.clone();
            tokio::spawn(async move { server.serve_placed_node(stream, place).await });
        };
        stopped
            .run_until_cancelled(self.accept_on(&listener, &connections, serve))
            .await;
    }

    /// Tells whoever asks that it is about to [stop](Self::stop): `/readyz` says so, and each answer closes its
    /// connection. All else goes on, so that a load balancer finds another server before this one refuses anything.
    pub fn announce_stop(&self) {
        self.app.announce_stop();
    }

    /// Ends it: no new connection is accepted and no new presence taken. Requests finish; at the same time
    /// every indicator is paused and every session closed. What is not done after `grace` is cut off.
    pub async fn stop(&self, grace: Duration) {
        let app = &self.app;
        app.stopping.cancel();
        app.serving.close();
        tracing::info!(connections = app.serving.len(), "stopping: no new requests");
        let requests = async {
            if timeout(grace, app.serving.wait()).await.is_err() {
                tracing::warn!(
                    connections = app.serving.len(),
                    "requests did not finish in time and are dropped"
                );
            }
            app.cut.cancel();
            app.serving.wait().await;
        };
        let sessions = async {
            if let Some(instances) = app.instances.get() {
                instances.shutdown(grace).await;
            }
        };
        tokio::join!(requests, sessions);
        app.stopped.cancel();
    }

    /// Accepts connections, and hands each to `serve` with its place.
    async fn accept_on(
        &self,
        listener: &TcpListener,
        connections: &Arc<Connections>,
        serve: impl Fn(TcpStream, IpAddr, Place),
    ) {
        let (failures, refusals) = (Throttle::default(), Throttle::default());
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok((stream, peer)) => (stream, peer.ip()),
                Err(error) => {
                    if failures.lets_through() {
                        tracing::warn!(%error, "accepting connections fails: few file handles are left, perhaps");
                    }
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            match self.place(connections, peer).await {
                Some(place) => {
                    // Answers are small and written whole: waiting to fill a packet only delays them.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection is gone already");
                    }
                    serve(stream, peer, place);
                }
                None if refusals.lets_through() => {
                    tracing::warn!(client = %peer, "a client has requests on all connections it may have");
                }
                None => {}
            }
        }
    }

    /// A place for a connection from `peer`; `None` when the client has all that it may.
    async fn place(&self, connections: &Arc<Connections>, peer: IpAddr) -> Option<Place> {
        // Many clients come from there.
        let is_many = peer.to_canonical().is_loopback() || is_in(peer, &self.app.settings.trusted_proxies);
        let client = (!is_many).then_some(peer);
        loop {
            match connections.admit(client) {
                Ok(place) => return Some(place),
                Err(NoPlace::ClientHasAll) => return None,
                Err(NoPlace::AllBusy) => {
                    let _ = timeout(LOOK_AGAIN, connections.freed()).await;
                }
            }
        }
    }

    async fn serve_placed(&self, stream: TcpStream, peer: IpAddr, place: Place, surface: Surface) {
        self.serve_stream(stream, peer, surface, &place.state, &place.leaving)
            .await;
    }

    /// Serves a connection of another node. For calls, it needs no place any more: whoever sends them is no stranger.
    async fn serve_placed_node(&self, stream: TcpStream, place: Place) {
        let app = &self.app;
        let calls = nodes::serve(app, stream, &place.state, &place.leaving).await;
        drop(place);
        if let Some(calls) = calls {
            app.stopped.run_until_cancelled(calls.serve(app)).await;
        }
    }

    /// Serves a connection until it ends. Once `leaving` is cancelled, it goes as soon as no request is on it, and at
    /// the latest when requests are [cut off](App::cut).
    async fn serve_stream<S>(
        &self,
        stream: S,
        peer: IpAddr,
        surface: Surface,
        state: &Arc<ConnectionState>,
        leaving: &CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (app, guard) = (Arc::clone(&self.app), state.begin_request());
            async move {
                let answer = http::handle(app, peer, surface, guard, request).await;
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let mut serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.app.settings.idle_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(
                TokioIo::new(HttpConnection::new(stream, Arc::clone(state))),
                service,
            );
        // Each is polled when it is due, and not whenever something happens on the connection.
        let mut due: FuturesUnordered<BoxFuture<'_, Due>> = FuturesUnordered::new();
        due.push(Due::FirstHead.after(sleep(self.app.settings.head_timeout)));
        due.push(Due::Leave.after(leaving.cancelled()));
        let end = loop {
            tokio::select! {
                biased;
                ended = &mut serving => break ended.map_or_else(End::of, |()| End::Complete),
                Some(due_now) = due.next() => match due_now {
                    Due::FirstHead if state.is_new() => break End::SlowHead,
                    Due::FirstHead => {}
                    Due::Leave => {
                        std::pin::Pin::new(&mut serving).graceful_shutdown();
                        due.push(Due::LastWords.after(sleep(LAST_WORDS)));
                        due.push(Due::Cut.after(self.app.cut.cancelled()));
                    }
                    Due::LastWords if state.idle_since().is_some() || state.is_streaming() => break End::Complete,
                    Due::LastWords => due.push(Due::LastWords.after(sleep(LAST_WORDS))),
                    Due::Cut => return,
                }
            }
        };
        if matches!(end, End::Complete) {
            return;
        }
        let parts = serving.into_parts();
        let stream = parts.io.into_inner().into_inner();
        match end {
            End::SlowHead => connection::answer_slow_head(stream, &parts.read_buf).await,
            End::Malformed => connection::close(stream).await,
            End::Complete | End::Broken => {}
        }
    }
}

/// What a connection is looked at for, besides what happens on it.
enum Due {
    /// The head of its first request should have come.
    FirstHead,
    /// It has to go.
    Leave,
    /// It has to go, and had its time for that.
    LastWords,
    /// All that is left is cut off.
    Cut,
}

impl Due {
    fn after<'a>(self, happened: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, Self> {
        Box::pin(happened.map(|()| self))
    }
}

/// How a connection ended.
enum End {
    Complete,
    /// A request's head did not arrive in time.
    SlowHead,
    /// What came is no HTTP, and that was said.
    Malformed,
    Broken,
}

impl End {
    fn of(error: hyper::Error) -> Self {
        tracing::debug!(%error, "a connection ended early");
        if error.is_timeout() {
            Self::SlowHead
        } else if error.is_parse() {
            Self::Malformed
        } else {
            Self::Broken
        }
    }
}
