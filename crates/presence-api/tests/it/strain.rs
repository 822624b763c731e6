//! HTTP under strain: slow heads, many connections, clients that hang up, and the end of the service.

use presence_sandbox::{Answer, Fault};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::app::{SHOP, TestApp, assert_near, phone, secs};

#[tokio::test(start_paused = true)]
async fn the_first_head_has_10_seconds_and_the_next_one_60() {
    let app = TestApp::start().await;
    let start = Instant::now();
    let answer = app.raw(b"GET /livez HTTP/1.1\r\nhost").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_near(start.elapsed(), secs(10.0));

    let start = Instant::now();
    assert_eq!(app.raw(b"").await, "", "who says nothing is told nothing");
    assert_near(start.elapsed(), secs(10.0));

    let start = Instant::now();
    let answer = app.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && !answer.contains(" 408 "),
        "{answer}"
    );
    assert_near(start.elapsed(), secs(60.0));
}

#[tokio::test(start_paused = true)]
async fn a_long_request_is_not_taken_for_a_slow_head() {
    let app = TestApp::with(|options| options.fleet.login_timeout = secs(600.0)).await;
    app.new_instance("shop").await;
    app.sandbox.fault(Fault::withhold(Answer::PairDevice)).unwrap();
    let start = Instant::now();
    let reply = app.get("/api/instance/connect/shop").send().await;
    reply.assert_error(504, "WhatsApp did not answer in time");
    assert_near(start.elapsed(), secs(60.0));
}

#[tokio::test]
async fn when_all_connections_are_taken_the_longest_idle_one_goes() {
    let app = TestApp::with(|options| options.http.max_connections = 3).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clients = async {
        let mut idle = Vec::new();
        for _ in 0..10 {
            let mut client = TcpStream::connect(address).await.unwrap();
            // Each is served though those before it hang on.
            client
                .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            let mut answer = [0; 12];
            timeout(secs(20.0), client.read_exact(&mut answer))
                .await
                .expect("a new client does not wait")
                .unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            idle.push(client);
        }
        let mut rest = Vec::new();
        idle[0].read_to_end(&mut rest).await.unwrap();
        app.server.stop(secs(1.0)).await;
    };
    tokio::join!(app.server.accept(listener), clients);
}

#[tokio::test]
async fn probes_have_a_listener_of_their_own() {
    let app = TestApp::with(|options| options.http.max_connections = 1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let get = async |path: &str| {
        let mut probe = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        probe.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let client = async {
        for path in ["/livez", "/readyz", "/health"] {
            assert!(get(path).await.starts_with("HTTP/1.1 200 "), "{path}");
        }
        // Though it is not switched on beside the API.
        assert!(get("/metrics").await.contains("presence_build_info{"));
        for path in ["/api/instance/list", "/openapi.json"] {
            assert!(get(path).await.starts_with("HTTP/1.1 404 "), "{path}");
        }
        app.get("/metrics").send().await.assert_error(404, "Not found");
        app.server.stop(secs(1.0)).await;
    };
    tokio::join!(app.server.accept_probes(listener), client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_during_connect_ends_its_wait() {
    let app = TestApp::with(|options| options.fleet.login_timeout = secs(600.0)).await;
    app.new_instance("shop").await;
    app.sandbox.fault(Fault::withhold(Answer::PairDevice)).unwrap();
    let (mut stream, serving) = app.connection();
    let head = format!(
        "GET /api/instance/connect/shop HTTP/1.1\r\nhost: x\r\ntoken: {}\r\n\r\n",
        app.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    sleep(secs(1.0)).await;
    assert!(!serving.is_finished());
    drop(stream);
    let start = Instant::now();
    serving.await.unwrap();
    assert!(start.elapsed() < secs(2.0), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_a_client_that_hangs_up_before_its_stanza_is_written_nothing_is_sent() {
    let app = TestApp::start().await;
    // Its spelling is WhatsApp's to know, which does not answer for 2 s.
    let brazilian = "5511987654321";
    app.connected("shop", SHOP).await;
    app.sandbox
        .fault(Fault::withhold(Answer::Usync).on(phone(SHOP)))
        .unwrap();
    let body = json!({"number": brazilian, "state": "typing"}).to_string();
    let head = format!(
        "POST /api/chat/presence/shop HTTP/1.1\r\nhost: x\r\ntoken: {}\r\ncontent-length: {}\r\n\r\n{body}",
        app.token,
        body.len()
    );
    let (mut stream, serving) = app.connection();
    stream.write_all(head.as_bytes()).await.unwrap();
    sleep(secs(1.0)).await;
    drop(stream);
    serving.await.unwrap();
    sleep(secs(10.0)).await;
    assert_eq!(app.chat_states(SHOP), []);
    // Who stays has it sent when the look-up was given up.
    let (mut stream, _serving) = app.connection();
    stream.write_all(head.as_bytes()).await.unwrap();
    sleep(secs(10.0)).await;
    assert_eq!(app.chat_states(SHOP).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_half_sent_delays_what_the_end_pauses() {
    let app = TestApp::with_shop().await;
    app.show("typing", 60).await;
    let token = &app.token;
    let half_sent = [
        "POST /api/chat/presence/shop HTTP/1.1\r\nhost".to_owned(),
        "POST /api/chat/presence/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{".to_owned(),
        format!(
            "POST /api/chat/presence/shop HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\ncontent-length: 99\r\n\r\n{{"
        ),
    ];
    let mut clients = Vec::new();
    for request in &half_sent {
        let mut client = app.connect();
        client.write_all(request.as_bytes()).await.unwrap();
        clients.push(client);
    }
    sleep(secs(1.0)).await;
    let journal_start = app.sandbox.journal().entries.last().unwrap().at;
    let start = Instant::now();
    let stop = async {
        app.server.stop(secs(7.0)).await;
        assert!(start.elapsed() < secs(8.0), "{:?}", start.elapsed());
    };
    let late = async {
        sleep(secs(0.5)).await;
        // Before anything else has ended.
        assert_eq!(app.pauses(SHOP).len(), 1, "paused at once");
        // A presence that is complete only now is refused.
        let late = clients.last_mut().unwrap();
        late.write_all(&[b' '; 98]).await.unwrap();
        let mut answer = String::new();
        late.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("Service is shutting down"), "{answer}");
    };
    tokio::join!(stop, late);
    let pauses = app.pauses(SHOP);
    assert_eq!(pauses.len(), 1);
    assert!(
        pauses[0] - journal_start < secs(1.5),
        "{pauses:?} after {journal_start:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_takes_its_grace_at_most() {
    let app = TestApp::with_shop().await;
    app.show("typing", 60).await;
    // Neither the session nor this request ends by itself.
    app.sandbox.fault(Fault::stall().on(phone(SHOP))).unwrap();
    let head = format!(
        "POST /api/chat/presence/shop HTTP/1.1\r\nhost: x\r\ntoken: {}\r\ncontent-length: 99\r\n\r\n{{",
        app.token
    );
    let mut client = app.connect();
    client.write_all(head.as_bytes()).await.unwrap();
    sleep(secs(1.0)).await;
    let start = Instant::now();
    app.server.stop(secs(7.0)).await;
    assert!(start.elapsed() < secs(7.5), "{:?}", start.elapsed());
}
