//! Pairing when WhatsApp takes its time: no phone may end up with a linked device whose keys are gone.

use std::sync::Arc;

use futures_util::future::join_all;
use presence_sandbox::{Fault, FaultKind, PairError, Refused, When};
use tokio::time::{Instant, sleep};

use crate::app::{SHOP, TestApp, phone, secs};

/// A service on a WhatsApp that registers devices and asks for a restart this long after, in seconds.
async fn slow(register_after: f64, restart_after: f64) -> TestApp {
    TestApp::with(|options| {
        let builder = options.sandbox.clone();
        options.sandbox = builder
            .register_after(secs(register_after))
            .restart_after(secs(restart_after));
    })
    .await
}

/// Links `shop`, while `meddle` may do something to it once the phone has accepted.
async fn pair(app: &TestApp, meddle: impl AsyncFnOnce()) {
    app.new_instance("shop").await;
    let qr = app.qr("shop").await;
    let sandbox = Arc::clone(&app.sandbox);
    let scan = tokio::spawn(async move { sandbox.scan(phone(SHOP), &qr).await });
    meddle().await;
    assert_linked(scan.await.unwrap());
    app.wait_for_state("shop", "connected").await;
}

/// A phone's screen gives up when WhatsApp takes its time; its device is linked all the same.
#[track_caller]
fn assert_linked(scanned: Result<(), PairError>) {
    assert!(matches!(scanned, Ok(()) | Err(PairError::Late)), "{scanned:?}");
}

/// How many logins were refused because the device was not registered yet.
fn overtaken(app: &TestApp) -> usize {
    app.sandbox.look(|world| {
        world
            .refused()
            .filter(|entry| entry.refused == Some(Refused::NotRegistered))
            .count()
    })
}

#[tokio::test(start_paused = true)]
async fn of_eight_pairings_at_once_none_is_lost_however_slow_whatsapp_registers() {
    for (register_after, restart_after) in [(0.0, 0.0), (0.3, 0.4), (2.0, 0.1), (9.0, 5.0), (15.0, 0.4)] {
        let app = slow(register_after, restart_after).await;
        join_all((0..8).map(async |nth: u32| {
            let (name, number) = (format!("shop-{nth}"), format!("49151{:08}", nth));
            app.new_instance(&name).await;
            let qr = app.qr(&name).await;
            assert_linked(app.sandbox.scan(phone(&number), &qr).await);
            app.wait_for_state(&name, "connected").await;
            sleep(secs(60.0)).await;
            assert_eq!(
                app.state(&name).await,
                "connected",
                "{register_after} {restart_after}"
            );
            let devices = app.sandbox.look(|world| world.linked_devices(phone(&number)));
            assert_eq!(devices, 1);
        }))
        .await;
        // Until 10 s after the pairing the connection is kept, so that no login overtakes the registration.
        assert_eq!(overtaken(&app) > 0, register_after > 10.0, "{register_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_overtakes_the_registration_is_tried_again_and_wipes_nothing() {
    let app = slow(30.0, 0.4).await;
    let start = Instant::now();
    pair(&app, async || {
        // The connection is given up after 10 s; from then on logins are refused with 401.
        sleep(secs(20.0)).await;
        let connection = app.connection_of("shop").await;
        assert_eq!(connection["state"], "connecting", "{connection}");
    })
    .await;
    assert!(overtaken(&app) > 0);
    assert!(start.elapsed() < secs(40.0), "{:?}", start.elapsed());
    assert_eq!(app.sandbox.look(|world| world.linked_devices(phone(SHOP))), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pairing_survives_a_refused_first_login() {
    let app = slow(0.0, 0.4).await;
    let refused = Fault::failure(401).on(phone(SHOP)).when(When::Login).times(3);
    app.sandbox.fault(refused).unwrap();
    pair(&app, async || {}).await;
    assert_eq!(app.sandbox.look(|world| world.linked_devices(phone(SHOP))), 1);
    // Once it was online, WhatsApp knows the device: the same refusal means what it says.
    let unlinked = Fault::failure(401).on(phone(SHOP)).when(When::Login).times(1);
    app.sandbox.fault(unlinked).unwrap();
    app.sandbox.drop_connections(phone(SHOP));
    app.wait_for_state("shop", "loggedout").await;
}

#[tokio::test(start_paused = true)]
async fn a_pairing_survives_a_connection_that_breaks_before_the_restart_is_asked_for() {
    for cut_after in [0.5, 2.0, 4.0] {
        let app = slow(3.0, 2.0).await;
        pair(&app, async || {
            sleep(secs(cut_after)).await;
            // Everybody's: this connection belongs to no account yet.
            let (_, struck) = app.sandbox.fault(Fault::new(FaultKind::Drop)).unwrap();
            assert_eq!(struck, 1, "cut after {cut_after} s");
        })
        .await;
        sleep(secs(60.0)).await;
        assert_eq!(app.state("shop").await, "connected", "cut after {cut_after} s");
    }
}
