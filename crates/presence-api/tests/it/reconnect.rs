//! `list` and presences while sessions come and go.

use presence_sandbox::Fault;
use serde_json::json;
use tokio::time::sleep;

use crate::app::{CUSTOMER, SHOP, TestApp, phone, secs};

#[tokio::test(start_paused = true)]
async fn connected_means_that_a_presence_would_be_written() {
    let app = TestApp::with_shop().await;
    let body = json!({"number": CUSTOMER, "state": "typing"});
    for round in 0..10 {
        app.sandbox.fault(Fault::refuse()).unwrap();
        app.sandbox.drop_connections(phone(SHOP));
        app.wait_for_state("shop", "connecting").await;
        let offline = app.post("/api/chat/presence/shop").json(&body).send().await;
        offline.assert_error(503, "Instance is not connected to WhatsApp");
        app.sandbox.clear_faults();
        app.wait_for_state("shop", "connected").await;
        let online = app.post("/api/chat/presence/shop").json(&body).send().await;
        assert_eq!(online.status, 200, "round {round}: {}", online.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_is_told_and_waited_for() {
    let app = TestApp::with_shop().await;
    app.sandbox
        .fault(Fault::ban(secs(600.0)).on(phone(SHOP)))
        .unwrap();
    sleep(secs(5.0)).await;
    let list = app.get("/api/instance/list").send().await.json();
    let connection = &list["instances"][0]["connection"];
    assert_ne!(connection["state"], "connected");
    assert!(
        connection["displayStatus"].as_str().unwrap().contains("banned"),
        "{connection}"
    );
    sleep(secs(620.0)).await;
    app.wait_for_state("shop", "connected").await;
}

#[tokio::test(start_paused = true)]
async fn a_ban_outlives_a_restart_of_the_service() {
    let app = TestApp::with_shop().await;
    app.sandbox
        .fault(Fault::ban(secs(600.0)).on(phone(SHOP)))
        .unwrap();
    sleep(secs(5.0)).await;
    // A login would succeed now; it must not be tried.
    app.sandbox.clear_faults();
    let before = app.dials();
    let app = app.restart().await;
    sleep(secs(580.0)).await;
    let connection = app.connection_of("shop").await;
    assert_eq!(connection["state"], "disconnected");
    let status = connection["displayStatus"].as_str().unwrap();
    assert!(status.contains("banned"), "{status}");
    assert_eq!(app.dials(), before);
    sleep(secs(20.0)).await;
    app.wait_for_state("shop", "connected").await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_brings_back_who_was_there() {
    let app = TestApp::with_shop().await;
    app.new_instance("never-paired").await;
    let before = app.dials();
    let app = app.restart().await;
    app.wait_for_state("shop", "connected").await;
    assert_eq!(app.state("never-paired").await, "disconnected");
    assert_eq!(app.dials() - before, 1);
    app.show("typing", 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_in_quiet_times_says_nothing_of_being_online() {
    for raise_availability in [true, false] {
        let app = TestApp::with(|options| options.fleet.raise_availability = raise_availability).await;
        app.connected("shop", SHOP).await;
        app.show("typing", 5).await;
        sleep(secs(60.0)).await;
        let before = app.sent(SHOP).len();
        for _ in 0..5 {
            app.sandbox.drop_connections(phone(SHOP));
            sleep(secs(60.0)).await;
            app.wait_for_state("shop", "connected").await;
        }
        assert_eq!(app.post("/api/instance/reconnect/shop").send().await.status, 200);
        sleep(secs(60.0)).await;
        let app = app.restart().await;
        app.wait_for_state("shop", "connected").await;
        sleep(secs(60.0)).await;
        let sent = app.sent(SHOP).split_off(before);
        let online: Vec<_> = sent
            .iter()
            .filter(|(_, stanza)| !stanza.contains("unavailable"))
            .collect();
        assert!(online.is_empty(), "{online:?}");
        assert!(!app.sandbox.look(|world| world.is_available(phone(SHOP))));
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_never_to_be_online_says_so_at_no_time() {
    let app = TestApp::with(|options| options.fleet.raise_availability = false).await;
    app.connected("shop", SHOP).await;
    for _ in 0..3 {
        app.show("typing", 5).await;
        sleep(secs(60.0)).await;
        app.sandbox.drop_connections(phone(SHOP));
        sleep(secs(5.0)).await;
        app.wait_for_state("shop", "connected").await;
    }
    let sent = app.sent(SHOP);
    let online = |stanza: &str| stanza.starts_with("<presence") && !stanza.contains("unavailable");
    assert!(!sent.iter().any(|(_, stanza)| online(stanza)), "{sent:?}");
    assert_eq!(app.timeline(CUSTOMER).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_stalled_session_delays_no_other() {
    let app = TestApp::with_shop().await;
    app.connected("stalled", "5511977776666").await;
    app.sandbox
        .fault(Fault::stall().on(phone("5511977776666")))
        .unwrap();
    for _ in 0..20 {
        let start = tokio::time::Instant::now();
        let body = json!({"number": CUSTOMER, "state": "typing", "duration": 60});
        let stalled = app.post("/api/chat/presence/stalled").json(&body);
        let healthy = app.post("/api/chat/presence/shop").json(&body);
        let healthy = async {
            let reply = healthy.send().await;
            assert_eq!(reply.status, 200);
            assert!(start.elapsed() < secs(0.1), "{:?}", start.elapsed());
        };
        let (_, ()) = tokio::join!(stalled.send(), healthy);
    }
}
