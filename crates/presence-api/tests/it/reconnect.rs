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
