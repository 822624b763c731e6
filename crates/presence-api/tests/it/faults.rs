//! Every fault that WhatsApp or the network can do to a session: what `list` says, what a presence is
//! answered, whether the service tries again by itself, and how the instance comes back.

use std::time::Duration;

use presence_sandbox::{Answer, Fault, FaultKind, When};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::app::{CUSTOMER, SHOP, TestApp, phone, secs};

/// Faults are noticed within this time, those that raise no event of the client included.
const NOTICED: Duration = Duration::from_secs(10);
/// Longer than three back-offs of these tests, so that what was going to be tried has been.
const LONG: Duration = Duration::from_secs(100);
/// Shorter than the shortest wait after WhatsApp said that it was too much, which is a minute.
const THROTTLED: Duration = Duration::from_secs(45);
/// Longer than three such waits: four minutes at most, then eight, then ten.
const THROTTLED_THRICE: Duration = Duration::from_secs(25 * 60);

/// What the service makes of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It connects again by itself, as often as it takes.
    Retries,
    /// The same, but WhatsApp is left alone for minutes.
    RetriesLater,
    /// It stops, and tells why in these words; `reconnect` brings it back.
    Stops(&'static str),
    /// The phone has to link the device again.
    LinksAgain,
}

fn stream_error(code: u16) -> FaultKind {
    FaultKind::StreamError { code, hang_up: true }
}

/// The server says it, and then leaves the connection open.
fn silent_stream_error(code: u16) -> FaultKind {
    FaultKind::StreamError { code, hang_up: false }
}

fn failure(reason: u16) -> FaultKind {
    FaultKind::Failure {
        reason,
        message: None,
    }
}

fn faults() -> Vec<(FaultKind, Then)> {
    const REPLACED: Then = Then::Stops("replaced by another connection of the same device");
    vec![
        (stream_error(515), Then::Retries),
        (silent_stream_error(515), Then::Retries),
        (stream_error(516), Then::LinksAgain),
        (stream_error(401), Then::LinksAgain),
        (FaultKind::DeviceRemoved, Then::LinksAgain),
        (stream_error(409), REPLACED),
        (FaultKind::Replaced, REPLACED),
        (stream_error(429), Then::RetriesLater),
        (silent_stream_error(429), Then::RetriesLater),
        (stream_error(503), Then::Retries),
        (silent_stream_error(503), Then::Retries),
        (FaultKind::StreamEnd, Then::Retries),
        (FaultKind::Drop, Then::Retries),
        (failure(401), Then::LinksAgain),
        (failure(403), Then::LinksAgain),
        (failure(406), Then::LinksAgain),
        (
            failure(405),
            Then::Stops("client version no longer accepted by WhatsApp"),
        ),
        (failure(409), Then::Stops("refused by WhatsApp with code 409")),
        (failure(413), Then::Stops("refused by WhatsApp with code 413")),
        (failure(414), Then::Stops("refused by WhatsApp with code 414")),
        (failure(415), Then::Stops("refused by WhatsApp with code 415")),
        (failure(418), Then::Stops("refused by WhatsApp with code 418")),
        (failure(400), Then::Retries),
        (failure(429), Then::RetriesLater),
        (failure(500), Then::Retries),
        (failure(501), Then::Retries),
        (failure(502), Then::Retries),
        (failure(503), Then::Retries),
        (failure(504), Then::Retries),
        (failure(799), Then::Retries),
        (FaultKind::FailureWithoutReason, Then::Retries),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_fault_while_connected_is_noticed_told_and_recovered_from() {
    for (kind, then) in faults() {
        let app = TestApp::with_shop().await;
        // Nobody gets back in, so that what is seen is what the fault did, and not what came after it.
        app.sandbox.fault(Fault::refuse()).unwrap();
        app.sandbox
            .fault(Fault::new(kind.clone()).on(phone(SHOP)))
            .unwrap();
        wait_until_down(&app, &kind).await;
        let body = json!({"number": CUSTOMER, "state": "typing"});
        let reply = app.post("/api/chat/presence/shop").json(&body).send().await;
        reply.assert_error(503, "Instance is not connected to WhatsApp");
        app.sandbox.clear_faults();
        check_recovery(&app, &kind, then).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_the_login_is_told_and_recovered_from() {
    for (kind, then) in faults() {
        let app = TestApp::with_shop().await;
        // It strikes three logins, or one where the service gives up after it.
        let times = match then {
            Then::Retries | Then::RetriesLater => 3,
            Then::Stops(_) | Then::LinksAgain => 1,
        };
        let fault = Fault::new(kind.clone())
            .on(phone(SHOP))
            .when(When::Login)
            .times(times);
        app.sandbox.fault(fault).unwrap();
        app.sandbox.drop_connections(phone(SHOP));
        wait_until_down(&app, &kind).await;
        check_recovery(&app, &kind, then).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_never_answered_is_given_up_and_tried_again() {
    let app = TestApp::with_shop().await;
    let silence = Fault::withhold(Answer::Success).on(phone(SHOP));
    app.sandbox.fault(silence).unwrap();
    app.sandbox.drop_connections(phone(SHOP));
    sleep(LONG).await;
    assert_eq!(app.state("shop").await, "connecting");
    app.sandbox.clear_faults();
    // The login that is under way has its time; the next one is answered.
    sleep(NOTICED + secs(1.0)).await;
    assert_eq!(app.state("shop").await, "connected");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_too_old_looks_for_another_version_every_hour_and_bothers_nobody() {
    let app = TestApp::with_shop().await;
    let outdated = Fault::new(failure(405)).on(phone(SHOP)).when(When::Login);
    app.sandbox.fault(outdated).unwrap();
    app.sandbox.drop_connections(phone(SHOP));
    sleep(LONG).await;
    let before = app.dials();
    for _ in 0..5 {
        let status = connection(&app).await["displayStatus"].to_string();
        let wait = status
            .split("no longer accepted by WhatsApp, looked up again in ")
            .nth(1);
        assert!(wait.is_some_and(|wait| wait.contains("min")), "{status}");
        sleep(Duration::from_secs(3600)).await;
    }
    // Without another version there is no use in another login.
    assert_eq!(app.dials(), before);

    app.sandbox.clear_faults();
    let reply = app.post("/api/instance/reconnect/shop").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    app.wait_for_state("shop", "connected").await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_fail_are_tried_again_ever_less_often_until_one_holds() {
    let app = TestApp::with(|options| options.fleet.retry.backoff = presence_wa::Backoff::default()).await;
    app.connected("shop", SHOP).await;
    app.sandbox.fault(Fault::refuse()).unwrap();
    app.sandbox.drop_connections(phone(SHOP));
    sleep(Duration::from_secs(20 * 60)).await;
    let connection = connection(&app).await;
    assert_eq!(connection["state"], "connecting");
    let status = connection["displayStatus"].as_str().unwrap();
    assert!(
        status.starts_with("connecting: connection lost, next attempt in "),
        "{status}"
    );

    app.sandbox.clear_faults();
    // The longest wait between two attempts is two minutes.
    sleep(Duration::from_secs(121)).await;
    assert_eq!(app.state("shop").await, "connected");
}

/// Waits until `list` no longer says `connected`, which must not take long.
async fn wait_until_down(app: &TestApp, kind: &FaultKind) {
    let struck = Instant::now();
    while app.state("shop").await == "connected" {
        assert!(struck.elapsed() < NOTICED, "{kind:?} was not noticed");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn check_recovery(app: &TestApp, kind: &FaultKind, then: Then) {
    sleep(if then == Then::RetriesLater {
        THROTTLED
    } else {
        LONG
    })
    .await;
    let connection = connection(app).await;
    match then {
        Then::Retries => {}
        Then::RetriesLater => {
            assert_eq!(connection["state"], "connecting", "{kind:?}");
            let status = connection["displayStatus"].as_str().unwrap();
            assert!(
                status.starts_with("connecting: refused by WhatsApp for now (code 429), next attempt in "),
                "{status}"
            );
            sleep(THROTTLED_THRICE).await;
        }
        Then::Stops(why) => {
            assert_eq!(connection["state"], "disconnected", "{kind:?}");
            let status = connection["displayStatus"].as_str().unwrap();
            assert!(
                status.starts_with(&format!("disconnected: {why}")),
                "{kind:?}: {status}"
            );
            let reply = app.post("/api/instance/reconnect/shop").send().await;
            assert_eq!(reply.status, 200, "{kind:?}: {}", reply.text);
            app.wait_for_state("shop", "connected").await;
        }
        Then::LinksAgain => {
            assert_eq!(connection["state"], "loggedout", "{kind:?}");
            assert_eq!(connection["numberJid"], Value::Null, "{kind:?}");
            let reply = app.post("/api/instance/reconnect/shop").send().await;
            reply.assert_error(400, "Instance has no saved session — call /connect first");
            app.sandbox.unlink(phone(SHOP));
            app.link("shop", SHOP).await;
        }
    }
    assert_eq!(app.state("shop").await, "connected", "{kind:?}");
    let shown = app.timeline(CUSTOMER).len();
    app.show("typing", 5).await;
    app.wait_for(|world| world.shown(phone(CUSTOMER)).timeline.len() > shown)
        .await;
    sleep(secs(20.0)).await;
}

async fn connection(app: &TestApp) -> Value {
    let list = app.get("/api/instance/list").send().await.json();
    list["instances"][0]["connection"].clone()
}
