//! Numbers that are looked up: what a slow, a broken and a disappointing answer do to requests.

use presence_sandbox::{Answer, Fault};
use tokio::time::{Instant, sleep};

use crate::app::{CUSTOMER, SHOP, TestApp, assert_near, phone, secs};

/// In Brazil, where numbers are looked up.
const CLIENT: &str = "5511977776666";

#[tokio::test(start_paused = true)]
async fn a_look_up_without_answer_delays_no_other_chat_and_its_own_request_by_two_seconds() {
    let app = TestApp::with_shop().await;
    app.sandbox.fault(Fault::withhold(Answer::Usync)).unwrap();
    let start = Instant::now();
    let slow = async {
        let reply = app.presence(CLIENT, "typing", 5).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_near(start.elapsed(), secs(2.0));
    };
    let others = async {
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(app.presence(CUSTOMER, "typing", 5).await.status, 200);
            assert!(asked.elapsed() < secs(0.05), "{:?}", asked.elapsed());
            sleep(secs(0.1)).await;
        }
    };
    tokio::join!(slow, others);
    // Who comes while the answer is late does not wait for it again, and the number as it is was used.
    let asked = Instant::now();
    assert_eq!(app.presence(CLIENT, "pause", 0).await.status, 200);
    assert!(asked.elapsed() < secs(0.05), "{:?}", asked.elapsed());
    assert_eq!(app.timeline(CLIENT).len(), 1);
    assert_eq!(app.state("shop").await, "connected");
}

#[tokio::test(start_paused = true)]
async fn a_number_that_whatsapp_does_not_know_is_answered_with_a_warning() {
    let app = TestApp::with_shop().await;
    app.sandbox.set_number(phone(CLIENT), None, None).unwrap();
    let before = app.look_ups(SHOP);
    for _ in 0..2 {
        let reply = app.presence(CLIENT, "typing", 5).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.json()["warning"], "WhatsApp knows no such number");
    }
    assert_eq!(app.look_ups(SHOP) - before, 1);
    assert_eq!(
        app.presence(CUSTOMER, "typing", 5).await.json().get("warning"),
        None
    );

    // People register: it is asked again after a while.
    app.sandbox
        .set_number(phone(CLIENT), Some(phone(CLIENT)), None)
        .unwrap();
    sleep(secs(601.0)).await;
    assert_eq!(
        app.presence(CLIENT, "typing", 5).await.json().get("warning"),
        None
    );
}
