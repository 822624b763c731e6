//! A node that cannot read what the other nodes wrote: what it does not know, it does not refuse.

use std::sync::Arc;

use chrono::DateTime;
use presence_api::{CompatApi, Limits};
use presence_store::{NewInstance, Registry};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::app::{CUSTOMER, Reply, SHOP, TestApp, assert_near, secs};
use crate::nodes::{Town, two_nodes_of};
use crate::troubled::{Trouble, Troubled};

const AWAY: &str = "Service is temporarily unavailable";

const NO_LIMITS: Limits = Limits {
    requests: 0,
    new_instances: 0,
    failures: 0,
};

/// A town with a node, the last, whose looks at what others wrote do not end. `shop` is known to it, and connected
/// elsewhere.
async fn blind_node(limits: Limits) -> (Town, [TestApp; 2], TestApp) {
    let mut town = Town::new().await;
    town.http.limits = limits;
    town.http.compat = vec![CompatApi::Evolution, CompatApi::Waha];
    let (town, owner, stranger) = two_nodes_of(town).await;
    let seen = Arc::new(Troubled::new(town.registry.clone(), Trouble::Unreadable));
    let blind = TestApp::node_seeing(&town, "blind", seen).await;
    blind.wait_for_state("shop", "connected").await;
    (town, [owner, stranger], blind)
}

#[track_caller]
fn assert_put_off(reply: &Reply) {
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(reply.text.contains(AWAY), "{}", reply.text);
    assert_eq!(reply.header("retry-after"), Some("5"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_may_have_been_made_elsewhere_is_put_off_and_counts_as_no_guess() {
    let limits = Limits {
        failures: 3,
        ..NO_LIMITS
    };
    let (_town, _others, blind) = blind_node(limits).await;
    for _ in 0..10 {
        let asked = Instant::now();
        let reply = blind.get("/api/instance/list").token("made-elsewhere").send();
        assert_put_off(&reply.await);
        assert_near(asked.elapsed(), secs(3.0));
    }
    // What is known is answered as ever.
    let asked = Instant::now();
    assert_eq!(blind.presence(CUSTOMER, "typing", 5).await.status, 200);
    assert!(asked.elapsed() < secs(0.1), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_may_have_been_made_elsewhere_is_put_off_on_every_route() {
    let (town, _others, blind) = blind_node(NO_LIMITS).await;
    let typing = json!({"number": CUSTOMER, "state": "typing"});
    let chat = json!({"session": "fresh", "chatId": format!("{CUSTOMER}@c.us")});
    for call in [
        blind.post("/api/chat/presence/fresh").json(&typing),
        blind.get("/api/chat/presence/fresh"),
        blind.delete("/api/instance/delete/fresh"),
        blind.get("/api/instance/list?instanceName=fresh"),
        blind.get("/api/events?instanceName=fresh"),
        blind
            .get("/instance/connectionState/fresh")
            .header("apikey", &town.token),
        blind
            .get("/instance/fetchInstances?instanceName=fresh")
            .header("apikey", &town.token),
        blind
            .post("/api/startTyping")
            .header("x-api-key", &town.token)
            .json(&chat),
    ] {
        assert_put_off(&call.send().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_by_default_is_that_of_its_token_and_waits_for_nobody() {
    let (_town, _others, blind) = blind_node(NO_LIMITS).await;
    let list = blind.get("/api/instance/list").send().await.json();
    let token = list["instances"][0]["token"].as_str().unwrap().to_owned();
    let chat = json!({"session": "default", "chatId": format!("{CUSTOMER}@c.us")});
    let asked = Instant::now();
    let call = blind.post("/api/startTyping").no_token();
    let reply = call.header("x-api-key", &token).json(&chat).send().await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert!(asked.elapsed() < secs(0.1), "{:?}", asked.elapsed());
    assert_eq!(blind.state("shop").await, "connected", "it is {SHOP}'s");
}

#[tokio::test(start_paused = true)]
async fn what_another_look_has_read_meanwhile_is_known() {
    const TOKEN: &str = "a-token-that-is-about-to-be-made";
    let (town, _others, blind) = blind_node(NO_LIMITS).await;
    let asks = blind.get("/api/instance/getSettings/fresh").token(TOKEN).send();
    let made = async {
        sleep(secs(1.0)).await;
        let new = NewInstance {
            name: "fresh".parse().unwrap(),
            token: Some(TOKEN.parse().unwrap()),
            keep_online: false,
            proxy: None,
            now: DateTime::UNIX_EPOCH,
        };
        let account = town.registry.account_named("acme").unwrap().id;
        town.registry.create_instance(account, new).await.unwrap();
    };
    let (reply, ()) = tokio::join!(asks, made);
    assert_eq!(reply.status, 200, "{}", reply.text);
}
