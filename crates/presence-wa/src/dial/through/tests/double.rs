//! Proxies on loopback that do what they are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::proxy::ProxyProtocol;

/// A listener whose connections are served by a function, until it is dropped.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    /// How many connections came.
    pub(super) came: Arc<AtomicUsize>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listening {
    pub(super) async fn serve<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listening = Self {
            address: listener.local_addr().unwrap(),
            came: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (came, stop, tasks) = (
            Arc::clone(&listening.came),
            listening.stop.clone(),
            listening.tasks.clone(),
        );
        listening.tasks.spawn(async move {
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                came.fetch_add(1, Ordering::Relaxed);
                let serving = serve(stream);
                let stop = stop.clone();
                tasks.spawn(async move {
                    stop.run_until_cancelled(serving).await;
                });
            }
        });
        listening
    }

    /// Ends it with all its connections.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Whom a proxy lets through.
#[derive(Clone, Copy, Default)]
pub(super) struct Rules {
    pub(super) login: Option<(&'static str, &'static str)>,
    /// Nobody, whoever it is.
    pub(super) refuses: bool,
}

impl Rules {
    async fn connect(&self, target: impl ToSocketAddrs) -> Option<TcpStream> {
        if self.refuses {
            return None;
        }
        TcpStream::connect(target).await.ok()
    }
}

pub(super) struct TestProxy {
    pub(super) listening: Listening,
    /// How many connections it made for others.
    pub(super) tunnels: Arc<AtomicUsize>,
}

impl TestProxy {
    pub(super) async fn start(protocol: ProxyProtocol, rules: Rules) -> Self {
        let tunnels = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&tunnels);
        let listening = Listening::serve(move |stream| {
            let counted = Arc::clone(&counted);
            async move {
                // Whoever hangs up ends it, and a test looks at the other end.
                let _ = match protocol {
                    ProxyProtocol::Socks5 => socks5(stream, rules, &counted).await,
                    _ => connect(stream, rules, &counted).await,
                };
            }
        })
        .await;
        Self { listening, tunnels }
    }

    /// One for `localhost` over TLS, with the certificate that vouches for it.
    pub(super) async fn start_tls(rules: Rules) -> (Self, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], key)
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let tunnels = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&tunnels);
        let listening = Listening::serve(move |stream| {
            let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = connect(stream, rules, &counted).await;
                }
            }
        })
        .await;
        (Self { listening, tunnels }, certificate)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listening.address
    }

    pub(super) async fn stop(&mut self) {
        self.listening.stop().await;
    }
}

/// HTTP's CONNECT.
async fn connect<S>(mut stream: S, rules: Rules, tunnels: &AtomicUsize) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let allowed = rules.login.is_none_or(|(name, word)| {
        let basic = format!(
            "proxy-authorization: basic {}",
            STANDARD.encode(format!("{name}:{word}"))
        );
        head.lines().any(|line| line.eq_ignore_ascii_case(&basic))
    });
    let answer = |status: &str| format!("HTTP/1.1 {status}\r\n\r\n");
    if !allowed {
        return stream
            .write_all(answer("407 Proxy Authentication Required").as_bytes())
            .await;
    }
    let Some(mut target) = rules.connect(target.unwrap()).await else {
        return stream.write_all(answer("502 Bad Gateway").as_bytes()).await;
    };
    tunnels.fetch_add(1, Ordering::Relaxed);
    stream.write_all(answer("200 OK").as_bytes()).await?;
    copy_bidirectional(&mut stream, &mut target).await.map(drop)
}

/// SOCKS 5, RFC 1928 and 1929, to IPv4 addresses.
async fn socks5(mut stream: TcpStream, rules: Rules, tunnels: &AtomicUsize) -> std::io::Result<()> {
    let text = async |stream: &mut TcpStream| {
        let mut bytes = vec![0; stream.read_u8().await?.into()];
        stream.read_exact(&mut bytes).await?;
        std::io::Result::Ok(bytes)
    };
    assert_eq!(stream.read_u8().await?, 5);
    let methods = text(&mut stream).await?;
    let method = if rules.login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return stream.write_all(&[5, 0xff]).await;
    }
    stream.write_all(&[5, method]).await?;
    if let Some((name, word)) = rules.login {
        assert_eq!(stream.read_u8().await?, 1);
        let given = (text(&mut stream).await?, text(&mut stream).await?);
        let allowed = given == (name.into(), word.into());
        stream.write_all(&[1, u8::from(!allowed)]).await?;
        if !allowed {
            return Ok(());
        }
    }
    let mut request = [0; 10];
    stream.read_exact(&mut request).await?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else {
        panic!("{request:?}")
    };
    let target = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
    let Some(mut target) = rules.connect(target).await else {
        return stream.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    };
    tunnels.fetch_add(1, Ordering::Relaxed);
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut stream, &mut target).await.map(drop)
}
