//! How often a presence allocates on its way from the socket to the session, hyper and JSON included. Its own
//! program: the counting allocator serves a whole process, and counts one thread.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use presence_api::{HttpSettings, Instances, Limits, Server};
use presence_core::{Availability, ChatJid, ChatState, InstanceId, PhoneNumber};
use presence_store::{Edge, Registry as _, Store};
use presence_wa::{
    Connector, Contact, FleetSettings, Identity, KeysError, LinkCode, Online, OwnMessage, PairError,
    SendError, Session, SessionState, VersionError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, watch};

/// What a presence may allocate. Lower it when it is lower; what raises it needs a reason.
const MOST: u64 = 16;
const REQUESTS: u64 = 200;

#[test]
fn a_presence_allocates_what_it_needs() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut client, request) = runtime.block_on(connect());
    // Tables grow, and names are learnt.
    runtime.block_on(show(&mut client, &request, REQUESTS));
    let counted = allocation_counter::measure(|| {
        runtime.block_on(show(&mut client, &request, REQUESTS));
    });
    // Rounded down: what the service does once a second may fall into it, and is no presence's.
    let each = counted.count_total / REQUESTS;
    assert!(each <= MOST, "{each} allocations a presence");
}

/// A connection to a service with one instance that is online, and the request that is sent on it.
async fn connect() -> (DuplexStream, Vec<u8>) {
    let registry = Arc::new(Store::in_memory().unwrap());
    let created = registry
        .create_account("acme".parse().unwrap(), None, DateTime::UNIX_EPOCH)
        .await;
    let token = created.unwrap().1.expose().to_owned();
    let unlimited = Limits {
        requests: 0,
        new_instances: 0,
        failures: 0,
    };
    let server = Server::new(HttpSettings {
        limits: unlimited,
        ..HttpSettings::default()
    });
    let connector = Arc::new(AlwaysOnline);
    server.open(Instances::open(registry, Edge::Sandbox, connector, FleetSettings::default()).await);

    let (mut client, stream) = tokio::io::duplex(64 * 1024);
    let serving = async move {
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        server.serve_connection(stream, peer).await;
    };
    tokio::spawn(serving);
    let call = |method: &str, path: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        (head + body).into_bytes()
    };
    answered(
        &mut client,
        &call("POST", "/api/instance/new", r#"{"name":"shop"}"#),
        b"201",
    )
    .await;
    answered(
        &mut client,
        &call("GET", "/api/instance/connect/shop", ""),
        b"200",
    )
    .await;
    let typing = r#"{"number":"4915700000000","state":"typing","duration":5}"#;
    (client, call("POST", "/api/chat/presence/shop", typing))
}

async fn show(client: &mut DuplexStream, request: &[u8], times: u64) {
    for _ in 0..times {
        answered(client, request, b"200").await;
    }
}

/// Sends a request, and reads its answer, whose status must be `status`. It allocates nothing.
async fn answered(client: &mut DuplexStream, request: &[u8], status: &[u8; 3]) {
    client.write_all(request).await.unwrap();
    let mut answer = [0; 4096];
    let mut length = 0;
    while !answer[..length].ends_with(b"}\n") {
        let read = client.read(&mut answer[length..]).await.unwrap();
        assert_ne!(read, 0, "it hung up");
        length += read;
    }
    let said = String::from_utf8_lossy(&answer[..length]);
    assert_eq!(&answer[9..12], status, "{said}");
}

/// Every instance is linked, and online as soon as it is opened.
struct AlwaysOnline;

fn identity() -> Identity {
    Identity {
        jid: "5511988887777@s.whatsapp.net".to_owned(),
        push_name: Some("Shop".to_owned()),
    }
}

#[async_trait]
impl Connector for AlwaysOnline {
    async fn paired(&self) -> Result<Vec<(InstanceId, Identity)>, KeysError> {
        Ok(Vec::new())
    }

    async fn saved(&self, _: InstanceId) -> Result<Option<Identity>, KeysError> {
        Ok(Some(identity()))
    }

    async fn open(&self, _: InstanceId) -> Result<Box<dyn Session>, KeysError> {
        let online = Online {
            identity: identity(),
            ..Online::default()
        };
        Ok(Box::new(TakesAll(watch::Sender::new(SessionState::Online(
            online,
        )))))
    }

    async fn wipe(&self, _: InstanceId) -> Result<(), KeysError> {
        Ok(())
    }

    async fn forget(&self, _instance: InstanceId) {}

    async fn refresh_version(&self, _: InstanceId) -> Result<bool, VersionError> {
        Ok(false)
    }
}

/// A session that takes every stanza at once.
struct TakesAll(watch::Sender<SessionState>);

#[async_trait]
impl Session for TakesAll {
    async fn send_chat_state(&self, _: &ChatJid, _: ChatState) -> Result<(), SendError> {
        Ok(())
    }

    async fn set_availability(&self, _: Availability) -> Result<(), SendError> {
        Ok(())
    }

    async fn local_contact(&self, _: &ChatJid) -> Result<Contact, SendError> {
        Ok(Contact::default())
    }

    async fn query_contact(&self, _: &PhoneNumber) -> Result<Option<Contact>, SendError> {
        Ok(None)
    }

    async fn request_link_code(&self, _: &PhoneNumber) -> Result<LinkCode, PairError> {
        Err(PairError::NotPairing)
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.0.subscribe()
    }

    fn own_messages(&self) -> mpsc::Receiver<OwnMessage> {
        mpsc::channel(1).1
    }

    async fn logout(&self, _: Duration) {}

    async fn close(&self) {}
}
