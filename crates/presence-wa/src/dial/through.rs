//! TCP to WhatsApp, directly or through a proxy.

use std::error::Error;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::guarded::{ForbiddenAddress, GuardedConnector};
use super::oneshot::oneshot;
use crate::proxy::{Proxy, ProxyCredentials, ProxyError, ProxyFault, ProxyProtocol};

/// A connection to a proxy or to the target itself, under the TLS with the target.
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to the host and port of a URL.
#[derive(Clone)]
pub(crate) enum Tcp {
    /// Without a proxy.
    Direct(HttpConnector),
    /// Through one. Its errors are [`ProxyError`]s.
    Proxy(Box<ThroughProxy>),
}

impl Service<Uri> for Tcp {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each call makes a connector of its own ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => {
                let tcp = tcp.clone();
                Box::pin(async move { Ok(oneshot(tcp, target).await?.into()) })
            }
            Self::Proxy(through) => {
                let through = through.clone();
                Box::pin(async move { Ok(through.connect(&target).await?) })
            }
        }
    }
}

/// Connects through one proxy.
#[derive(Clone)]
pub(crate) struct ThroughProxy {
    to_proxy: GuardedConnector,
    proxy: Proxy,
}

impl ThroughProxy {
    pub(super) fn new(to_proxy: GuardedConnector, proxy: &Proxy) -> Self {
        Self {
            to_proxy,
            proxy: proxy.clone(),
        }
    }

    async fn connect(self, target: &Uri) -> Result<Stream, ProxyError> {
        let refused = |error: BoxError| ProxyError::new(ProxyFault::Refused, error);
        let target = with_port(target).map_err(|error| refused(error.into()))?;
        let url = self.url().map_err(|error| refused(error.into()))?;
        let stream = oneshot(self.to_proxy, url.clone()).await.map_err(unreachable)?;
        let given = Given(Some(stream));
        let credentials = self.proxy.credentials();
        match self.proxy.protocol() {
            ProxyProtocol::Http | ProxyProtocol::Https => {
                let mut tunnel = Tunnel::new(url, given);
                if let Some(credentials) = credentials {
                    tunnel = tunnel.with_auth(basic(credentials));
                }
                oneshot(tunnel, target)
                    .await
                    .map_err(|error| answered(error.into()))
            }
            ProxyProtocol::Socks5 => {
                let mut socks = SocksV5::new(url, given);
                if let Some(credentials) = credentials {
                    let (name, word) = (credentials.username(), credentials.expose_password());
                    socks = socks.with_auth(name.to_owned(), word.to_owned());
                }
                oneshot(socks, target)
                    .await
                    .map_err(|error| answered(error.into()))
            }
        }
    }

    /// Where the proxy is; `https` is a proxy that speaks TLS.
    fn url(&self) -> Result<Uri, http::Error> {
        let scheme = match self.proxy.protocol() {
            ProxyProtocol::Https => "https",
            ProxyProtocol::Http | ProxyProtocol::Socks5 => "http",
        };
        Uri::builder()
            .scheme(scheme)
            .authority(format!("{}:{}", self.proxy.host().in_url(), self.proxy.port()))
            .path_and_query("/")
            .build()
    }
}

/// The connection to the proxy, for the handshake that wants to connect to it.
struct Given(Option<Stream>);

impl Service<Uri> for Given {
    type Response = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::Error::other("it is used")))
    }
}

/// The target with the port that its scheme means: the tunnels take 443 for every URL without one.
fn with_port(target: &Uri) -> Result<Uri, http::Error> {
    if target.port().is_some() || target.scheme_str() != Some("http") {
        return Ok(target.clone());
    }
    let host = target.host().unwrap_or_default();
    Uri::builder()
        .scheme("http")
        .authority(format!("{host}:80"))
        .path_and_query("/")
        .build()
}

fn basic(credentials: &ProxyCredentials) -> HeaderValue {
    let pair = format!("{}:{}", credentials.username(), credentials.expose_password());
    let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
    let mut value = value.expect("base64 is header text");
    value.set_sensitive(true);
    value
}

/// The connection to the proxy was not made.
fn unreachable(error: BoxError) -> ProxyError {
    if ForbiddenAddress::is_cause_of(&*error) {
        return ProxyError::new(ProxyFault::Forbidden, error);
    }
    ProxyError::new(ProxyFault::Unreachable, error)
}

/// The proxy was reached, and something else came of it than a connection. Its errors have no public type: their
/// words tell a refused login from all else.
fn answered(error: BoxError) -> ProxyError {
    const ABOUT_CREDENTIALS: [&str; 4] = [
        "proxy authorization required",
        "credentials not accepted",
        "user/pass authentication",
        "implements authentication incorrectly",
    ];
    let words = error.to_string();
    let fault = if ABOUT_CREDENTIALS.iter().any(|part| words.contains(part)) {
        ProxyFault::Credentials
    } else {
        ProxyFault::Refused
    };
    ProxyError::new(fault, error)
}

#[cfg(test)]
mod tests;
