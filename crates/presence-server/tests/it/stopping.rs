//! The end of the program: what a signal, a stuck client or a stuck log may do to it.

use std::io::ErrorKind;
use std::time::Duration;

use presence_sandbox::{Sandbox, State};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::program::Data;
use crate::{CUSTOMER, SHOP, TEST_TIMEOUT, phone, wait_for};

#[tokio::test]
async fn sigterm_pauses_what_is_shown_before_the_exit() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop(&sandbox).await;
    let shown = server.post(
        "/api/chat/presence/shop",
        json!({"number": CUSTOMER, "state": "typing", "duration": 60}),
    );
    assert_eq!(shown.await.0, 200);
    wait_for(&sandbox, |world| {
        world.shown(phone(CUSTOMER)).states() == [(phone(SHOP), State::Typing)]
    })
    .await;
    server.signal("TERM");
    assert_eq!(server.end().await.code, Some(0));
    assert_eq!(pauses(&sandbox), 1);
    assert!(sandbox.shown(phone(CUSTOMER)).now.is_empty());
}

#[tokio::test]
async fn a_load_balancer_is_told_before_anything_is_refused() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop_and(&sandbox, &["--stop-delay", "300"]).await;
    server.signal("TERM");
    server.wait_for_log("going on for now").await;
    assert_eq!(server.get("/readyz").await, (503, json!({"status": "stopping"})));
    let shown = server.post(
        "/api/chat/presence/shop",
        json!({"number": CUSTOMER, "state": "typing", "duration": 60}),
    );
    assert_eq!(shown.await.0, 200);
    server.signal("TERM");
    assert_eq!(server.end().await.code, Some(1));
}

#[tokio::test]
async fn it_stops_as_ever_after_the_delay() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop_and(&sandbox, &["--stop-delay", "1"]).await;
    let start = Instant::now();
    server.signal("TERM");
    let end = server.end().await;
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn half_sent_requests_delay_no_pause_and_hold_the_end_up_for_its_grace_at_most() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data
        .serve_with_shop_and(&sandbox, &["--body-timeout", "300"])
        .await;
    let shown = server.post(
        "/api/chat/presence/shop",
        json!({"number": CUSTOMER, "state": "typing", "duration": 60}),
    );
    assert_eq!(shown.await.0, 200);
    let token = server.token();
    let anonymous =
        "POST /api/chat/presence/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{".to_owned();
    let ours = format!(
        "POST /api/chat/presence/shop HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\nexpect: 100-continue\r\ncontent-length: 99\r\n\r\n"
    );
    let mut stuck = Vec::new();
    for (request, told) in [
        (anonymous, "HTTP/1.1 401"),
        (ours, "HTTP/1.1 100 Continue\r\n\r\n"),
    ] {
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        // It is on its way: refused, or told to go on.
        let mut answer = vec![0; told.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, told.as_bytes());
        stuck.push(client);
    }
    server.signal("TERM");
    wait_for(&sandbox, |world| world.shown(phone(CUSTOMER)).states().is_empty()).await;
    // The one that is still to come has its grace; what is shown does not wait for it.
    let waits = stuck.last().unwrap().try_read(&mut [0]).unwrap_err();
    assert_eq!(waits.kind(), ErrorKind::WouldBlock, "it was given up already");
    // It would be given up by itself long after a test is.
    assert_eq!(server.end().await.code, Some(0));
    assert_eq!(pauses(&sandbox), 1);
}

#[tokio::test]
async fn keys_that_cannot_be_saved_at_the_end_are_no_success() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop(&sandbox).await;
    let _lock = data.lock("keys.db").await;
    // It is to be saved.
    sandbox.rename(phone(SHOP), "Shop");
    server.wait_for_log("device keys cannot be saved").await;
    server.signal("TERM");
    let end = server.end().await;
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    let complaint = "presence-server: the last changes of device keys could not be saved";
    let mut lines = end.stderr.lines();
    assert!(lines.any(|line| line.starts_with(complaint)), "{}", end.stderr);
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve(&sandbox).await;
    server.stop_reading_the_log();
    let request = format!(
        "GET /api/instance/list HTTP/1.1\r\nhost: x\r\ntoken: {}\r\n\r\n",
        server.token()
    );
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    // Each has a line at debug: the pipe is full after some hundreds, and what waits for it after some thousands.
    let requests = async {
        for _ in 0..10_000 {
            client.write_all(request.as_bytes()).await.unwrap();
            let mut head = [0; 1024];
            assert_ne!(client.read(&mut head).await.unwrap(), 0);
        }
    };
    timeout(TEST_TIMEOUT, requests)
        .await
        .expect("it goes on answering");
    assert_eq!(server.get("/health").await.0, 200);
    server.read_the_log_again();
    server.wait_for_log("lines were dropped").await;
    server.signal("TERM");
    assert_eq!(server.end().await.code, Some(0));
}

fn pauses(sandbox: &Sandbox) -> usize {
    let entries = sandbox.journal().entries.into_iter();
    entries.filter(|entry| entry.stanza.contains("<paused/>")).count()
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_with_a_failing_code() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new().serve_and(&sandbox, &["--stop-grace", "60"]).await;
    // A request that never ends holds up the first one. It is being read once its client is told to go on.
    let mut stuck = TcpStream::connect(server.address()).await.unwrap();
    let token = server.token();
    let head =
        format!("POST /api/instance/new HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\nexpect: 100-continue\r\n");
    stuck
        .write_all(format!("{head}content-length: 9\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut go_on = [0; 25];
    stuck.read_exact(&mut go_on).await.unwrap();
    assert_eq!(go_on.as_slice(), b"HTTP/1.1 100 Continue\r\n\r\n");
    let start = Instant::now();
    server.signal("TERM");
    server.wait_for_log("another signal ends it at once").await;
    server.signal("TERM");
    let end = server.end().await;
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}
