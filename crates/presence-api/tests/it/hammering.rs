//! Clients that ask too often: whatever they ask, WhatsApp is left alone.

use presence_sandbox::{Fault, When};
use presence_wa::RetrySettings;
use tokio::time::{sleep, timeout};

use crate::app::{CUSTOMER, SHOP, TestApp, phone, secs};

/// A service that backs off as it does outside of tests, with a paired instance. The limit of sessions in a
/// minute is off: what holds back here is not it.
async fn patient() -> TestApp {
    let app = TestApp::with(|options| {
        options.fleet.retry = RetrySettings {
            opens_a_minute: 1000,
            ..RetrySettings::default()
        };
    })
    .await;
    app.connected("shop", SHOP).await;
    app
}

/// Logins fail, or no connection can be made at all.
fn outages() -> [Fault; 2] {
    [
        Fault::failure(503).on(phone(SHOP)).when(When::Login),
        Fault::refuse(),
    ]
}

#[tokio::test(start_paused = true)]
async fn reconnecting_on_every_503_of_an_outage_makes_few_logins_and_then_a_session() {
    for outage in outages() {
        let app = patient().await;
        app.sandbox.fault(outage).unwrap();
        app.sandbox.drop_connections(phone(SHOP));
        app.wait_for_state("shop", "connecting").await;
        let before = app.dials();
        for _ in 0..600 {
            let offline = app.presence(CUSTOMER, "typing", 5).await;
            offline.assert_error(503, "Instance is not connected to WhatsApp");
            let reply = app.post("/api/instance/reconnect/shop").send().await;
            let expected = r#"{"success":true,"message":"Reconnect initiated","status":"connecting"}"#;
            assert_eq!((reply.status, reply.text.as_str()), (200, expected));
            sleep(secs(0.1)).await;
        }
        let dials = app.dials() - before;
        // Back-offs are random; this many short ones in a row there never are.
        assert!((1..30).contains(&dials), "{dials} logins in a minute");
        app.sandbox.clear_faults();
        // The longest back-off after a lost connection is 2 min.
        sleep(secs(121.0)).await;
        assert_eq!(app.state("shop").await, "connected");
        assert_eq!(app.presence(CUSTOMER, "typing", 5).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn polling_connect_in_an_outage_does_not_cut_the_back_off_short() {
    for outage in outages() {
        let app = patient().await;
        app.sandbox.fault(outage).unwrap();
        app.sandbox.drop_connections(phone(SHOP));
        // By now the waits are long.
        sleep(secs(600.0)).await;
        let before = app.dials();
        for _ in 0..60 {
            let connect = app.get("/api/instance/connect/shop").send();
            let waits = timeout(secs(1.0), connect).await;
            assert!(waits.is_err(), "there is nothing to answer yet: {waits:?}");
        }
        let dials = app.dials() - before;
        assert!(dials <= 10, "{dials} logins in a minute");
        app.sandbox.clear_faults();
        sleep(secs(601.0)).await;
        assert_eq!(app.state("shop").await, "connected");
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_session_is_reopened_every_ten_seconds_at_most() {
    let app = patient().await;
    let before = app.dials();
    for _ in 0..100 {
        let reply = app.post("/api/instance/reconnect/shop").send().await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        sleep(secs(0.3)).await;
    }
    let dials = app.dials() - before;
    assert!((3..=4).contains(&dials), "{dials} sessions in half a minute");
    assert_eq!(app.state("shop").await, "connected");
}
