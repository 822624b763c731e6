//! How a byte stream to WhatsApp's edge is opened.
//!
//! All sessions dial through connectors of one [`Connectors`], so that the roots of trust are parsed once and not
//! for every connection. Tests give a [`Dial`] of their own, whose other end they hold.

mod guarded;
mod oneshot;
mod through;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use self::guarded::AllowedResolver;
pub use self::guarded::{ForbiddenAddress, GuardedConnector};
use self::oneshot::oneshot;
pub(crate) use self::through::Tcp;
use self::through::ThroughProxy;
use crate::network::AllowedNetworks;
use crate::proxy::{Proxy, ProxyError, ProxyFault};

/// A connected byte stream: TCP, TLS over TCP, or a pipe in a test.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {}

/// Opens a byte stream to the edge. The WebSocket upgrade is spoken over it by the caller, who also bounds
/// the time.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers, or TLS cannot be agreed on.
    async fn dial(&self) -> io::Result<Box<dyn ByteStream>>;
}

/// TCP, directly or through a proxy, and TLS where the URL says `https`.
pub(crate) type Connector = HttpsConnector<Tcp>;

/// Makes the connectors for every connection of the adapter: of sessions and of what is fetched for them.
pub(crate) struct Connectors {
    connect_timeout: Duration,
    tls: ClientConfig,
    networks: AllowedNetworks,
}

impl Connectors {
    /// With Mozilla's roots of trust. `networks` are where proxies may be.
    pub(crate) fn new(connect_timeout: Duration, networks: AllowedNetworks) -> Self {
        let roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        Self::with_roots(connect_timeout, networks, roots)
    }

    fn with_roots(
        connect_timeout: Duration,
        networks: AllowedNetworks,
        roots: rustls::RootCertStore,
    ) -> Self {
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            connect_timeout,
            tls,
            networks,
        }
    }

    /// Connects without a proxy.
    pub(crate) fn direct(&self) -> Connector {
        self.secured(Tcp::Direct(self.plain(HttpConnector::new())))
    }

    /// Connects through `proxy`, and in no other way.
    pub(crate) fn through(&self, proxy: &Proxy) -> Connector {
        let through = ThroughProxy::new(self.guarded(), proxy);
        self.secured(Tcp::Proxy(Box::new(through)))
    }

    /// Connects to allowed addresses only.
    fn guarded(&self) -> GuardedConnector {
        let resolver = AllowedResolver::new(self.networks.clone());
        let https = self.secured(self.plain(HttpConnector::new_with_resolver(resolver)));
        GuardedConnector::over(self.networks.clone(), https)
    }

    fn plain<R>(&self, mut tcp: HttpConnector<R>) -> HttpConnector<R> {
        tcp.enforce_http(false);
        // Two small stanzas in a row, composing and paused, would otherwise wait for the peer's delayed ACK:
        // 40 ms instead of 2.
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.connect_timeout));
        tcp
    }

    fn secured<T>(&self, tcp: T) -> HttpsConnector<T> {
        HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp)
    }
}

/// Dials a `ws` or `wss` URL: TCP without Nagle's delay, and TLS with Mozilla's roots for `wss`.
pub(crate) struct EdgeDial {
    connector: Connector,
    target: Uri,
}

impl EdgeDial {
    /// Prepares to dial the host of `url`.
    ///
    /// # Errors
    /// When `url` is not an absolute `ws` or `wss` URL.
    pub(crate) fn new(connector: Connector, url: &Uri) -> Result<Self, InvalidEdge> {
        let scheme = match url.scheme_str() {
            Some("ws") => "http",
            Some("wss") => "https",
            _ => return Err(InvalidEdge),
        };
        let authority = url.authority().ok_or(InvalidEdge)?.clone();
        let target = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query("/")
            .build()
            .map_err(|_| InvalidEdge)?;
        Ok(Self { connector, target })
    }
}

#[async_trait]
impl Dial for EdgeDial {
    async fn dial(&self) -> io::Result<Box<dyn ByteStream>> {
        let stream = oneshot(self.connector.clone(), self.target.clone())
            .await
            .map_err(io::Error::other)?;
        Ok(Box::new(TokioIo::new(stream)))
    }
}

/// Dials nobody, in the place of a proxy that is not to be used.
pub(crate) struct NoDial(pub(crate) ProxyFault);

#[async_trait]
impl Dial for NoDial {
    async fn dial(&self) -> io::Result<Box<dyn ByteStream>> {
        Err(io::Error::other(ProxyError::from(self.0)))
    }
}

/// An edge URL that is not an absolute `ws` or `wss` URL.
#[derive(Debug, thiserror::Error)]
#[error("the edge must be an absolute ws or wss URL")]
pub struct InvalidEdge;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Option<String> {
        let url = url.parse().ok()?;
        let connectors = Connectors::new(Duration::from_secs(1), AllowedNetworks::default());
        EdgeDial::new(connectors.direct(), &url)
            .ok()
            .map(|dial| dial.target.to_string())
    }

    #[test]
    fn a_websocket_url_is_dialled_by_its_scheme_host_and_port() {
        assert_eq!(
            target("wss://web.whatsapp.com/ws/chat").as_deref(),
            Some("https://web.whatsapp.com/")
        );
        assert_eq!(
            target("ws://127.0.0.1:9800/ws/chat").as_deref(),
            Some("http://127.0.0.1:9800/")
        );
        assert_eq!(target("ws://[::1]:9800/").as_deref(), Some("http://[::1]:9800/"));
    }

    #[test]
    fn anything_else_is_refused() {
        for url in [
            "https://web.whatsapp.com/",
            "/ws/chat",
            "web.whatsapp.com",
            "ftp://x/",
        ] {
            assert_eq!(target(url), None, "{url}");
        }
    }
}
