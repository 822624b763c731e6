//! Presences at a node that does not have the instance: what it asks the other node, call by call, and the limit.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::{io, mem};

use presence_api::Limits;
use presence_cluster::{Cluster, Home, Whereabouts};
use presence_store::Registry;
use presence_wa::ByteStream;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{advance, sleep};

use crate::app::{CUSTOMER, Reply, TestApp, new_account, secs};
use crate::nodes::{Town, two_nodes_of};

const PATH: &str = "/api/chat/presence/shop";
const TYPING: &str = r#"{"number":"14155550123","state":"typing","duration":5}"#;
const LIMIT: u32 = 60;
/// What counts a request and shows its presence, as it is called on the wire.
const BOTH: &str = "count_and_show";

/// Reads along what nodes call each other for.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Tapped>>);

#[derive(Default)]
struct Tapped {
    calls: Vec<String>,
    /// What nodes of the version before do not know.
    unknown: Option<&'static str>,
}

impl Tap {
    pub(crate) fn on<S: ByteStream>(&self, inner: S) -> impl ByteStream + use<S> {
        TappedStream {
            inner,
            tap: self.clone(),
            unread: Vec::new(),
        }
    }

    /// What was called since this was last asked.
    fn calls(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().unwrap().calls)
    }

    /// From here on, nodes do not know the call of this name: it reaches them under another.
    fn forget(&self, name: &'static str) {
        self.0.lock().unwrap().unknown = Some(name);
    }

    fn tampered(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if let Some(name) = self.0.lock().unwrap().unknown {
            for at in 0..bytes.len() {
                if bytes[at..].starts_with(name.as_bytes()) {
                    bytes[at] = b'?';
                }
            }
        }
        bytes
    }

    /// Notes the calls among the frames that `unread` begins with.
    fn read(&self, unread: &mut Vec<u8>) {
        const HEAD: &[u8] = b"GET ";
        if unread.starts_with(HEAD) || HEAD.starts_with(unread) {
            let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") else {
                return;
            };
            unread.drain(..end + 4);
        }
        while let Some((length, rest)) = unread.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(frame) = rest.get(..length) else {
                return;
            };
            // Its kind, its number, the length of its name, its name.
            if frame[0] == 1 {
                let name = &frame[10..][..frame[9].into()];
                let name = String::from_utf8_lossy(name).into_owned();
                self.0.lock().unwrap().calls.push(name);
            }
            unread.drain(..4 + length);
        }
    }
}

struct TappedStream<S> {
    inner: S,
    tap: Tap,
    unread: Vec<u8>,
}

impl<S: AsyncRead + Unpin> AsyncRead for TappedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TappedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = this.tap.tampered(bytes);
        let written = std::task::ready!(Pin::new(&mut this.inner).poll_write(cx, &sent))?;
        this.unread.extend_from_slice(&bytes[..written]);
        this.tap.read(&mut this.unread);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Two nodes with limits. The instance `shop` is at the first that is returned; with its token.
async fn two_limited_nodes() -> (Town, TestApp, TestApp, String) {
    let mut town = Town::new().await;
    town.http.limits = Limits {
        requests: LIMIT,
        new_instances: 0,
        failures: 0,
    };
    let (town, owner, stranger) = two_nodes_of(town).await;
    // The windows of what was asked until now are over.
    sleep(secs(61.0)).await;
    let list = owner.get("/api/instance/list").send().await.json();
    let token = list["instances"][0]["token"].as_str().unwrap().to_owned();
    town.tap.calls();
    (town, owner, stranger, token)
}

/// Who has what, as the node sees it that does not have `shop`.
fn seen_by_stranger(town: &Town) -> Cluster {
    let account = town.registry.account_named("acme").unwrap().id;
    let shop = town.registry.instance(account, "shop").unwrap().id;
    let clusters = town.clusters.lock().unwrap();
    let is_there = |seen: &&Cluster| matches!(seen.whereabouts(shop), Whereabouts::There(..));
    clusters.iter().find(is_there).unwrap().clone()
}

async fn presence(app: &TestApp, token: &str, body: &str) -> Reply {
    let call = app.post(PATH).token(token).body(body.to_owned());
    call.send().await
}

/// All that a client is told of its limit: what it is, what is left of it, when the window ends, and when to come back.
fn told(reply: &Reply) -> [Option<i64>; 4] {
    let names = [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "retry-after",
    ];
    names.map(|name| Some(reply.header(name)?.parse().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn a_presence_is_counted_and_shown_by_one_call() {
    let (town, owner, stranger, token) = two_limited_nodes().await;
    for left in (0..3).rev().map(|left| i64::from(LIMIT) - 3 + left) {
        let reply = presence(&stranger, &token, TYPING).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(told(&reply)[..2], [Some(LIMIT.into()), Some(left)]);
        assert_eq!(town.tap.calls(), [BOTH]);
        sleep(secs(10.0)).await;
    }
    assert_eq!(stranger.timeline(CUSTOMER).len(), 3);
    assert_eq!(presence(&owner, &token, TYPING).await.status, 200);
    assert_eq!(town.tap.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_a_presence_is_refused_in_the_same_words_and_not_shown() {
    let (town, owner, stranger, token) = two_limited_nodes().await;
    let first = presence(&stranger, &token, TYPING).await;
    let reset = told(&first)[2];
    for _ in 1..LIMIT {
        assert_eq!(presence(&stranger, &token, TYPING).await.status, 200);
    }
    sleep(secs(20.0)).await;
    let shown = stranger.timeline(CUSTOMER);
    town.tap.calls();
    for app in [&stranger, &owner] {
        let reply = presence(app, &token, TYPING).await;
        reply.assert_error(429, "Rate limit exceeded. Try again later.");
        assert_eq!(told(&reply), [Some(LIMIT.into()), Some(0), reset, Some(40)]);
    }
    assert_eq!(town.tap.calls(), [BOTH]);
    // The limit comes before the name, and the body.
    for (path, body) in [
        ("/api/chat/presence/nobodys", TYPING),
        (PATH, "{"),
        (PATH, r#"{"number":"14155550123","state":"dancing"}"#),
        (PATH, &" ".repeat(600_000)),
    ] {
        let [far, near] = [&stranger, &owner].map(|app| async {
            let reply = app.post(path).token(&token).body(body.to_owned()).send().await;
            reply.assert_error(429, "Rate limit exceeded. Try again later.");
            told(&reply)
        });
        assert_eq!(far.await, near.await, "{path}");
    }
    assert_eq!(town.tap.calls(), ["count"; 4]);
    sleep(secs(10.0)).await;
    assert_eq!(stranger.timeline(CUSTOMER), shown);
    sleep(secs(30.0)).await;
    let reply = presence(&stranger, &token, TYPING).await;
    assert_eq!((reply.status, told(&reply)[1]), (200, Some(i64::from(LIMIT) - 1)));
}

#[tokio::test(start_paused = true)]
async fn what_comes_to_nothing_is_counted_once_all_the_same() {
    let (town, owner, stranger, token) = two_limited_nodes().await;
    let table = [
        (PATH, "{", 400, "count"),
        (PATH, r#"{"state":"typing"}"#, 400, "count"),
        (PATH, &" ".repeat(600_000), 413, "count"),
        ("/api/chat/presence/nobodys", TYPING, 404, "count"),
        (PATH, TYPING, 503, BOTH),
    ];
    owner.delete("/api/instance/logout/shop").send().await;
    town.tap.calls();
    for ((path, body, status, call), left) in table.into_iter().zip((0..LIMIT).rev()) {
        let reply = stranger
            .post(path)
            .token(&token)
            .body(body.to_owned())
            .send()
            .await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert_eq!(told(&reply)[1], Some(left.into()), "{status}");
        assert_eq!(town.tap.calls(), [call], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_to_be_told_to_go_on_is_refused_before_it_sends_its_body() {
    let (_town, _owner, stranger, token) = two_limited_nodes().await;
    for _ in 0..LIMIT {
        assert_eq!(presence(&stranger, &token, TYPING).await.status, 200);
    }
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: presence\r\ntoken: {token}\r\nconnection: close\r\n\
         expect: 100-continue\r\ncontent-length: 20\r\n\r\n"
    );
    let answer = stranger.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_the_version_before_is_asked_for_one_after_the_other() {
    let (town, _owner, stranger, token) = two_limited_nodes().await;
    town.tap.forget(BOTH);
    for left in (0..LIMIT).rev() {
        let reply = presence(&stranger, &token, TYPING).await;
        assert_eq!((reply.status, told(&reply)[1]), (200, Some(left.into())));
        assert_eq!(town.tap.calls(), [BOTH, "count", "show"]);
        advance(secs(0.1)).await;
    }
    let reply = presence(&stranger, &token, TYPING).await;
    reply.assert_error(429, "Rate limit exceeded. Try again later.");
    assert_eq!(town.tap.calls(), [BOTH, "count"]);
    sleep(secs(10.0)).await;
    assert_eq!(stranger.timeline(CUSTOMER).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_presence_whose_instance_moves_meanwhile_is_counted_once() {
    let (town, owner, stranger, token) = two_limited_nodes().await;
    // It has something to hand over.
    owner.show("typing", 30).await;
    town.tap.calls();
    let stopping = {
        let server = owner.server.clone();
        tokio::spawn(async move { server.stop(secs(5.0)).await })
    };
    let reply = presence(&stranger, &token, TYPING).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(told(&reply)[1], Some(i64::from(LIMIT) - 1));
    // Its node counts it, and has the instance no longer when it is to be shown.
    assert_eq!(town.tap.calls(), [BOTH, "show"]);
    stopping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_node_does_not_answer_the_window_here_has_to_do() {
    let (town, _owner, stranger, token) = two_limited_nodes().await;
    assert_eq!(
        told(&presence(&stranger, &token, TYPING).await)[1],
        Some(i64::from(LIMIT) - 1)
    );
    town.cut_off();
    sleep(secs(1.0)).await;
    let reply = presence(&stranger, &token, TYPING).await;
    reply.assert_error(503, "Instance is not connected to WhatsApp");
    let [limit, left, _, retry_after] = told(&reply);
    assert_eq!((limit, left), (Some(LIMIT.into()), Some(i64::from(LIMIT) - 1)));
    assert_eq!(retry_after, Some(5));
}

#[tokio::test(start_paused = true)]
async fn an_account_whose_home_has_the_instance_needs_one_call_too() {
    let (town, owner, stranger, _) = two_limited_nodes().await;
    let mut accounts = Vec::new();
    for number in 0..40 {
        let name = format!("account-{number}");
        let token = new_account(&town.registry, &name, None).await;
        let created = owner
            .post("/api/instance/new")
            .token(&token)
            .json(&json!({"name": "shop"}));
        assert_eq!(created.send().await.status, 201);
        accounts.push((name, token));
    }
    let seen = seen_by_stranger(&town);
    // Until each node has its share.
    sleep(secs(60.0)).await;
    let mut by_one_call = 0;
    for (name, token) in accounts {
        let account = town.registry.account_named(&name).unwrap().id;
        let instance = town.registry.instance(account, "shop").unwrap().id;
        let is_counted_there = matches!(seen.home(account.get().unsigned_abs()), Home::There(_));
        let is_there = matches!(seen.whereabouts(instance), Whereabouts::There(..));
        town.tap.calls();
        let reply = presence(&stranger, &token, TYPING).await;
        reply.assert_error(503, "Instance is not connected to WhatsApp");
        assert_eq!(told(&reply)[1], Some(i64::from(LIMIT) - 1));
        let expected: &[&str] = match (is_counted_there, is_there) {
            (true, true) => &[BOTH],
            (true, false) => &["count"],
            (false, true) => &["show"],
            (false, false) => &[],
        };
        assert_eq!(town.tap.calls(), expected);
        by_one_call += usize::from(is_counted_there && is_there);
    }
    assert!(by_one_call > 0);
}
