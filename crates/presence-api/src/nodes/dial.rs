//! Connections to other nodes.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use hyper::Uri;
use presence_wa::ByteStream;
use tokio::net::TcpStream;
use tokio::time::timeout;

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
