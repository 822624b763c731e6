//! A TCP proxy on loopback that can be told to misbehave as networks do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::statements::Statements;

/// How much is forwarded at once.
const PIECE: usize = 16 << 10;

/// What a proxy does with connections, those that stand and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// Forwards them.
    Works,
    /// Ends them at once, so that both sides know.
    Cut,
    /// Takes them, and forwards nothing until that changes: neither side can tell.
    Silent,
    /// Forwards what is sent to PostgreSQL so much later for each statement in it.
    Slow(Duration),
}

/// A proxy in front of one port. It ends with this value.
pub(crate) struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    statements: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Proxy {
    /// Listens on a free port, and forwards to `target`, which need not listen yet.
    pub(crate) fn start(runtime: &Handle, target: SocketAddr) -> io::Result<Self> {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        let network = watch::Sender::new(Network::Works);
        let statements = Arc::default();
        let accepted = accept(listener, target, network.subscribe(), Arc::clone(&statements));
        Ok(Self {
            port,
            network,
            statements,
            task: runtime.spawn(accepted).abort_handle(),
        })
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// From now on the network behaves like that.
    pub(super) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// How many statements went through it, if PostgreSQL is behind it.
    pub(crate) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    network: watch::Receiver<Network>,
    statements: Arc<AtomicU64>,
) {
    // They end with the proxy.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of file handles, most likely: they come back when connections end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let forwarded = forward(client, target, network.clone(), Arc::clone(&statements));
        connections.spawn(async move {
            // What goes wrong there is what the proxy is for.
            let _ = forwarded.await;
        });
    }
}

async fn forward(
    client: TcpStream,
    target: SocketAddr,
    mut network: watch::Receiver<Network>,
    statements: Arc<AtomicU64>,
) -> io::Result<()> {
    network
        .wait_for(|network| *network != Network::Silent)
        .await
        .map_err(io::Error::other)?;
    if *network.borrow() == Network::Cut {
        return Ok(());
    }
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = pump(from_client, to_server, network.clone(), Some(statements));
    let answers = pump(from_server, to_client, network, None);
    // One that is cut ends the other; one that ends in order does not.
    tokio::try_join!(requests, answers).map(drop)
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    statements: Option<Arc<AtomicU64>>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut parser = Statements::new();
    loop {
        let now = *network.borrow_and_update();
        match now {
            Network::Cut => return Err(io::ErrorKind::ConnectionReset.into()),
            Network::Silent => {
                network.changed().await.map_err(io::Error::other)?;
                continue;
            }
            Network::Works | Network::Slow(_) => {}
        }
        let length = tokio::select! {
            changed = network.changed() => {
                changed.map_err(io::Error::other)?;
                continue;
            }
            read = from.read(&mut piece) => read?,
        };
        if length == 0 {
            return to.shutdown().await;
        }
        if let Some(total) = &statements {
            let count = parser.count(&piece[..length]);
            total.fetch_add(count as u64, Ordering::Relaxed);
            slow_down(count, &mut network).await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

/// Waits as long as so many statements take, unless the network gets faster or worse meanwhile.
async fn slow_down(statements: usize, network: &mut watch::Receiver<Network>) {
    let now = *network.borrow();
    if let (Network::Slow(each), Ok(count @ 1..)) = (now, u32::try_from(statements)) {
        let changed = network.wait_for(|network| *network != now);
        let _ = tokio::time::timeout(each * count, changed).await;
    }
}

#[cfg(test)]
mod tests {
    //! A client and a server that echoes, with the proxy between them.

    use super::*;

    /// What is to come has come by then, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// How long nothing may come of what is kept back.
    const SILENCE: Duration = Duration::from_millis(200);

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn says(client: &mut TcpStream, text: &str) -> io::Result<String> {
        client.write_all(text.as_bytes()).await?;
        hears(client).await
    }

    async fn hears(client: &mut TcpStream) -> io::Result<String> {
        let mut heard = [0; 16];
        let length = tokio::time::timeout(PATIENCE, client.read(&mut heard)).await??;
        Ok(String::from_utf8_lossy(&heard[..length]).into_owned())
    }

    fn has_ended(heard: io::Result<String>) -> bool {
        heard.map_or_else(
            |error| error.kind() != io::ErrorKind::TimedOut,
            |heard| heard.is_empty(),
        )
    }

    #[test]
    fn it_forwards_cuts_and_keeps_silent() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let target = runtime.block_on(echo());
        let proxy = Proxy::start(runtime.handle(), target).unwrap();
        runtime.block_on(async {
            let address = (Ipv4Addr::LOCALHOST, proxy.port());
            let mut client = TcpStream::connect(address).await.unwrap();
            assert_eq!(says(&mut client, "one").await.unwrap(), "one");

            proxy.set(Network::Silent);
            let answered = tokio::time::timeout(SILENCE, says(&mut client, "two")).await;
            assert!(answered.is_err(), "it was answered");
            proxy.set(Network::Works);
            assert_eq!(hears(&mut client).await.unwrap(), "two", "nothing is lost");

            proxy.set(Network::Cut);
            assert!(has_ended(hears(&mut client).await));
            let mut client = TcpStream::connect(address).await.unwrap();
            assert!(has_ended(says(&mut client, "three").await));
            proxy.set(Network::Works);
            let mut client = TcpStream::connect(address).await.unwrap();
            assert_eq!(says(&mut client, "four").await.unwrap(), "four");
        });
    }
}
