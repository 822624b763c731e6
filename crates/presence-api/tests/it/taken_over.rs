//! What an instance showed at a node that has it no longer, at the one that takes it over.

use presence_cluster::Sessions as _;
use presence_sandbox::{Fault, Place};
use presence_store::{LedgerFault, Registry as _};
use serde_json::json;
use tokio::time::sleep;

use crate::app::{CUSTOMER, SHOP, TestApp, phone, secs};
use crate::nodes::{Town, node_of, two_nodes_of};

/// What `app` says that `shop` shows.
async fn shown(app: &TestApp) -> serde_json::Value {
    let reply = app.get("/api/chat/presence/shop").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["presences"].take()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_sent_while_no_node_has_the_session_ends_what_it_showed() {
    let (town, owner, stranger) = two_nodes_of(Town::new().await).await;
    owner.show("typing", 60).await;
    sleep(secs(3.0)).await;
    town.sandbox.fault(Fault::refuse()).unwrap();
    owner.server.stop(secs(5.0)).await;
    let to = Place::Phone(phone(CUSTOMER));
    town.sandbox.send(phone(SHOP), to, "here you are").unwrap();
    sleep(secs(1.0)).await;
    town.sandbox.clear_faults();
    stranger.wait_for_state("shop", "connected").await;
    assert_eq!(shown(&stranger).await, json!([]));
    sleep(secs(90.0)).await;
    let spells = stranger.timeline(CUSTOMER);
    assert_eq!(spells.len(), 1, "{spells:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_at_the_next_node_was_asked_for_as_long_as_it_was() {
    let (_town, owner, stranger) = two_nodes_of(Town::new().await).await;
    owner.show("recording", 30).await;
    sleep(secs(3.0)).await;
    owner.server.stop(secs(5.0)).await;
    stranger.wait_for_state("shop", "connected").await;
    let shown = shown(&stranger).await;
    assert_eq!(shown[0]["state"], "recording", "{shown}");
    assert_eq!(shown[0]["duration"], 30, "{shown}");
}

/// All nodes stop while something is shown, and after so many seconds there is one again.
async fn all_stopped_for(seconds: f64) -> TestApp {
    let (town, owner, stranger) = two_nodes_of(Town::new().await).await;
    owner.show("typing", 60).await;
    sleep(secs(3.0)).await;
    tokio::join!(owner.server.stop(secs(5.0)), stranger.server.stop(secs(5.0)));
    sleep(secs(seconds)).await;
    let next = TestApp::node(&town, "next").await;
    next.wait_for_state("shop", "connected").await;
    next
}

#[tokio::test(start_paused = true)]
async fn what_was_shown_when_all_nodes_stopped_does_not_come_back_with_the_next_one() {
    let next = all_stopped_for(3.0).await;
    assert_eq!(shown(&next).await, json!([]));
    sleep(secs(90.0)).await;
    let spells = next.timeline(CUSTOMER);
    assert_eq!(spells.len(), 1, "{spells:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_restarted_goes_on_with_what_it_handed_over_a_moment_ago() {
    let next = all_stopped_for(0.5).await;
    assert_eq!(shown(&next).await[0]["state"], "typing");
}

#[tokio::test(start_paused = true)]
async fn what_ended_a_moment_before_its_node_stopped_stays_ended() {
    let (_town, owner, stranger) = two_nodes_of(Town::new().await).await;
    owner.show("typing", 60).await;
    sleep(secs(3.1)).await;
    owner.presence(CUSTOMER, "pause", 0).await;
    owner.server.stop(secs(5.0)).await;
    stranger.wait_for_state("shop", "connected").await;
    assert_eq!(shown(&stranger).await, json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_ended_while_the_database_was_away_stays_ended() {
    let (town, owner, stranger) = two_nodes_of(Town::new().await).await;
    owner.show("typing", 60).await;
    sleep(secs(3.1)).await;
    town.set_ways(LedgerFault::Refused);
    owner.presence(CUSTOMER, "pause", 0).await;
    sleep(secs(2.0)).await;
    town.set_ways(LedgerFault::Nothing);
    sleep(secs(2.0)).await;
    owner.server.stop(secs(5.0)).await;
    stranger.wait_for_state("shop", "connected").await;
    assert_eq!(shown(&stranger).await, json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_handed_over_stays_so_whatever_changes_before_another_node_has_it() {
    let (town, owner, _stranger) = two_nodes_of(Town::new().await).await;
    let address = node_of(&owner, "shop").await.unwrap();
    let instances = town.instances.lock().unwrap()[&address["http://".len()..]].clone();
    let id = town.registry.all_instances()[0].id;
    // By the ledger it is this node's still: its release is yet to be written.
    instances.hand_over(id).await;
    let dials = owner.dials();
    town.registry.set_keep_online(id, true).await.unwrap();
    sleep(secs(60.0)).await;
    assert_eq!(owner.dials(), dials);
}
