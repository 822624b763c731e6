//! What is shown now, asked for (`GET /api/chat/presence/:instance`) and followed (`GET /api/events`).

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use presence_api::utc_now;
use presence_sandbox::Fault;
use presence_store::Registry;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::app::{CUSTOMER, SHOP, TestApp, assert_near, secs};
use crate::documented::assert_event;

const CHAT: &str = "14155550123@s.whatsapp.net";

/// A client that follows the events.
pub(crate) struct Follower {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    text: String,
}

#[derive(Debug)]
pub(crate) struct Event {
    id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Follower {
    async fn open(app: &TestApp, path: &str, token: &str, after: Option<&str>) -> Self {
        let mut request = Request::get(path)
            .header("host", "presence")
            .header("token", token);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let stream = TokioIo::new(app.connect());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            text: String::new(),
        }
    }

    pub(crate) async fn all(app: &TestApp) -> Self {
        let follower = Self::open(app, "/api/events", &app.token, None).await;
        assert_eq!(follower.status, 200);
        follower
    }

    /// The next block of lines; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = self.body.frame().await?.ok()?;
            self.text
                .push_str(std::str::from_utf8(frame.data_ref()?).unwrap());
        }
    }

    /// The next event, an hour from now at the latest; `None` at the end.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            let block = timeout(secs(3600.0), self.block())
                .await
                .expect("something happens")?;
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.split_once(": "));
                lines
                    .filter(|(field, _)| *field == name)
                    .map(|(_, value)| value.to_owned())
                    .next()
            };
            if let Some(data) = field("data") {
                let event = Event {
                    id: field("id").unwrap(),
                    name: field("event").unwrap(),
                    data: serde_json::from_str(&data).unwrap(),
                };
                assert_event(&event.name, &event.data);
                return Some(event);
            }
        }
    }

    async fn expect(&mut self, name: &str) -> Event {
        let event = self.event().await.expect("the stream goes on");
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// Reads until an event says that `instance` is in `state`.
    async fn until_state(&mut self, instance: &str, state: &str) -> Event {
        loop {
            let event = self.event().await.expect("the stream goes on");
            if event.data["name"] == instance && event.data["state"] == state {
                return event;
            }
        }
    }

    async fn ends(&mut self) {
        while let Some(event) = self.event().await {
            assert_ne!(event.name, "snapshot", "{event:?}");
        }
    }
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[track_caller]
fn assert_left(until: &Value, expected: f64) {
    let left = (time(until) - utc_now()).as_seconds_f64();
    assert!(
        (expected - 2.0..expected + 0.1).contains(&left),
        "{left} s are left, not {expected}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_now_is_listed_what_ends_first_at_the_front() {
    let app = TestApp::with_shop().await;
    let shown = async || app.get("/api/chat/presence/shop").send().await;
    let nothing = shown().await;
    assert_eq!(
        (nothing.status, nothing.text.as_str()),
        (
            200,
            r#"{"success":true,"message":"0 Presences shown","presences":[]}"#
        )
    );
    app.presence(CUSTOMER, "typing", 30).await;
    app.presence("14155550199", "recording", 0).await;
    sleep(secs(1.5)).await;
    let reply = shown().await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(
        reply.text,
        concat!(
            r#"{"success":true,"message":"2 Presences shown","presences":["#,
            r#"{"chat_jid":"14155550199@s.whatsapp.net","state":"recording","duration":0,"remaining":9},"#,
            r#"{"chat_jid":"14155550123@s.whatsapp.net","state":"typing","duration":30,"remaining":29}]}"#
        )
    );
    sleep(secs(10.0)).await;
    app.presence("14155550177", "pause", 0).await;
    let reply = shown().await.json();
    assert_eq!(
        (&reply["message"], &reply["presences"][0]["remaining"]),
        (&json!("1 Presence shown"), &json!(19))
    );
    app.presence(CUSTOMER, "pause", 0).await;
    assert_eq!(shown().await.json()["presences"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_is_told_to_who_may_know_it() {
    let app = TestApp::with_shop().await;
    let sibling = app.new_instance("other").await;
    let (path, stranger) = ("/api/chat/presence/shop", app.another_account("else").await);
    app.get(path)
        .no_token()
        .send()
        .await
        .assert_error(401, "Invalid token");
    app.get(path)
        .token(&stranger)
        .send()
        .await
        .assert_error(404, "Instance not found");
    let refused = app.get(path).token(&sibling).send().await;
    refused.assert_error(403, "Instance token does not match instance");
    // It was never connected.
    let own = app.get("/api/chat/presence/other").token(&sibling).send().await;
    assert_eq!(own.json()["presences"], json!([]));
    app.sandbox.drop_connections(SHOP.parse().unwrap());
    assert_eq!(app.get(path).send().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_presence_is_told_when_it_comes_and_when_it_goes() {
    let app = TestApp::with_shop().await;
    app.presence("14155550199", "recording", 60).await;
    let mut follower = Follower::all(&app).await;
    let header = |name: &str| follower.headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(
        (header("content-type"), header("cache-control")),
        ("text/event-stream", "no-store")
    );
    assert_eq!(follower.block().await.unwrap(), "retry: 1000");

    let snapshot = follower.expect("snapshot").await;
    let shop = &snapshot.data["instances"][0];
    assert_eq!(
        (
            &shop["name"],
            &shop["state"],
            &shop["displayStatus"],
            &shop["numberJid"]
        ),
        (
            &json!("shop"),
            &json!("connected"),
            &json!("connected"),
            &json!(format!("{SHOP}@s.whatsapp.net"))
        )
    );
    let shown = &snapshot.data["presences"][0];
    assert_eq!(
        (
            &shown["instance"],
            &shown["chat_jid"],
            &shown["state"],
            &shown["duration"]
        ),
        (
            &json!("shop"),
            &json!("14155550199@s.whatsapp.net"),
            &json!("recording"),
            &json!(60)
        )
    );
    assert!((time(&snapshot.data["now"]) - utc_now()).abs() < chrono::TimeDelta::seconds(2));
    assert_left(&shown["until"], 60.0);

    let start = Instant::now();
    app.show("typing", 12).await;
    let came = follower.expect("presence").await;
    assert_eq!(
        (
            &came.data["instance"],
            &came.data["chat_jid"],
            &came.data["state"]
        ),
        (&json!("shop"), &json!(CHAT), &json!("typing"))
    );
    assert_left(&came.data["until"], 12.0);
    assert!(came.data["sent_ms"].as_f64().unwrap() < 5000.0, "{came:?}");
    let went = follower.expect("presence").await;
    assert_near(start.elapsed(), secs(12.0));
    assert_eq!(
        went.data,
        json!({"instance": "shop", "chat_jid": CHAT, "state": null, "duration": 0, "until": null})
    );
    let number = |event: &Event| event.id.split_once('-').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(
        [number(&came), number(&went)],
        [number(&snapshot) + 1, number(&snapshot) + 2]
    );
}

#[tokio::test(start_paused = true)]
async fn a_presence_that_could_not_be_sent_is_not_told_of() {
    let app = TestApp::with_shop().await;
    app.presence("14155550199", "recording", 60).await;
    let mut follower = Follower::all(&app).await;
    follower.expect("snapshot").await;
    app.sandbox.drop_connections(SHOP.parse().unwrap());
    follower.until_state("shop", "connecting").await;
    app.presence(CUSTOMER, "typing", 5)
        .await
        .assert_error(503, "Instance is not connected to WhatsApp");
    follower.until_state("shop", "connected").await;
    app.presence(CUSTOMER, "typing", 7).await;
    let came = follower.expect("presence").await;
    assert_eq!(
        (&came.data["chat_jid"], &came.data["duration"]),
        (&json!(CHAT), &json!(7))
    );
}

#[tokio::test(start_paused = true)]
async fn a_presence_is_over_at_its_time_also_while_the_session_is_down() {
    let app = TestApp::with(|options| {
        options.fleet.retry.backoff.base = Duration::from_secs(60);
        options.fleet.retry.backoff.cap = Duration::from_secs(60);
    })
    .await;
    app.connected("shop", SHOP).await;
    let mut follower = Follower::all(&app).await;
    follower.expect("snapshot").await;
    let start = Instant::now();
    app.show("typing", 10).await;
    follower.expect("presence").await;
    app.sandbox.fault(Fault::refuse()).unwrap();
    app.sandbox.drop_connections(SHOP.parse().unwrap());
    let waiting = follower.until_state("shop", "connecting").await;
    assert_eq!(waiting.data["reason"], "connection_lost");
    loop {
        let event = follower.event().await.unwrap();
        if event.name == "presence" {
            assert_eq!(event.data["until"], Value::Null);
            break;
        }
    }
    assert_near(start.elapsed(), secs(10.0));
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_told_of_from_its_creation_to_its_end() {
    let app = TestApp::start().await;
    let mut follower = Follower::all(&app).await;
    let snapshot = follower.expect("snapshot").await;
    assert_eq!(
        (&snapshot.data["instances"], &snapshot.data["presences"]),
        (&json!([]), &json!([]))
    );

    app.new_instance("shop").await;
    let created = follower.expect("instance").await;
    assert_eq!(
        created.data,
        json!({
            "name": "shop", "state": "disconnected", "displayStatus": "disconnected", "numberJid": null,
            "profileName": "", "keepOnlineStatus": false, "reason": null, "retryAt": null
        })
    );
    app.link("shop", SHOP).await;
    let connected = follower.until_state("shop", "connected").await;
    assert_eq!(connected.data["numberJid"], format!("{SHOP}@s.whatsapp.net"));
    let settings = app
        .post("/api/instance/settings/shop")
        .json(&json!({"keepOnlineStatus": true}));
    assert_eq!(settings.send().await.status, 200);
    loop {
        if follower.expect("instance").await.data["keepOnlineStatus"] == true {
            break;
        }
    }
    app.show("typing", 60).await;
    loop {
        if follower.event().await.unwrap().data["chat_jid"] == CHAT {
            break;
        }
    }
    app.delete("/api/instance/delete/shop").send().await;
    let mut over = false;
    loop {
        let event = follower.event().await.unwrap();
        over |= event.name == "presence" && event.data["until"].is_null();
        if event.data["state"] == "deleted" {
            break;
        }
    }
    assert!(over, "what it showed is over");
}

#[tokio::test(start_paused = true)]
async fn a_token_sees_what_is_its_own_and_a_name_chooses_among_it() {
    let app = TestApp::with_shop().await;
    let own = app.new_instance("other").await;
    let stranger = app.another_account("else").await;
    let names = async |path: &str, token: &str| {
        let mut follower = Follower::open(&app, path, token, None).await;
        let snapshot = follower.expect("snapshot").await;
        let instances = snapshot.data["instances"].as_array().unwrap().clone();
        let names = instances
            .iter()
            .map(|instance| instance["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("/api/events", &app.token).await, "shop other");
    assert_eq!(names("/api/events?instanceName=other", &app.token).await, "other");
    assert_eq!(
        names("/api/events?instanceName=shop,none", &app.token).await,
        "shop"
    );
    assert_eq!(names("/api/events?instanceName=shop", &own).await, "other");
    assert_eq!(names("/api/events", &stranger).await, "");
    let absent = app.get("/api/events?instanceName=none").send().await;
    absent.assert_error(404, "Instance not found");
    app.get("/api/events")
        .token("nobody")
        .send()
        .await
        .assert_error(401, "Invalid token");

    let mut follower = Follower::open(&app, "/api/events?instanceName=other", &app.token, None).await;
    follower.expect("snapshot").await;
    app.show("typing", 5).await;
    app.delete("/api/instance/delete/other").send().await;
    assert_eq!(follower.expect("instance").await.data["state"], "deleted");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_is_told_what_was_missed_and_a_stranger_everything() {
    let app = TestApp::with_shop().await;
    let mut follower = Follower::all(&app).await;
    let snapshot = follower.expect("snapshot").await;
    drop(follower);
    app.show("typing", 60).await;
    app.show("pause", 0).await;
    let mut again = Follower::open(&app, "/api/events", &app.token, Some(&snapshot.id)).await;
    assert_eq!(again.expect("presence").await.data["state"], "typing");
    let last = again.expect("presence").await;
    assert_eq!(last.data["state"], Value::Null);
    drop(again);
    // Nothing was missed, and so nothing is told.
    let mut again = Follower::open(&app, "/api/events", &app.token, Some(&last.id)).await;
    app.show("recording", 5).await;
    assert_eq!(again.expect("presence").await.data["state"], "recording");
    let beyond = format!("{}9", last.id);
    let last_of_all = format!("{}-{}", last.id.split_once('-').unwrap().0, u64::MAX);
    for unknown in ["", "x", "1-1", "18446744073709551615-1", &beyond, &last_of_all] {
        let mut stranger = Follower::open(&app, "/api/events", &app.token, Some(unknown)).await;
        stranger.expect("snapshot").await;
    }
    // Nobody follows for a while: what was missed is not known any more.
    drop(again);
    sleep(secs(120.0)).await;
    let mut late = Follower::open(&app, "/api/events", &app.token, Some(&last.id)).await;
    late.expect("snapshot").await;
}

#[tokio::test(start_paused = true)]
async fn a_comment_is_written_every_fifteen_seconds() {
    let app = TestApp::start().await;
    let mut follower = Follower::all(&app).await;
    let start = Instant::now();
    follower.expect("snapshot").await;
    for beat in 1..=5 {
        assert_eq!(follower.block().await.unwrap(), ": still here");
        assert_near(start.elapsed(), secs(15.0 * f64::from(beat)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_too_slowly_is_cut_and_starts_again_with_a_snapshot() {
    let app = TestApp::with_shop().await;
    let mut slow = Follower::all(&app).await;
    let mut quick = Follower::all(&app).await;
    let first = slow.expect("snapshot").await;
    quick.expect("snapshot").await;
    for round in 0..1000 {
        app.show(if round % 2 == 0 { "typing" } else { "recording" }, 60)
            .await;
        quick.expect("presence").await;
    }
    let mut last = first.id;
    while let Some(event) = slow.event().await {
        last = event.id;
    }
    let number: u64 = last.split_once('-').unwrap().1.parse().unwrap();
    assert!(number < 1000, "it was not cut");
    let mut again = Follower::open(&app, "/api/events", &app.token, Some(&last)).await;
    let snapshot = again.expect("snapshot").await;
    assert_eq!(snapshot.data["presences"][0]["state"], "recording");
    app.show("pause", 0).await;
    quick.expect("presence").await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_service() {
    let app = TestApp::start().await;
    let mut follower = Follower::all(&app).await;
    follower.expect("snapshot").await;
    let start = Instant::now();
    let (server, ends) = (app.server.clone(), follower.ends());
    tokio::join!(server.stop(secs(7.0)), ends);
    assert_near(start.elapsed(), secs(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_does_not_hold_up_the_end() {
    let app = TestApp::with_shop().await;
    let _unread = Follower::all(&app).await;
    for round in 0..1000 {
        app.show(if round % 2 == 0 { "typing" } else { "recording" }, 60)
            .await;
    }
    let start = Instant::now();
    app.server.stop(secs(7.0)).await;
    assert!(start.elapsed() < secs(2.5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_token_is_void() {
    let app = TestApp::with_shop().await;
    let own = app.new_instance("other").await;
    let mut instance = Follower::open(&app, "/api/events", &own, None).await;
    let mut account = Follower::all(&app).await;
    instance.expect("snapshot").await;
    account.expect("snapshot").await;
    app.delete("/api/instance/delete/other").send().await;
    instance.ends().await;
    assert_eq!(account.expect("instance").await.data["state"], "deleted");
    let id = app.registry.account_named("acme").unwrap().id;
    app.registry.rotate_account(id).await.unwrap().unwrap();
    account.ends().await;
}

#[tokio::test(start_paused = true)]
async fn one_token_has_so_many_streams_and_no_more_and_they_do_not_take_every_connection() {
    let app = TestApp::start().await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(Follower::all(&app).await);
    }
    let one_more = app.get("/api/events").send().await;
    one_more.assert_error(429, "Too many event streams");
    streams.pop();
    sleep(secs(1.0)).await;
    Follower::all(&app).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_once_in_the_limit_of_its_token() {
    let app = TestApp::with(|options| options.http.limits.requests = 10).await;
    let follower = Follower::all(&app).await;
    let remaining = |headers: &HeaderMap| headers["x-ratelimit-remaining"].to_str().unwrap().to_owned();
    assert_eq!(remaining(&follower.headers), "9");
    sleep(secs(50.0)).await;
    let reply = app.get("/api/instance/list").send().await;
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("8"));
}
