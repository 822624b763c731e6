//! Rubbish in: a contract answer each, nothing sent, and the service still serves.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::app::{CUSTOMER, SHOP, TestApp, assert_near, error, secs};

const PATH: &str = "/api/chat/presence/shop";

/// A body and what it gets. What is wrong is in the first column.
fn bodies() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let body = "Invalid request body";
    let number = "Invalid number. Use a phone number with country code, or a JID";
    let nested = |open: &str, close: &str| {
        format!(
            r#"{{"number":{}1{},"state":"typing"}}"#,
            open.repeat(5000),
            close.repeat(5000)
        )
        .into_bytes()
    };
    vec![
        (
            "truncated",
            br#"{"number":"14155550123","state":"typ"#.to_vec(),
            400,
            body,
        ),
        (
            "two values",
            br#"{"number":"14155550123","state":"typing"}{}"#.to_vec(),
            400,
            body,
        ),
        (
            "a trailing comma",
            br#"{"number":"14155550123","state":"typing",}"#.to_vec(),
            400,
            body,
        ),
        (
            "a field twice",
            br#"{"number":"14155550123","number":"1","state":"typing"}"#.to_vec(),
            400,
            body,
        ),
        (
            "an array for a string",
            br#"{"number":["14155550123"],"state":"typing"}"#.to_vec(),
            400,
            body,
        ),
        (
            "an object for a number",
            br#"{"number":"14155550123","state":"typing","duration":{}}"#.to_vec(),
            400,
            body,
        ),
        (
            "UTF-8 broken in a field",
            b"{\"number\":\"1415\xff\",\"state\":\"typing\"}".to_vec(),
            400,
            body,
        ),
        (
            "UTF-8 broken elsewhere",
            b"{\"number\":\"14155550123\",\"state\":\"typing\",\"x\":\"\xff\"}".to_vec(),
            400,
            body,
        ),
        (
            "UTF-16",
            "{\"number\"".encode_utf16().flat_map(u16::to_le_bytes).collect(),
            400,
            body,
        ),
        (
            "a lone surrogate",
            br#"{"number":"\ud800","state":"typing"}"#.to_vec(),
            400,
            body,
        ),
        ("NUL bytes", vec![0; 100], 400, body),
        ("arrays 5000 deep", nested("[", "]"), 400, body),
        ("objects 5000 deep", nested("{\"a\":", "}"), 400, body),
        (
            "not a number",
            br#"{"number":"14155550123","state":"typing","duration":NaN}"#.to_vec(),
            400,
            body,
        ),
        (
            "digits of another script",
            "{\"number\":\"١٤١٥٥٥٥٠١٢٣\",\"state\":\"typing\"}".into(),
            400,
            number,
        ),
        (
            "a control character",
            br#"{"number":"1415555\u00000123","state":"typing"}"#.to_vec(),
            400,
            number,
        ),
        (
            "a long number",
            format!(r#"{{"number":"{}","state":"typing"}}"#, "1".repeat(50_000)).into_bytes(),
            400,
            number,
        ),
        (
            "a long group",
            format!(r#"{{"number":"{}@g.us","state":"typing"}}"#, "1".repeat(500)).into_bytes(),
            400,
            number,
        ),
        (
            "a JID without a user",
            br#"{"number":"@s.whatsapp.net","state":"typing"}"#.to_vec(),
            400,
            number,
        ),
        (
            "a stanza in a JID",
            br#"{"number":"1415\"/><x@s.whatsapp.net","state":"typing"}"#.to_vec(),
            400,
            number,
        ),
        (
            "too large",
            vec![b' '; 512 * 1024 + 1],
            413,
            "Request body too large",
        ),
        ("1 MiB", vec![b'{'; 1024 * 1024], 413, "Request body too large"),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_bad_body_gets_a_contract_answer_and_sends_nothing() {
    let app = TestApp::with_shop().await;
    for (what, body, status, message) in bodies() {
        let reply = app.post(PATH).body(body).send().await;
        assert_eq!((what, reply.status, reply.text), (what, status, error(message)));
    }
    assert!(app.chat_states(SHOP).is_empty());
    app.show("typing", 5).await;
}

#[tokio::test(start_paused = true)]
async fn huge_durations_are_merely_too_much() {
    let app = TestApp::with_shop().await;
    for duration in ["1e400", "99999999999999999999999999999999", "6e1", "60.000"] {
        let body = format!(r#"{{"number":"{CUSTOMER}","state":"typing","duration":{duration}}}"#);
        let reply = app.post(PATH).body(body).send().await;
        assert_eq!(
            (reply.status, &reply.json()["duration"]),
            (200, &json!(60)),
            "{duration}: {}",
            reply.text
        );
    }
    for duration in ["-1e400", "-99999999999999999999999999999999", "-0.0"] {
        let body = format!(r#"{{"number":"{CUSTOMER}","state":"typing","duration":{duration}}}"#);
        let reply = app.post(PATH).body(body).send().await;
        assert_eq!(
            (reply.status, &reply.json()["duration"]),
            (200, &json!(0)),
            "{duration}: {}",
            reply.text
        );
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_ignored_however_deep_they_are() {
    let app = TestApp::with_shop().await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let body = format!(r#"{{"number":"{CUSTOMER}","x":{deep},"state":"typing"}}"#);
    assert_eq!(app.post(PATH).body(body).send().await.status, 200);

    let body = format!(r#"{{"x":{deep},"keepOnlineStatus":false}}"#);
    let reply = app.post("/api/instance/settings/shop").body(body).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);

    let body = format!(r#"{{"name":"deep","webhookEvents":{deep}}}"#);
    let reply = app.post("/api/instance/new").body(body).send().await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.json()["instance"]["ignored"], json!(["webhookEvents"]));
}

#[tokio::test(start_paused = true)]
async fn a_body_of_exactly_the_limit_is_read() {
    let app = TestApp::with_shop().await;
    let mut body = format!(r#"{{"number":"{CUSTOMER}","state":"typing"}}"#).into_bytes();
    body.resize(512 * 1024, b' ');
    assert_eq!(app.post(PATH).body(body).send().await.status, 200);
    // Where no message's text belongs it is less.
    for (size, status) in [(64 * 1024, 200), (64 * 1024 + 1, 413)] {
        let mut body = br#"{"keepOnlineStatus":false}"#.to_vec();
        body.resize(size, b' ');
        let reply = app.post("/api/instance/settings/shop").body(body).send().await;
        assert_eq!(reply.status, status, "{size} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_bodies_on_the_instance_routes_are_400_too() {
    let app = TestApp::with_shop().await;
    for path in ["/api/instance/new", "/api/instance/settings/shop"] {
        for (what, body, status, _) in bodies() {
            // These routes ignore the fields of a presence, and what is wrong in them alone.
            let unseen = what.ends_with("deep") || what == "a lone surrogate";
            if body.starts_with(b"{") && (unseen || serde_json::from_slice::<Value>(&body).is_ok()) {
                continue;
            }
            let message = if status == 413 {
                "Request body too large"
            } else {
                "Invalid request body"
            };
            let reply = app.post(path).body(body).send().await;
            assert_eq!((what, reply.status, reply.text), (what, status, error(message)));
        }
    }
    assert_eq!(
        app.get("/api/instance/list").send().await.json()["message"],
        "1 Instance found"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_gets_the_contracts_json() {
    let app = TestApp::start().await;
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    let long_field = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(40_000));
    let many_fields = format!("GET /livez HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let rows = [
        ("rubbish\r\n\r\n", 400, "Malformed HTTP request"),
        (
            "GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
            400,
            "Malformed HTTP request",
        ),
        ("GET /livez HTTP/9.9\r\n\r\n", 400, "Malformed HTTP request"),
        ("GET /li vez HTTP/1.1\r\n\r\n", 400, "Malformed HTTP request"),
        ("GE\x01T /livez HTTP/1.1\r\n\r\n", 400, "Malformed HTTP request"),
        (
            "POST /livez HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            400,
            "Malformed HTTP request",
        ),
        (
            "POST /livez HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            400,
            "Malformed HTTP request",
        ),
        (long_path.as_str(), 431, "Request header too large"),
        (long_field.as_str(), 431, "Request header too large"),
        (many_fields.as_str(), 431, "Request header too large"),
    ];
    for (request, status, message) in rows {
        let answer = app.raw(request.as_bytes()).await;
        let what: String = request.chars().take(60).collect();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what:?}: {answer}"
        );
        let body = format!(r#"{{"success":false,"error":{{"message":"{message}"}}}}"#);
        assert!(
            answer.ends_with(&format!("\r\n\r\n{body}\n")),
            "{what:?}: {answer}"
        );
        assert!(
            answer.contains("content-type: application/json"),
            "{what:?}: {answer}"
        );
    }
    app.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_given_up_with_408() {
    let app = TestApp::with_shop().await;
    let start = tokio::time::Instant::now();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ntoken: {}\r\ncontent-length: 50\r\n\r\n{{",
        app.token
    );
    let answer = app.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.ends_with("{\"success\":false,\"error\":{\"message\":\"Request timeout\"}}\n"),
        "{answer}"
    );
    assert_near(start.elapsed(), secs(10.0));

    let in_the_head = tokio::time::Instant::now();
    let answer = app.raw(b"POST /api/chat/presence/shop HTTP/1.1\r\nhost").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.ends_with("{\"success\":false,\"error\":{\"message\":\"Request timeout\"}}\n"),
        "{answer}"
    );
    assert_near(in_the_head.elapsed(), secs(10.0));

    let idle = tokio::time::Instant::now();
    assert_eq!(
        app.raw(b"").await,
        "",
        "an idle connection is closed without a word"
    );
    assert_near(idle.elapsed(), secs(10.0));
    app.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn odd_paths_are_no_routes() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "//",
        "/api",
        "/api/../health",
        "/api/chat/presence/",
        "/api//instance/list",
        "/%",
        "/health%00",
    ] {
        app.get(path).send().await.assert_error(404, "Not found");
    }
    for name in ["%00", "a%2Fb", "%E2%82%AC", "a%20b", "'", "%27%20OR%201=1"] {
        let reply = app.post(&format!("/api/chat/presence/{name}")).send().await;
        reply.assert_error(404, "Instance not found");
    }
}

/// Whatever the body: one of the contract's answers, and the one that the core decides.
#[test]
fn any_body_gets_the_answer_of_the_core() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let app = runtime.block_on(TestApp::with_shop());
    let field = prop_oneof![
        Just("null".to_owned()),
        "[0-9]{1,20}",
        "-?[0-9]{1,5}(\\.[0-9]{1,3})?(e[0-9]{1,3})?",
        "\"[+() 0-9-]{0,20}\"",
        "\"[0-9]{1,20}@(s\\.whatsapp\\.net|c\\.us|lid|g\\.us|x)\"",
        "\" ?(typing|Recording|PAUSED?|composing) ?\"",
        "\\PC{0,10}",
    ];
    let body = (field.clone(), field.clone(), field).prop_map(|(number, state, duration)| {
        format!(r#"{{"number":{number},"state":{state},"duration":{duration}}}"#)
    });
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&body, |body| {
        let reply = runtime.block_on(app.post(PATH).body(body.clone()).send());
        let decision = presence_core::ChatPresenceRequest::from_json(body.as_bytes())
            .and_then(presence_core::ChatPresence::try_from);
        match decision {
            Ok(_) => prop_assert_eq!(reply.status, 200, "{}", reply.text),
            Err(fault) => {
                prop_assert_eq!(reply.status, 400);
                let message = reply.json()["error"]["message"].clone();
                prop_assert_eq!(message, fault.to_string());
            }
        }
        Ok(())
    });
    result.unwrap();
}
