//! Connections through proxies on loopback: to an echo, to a page, and to a sandbox by the whole client.

mod double;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use ipnet::IpNet;
use presence_core::InstanceId;
use presence_sandbox::Sandbox;
use presence_store::MemoryKeyStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use self::double::{Listening, Rules, TestProxy};
use super::*;
use crate::client::{Edge, WhatsApp, WhatsAppConfig};
use crate::dial::{ByteStream, Connectors, Dial as _, EdgeDial};
use crate::network::AllowedNetworks;
use crate::pairing::PairingUpdate;
use crate::proxy::{Proxies, ProxyProtocol, UnreadableProxy};
use crate::session::{Connector as _, End, Session, SessionState};

const LOGIN: (&str, &str) = ("user", "correct horse");
/// How long a connection is waited for that comes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn loopback() -> Vec<IpNet> {
    vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
}

fn connectors(networks: &[IpNet]) -> Connectors {
    Connectors::new(PATIENCE, AllowedNetworks::new(networks))
}

fn proxy_at(protocol: ProxyProtocol, at: SocketAddr, login: Option<(&str, &str)>) -> Proxy {
    let credentials = login.map(|(name, word)| ProxyCredentials::new(name.into(), word.into()).unwrap());
    let host = at.ip().to_string().parse().unwrap();
    let port = at.port().try_into().unwrap();
    Proxy::new(protocol, host, port, credentials).unwrap()
}

/// Answers what it hears, and counts who came.
async fn echo() -> Listening {
    Listening::serve(async |mut stream| {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await
}

async fn dial(
    connectors: &Connectors,
    proxy: &Proxy,
    target: SocketAddr,
) -> Result<Box<dyn ByteStream>, ProxyFault> {
    let url = format!("ws://{target}/ws/chat").parse().unwrap();
    let dialled = EdgeDial::new(connectors.through(proxy), &url)
        .unwrap()
        .dial()
        .await;
    dialled.map_err(|error| {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<ProxyError>());
        inner.expect("an error of the proxy").fault
    })
}

const PROTOCOLS: [ProxyProtocol; 2] = [ProxyProtocol::Http, ProxyProtocol::Socks5];

#[tokio::test]
async fn bytes_go_through_the_proxy_and_come_back() {
    let connectors = connectors(&loopback());
    for protocol in PROTOCOLS {
        for login in [None, Some(LOGIN)] {
            let (target, rules) = (
                echo().await,
                Rules {
                    login,
                    refuses: false,
                },
            );
            let proxy = TestProxy::start(protocol, rules).await;
            let proxy_value = proxy_at(protocol, proxy.address(), login);
            let mut stream = dial(&connectors, &proxy_value, target.address).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut back = [0; 5];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"hello");
            assert_eq!(proxy.tunnels.load(Ordering::Relaxed), 1, "{protocol:?} {login:?}");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_fails_says_how_and_nobody_is_connected_without_it() {
    let connectors = connectors(&loopback());
    let target = echo().await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let hangs_up = Listening::serve(async |stream| drop(stream)).await;
    for protocol in PROTOCOLS {
        let strict = Rules {
            login: Some(LOGIN),
            refuses: false,
        };
        let refusing = Rules {
            login: None,
            refuses: true,
        };
        let strict = TestProxy::start(protocol, strict).await;
        let refusing = TestProxy::start(protocol, refusing).await;
        let open = TestProxy::start(protocol, Rules::default()).await;
        let rows = [
            (strict.address(), None, target.address, ProxyFault::Credentials),
            (
                strict.address(),
                Some(("user", "wrong")),
                target.address,
                ProxyFault::Credentials,
            ),
            (
                strict.address(),
                Some(("other", LOGIN.1)),
                target.address,
                ProxyFault::Credentials,
            ),
            (refusing.address(), None, target.address, ProxyFault::Refused),
            (open.address(), None, nobody, ProxyFault::Refused),
            (hangs_up.address, None, target.address, ProxyFault::Refused),
            (nobody, None, target.address, ProxyFault::Unreachable),
        ];
        for (at, login, target, expected) in rows {
            let proxy = proxy_at(protocol, at, login);
            let fault = dial(&connectors, &proxy, target).await.err();
            assert_eq!(fault, Some(expected), "{protocol:?} {login:?}");
        }
    }
    assert_eq!(target.came.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_proxy_may_be_only_where_the_operator_lets_it_be() {
    let target = echo().await;
    let proxy = TestProxy::start(ProxyProtocol::Http, Rules::default()).await;
    let port = proxy.address().port().try_into().unwrap();
    for (host, is_tried) in [
        ("127.0.0.1", true),
        ("localhost", true),
        ("::ffff:127.0.0.1", false),
    ] {
        let named = Proxy::new(ProxyProtocol::Http, host.parse().unwrap(), port, None).unwrap();
        let forbidden = dial(&connectors(&[]), &named, target.address).await.err();
        assert_eq!(forbidden, Some(ProxyFault::Forbidden), "{host}");
        assert_eq!(proxy.listening.came.swap(0, Ordering::Relaxed), 0, "{host}");
        // Not every machine has IPv6.
        if is_tried {
            let allowed = dial(&connectors(&loopback()), &named, target.address).await;
            assert!(allowed.is_ok(), "{host}: {:?}", allowed.err());
            proxy.listening.came.store(0, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn an_https_proxy_must_prove_who_it_is() {
    let target = echo().await;
    let (proxy, certificate) = TestProxy::start_tls(Rules {
        login: Some(LOGIN),
        refuses: false,
    })
    .await;
    let named = |port: u16| {
        let credentials = ProxyCredentials::new(LOGIN.0.into(), LOGIN.1.into()).unwrap();
        let (host, port) = ("localhost".parse().unwrap(), port.try_into().unwrap());
        Proxy::new(ProxyProtocol::Https, host, port, Some(credentials)).unwrap()
    };
    let proxy_value = named(proxy.address().port());
    let stranger = dial(&connectors(&loopback()), &proxy_value, target.address)
        .await
        .err();
    assert_eq!(
        stranger,
        Some(ProxyFault::Unreachable),
        "no root of ours vouches for it"
    );
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let networks = AllowedNetworks::new(&loopback());
    let trusting = Connectors::with_roots(PATIENCE, networks, roots);
    let mut stream = dial(&trusting, &proxy_value, target.address).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    // One that speaks no TLS is none.
    let plain = Listening::serve(async |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let fault = dial(&trusting, &named(plain.address.port()), target.address)
        .await
        .err();
    assert_eq!(fault, Some(ProxyFault::Unreachable));
}

#[tokio::test]
async fn what_is_fetched_over_http_goes_through_the_proxy_too() {
    let page = Listening::serve(async |mut stream| {
        let mut request = [0; 2048];
        let _ = stream.read(&mut request).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage")
            .await;
    })
    .await;
    let proxy = TestProxy::start(ProxyProtocol::Socks5, Rules::default()).await;
    let connector = connectors(&loopback()).through(&proxy_at(ProxyProtocol::Socks5, proxy.address(), None));
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::get(format!("http://{}/", page.address))
        .body(Empty::new())
        .unwrap();
    let answer = client
        .request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(answer.to_bytes(), "page");
    assert_eq!(proxy.tunnels.load(Ordering::Relaxed), 1);
}

#[test]
fn a_url_without_a_port_means_that_of_its_scheme() {
    let rows = [
        ("http://web.example/", "http://web.example:80/"),
        ("http://[::1]/", "http://[::1]:80/"),
        ("http://127.0.0.1:9800/", "http://127.0.0.1:9800/"),
        // What the tunnels take by themselves.
        ("https://web.example/", "https://web.example/"),
    ];
    for (url, expected) in rows {
        assert_eq!(with_port(&url.parse().unwrap()).unwrap().to_string(), expected);
    }
}

/// The proxy of every instance, which may change; `Err` is one that cannot be read.
struct Given(Mutex<Result<Option<Proxy>, ()>>);

impl Given {
    fn set(&self, proxy: Result<Option<Proxy>, ()>) {
        *self.0.lock().unwrap() = proxy;
    }
}

impl Proxies for Given {
    fn proxy(&self, _: InstanceId) -> Result<Option<Proxy>, UnreadableProxy> {
        let given = self.0.lock().unwrap().clone();
        given.map_err(|()| UnreadableProxy("sealed with another key".into()))
    }
}

const ME: InstanceId = InstanceId::new(7).unwrap();

async fn until(session: &dyn Session, is_so: impl FnMut(&SessionState) -> bool) -> SessionState {
    let mut state = session.state();
    let found = tokio::time::timeout(PATIENCE, state.wait_for(is_so)).await;
    found
        .expect("the state never came")
        .expect("the session is gone")
        .clone()
}

async fn end(whatsapp: &WhatsApp) -> End {
    let session = whatsapp.open(ME).await.unwrap();
    match until(&*session, |state| matches!(state, SessionState::Ended(_))).await {
        SessionState::Ended(end) => end,
        _ => unreachable!("it was asked for"),
    }
}

async fn online(whatsapp: &WhatsApp) -> Box<dyn Session> {
    let session = whatsapp.open(ME).await.unwrap();
    let over = |state: &SessionState| matches!(state, SessionState::Online(_) | SessionState::Ended(_));
    let state = until(&*session, over).await;
    assert!(matches!(state, SessionState::Online(_)), "{state:?}");
    session
}

#[tokio::test]
async fn a_session_pairs_and_comes_online_through_its_proxy_and_in_no_other_way() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let account = "5511988887777".parse().unwrap();
    let edge = Edge::Sandbox {
        url: sandbox.edge_url().unwrap().parse().unwrap(),
        key: sandbox.edge_key(),
    };
    let keys = std::sync::Arc::<MemoryKeyStore>::default();
    let mut proxy = TestProxy::start(
        ProxyProtocol::Socks5,
        Rules {
            login: Some(LOGIN),
            refuses: false,
        },
    )
    .await;
    let at = proxy.address();
    let given = std::sync::Arc::new(Given(Mutex::new(Ok(Some(proxy_at(
        ProxyProtocol::Socks5,
        at,
        Some(LOGIN),
    ))))));
    let whatsapp_waiting = |dial_timeout| {
        let mut config = WhatsAppConfig::new(edge.clone(), keys.clone());
        config.proxy_networks = loopback();
        config.dial_timeout = dial_timeout;
        WhatsApp::new(config).unwrap().with_proxies(given.clone())
    };
    let whatsapp = whatsapp_waiting(PATIENCE);

    let session = whatsapp.open(ME).await.unwrap();
    let is_qr = |state: &SessionState| matches!(state, SessionState::Pairing(PairingUpdate::Qr { .. }));
    let SessionState::Pairing(PairingUpdate::Qr { code, .. }) = until(&*session, is_qr).await else {
        unreachable!("it was asked for")
    };
    sandbox.scan(account, &code).await.unwrap();
    until(&*session, |state| {
        matches!(state, SessionState::Ended(End::Paired))
    })
    .await;
    let session = online(&whatsapp).await;
    assert_eq!(proxy.tunnels.load(Ordering::Relaxed), 2);
    let connections = |sandbox: &Sandbox| sandbox.connections(account);

    // The proxy goes, and its connections with it.
    proxy.stop().await;
    until(&*session, |state| {
        matches!(state, SessionState::Ended(End::Lost(_)))
    })
    .await;
    let failed = |end: End| match end {
        End::ProxyFailed { fault, .. } => fault,
        end => panic!("{end:?}"),
    };
    assert_eq!(failed(end(&whatsapp).await), ProxyFault::Unreachable);
    given.set(Err(()));
    assert_eq!(failed(end(&whatsapp).await), ProxyFault::Unreadable);
    // One that takes the connection, and then says nothing.
    let silent = Listening::serve(async |stream| {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    given.set(Ok(Some(proxy_at(ProxyProtocol::Http, silent.address, None))));
    let hasty = whatsapp_waiting(Duration::from_secs(1));
    assert_eq!(failed(end(&hasty).await), ProxyFault::Unreachable);
    assert_eq!(connections(&sandbox), 0, "nobody came without a proxy");

    given.set(Ok(None));
    let session = online(&whatsapp).await;
    assert_eq!(
        (connections(&sandbox), proxy.tunnels.load(Ordering::Relaxed)),
        (1, 2)
    );
    session.close().await;
    sandbox.stop().await;
}
