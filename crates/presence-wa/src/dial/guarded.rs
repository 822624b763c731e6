//! Connections to where somebody else says: only to addresses that are public, or allowed by the operator.

use std::error::Error;
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::Connectors;
use super::oneshot::oneshot;
use crate::network::AllowedNetworks;

type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to the host of a URL, with TLS where it says `https`; and to no address but those that are allowed.
#[derive(Clone)]
pub struct GuardedConnector {
    networks: AllowedNetworks,
    https: HttpsConnector<HttpConnector<AllowedResolver>>,
}

impl GuardedConnector {
    /// With Mozilla's roots of trust.
    #[must_use]
    pub fn new(connect_timeout: Duration, networks: AllowedNetworks) -> Self {
        Connectors::new(connect_timeout, networks).guarded()
    }

    pub(super) fn over(
        networks: AllowedNetworks,
        https: HttpsConnector<HttpConnector<AllowedResolver>>,
    ) -> Self {
        Self { networks, https }
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each call makes a connector of its own ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        // A name's addresses are looked at when it is resolved; an address is not resolved.
        if literal(&url).is_some_and(|address| !self.networks.allow(address)) {
            return Box::pin(ready(Err(ForbiddenAddress.into())));
        }
        Box::pin(oneshot(self.https.clone(), url))
    }
}

/// The address that the URL has in the place of a name.
fn literal(url: &Uri) -> Option<IpAddr> {
    let host = url.host()?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// There is no address to connect to that is public or allowed.
#[derive(Debug, thiserror::Error)]
#[error("the address is not public, and not allowed")]
pub struct ForbiddenAddress;

impl ForbiddenAddress {
    /// Whether it is what `error` comes from.
    #[must_use]
    pub fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
        let mut causes = std::iter::successors(Some(error), |&error| error.source());
        causes.any(|cause| cause.is::<Self>())
    }
}

/// Looks names up, and gives only addresses that are allowed. Whoever owns the name decides what it resolves to,
/// anew each time: so it is the addresses that are then connected to which are looked at.
#[derive(Clone, Debug)]
pub(crate) struct AllowedResolver {
    networks: AllowedNetworks,
    system: GaiResolver,
}

impl AllowedResolver {
    pub(super) fn new(networks: AllowedNetworks) -> Self {
        Self {
            networks,
            system: GaiResolver::new(),
        }
    }
}

impl Service<Name> for AllowedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { networks, system } = self.clone();
        Box::pin(async move {
            let addresses = oneshot(system, name).await?;
            let allowed: Vec<_> = addresses.filter(|found| networks.allow(found.ip())).collect();
            if allowed.is_empty() {
                return Err(ForbiddenAddress.into());
            }
            Ok(allowed.into_iter())
        })
    }
}
