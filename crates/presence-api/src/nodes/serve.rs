//! Where other nodes call: HTTP, until a connection becomes one for calls.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{self, OnUpgrade, Upgraded};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::board::{StatusFeed, StatusNews};
use super::client::{self, CALLS, FEEDS, MEANT, PROTOCOL};
use super::feed::{self, NodeFeed};
use super::shown_feed::{self, ShownFeed};
use super::{Nodes, carry_out};
use crate::app::App;
use crate::connection::{ConnectionState, RequestGuard};
use crate::instances::Instances;
use crate::json::{self, Body};

/// The most a request's head may take.
const MAX_HEAD: usize = 16 * 1024;
/// The most its body may take.
const MAX_BODY: usize = 4096;
/// How long a connection that has to go may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection that another node sends calls on.
pub(crate) struct CallStream(TokioIo<Upgraded>);

impl CallStream {
    /// Carries them out, until the other node sends no more.
    pub(crate) async fn serve(self, app: &Arc<App>) {
        carry_out::serve(app, self.0).await;
    }
}

/// Serves a connection until it ends, or becomes one for calls. Once `leaving` is cancelled, it goes.
pub(crate) async fn serve<S>(
    app: &Arc<App>,
    stream: S,
    state: &Arc<ConnectionState>,
    leaving: &CancellationToken,
) -> Option<CallStream>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let upgrade = Mutex::new(None);
    let service = service_fn(|request| {
        let (guard, upgrade) = (state.begin_request(), &upgrade);
        async move {
            let answer = answer(app, request, &guard, upgrade).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(plain))
        }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(app.settings.head_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = leaving.cancelled() => {
            serving.as_mut().graceful_shutdown();
            timeout(LAST_WORDS, serving.as_mut()).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of another node ended early");
    }
    let upgrade = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let stream = upgrade.await.ok()?;
    Some(CallStream(TokioIo::new(stream)))
}

async fn answer(
    app: &App,
    mut request: Request<Incoming>,
    guard: &RequestGuard,
    upgrade: &Mutex<Option<OnUpgrade>>,
) -> Result<Response<Body>, StatusCode> {
    let instances = app.instances.get().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let nodes = instances.nodes().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    if !is_node(nodes, request.headers()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    if !is_meant(nodes, request.headers()) {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    if request.uri().path() == CALLS {
        if request.method() != Method::GET {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        if request.headers().get(UPGRADE) != Some(&PROTOCOL) {
            return Err(StatusCode::UPGRADE_REQUIRED);
        }
        *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade::on(&mut request));
        let mut response = plain(StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, PROTOCOL);
        return Ok(response);
    }
    let (parts, mut body) = request.into_parts();
    let feed = parts.uri.path().strip_prefix(FEEDS);
    if feed.is_some() && parts.method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = json::read_body(&mut body, MAX_BODY, app.settings.body_timeout).await;
    let body = body.map_err(|_| StatusCode::BAD_REQUEST)?;
    match feed {
        Some(StatusFeed::NAME) => {
            let StatusFeed {} = asked(&body)?;
            Ok(feed::tell(statuses(instances, nodes), guard))
        }
        Some(ShownFeed::NAME) => {
            let news = shown_feed::news(instances, nodes, asked(&body)?);
            Ok(feed::tell(news, guard))
        }
        _ => Err(StatusCode::NOT_FOUND),
    }
}

fn asked<F: NodeFeed>(body: &[u8]) -> Result<F, StatusCode> {
    serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)
}

/// How this node's instances are.
fn statuses(instances: &Instances, nodes: &Nodes) -> impl Stream<Item = StatusNews> + Send + use<> {
    let told = (instances.clone(), nodes.clone(), None);
    stream::unfold(told, async |(instances, nodes, mut seen)| {
        let look = || instances.own_statuses();
        let news = nodes.inner.board.news(&mut seen, look).await;
        Some((news, (instances, nodes, seen)))
    })
}

fn is_node(nodes: &Nodes, headers: &HeaderMap) -> bool {
    let presented = headers.get(AUTHORIZATION);
    presented
        .and_then(|presented| presented.as_bytes().strip_prefix(b"Bearer "))
        .is_some_and(|presented| nodes.inner.secret.is(presented))
}

/// Whether this is the node that the caller means; one of the version before does not say.
fn is_meant(nodes: &Nodes, headers: &HeaderMap) -> bool {
    let meant = headers.get(MEANT);
    meant.is_none_or(|meant| nodes.cluster().me().map(client::meant).as_ref() == Some(meant))
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}
