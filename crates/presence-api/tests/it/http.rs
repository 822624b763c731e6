//! HTTP itself: methods, open routes, cross-origin calls, connections.

use std::time::Duration;

use std::sync::Arc;

use chrono::DateTime;
use presence_store::{DataDir, KeySource, NewInstance, Registry, Store};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::app::{Options, TestApp, secs};

#[tokio::test(start_paused = true)]
async fn another_method_is_405_and_allow_names_the_right_ones() {
    let app = TestApp::start().await;
    for (method, path, allow) in [
        ("PUT", "/api/chat/presence/shop", "POST, GET, HEAD"),
        ("OPTIONS", "/api/chat/presence/shop", "POST, GET, HEAD"),
        ("PATCH", "/api/instance/new", "POST"),
        ("POST", "/api/instance/list", "GET, HEAD"),
        ("GET", "/api/instance/logout/shop", "DELETE"),
        ("POST", "/health", "GET, HEAD"),
        ("BREW", "/livez", "GET, HEAD"),
    ] {
        let reply = app.call(method, path).no_token().send().await;
        reply.assert_error(405, "Method not allowed");
        assert_eq!(reply.header("allow"), Some(allow), "{method} {path}");
    }
    for path in ["/nowhere", "/api/instance"] {
        app.call("OPTIONS", path)
            .no_token()
            .send()
            .await
            .assert_error(404, "Not found");
    }
}

#[tokio::test(start_paused = true)]
async fn head_is_get_without_the_body_and_without_effects() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let connect = app.call("HEAD", "/api/instance/connect/shop").send().await;
    assert_eq!((connect.status, connect.header("allow")), (405, Some("GET")));
    assert_eq!(app.state("shop").await, "disconnected", "no pairing has begun");
    let get = app.get("/api/instance/list").send().await;
    let head = app.call("HEAD", "/api/instance/list").send().await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert!(get.header("content-length").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_open_routes_need_no_token_and_count_against_no_limit() {
    let app = TestApp::with(|options| {
        options.http.limits = presence_api::Limits {
            requests: 1,
            new_instances: 1,
            failures: 1,
        };
    })
    .await;
    for path in ["/health", "/livez", "/readyz", "/openapi.json"] {
        for _ in 0..3 {
            let reply = app.get(path).no_token().send().await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
            assert_eq!(reply.header("content-type"), Some("application/json"));
            assert!(reply.header("x-ratelimit-limit").is_none());
        }
    }
    tokio::time::sleep(secs(7.0)).await;
    let health = app.get("/health").no_token().send().await.json();
    assert_eq!(
        (&health["status"], &health["service"]),
        (&json!("ok"), &json!("presence"))
    );
    assert_eq!(
        (&health["uptime"], &health["checks"]),
        (&json!(7), &json!({"accepting": "ok", "registry": "ok"}))
    );
    assert_eq!(
        health["instances"],
        json!({"connected": 0, "connecting": 0, "disconnected": 0, "loggedout": 0})
    );
    chrono::DateTime::parse_from_rfc3339(health["timestamp"].as_str().unwrap()).unwrap();
    app.get("/metrics")
        .no_token()
        .send()
        .await
        .assert_error(404, "Not found");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let app = TestApp::with_shop().await;
    let mut stream = app.connect();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 1024];
    assert_ne!(stream.read(&mut some).await.unwrap(), 0);
    app.server.stop(secs(1.0)).await;
    // The idle connection is closed at once.
    assert_eq!(stream.read(&mut some).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_is_announced_sends_clients_elsewhere_and_refuses_nothing() {
    let app = TestApp::with_shop().await;
    app.server.announce_stop();
    for (path, status) in [("/livez", 200), ("/readyz", 503)] {
        let mut stream = app.connect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // To the end: it is closed behind its answer, though the request did not ask for that.
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    let shown = app.presence("14155550123", "typing", 5).await;
    assert_eq!(shown.status, 200);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off_at_the_end() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { stopping.await.unwrap() };
    let client = async {
        let head = format!(
            "POST /api/chat/presence/shop HTTP/1.1\r\nhost: x\r\ntoken: {}\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n",
            app.token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stop.send(()).unwrap();
    };
    let stop = async {
        stopped.await;
        app.server.stop(Duration::ZERO).await;
    };
    tokio::join!(app.server.accept(listener), stop, client);
    // Were it still served, it would be told in the end that its body is late.
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
}

#[tokio::test(start_paused = true)]
async fn pages_of_configured_origins_may_call() {
    let app =
        TestApp::with(|options| options.http.cors_origins = vec!["https://a.example".parse().unwrap()]).await;
    let nowhere = app
        .call("OPTIONS", "/nowhere")
        .no_token()
        .header("origin", "https://a.example")
        .header("access-control-request-method", "POST");
    nowhere.send().await.assert_error(404, "Not found");
    let preflight = app
        .call("OPTIONS", "/api/chat/presence/shop")
        .no_token()
        .header("origin", "https://a.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "token")
        .send()
        .await;
    assert_eq!((preflight.status, preflight.text.as_str()), (204, ""));
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some("content-type, authorization, token")
    );
    assert!(preflight.header("access-control-allow-credentials").is_none());

    let refused = app
        .get("/api/instance/list")
        .no_token()
        .header("origin", "https://a.example")
        .send()
        .await;
    refused.assert_error(401, "Invalid token");
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    let other = app
        .get("/api/instance/list")
        .header("origin", "https://b.example")
        .send()
        .await;
    assert!(other.header("access-control-allow-origin").is_none());
}

#[tokio::test(start_paused = true)]
async fn requests_on_one_connection_are_answered_in_order() {
    let app = TestApp::start().await;
    let close = "GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let pipelined = format!("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n{close}");
    let answer = app.raw(pipelined.as_bytes()).await;
    let statuses: Vec<_> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answer[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "404"], "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_first_is_refused_before_it_sends_its_body() {
    let app = TestApp::start().await;
    let request =
        "POST /api/instance/new HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    let answer = app.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_token_that_cannot_be_opened_hides_no_other_instance() {
    let directory = tempfile::TempDir::new().unwrap();
    let dir = DataDir::open(directory.path()).unwrap();
    let store = Store::open(&dir, KeySource::File).await.unwrap();
    let (account, token) = store
        .create_account("acme".parse().unwrap(), None, DateTime::UNIX_EPOCH)
        .await
        .unwrap();
    for name in ["shop", "branch"] {
        let new = NewInstance {
            name: name.parse().unwrap(),
            token: None,
            keep_online: false,
            proxy: None,
            now: DateTime::UNIX_EPOCH,
        };
        store.create_instance(account.id, new).await.unwrap();
    }
    // Without its key, the store can open none of them.
    let store = Arc::new(Store::open(&dir, KeySource::Absent).await.unwrap());
    let app = TestApp::over(store, token.expose().to_owned(), Options::default()).await;
    let list = app.get("/api/instance/list").send().await.json();
    assert_eq!(list["message"], "2 Instances found");
    for (at, name) in ["shop", "branch"].into_iter().enumerate() {
        let item = &list["instances"][at];
        assert_eq!((&item["name"], &item["token"]), (&json!(name), &json!(null)));
        assert_eq!(
            item["tokenError"],
            "The token cannot be opened with the key of this service"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_has_a_request_id_and_takes_over_a_sane_one() {
    let app = TestApp::start().await;
    let given = app.get("/livez").header("x-request-id", "trace-17").send().await;
    assert_eq!(given.header("x-request-id"), Some("trace-17"));
    for path in ["/livez", "/nowhere", "/api/instance/list", "/openapi.json"] {
        let insane = app.get(path).header("x-request-id", "a b").send().await;
        let made = insane.header("x-request-id").unwrap();
        assert!(made.len() > 16 && !made.contains(' '), "{path}: {made}");
    }
    let malformed = app.raw(b"rubbish\r\n\r\n").await;
    assert!(malformed.contains("\r\nx-request-id: "), "{malformed}");
    assert!(malformed.contains("\r\nx-error-detail: "), "{malformed}");
}

#[tokio::test(start_paused = true)]
async fn no_cache_keeps_tokens_and_codes() {
    let app = TestApp::start().await;
    let new = app.post("/api/instance/new").json(&json!({"name": "shop"}));
    let secret = [
        new.send().await,
        app.get("/api/instance/list").send().await,
        app.get("/api/instance/connect/shop").send().await,
        app.get("/api/instance/connect/shop?number=5511988887777&history=true")
            .send()
            .await,
    ];
    for reply in secret {
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{}", reply.text);
        assert!((200..300).contains(&reply.status), "{}", reply.text);
    }
    assert!(app.get("/livez").send().await.header("cache-control").is_none());
}

#[tokio::test(start_paused = true)]
async fn every_400_says_what_exactly_was_wrong_and_never_the_value() {
    let app = TestApp::with_shop().await;
    let presence = "/api/chat/presence/shop";
    let (new, settings) = ("/api/instance/new", "/api/instance/settings/shop");
    let rows = [
        (presence, "{\"secret", "body: "),
        (presence, r#"{"state":"typing"}"#, "number: "),
        (presence, r#"{"number":"secret","state":"typing"}"#, "number: "),
        (
            presence,
            r#"{"number":"14155550123","state":"secret"}"#,
            "state: ",
        ),
        (new, r#"{"name":"secret secret"}"#, "name: "),
        (new, r#"{"name":"x","token":"secret"}"#, "token: "),
        (new, r#"{"name":["secret"]}"#, "name: "),
        (settings, r#"{"keepOnlineStatus":"secret"}"#, "keepOnlineStatus: "),
        (settings, "secret", "body: "),
    ];
    for (path, body, starts) in rows {
        let reply = app.post(path).body(body).send().await;
        assert_eq!(reply.status, 400, "{path} {body}");
        let detail = reply.header("x-error-detail").unwrap();
        assert!(detail.starts_with(starts), "{path} {body}: {detail}");
        assert!(!detail.contains("secret"), "{path} {body}: {detail}");
    }
    let number = app.get("/api/instance/connect/shop?number=secret").send().await;
    assert!(number.header("x-error-detail").unwrap().starts_with("number: "));
    let fine = app.post(settings).body("{}").send().await;
    assert!(fine.header("x-error-detail").is_none());
}

#[tokio::test(start_paused = true)]
async fn while_it_starts_it_lives_and_is_not_ready() {
    let app = TestApp::starting().await;
    assert_eq!(app.get("/livez").send().await.status, 200);
    let ready = app.get("/readyz").send().await;
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("starting")));
    let health = app.get("/health").send().await;
    assert_eq!(
        (health.status, &health.json()["checks"]["accepting"]),
        (503, &json!("starting"))
    );
    for call in [
        app.get("/api/instance/list"),
        app.post("/api/chat/presence/shop").no_token(),
    ] {
        call.send().await.assert_error(503, "Service is starting");
    }
    app.get("/nowhere").send().await.assert_error(404, "Not found");
    app.open().await;
    assert_eq!(app.get("/readyz").send().await.status, 200);
    assert_eq!(app.get("/api/instance/list").send().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_more_to_send_is_answered_all_the_same() {
    let app = TestApp::start().await;
    let mut stream = app.connect();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: presence\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
