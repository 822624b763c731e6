//! Connections to other nodes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use presence_wa::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

/// Opens a byte stream to another node.
#[async_trait]
pub trait DialNode: Send + Sync + 'static {
    /// Connects to the node at this address, which is that of its ledger entry.
    ///
    /// # Errors
    /// When nobody answers in time.
    async fn dial(&self, address: &Uri) -> io::Result<Box<dyn ByteStream>>;
}

/// Over TCP.
pub(super) struct Tcp;

/// How long a node may take to accept a connection. It is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HTTP: u16 = 80;

#[async_trait]
impl DialNode for Tcp {
    async fn dial(&self, address: &Uri) -> io::Result<Box<dyn ByteStream>> {
        let host = address.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let connect = TcpStream::connect((host, address.port_u16().unwrap_or(HTTP)));
        let stream = timeout(CONNECT_TIMEOUT, connect).await??;
        // Calls are small and written whole: waiting to fill a packet only delays them.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// What hyper's client asks for connections.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<dyn DialNode>);

impl Service<Uri> for Connector {
    type Response = TokioIo<NodeStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let dial = Arc::clone(&self.0);
        Box::pin(async move { Ok(TokioIo::new(NodeStream(dial.dial(&address).await?))) })
    }
}

/// A connection to another node.
pub(super) struct NodeStream(Box<dyn ByteStream>);

impl Connection for NodeStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
