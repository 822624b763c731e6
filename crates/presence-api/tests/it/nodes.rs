//! Several nodes that share a registry, a ledger, device keys and a WhatsApp: what a client sees at any of them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use hyper::Uri;
use presence_api::{ClusterSecret, DialNode, HttpSettings, Instances, Limits, Nodes, Server};
use presence_cluster::{Cluster, ClusterSettings, Driver};
use presence_sandbox::{Answer, Fault, Sandbox};
use presence_store::{
    FaultyLedger, Ledger, LedgerFault, MemoryKeyStore, MemoryLedger, NewInstance, NodeId, Registry, Store,
};
use presence_wa::ByteStream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::{AbortHandle, unconstrained};
use tokio::time::{Instant, sleep, timeout};

use crate::app::{CUSTOMER, Options, Reply, SHOP, TestApp, new_account, phone, secs};
use crate::events::Follower;
use crate::forwarded::Tap;

const SECRET: &str = "a secret that only the nodes of this town have";

/// What all nodes share.
pub(crate) struct Town {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) keys: Arc<MemoryKeyStore>,
    pub(crate) registry: Arc<Store>,
    pub(crate) token: String,
    pub(crate) http: HttpSettings,
    /// What the nodes know each other by that join from here on.
    pub(crate) secret: String,
    ledger: MemoryLedger,
    servers: Servers,
    /// Those that are reached no longer.
    cut_off: Mutex<Vec<(String, Server)>>,
    /// As each node sees it.
    pub(crate) clusters: Mutex<Vec<Cluster>>,
    /// What each node has, by its name.
    pub(crate) instances: Mutex<HashMap<String, Instances>>,
    ways: Mutex<Vec<FaultyLedger>>,
    pub(crate) tap: Tap,
}

/// By the host of their address, with the connections of other nodes to them.
type Servers = Arc<Mutex<HashMap<String, (Server, Vec<AbortHandle>)>>>;

/// A node that is about to run.
pub(crate) struct Joined {
    pub(crate) nodes: Nodes,
    pub(crate) cluster: Cluster,
    pub(crate) driver: Driver,
}

impl Town {
    pub(crate) async fn new() -> Self {
        let registry = Arc::new(Store::in_memory().unwrap());
        let ledger = MemoryLedger::default();
        tokio::spawn(keep_in_step(registry.clone(), ledger.clone()));
        Self {
            sandbox: Arc::new(Sandbox::builder().detached()),
            keys: Arc::default(),
            token: new_account(&registry, "acme", None).await,
            registry,
            http: Options::default().http,
            secret: SECRET.replace(' ', "-"),
            ledger,
            servers: Servers::default(),
            cut_off: Mutex::default(),
            clusters: Mutex::default(),
            instances: Mutex::default(),
            ways: Mutex::default(),
            tap: Tap::default(),
        }
    }

    pub(crate) fn join(&self, name: &str, server: &Server) -> Joined {
        self.servers
            .lock()
            .unwrap()
            .insert(name.to_owned(), (server.clone(), Vec::new()));
        let settings = ClusterSettings::new(format!("http://{name}"));
        let way = FaultyLedger::new(self.ledger.clone());
        let (cluster, driver) = Cluster::new(Arc::new(way.clone()), settings);
        self.ways.lock().unwrap().push(way);
        self.clusters.lock().unwrap().push(cluster.clone());
        let pipes = Arc::new(Pipes(Arc::clone(&self.servers), self.tap.clone()));
        let secret = ClusterSecret::new(&self.secret).unwrap();
        Joined {
            nodes: Nodes::with_dial(cluster.clone(), secret, pipes),
            cluster,
            driver,
        }
    }

    /// What is wrong with every node's way to the ledger from now on.
    pub(crate) fn set_ways(&self, fault: LedgerFault) {
        self.ways.lock().unwrap().iter().for_each(|way| way.set(fault));
    }

    /// From here on every node is there, as far as the ledger knows, and nobody answers.
    pub(crate) fn cut_off(&self) {
        for (name, (server, connections)) in self.servers.lock().unwrap().drain() {
            connections.iter().for_each(AbortHandle::abort);
            self.cut_off.lock().unwrap().push((name, server));
        }
    }

    /// From here on everybody answers again.
    pub(crate) fn mend(&self) {
        let servers = self.cut_off.lock().unwrap().split_off(0).into_iter();
        let servers = servers.map(|(name, server)| (name, (server, Vec::new())));
        self.servers.lock().unwrap().extend(servers);
    }

    async fn node_ids(&self) -> Vec<NodeId> {
        let news = self.ledger.read(None).await.unwrap();
        news.nodes.iter().map(|node| node.id).collect()
    }
}

/// As the database does by itself: with each instance goes a row of the ledger.
async fn keep_in_step(registry: Arc<Store>, ledger: MemoryLedger) {
    let mut changes = registry.changes();
    while changes.changed().await.is_ok() {
        let there: Vec<_> = registry
            .all_instances()
            .iter()
            .map(|instance| instance.id)
            .collect();
        for gone in ledger.owners().iter().map(|owner| owner.instance) {
            if !there.contains(&gone) {
                ledger.remove_instance(gone);
            }
        }
        there.into_iter().for_each(|id| ledger.add_instance(id));
    }
}

/// Connections between nodes: pipes, in this process.
struct Pipes(Servers, Tap);

#[async_trait]
impl DialNode for Pipes {
    async fn dial(&self, address: &Uri) -> io::Result<Box<dyn ByteStream>> {
        let host = address.host().unwrap_or_default();
        let mut servers = self.0.lock().unwrap();
        let (server, connections) = servers.get_mut(host).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = server.clone();
        let serving = tokio::spawn(async move { server.serve_node(far).await });
        connections.push(serving.abort_handle());
        Ok(Box::new(self.1.on(near)))
    }
}

/// Two nodes. The instance `shop`, connected as [`SHOP`], is at the first that is returned.
pub(crate) async fn two_nodes() -> (Town, TestApp, TestApp) {
    two_nodes_of(Town::new().await).await
}

pub(crate) async fn two_nodes_of(town: Town) -> (Town, TestApp, TestApp) {
    let (one, other) = (
        TestApp::node(&town, "one").await,
        TestApp::node(&town, "other").await,
    );
    sleep(secs(2.0)).await;
    one.new_instance("shop").await;
    sleep(secs(2.0)).await;
    one.link("shop", SHOP).await;
    let (owner, stranger) = match node_of(&one, "shop").await.as_deref() {
        Some("http://one") => (one, other),
        Some("http://other") => (other, one),
        node => panic!("{node:?}"),
    };
    stranger.wait_for_state("shop", "connected").await;
    (town, owner, stranger)
}

pub(crate) async fn node_of(app: &TestApp, name: &str) -> Option<String> {
    let reply = app.get("/api/instance/list").send().await.json();
    let instances = reply["instances"].as_array().unwrap().clone();
    let item = instances.into_iter().find(|item| item["name"] == name)?;
    Some(item["node"].as_str()?.to_owned())
}

fn same(one: &Reply, other: &Reply) {
    assert_eq!((one.status, &one.text), (other.status, &other.text));
}

#[tokio::test(start_paused = true)]
async fn any_node_shows_a_presence_and_answers_in_the_same_words() {
    let (_town, owner, stranger) = two_nodes().await;
    let token = {
        let list = owner.get("/api/instance/list").send().await.json();
        list["instances"][0]["token"].as_str().unwrap().to_owned()
    };
    for (number, token) in [(CUSTOMER, &owner.token), ("14155550124", &token)] {
        let body = json!({"number": number, "state": "typing", "duration": 5});
        let path = "/api/chat/presence/shop";
        let far = stranger.post(path).token(token).json(&body).send().await;
        assert_eq!(far.status, 200, "{}", far.text);
        sleep(secs(10.0)).await;
        stranger.assert_typed(number, secs(5.0));
        same(&far, &owner.post(path).token(token).json(&body).send().await);
    }
    for body in [
        json!({}),
        json!({"number": CUSTOMER, "state": "dancing"}),
        json!({"number": CUSTOMER, "state": "typing", "duration": "x"}),
    ] {
        let [far, near] = [&stranger, &owner]
            .map(|app| async { app.post("/api/chat/presence/shop").json(&body).send().await });
        same(&far.await, &near.await);
    }
    stranger
        .post("/api/chat/presence/nobody")
        .json(&json!({"number": CUSTOMER, "state": "typing"}))
        .send()
        .await
        .assert_error(404, "Instance not found");
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_and_how_instances_are_is_told_at_any_node() {
    let (_town, owner, stranger) = two_nodes().await;
    owner.show("recording", 20).await;
    let [far, near] =
        [&stranger, &owner].map(|app| async { app.get("/api/chat/presence/shop").send().await });
    same(&far.await, &near.await);
    sleep(secs(1.0)).await;
    let [far, near] = [&stranger, &owner].map(|app| async {
        let mut list = app.get("/api/instance/list").send().await.json();
        // In whole milliseconds, by either's clock.
        let since = &mut list["instances"][0]["connection"]["since"];
        assert!(since.take().is_string());
        list
    });
    assert_eq!(far.await, near.await);
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_paired_changed_logged_out_and_deleted_at_any_node() {
    let (_town, owner, stranger) = two_nodes().await;
    let reply = stranger
        .post("/api/instance/settings/shop")
        .json(&json!({"keepOnlineStatus": true}))
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(
        owner
            .sent(SHOP)
            .iter()
            .any(|(_, stanza)| stanza.contains("available"))
    );

    let reply = stranger.delete("/api/instance/logout/shop").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(owner.state("shop").await, "loggedout");
    stranger.wait_for_state("shop", "loggedout").await;

    let reply = stranger
        .get("/api/instance/connect/shop?number=5511988887777")
        .send()
        .await;
    assert_eq!(reply.json()["status"], "pairing", "{}", reply.text);
    let qr = stranger.qr("shop").await;
    stranger.sandbox.scan(phone(SHOP), &qr).await.unwrap();
    stranger.wait_for_state("shop", "connected").await;
    let reply = stranger.get("/api/instance/connect/shop").send().await;
    assert_eq!(reply.json()["status"], "connected", "{}", reply.text);
    let reply = stranger.post("/api/instance/reconnect/shop").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);

    let reply = stranger.delete("/api/instance/delete/shop").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    for app in [&owner, &stranger] {
        let list = app.get("/api/instance/list").send().await.json();
        assert_eq!(list["instances"], json!([]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_for_a_token_whichever_nodes_it_calls() {
    let mut town = Town::new().await;
    town.http.limits = Limits {
        requests: 40,
        new_instances: 0,
        failures: 0,
    };
    let nodes = [
        TestApp::node(&town, "one").await,
        TestApp::node(&town, "other").await,
    ];
    sleep(secs(2.0)).await;
    let instance = nodes[0].new_instance("shop").await;
    // The window of what was asked until now is over.
    sleep(secs(61.0)).await;
    for token in [&town.token, &instance] {
        let mut remaining = Vec::new();
        for call in 0..50 {
            let app = &nodes[call % 2];
            let reply = app
                .get("/api/instance/getSettings/shop")
                .token(token)
                .send()
                .await;
            assert_eq!(reply.status, if call < 40 { 200 } else { 429 }, "{call}");
            remaining.push(
                reply
                    .header("x-ratelimit-remaining")
                    .unwrap()
                    .parse::<u32>()
                    .unwrap(),
            );
        }
        let expected: Vec<u32> = (0..50).map(|call| 39_u32.saturating_sub(call)).collect();
        assert_eq!(remaining, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_hands_over_and_the_phone_sees_it_go_on() {
    let (town, owner, stranger) = two_nodes().await;
    owner.show("typing", 30).await;
    sleep(secs(3.0)).await;
    let stopping = {
        let server = owner.server.clone();
        tokio::spawn(async move { server.stop(secs(5.0)).await })
    };
    // Who asks the other node meanwhile waits, and is answered.
    let stopped = Instant::now();
    let reply = stranger.presence("14155550199", "typing", 3).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(stopped.elapsed() < secs(2.0), "{:?}", stopped.elapsed());
    stopping.await.unwrap();
    assert_eq!(town.node_ids().await.len(), 1);
    assert_eq!(stranger.state("shop").await, "connected");
    sleep(secs(40.0)).await;
    let spells = stranger.timeline(CUSTOMER);
    assert_eq!(spells.len(), 2, "{spells:?}");
    let gap = spells[1].shown_at - spells[0].hidden_at.unwrap();
    assert!(gap < secs(2.0), "{gap:?}");
    let whole = spells[1].hidden_at.unwrap() - spells[0].shown_at;
    assert!(whole.abs_diff(secs(30.0)) < secs(1.0), "{whole:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pairing_link_is_good_at_any_node() {
    let town = Town::new().await;
    let nodes = [
        TestApp::node(&town, "one").await,
        TestApp::node(&town, "other").await,
    ];
    sleep(secs(2.0)).await;
    nodes[0].new_instance("shop").await;
    let made = nodes[1]
        .post("/api/instance/pairing-link/shop")
        .send()
        .await
        .json();
    let path = made["url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://presence")
        .unwrap()
        .to_owned();
    for app in &nodes {
        let reply = app.post(&path).no_token().json(&json!({})).send().await;
        assert_eq!(reply.json()["status"], "qr", "{}", reply.text);
    }
    let reply = nodes[0].delete("/api/instance/pairing-link/shop").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    for app in &nodes {
        let reply = app.post(&path).no_token().json(&json!({})).send().await;
        reply.assert_error(404, "Pairing link not found");
    }
}

#[tokio::test(start_paused = true)]
async fn events_tell_what_happens_at_the_other_node() {
    let (_town, owner, stranger) = two_nodes().await;
    let mut follower = Follower::all(&stranger).await;
    let snapshot = follower.event().await.unwrap();
    assert_eq!(snapshot.name, "snapshot");
    assert_eq!(
        snapshot.data["instances"][0]["state"], "connected",
        "{}",
        snapshot.data
    );
    sleep(secs(1.0)).await;
    owner.show("typing", 5).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = follower.event().await.unwrap();
        if event.name == "presence" {
            told.push(event.data["state"].clone());
        }
    }
    assert_eq!(told, [json!("typing"), Value::Null]);
    owner.delete("/api/instance/logout/shop").send().await;
    let told = follower.event().await.unwrap();
    assert_eq!(
        (&*told.name, &told.data["state"]),
        ("instance", &json!("loggedout"))
    );
}

#[tokio::test(start_paused = true)]
async fn instances_that_are_deleted_by_the_thousand_count_no_more_at_any_node() {
    let (town, _owner, _stranger) = two_nodes().await;
    new_account(&town.registry, "short-lived", None).await;
    let account = town.registry.account_named("short-lived").unwrap().id;
    let mut made = Vec::new();
    // More than are told one by one.
    for number in 0..1100 {
        let new = NewInstance {
            name: format!("short-{number}").parse().unwrap(),
            token: None,
            keep_online: false,
            proxy: None,
            now: DateTime::UNIX_EPOCH,
        };
        made.push(town.registry.create_instance(account, new).await.unwrap().0.id);
    }
    let counted = || {
        let clusters = town.clusters.lock().unwrap();
        let counted = clusters.iter().map(|cluster| cluster.instances().len());
        counted.collect::<Vec<_>>()
    };
    sleep(secs(60.0)).await;
    assert_eq!(counted(), [1101, 1101]);
    // All before anybody looks.
    unconstrained(async {
        for id in made {
            town.registry.delete_instance(id).await.unwrap();
        }
    })
    .await;
    sleep(secs(60.0)).await;
    assert_eq!(counted(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn nobody_but_a_node_gets_an_answer_where_nodes_call() {
    let (_town, owner, _stranger) = two_nodes().await;
    let call = async |request: &str, authorization: &str, fields: &str| {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let server = owner.server.clone();
        tokio::spawn(async move { server.serve_node(far).await });
        let head = format!("{request} HTTP/1.1\r\nhost: one\r\n{authorization}{fields}\r\n");
        near.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        near.read_exact(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[9..]).parse::<u16>().unwrap()
    };
    const FEED: &str = "POST /internal/v1/statuses";
    const NO_SCOPE: &str = "content-length: 2\r\n\r\n{}";
    const CALLS: &str = "GET /internal/v1/calls";
    const UPGRADE: &str = "connection: upgrade\r\nupgrade: presence-calls\r\n";
    let ours = format!("authorization: Bearer {}\r\n", SECRET.replace(' ', "-"));
    assert_eq!(call(FEED, &ours, NO_SCOPE).await, 200);
    assert_eq!(call(CALLS, &ours, UPGRADE).await, 101);
    let other = format!("{ours}presence-node: {}\r\n", NodeId::from_bytes([7; 16]));
    assert_eq!(call(FEED, &other, NO_SCOPE).await, 421, "another node is meant");
    assert_eq!(call(CALLS, &other, UPGRADE).await, 421);
    for wrong in [
        "",
        "authorization: Bearer wrong\r\n",
        &format!("authorization: Bearer {}\r\n", owner.token),
    ] {
        assert_eq!(call(FEED, wrong, NO_SCOPE).await, 401, "{wrong}");
        assert_eq!(call(CALLS, wrong, UPGRADE).await, 401, "{wrong}");
    }
    assert_eq!(call(CALLS, &ours, "").await, 426);
    assert_eq!(call("POST /internal/v1/calls", &ours, UPGRADE).await, 405);
    assert_eq!(call("GET /internal/v1/statuses", &ours, "").await, 405);
    assert_eq!(call("POST /internal/v1/shown", &ours, NO_SCOPE).await, 400);
    assert_eq!(call("POST /internal/v1/nothing", &ours, NO_SCOPE).await, 404);
    // And of nodes' calls, nothing is where clients call.
    let reply = owner.post("/internal/v1/statuses").json(&json!({})).send().await;
    reply.assert_error(404, "Not found");
}

/// A connection that `app` takes calls on.
async fn calling(app: &TestApp) -> DuplexStream {
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let server = app.server.clone();
    tokio::spawn(async move { server.serve_node(far).await });
    let secret = SECRET.replace(' ', "-");
    let head = format!(
        "GET /internal/v1/calls HTTP/1.1\r\nhost: one\r\nauthorization: Bearer {secret}\r\n\
         connection: upgrade\r\nupgrade: presence-calls\r\n\r\n"
    );
    near.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(near.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    near
}

#[tokio::test(start_paused = true)]
async fn calls_are_answered_out_of_turn_and_so_is_who_asks_for_a_sign_of_life() {
    let (_town, owner, _stranger) = two_nodes().await;
    let mut near = calling(&owner).await;
    // A call that this version does not know, one with no body for it, and a ping: length, kind, number, name, JSON.
    for call in [
        &b"\x01\0\0\0\0\0\0\0\x01\x05dance{}"[..],
        b"\x01\0\0\0\0\0\0\0\x02\x04show{}",
        b"\x03",
    ] {
        near.write_u32(call.len().try_into().unwrap()).await.unwrap();
        near.write_all(call).await.unwrap();
    }
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut answer = vec![0; near.read_u32().await.unwrap().try_into().unwrap()];
        near.read_exact(&mut answer).await.unwrap();
        answers.push(answer);
    }
    answers.sort();
    let expected = [&b"\x04"[..], b"\x07\0\0\0\0\0\0\0\x01", b"\x07\0\0\0\0\0\0\0\x02"];
    assert_eq!(answers, expected);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_heard_any_more_is_hung_up_on() {
    let (_town, owner, _stranger) = two_nodes().await;
    let mut near = calling(&owner).await;
    let start = Instant::now();
    while start.elapsed() < secs(300.0) {
        sleep(secs(20.0)).await;
        near.write_all(b"\0\0\0\x01\x03").await.unwrap();
        let mut answer = [0; 5];
        near.read_exact(&mut answer).await.unwrap();
    }
    let ended = timeout(secs(90.0), near.read_u8()).await;
    let ended = ended.expect("nobody is there").unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_no_longer_waits_for_is_not_sent_by_the_other_node() {
    /// In Brazil, where numbers are looked up.
    const CLIENT: &str = "5511977776666";
    let (town, _owner, stranger) = two_nodes().await;
    town.sandbox.fault(Fault::withhold(Answer::Usync)).unwrap();
    let given_up = timeout(secs(1.0), stranger.presence(CLIENT, "typing", 5)).await;
    assert!(given_up.is_err(), "it waits for the look-up");
    sleep(secs(5.0)).await;
    assert!(stranger.timeline(CLIENT).is_empty());
    assert_eq!(stranger.presence(CLIENT, "typing", 5).await.status, 200);
    assert_eq!(stranger.timeline(CLIENT).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_no_node_reaches_is_not_connected_and_the_client_is_told_when_to_come_back() {
    let (town, _owner, stranger) = two_nodes().await;
    town.cut_off();
    sleep(secs(1.0)).await;
    let asked = Instant::now();
    let reply = stranger.presence(CUSTOMER, "typing", 5).await;
    reply.assert_error(503, "Instance is not connected to WhatsApp");
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let reply = stranger.get("/api/chat/presence/shop").send().await;
    reply.assert_error(503, "Instance is not connected to WhatsApp");
    assert_eq!(reply.header("retry-after"), Some("5"));
}
