//! The control API, over the same kind of connection as everything else.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use presence_sandbox::Sandbox;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::device::{Device, until};

const ANN: &str = "5511988887777";
const BOB: &str = "5511977776666";

async fn ask(sandbox: &Sandbox, method: Method, path: &str, body: impl Into<Bytes>) -> (StatusCode, Value) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(sandbox.dial()))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "sandbox");
    let response = sender
        .send_request(request.body(Full::new(body.into())).unwrap())
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    connection.abort();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn get(sandbox: &Sandbox, path: &str) -> Value {
    let (status, body) = ask(sandbox, Method::GET, path, "").await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

async fn post(sandbox: &Sandbox, path: &str, body: Value) -> (StatusCode, Value) {
    ask(sandbox, Method::POST, path, body.to_string()).await
}

#[tokio::test(start_paused = true)]
async fn people_link_watch_and_unlink_phones() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    let scanned = post(&sandbox, &format!("/v1/phones/{ANN}/scan"), json!({ "qr": qr })).await;
    assert_eq!(scanned, (StatusCode::OK, json!({ "number": ANN, "devices": 1 })));
    connection.ended().await;

    let mut online = device.online().await;
    let phone = get(&sandbox, &format!("/v1/phones/{ANN}")).await;
    assert_eq!(phone["connections"], 1);
    online.types_to(&format!("{BOB}@s.whatsapp.net")).await;
    until(&sandbox, |world| {
        !world.shown(BOB.parse().unwrap()).now.is_empty()
    })
    .await;
    let shown = get(&sandbox, &format!("/v1/phones/{BOB}/shown")).await;
    let since = &shown["now"][0]["shown_at_ms"];
    assert_eq!(
        shown["timeline"],
        json!([{ "from": ANN, "state": "typing", "shown_at_ms": since, "hidden_at_ms": null, "why": null }])
    );

    // Waits for the next change, which is that it expires.
    let waiting = format!("/v1/phones/{BOB}/shown?after={}&wait_ms=60000", shown["version"]);
    let shown = get(&sandbox, &waiting).await;
    assert_eq!(shown["now"], json!([]));
    let hidden = since.as_u64().unwrap() + 10_000;
    assert_eq!(
        shown["timeline"],
        json!([{ "from": ANN, "state": "typing", "shown_at_ms": since, "hidden_at_ms": hidden, "why": "expired" }])
    );

    let dropped = post(&sandbox, &format!("/v1/phones/{ANN}/drop"), json!(null)).await;
    assert_eq!(dropped, (StatusCode::OK, json!({ "dropped": 1 })));
    online.ended().await;
    let unlinked = post(&sandbox, &format!("/v1/phones/{ANN}/unlink"), json!(null)).await;
    assert_eq!(unlinked, (StatusCode::OK, json!({ "unlinked": 1 })));
}

#[tokio::test(start_paused = true)]
async fn logins_are_counted_by_device() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    post(&sandbox, &format!("/v1/phones/{ANN}/scan"), json!({ "qr": qr })).await;
    connection.ended().await;
    let logins = get(&sandbox, "/v1/logins").await;
    let never = json!([{
        "number": ANN, "device": 1, "connected": false, "logins": 0, "replaced": 0,
        "logged_in_at_ms": null, "hung_up_at_ms": null,
    }]);
    assert_eq!(logins["devices"], never, "linking is no login");

    let mut first = device.online().await;
    let _second = device.online().await;
    first.ended().await;
    let logins = get(&sandbox, "/v1/logins").await;
    let now = &logins["at_ms"];
    let twice = json!([{
        "number": ANN, "device": 1, "connected": true, "logins": 2, "replaced": 1,
        "logged_in_at_ms": now, "hung_up_at_ms": now,
    }]);
    assert_eq!(logins["devices"], twice);
}

#[tokio::test(start_paused = true)]
async fn a_code_that_cannot_be_used_is_a_clear_error() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    let scan = format!("/v1/phones/{ANN}/scan");
    let error = |message: &str| json!({ "error": { "message": message } });
    assert_eq!(
        post(&sandbox, &scan, json!({ "qr": "2@hello" })).await,
        (
            StatusCode::BAD_REQUEST,
            error("not the text of a WhatsApp QR code")
        )
    );
    let foreign = qr.replacen("2@", "2@x", 1);
    assert_eq!(
        post(&sandbox, &scan, json!({ "qr": foreign })).await,
        (
            StatusCode::NOT_FOUND,
            error("no connected device shows this QR code")
        )
    );
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(
        post(&sandbox, &scan, json!({ "qr": qr })).await,
        (StatusCode::GONE, error("this QR code has expired"))
    );
    assert_eq!(
        post(
            &sandbox,
            &format!("/v1/phones/{ANN}/link"),
            json!({ "code": "ABCD-EFGH" })
        )
        .await,
        (
            StatusCode::NOT_FOUND,
            error("no connected device waits for a link code for this number")
        )
    );
}

#[tokio::test]
async fn a_link_code_is_entered_over_http() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let code = connection.link_code(ANN.parse().unwrap()).await;
    let linked = post(
        &sandbox,
        &format!("/v1/phones/{ANN}/link"),
        json!({ "code": code }),
    )
    .await;
    assert_eq!(linked, (StatusCode::OK, json!({ "number": ANN, "devices": 1 })));
}

#[tokio::test(start_paused = true)]
async fn the_journal_can_be_waited_for() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let start = Instant::now();
    let empty = get(&sandbox, "/v1/journal?wait_ms=2000").await;
    assert_eq!(empty, json!({ "entries": [], "latest": 0, "oldest": 1 }));
    assert_eq!(start.elapsed().as_secs(), 2);

    let device = Device::new(&sandbox).await;
    let _connection = device.connect().await;
    let page = get(&sandbox, "/v1/journal?wait_ms=60000&limit=1").await;
    assert_eq!(page["entries"][0]["seq"], 1);
    assert_eq!(page["entries"][0]["from"], Value::Null, "it is not linked yet");
    assert!(
        page["entries"][0]["stanza"].as_str().unwrap().starts_with("<iq "),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn numbers_are_set_and_forgotten() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let path = format!("/v1/numbers/{BOB}");
    let put = |body: &'static str| ask(&sandbox, Method::PUT, &path, body);
    let set = put(r#"{"canonical":"551177776666","lid":"123456789012345"}"#).await;
    assert_eq!(set.0, StatusCode::OK);
    assert_eq!(
        set.1,
        json!({ "number": BOB, "canonical": "551177776666", "lid": "123456789012345" })
    );
    assert_eq!(put(r#"{"canonical":null}"#).await.0, StatusCode::OK);
    for wrong in [
        r#"{}"#,
        r#"{"canonical":"+55"}"#,
        r#"{"canonical":null,"lib":null}"#,
        "",
        "[]",
    ] {
        assert_eq!(put(wrong).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(ask(&sandbox, Method::DELETE, &path, "").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn faults_are_set_listed_and_cleared() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let ban = json!({ "kind": "ban", "account": ANN, "lasts_ms": 60_000 });
    let set = post(&sandbox, "/v1/faults", ban).await;
    assert_eq!(set, (StatusCode::CREATED, json!({ "id": 1, "struck": 0 })));
    let login = json!({ "kind": "failure", "reason": 503, "when": "login", "times": 2 });
    assert_eq!(post(&sandbox, "/v1/faults", login).await.1["id"], 2);
    let now = json!({ "kind": "drop" });
    assert_eq!(
        post(&sandbox, "/v1/faults", now).await.1,
        json!({ "id": null, "struck": 0 })
    );

    let listed = get(&sandbox, "/v1/faults").await;
    assert_eq!(
        listed["faults"],
        json!([
            { "id": 1, "kind": "ban", "code": 101, "lasts_ms": 60_000, "account": ANN, "times": null },
            { "id": 2, "kind": "failure", "reason": 503, "message": null, "when": "login", "account": null, "times": 2 },
        ])
    );
    assert_eq!(
        ask(&sandbox, Method::DELETE, "/v1/faults/1", "").await.0,
        StatusCode::OK
    );
    assert_eq!(
        ask(&sandbox, Method::DELETE, "/v1/faults/1", "").await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        ask(&sandbox, Method::DELETE, "/v1/faults", "").await.1,
        json!({ "cleared": 1 })
    );
    assert_eq!(
        post(&sandbox, "/v1/faults", json!({ "kind": "drop", "when": "never" }))
            .await
            .0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_in_json() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let status = async |method, path: &'static str, body: String| ask(&sandbox, method, path, body).await.0;
    assert_eq!(
        status(Method::GET, "/v1/phones/+55/shown", String::new()).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        status(Method::GET, "/v2", String::new()).await,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        status(Method::PUT, "/v1/faults", String::new()).await,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        status(Method::GET, "/ws/chat", String::new()).await,
        StatusCode::UPGRADE_REQUIRED
    );
    let long = "x".repeat(100_000);
    assert_eq!(
        status(Method::POST, "/v1/faults", long).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert!(get(&sandbox, "/").await["routes"].as_object().unwrap().len() > 10);
    assert_eq!(get(&sandbox, "/health").await["service"], "presence-sandbox");
}

#[tokio::test(start_paused = true)]
async fn phones_send_and_read_over_http() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let send = |to: &str| json!({ "to": to, "text": "hello" }).to_string();
    let path = format!("/v1/phones/{ANN}/send");
    let (status, sent) = ask(&sandbox, Method::POST, &path, send(BOB)).await;
    assert_eq!((status, &sent["devices"]), (StatusCode::OK, &json!(1)));
    let got = get(&sandbox, &format!("/v1/phones/{BOB}/messages")).await;
    let message = &got["messages"][0];
    assert_eq!(
        (&message["text"], &message["from"], &message["id"]),
        (&json!("hello"), &json!(ANN), &sent["id"])
    );
    let got = get(&sandbox, &format!("/v1/phones/{ANN}/messages")).await;
    assert_eq!(got["receipts"][0]["kind"], "delivered");

    let group = "120363000000000000@g.us";
    let cases = [
        (group, StatusCode::NOT_FOUND),
        ("999999999@lid", StatusCode::NOT_FOUND),
        ("nobody", StatusCode::BAD_REQUEST),
        ("x@g.us", StatusCode::BAD_REQUEST),
    ];
    for (to, expected) in cases {
        assert_eq!(
            ask(&sandbox, Method::POST, &path, send(to)).await.0,
            expected,
            "{to}"
        );
    }
    let set = json!({ "subject": "Friends", "members": [BOB] }).to_string();
    let (status, _) = ask(&sandbox, Method::PUT, &format!("/v1/groups/{group}"), set).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        ask(&sandbox, Method::POST, &path, send(group)).await.0,
        StatusCode::FORBIDDEN
    );

    let moved = json!({ "migrated": true }).to_string();
    ask(&sandbox, Method::PUT, &format!("/v1/phones/{ANN}/lid"), moved).await;
    assert_eq!(
        get(&sandbox, &format!("/v1/phones/{ANN}")).await["migrated"],
        true
    );
}
