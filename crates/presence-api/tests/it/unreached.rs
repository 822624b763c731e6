//! Nodes that do not reach one another: what each says of it, and what it tells of their instances.

use std::ptr;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::app::{CUSTOMER, SHOP, TestApp, secs};
use crate::nodes::{Town, node_of, two_nodes};

/// What the check `nodes` finds at this node, and whether it says of `shop` that the node which has it is silent.
async fn seen_at(app: &TestApp) -> (String, bool) {
    let health = app.get("/health").no_token().send().await;
    // It is no fault of this node's, which goes on.
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    let found = health.json()["checks"]["nodes"].as_str().unwrap().to_owned();
    let list = app.get("/api/instance/list").send().await.json();
    let shop = &list["instances"][0];
    (found, shop["nodeSilent"].as_bool().unwrap_or_default())
}

fn seen(found: &str, is_silent: bool) -> (String, bool) {
    (found.to_owned(), is_silent)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_reached_is_told_of_until_it_is() {
    let (town, owner, stranger) = two_nodes().await;
    assert_eq!(seen_at(&stranger).await, seen("ok", false));
    town.cut_off();
    for (after, found, is_silent) in [
        (2.0, "ok", false),
        (6.0, "ok", true),
        (12.0, "1 of 1 other nodes not reached", true),
        (300.0, "1 of 1 other nodes not reached", true),
    ] {
        sleep(secs(after)).await;
        assert_eq!(seen_at(&stranger).await, seen(found, is_silent), "{after}");
        assert_eq!(seen_at(&owner).await, seen(found, false), "{after}");
    }
    town.mend();
    sleep(secs(3.0)).await;
    for app in [&owner, &stranger] {
        assert_eq!(seen_at(app).await, seen("ok", false));
    }
    assert_eq!(stranger.state("shop").await, "connected");
}

#[tokio::test(start_paused = true)]
async fn of_nodes_with_different_secrets_neither_reaches_the_other() {
    let mut town = Town::new().await;
    let one = TestApp::node(&town, "one").await;
    one.new_instance("shop").await;
    town.secret = "another".repeat(8);
    let other = TestApp::node(&town, "other").await;
    assert_eq!(seen_at(&other).await, seen("ok", false), "it has just started");
    sleep(secs(20.0)).await;
    for app in [&one, &other] {
        let is_there = node_of(app, "shop").await.as_deref() == Some("http://one");
        let is_silent = is_there == ptr::eq(app, &other);
        assert_eq!(
            seen_at(app).await,
            seen("1 of 1 other nodes not reached", is_silent)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_address_leads_to_another_one_is_not_taken_for_it() {
    let town = Town::new().await;
    let one = TestApp::node(&town, "one").await;
    one.new_instance("shop").await;
    one.link("shop", SHOP).await;
    // Whoever calls either of them reaches this one.
    let other = TestApp::node(&town, "one").await;
    sleep(secs(20.0)).await;
    assert_eq!(seen_at(&one).await, seen("ok", false));
    assert_eq!(
        seen_at(&other).await,
        seen("1 of 1 other nodes not reached", true)
    );
    let list = other.get("/api/instance/list").send().await.json();
    let connection = &list["instances"][0]["connection"];
    assert_eq!(
        (&connection["state"], &connection["since"]),
        (&json!("disconnected"), &Value::Null)
    );
    let reply = other.presence(CUSTOMER, "typing", 5).await;
    reply.assert_error(503, "Instance is not connected to WhatsApp");
}
