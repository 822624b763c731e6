//! One port for both: the edge at `/ws/chat`, and the control API.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use whatsapp_rust::wacore::libsignal::crypto::CryptographicHash;

use crate::hub::Hub;
use crate::{control, server};

/// Where clients connect.
pub(crate) const EDGE: &str = "/ws/chat";

/// A connection that is not even answered.
#[derive(Debug, thiserror::Error)]
#[error("refused on purpose")]
struct Refused;

/// Serves one connection, whatever it turns out to be, until it ends. `place` is given back with the last
/// of it.
pub(crate) async fn serve<S>(hub: Arc<Hub>, stream: S, place: Option<OwnedSemaphorePermit>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stop = hub.stop.clone();
    let place = Arc::new(place);
    let service = service_fn(move |request| answer(hub.clone(), place.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(20))
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection broke");
        },
        () = stop.cancelled() => {}
    }
}

async fn answer(
    hub: Arc<Hub>,
    place: Arc<Option<OwnedSemaphorePermit>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refused> {
    if request.uri().path() != EDGE {
        let Ok(response) = control::answer(&hub, request).await as Result<_, Infallible>;
        return Ok(response);
    }
    let Some(accept) = upgrade(request.method(), request.headers()) else {
        return Ok(control::error(
            StatusCode::UPGRADE_REQUIRED,
            "this is where WhatsApp clients connect",
        ));
    };
    if hub.change(|world, _| world.refuses_connections()) {
        return Err(Refused);
    }
    let stop = hub.stop.clone();
    let tasks = hub.tasks.clone();
    tasks.spawn(async move {
        let _place = place;
        let session = async {
            match hyper::upgrade::on(request).await {
                Ok(upgraded) => server::serve(&hub, TokioIo::new(upgraded)).await,
                Err(error) => tracing::debug!(%error, "a client did not become a WebSocket"),
            }
        };
        tokio::select! {
            () = session => {}
            () = stop.cancelled() => {}
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// The value that accepts a WebSocket handshake; `None` when it is none (RFC 6455, 4.2).
fn upgrade(method: &Method, headers: &HeaderMap) -> Option<header::HeaderValue> {
    let has = |name, token: &str| {
        let values = headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    let asks = method == Method::GET
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    let mut hash = CryptographicHash::new("SHA-1").ok()?;
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(hash.finalize()).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> HeaderMap {
        let headers = [
            (header::UPGRADE, "WebSocket"),
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers
            .into_iter()
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_handshake_of_the_standard_is_accepted() {
        let accept = upgrade(&Method::GET, &handshake()).unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_handshake_is_not_accepted() {
        assert!(upgrade(&Method::POST, &handshake()).is_none());
        let names = [
            header::UPGRADE,
            header::CONNECTION,
            header::SEC_WEBSOCKET_VERSION,
            header::SEC_WEBSOCKET_KEY,
        ];
        for name in names {
            let mut headers = handshake();
            headers.remove(&name);
            assert!(upgrade(&Method::GET, &headers).is_none(), "without {name}");
        }
    }
}
