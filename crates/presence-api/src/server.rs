//! Connections: accepted, served, and ended in good order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use presence_store::{Edge, Registry};
use presence_wa::{Connector, Fleet, FleetSettings};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::connection::{self, HttpConnection};
use crate::http;
use crate::sessions::RegistryLedger;
use crate::settings::HttpSettings;

/// The most a request's head may take: its line and all fields. hyper answers 431 beyond.
const MAX_HEAD: usize = 16 * 1024;
/// How long to wait before accepting again after accepting failed, which is when the process has no file
/// handle left: trying at once would only burn a core.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The service over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) app: Arc<App>,
}

impl Server {
    /// A server over `registry`, whose sessions `connector` opens. Saved ones are reopened in the background;
    /// from here on, sessions and registry are kept in step. `edge` is what the connector's pairings are made
    /// with, for the registry to remember.
    ///
    /// Must be called in a tokio runtime.
    #[must_use]
    pub fn new<C: Connector>(
        registry: Arc<dyn Registry>,
        edge: Edge,
        connector: C,
        fleet: FleetSettings,
        settings: HttpSettings,
    ) -> Self {
        let ledger = RegistryLedger {
            registry: Arc::clone(&registry),
            edge,
        };
        let fleet = Fleet::new(connector, ledger, fleet);
        let app = Arc::new(App::new(registry, fleet, settings));
        for instance in app.registry.all_instances() {
            app.sessions.resume(&instance);
        }
        let follower = Arc::clone(&app);
        app.tasks.spawn(async move {
            follower
                .stopping
                .run_until_cancelled(follower.sessions.follow())
                .await;
        });
        Self { app }
    }

    /// Serves one connection of a client at `peer` until it ends, or the server stops.
    pub async fn serve_connection<S>(&self, stream: S, peer: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let app = Arc::clone(&self.app);
            async move { Ok::<_, std::convert::Infallible>(http::handle(app, peer, request).await) }
        });
        let mut serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.app.settings.idle_timeout)
            .max_buf_size(MAX_HEAD)
            // A client that has nothing more to send still waits for its answer.
            .half_close(true)
            .serve_connection(TokioIo::new(HttpConnection::new(stream)), service);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = self.app.stopping.cancelled() => {
                std::pin::Pin::new(&mut serving).graceful_shutdown();
                (&mut serving).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
            let parts = serving.into_parts();
            let stream = parts.io.into_inner().into_inner();
            if error.is_timeout() {
                connection::answer_slow_head(stream, &parts.read_buf).await;
            } else if error.is_parse() {
                connection::close(stream).await;
            }
        }
    }

    /// Accepts connections until `stop` is done, then lets requests finish for at most `grace`. The sessions
    /// live on, until [`stop`](Self::stop).
    pub async fn serve(
        &self,
        listener: TcpListener,
        max_connections: usize,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        tokio::select! {
            () = self.accept(&listener, max_connections, &connections, &cut) => {}
            () = stop => {}
        }
        drop(listener);
        self.app.stopping.cancel();
        connections.close();
        tracing::info!(connections = connections.len(), "stopping: no new requests");
        if timeout(grace, connections.wait()).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "requests did not finish in time and are dropped"
            );
            // What they began and must not be left halfway lives on, among the tasks that `stop` waits for.
            cut.cancel();
            connections.wait().await;
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
        max_connections: usize,
        connections: &TaskTracker,
        cut: &CancellationToken,
    ) {
        let room = Arc::new(Semaphore::new(max_connections));
        loop {
            // Past the limit, clients wait in the system's queue.
            let permit = Arc::clone(&room)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Answers are small and written whole: waiting to fill a packet only delays them.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection is gone already");
                    }
                    let (server, cut) = (self.clone(), cut.clone());
                    connections.spawn(async move {
                        cut.run_until_cancelled(server.serve_connection(stream, peer.ip()))
                            .await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    /// Ends it: changes under way are finished, every indicator is paused, and every session closed. Each of
    /// the two takes at most `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.app.stopping.cancel();
        self.app.tasks.close();
        if timeout(grace, self.app.tasks.wait()).await.is_err() {
            tracing::warn!("changes did not finish in time");
        }
        self.app.fleet.shutdown(grace).await;
    }
}
