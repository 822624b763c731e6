//! Whom the lines of the log are of.

use presence_sandbox::Sandbox;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::program::Data;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn the_log_names_a_request_by_its_id_and_an_instance_by_its_name() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new().serve_with_shop(&sandbox).await;
    let line =
        r#"instance.name="shop"}: presence_wa::instance::task::told: instance state changed state=connected"#;
    server.wait_for_log(line).await;

    let named = [
        ("x-request-id: mine-17".to_owned(), "mine-17"),
        (format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01"), TRACE),
    ];
    let routes = [
        ("GET /api/instance/list", "instance_list"),
        ("POST /api/chat/presence/shop", "chat_presence"),
    ];
    for ((field, id), (call, route)) in named.iter().flat_map(|named| routes.map(|route| (named, route))) {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request =
            format!("{call} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntoken: wrong\r\n{field}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{answer}");
        server
            .wait_for_log(&format!(r#"request{{id="{id}" route="{route}"}}"#))
            .await;
    }
}

#[tokio::test]
async fn a_log_that_tells_little_names_a_presence_too_that_is_refused() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new().serve_and(&sandbox, &["--log", "info"]).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request =
        b"POST /api/chat/presence/shop HTTP/1.1\r\nhost: x\r\ntoken: wrong\r\nx-request-id: mine-18\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let line =
        r#"request{id="mine-18" route="chat_presence"}: presence_api::refusal_log: requests were refused"#;
    server.wait_for_log(line).await;
}

#[tokio::test]
async fn the_start_says_what_was_opened_and_a_refusal_is_told_once() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve(&sandbox).await;
    for _ in 0..5 {
        let refused = server
            .call("GET", "/api/instance/list", "wrong", Value::Null)
            .await;
        assert_eq!(refused.unwrap().0, 401);
    }
    server.signal("TERM");
    let log = server.end().await.stderr;
    for text in [
        &format!(
            "opened the data directory, for sessions with a sandbox data_dir={} accounts=0 instances=0",
            data.path()
        ),
        "there is no account yet: make one with \"presence-server account new NAME --data-dir ",
    ] {
        assert!(log.contains(text), "{text} is not in {log}");
    }
    let told = log
        .lines()
        .filter(|line| line.contains("requests were refused") && line.contains(r#"reason="Invalid token""#));
    assert_eq!(told.count(), 1, "{log}");
}
