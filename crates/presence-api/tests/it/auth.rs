//! Who may do what, and in which order that is checked.

use serde_json::json;

use crate::app::{CUSTOMER, SHOP, TestApp};

const PRESENCE: &str = r#"{"number":"14155550123","state":"typing"}"#;

#[tokio::test(start_paused = true)]
async fn both_carriers_of_a_token_are_taken_and_the_token_field_wins() {
    let app = TestApp::with_shop().await;
    let bearer = format!("Bearer {}", app.token);
    let post = || app.post("/api/chat/presence/shop").body(PRESENCE);
    assert_eq!(post().send().await.status, 200);
    assert_eq!(
        post()
            .no_token()
            .header("authorization", &bearer)
            .send()
            .await
            .status,
        200
    );
    assert_eq!(
        post().header("authorization", "Bearer wrong").send().await.status,
        200
    );
    post()
        .token("wrong")
        .header("authorization", &bearer)
        .send()
        .await
        .assert_error(401, "Invalid token");
}

#[tokio::test(start_paused = true)]
async fn without_a_valid_token_every_api_route_is_401() {
    let app = TestApp::with_shop().await;
    let routes = [
        ("POST", "/api/chat/presence/shop"),
        ("POST", "/api/instance/new"),
        ("GET", "/api/instance/list"),
        ("GET", "/api/instance/connect/shop"),
        ("POST", "/api/instance/reconnect/shop"),
        ("DELETE", "/api/instance/logout/shop"),
        ("DELETE", "/api/instance/delete/shop"),
        ("GET", "/api/instance/getSettings/shop"),
        ("POST", "/api/instance/settings/shop"),
    ];
    let secret_in_url = format!("/api/instance/list?token={}", app.token);
    for (method, path) in routes.into_iter().chain([("GET", secret_in_url.as_str())]) {
        for call in [
            app.call(method, path).no_token(),
            app.call(method, path).token(""),
            app.call(method, path).token("not a token"),
            app.call(method, path).token(&"x".repeat(4000)),
            app.call(method, path)
                .no_token()
                .header("authorization", "Basic YTpi"),
        ] {
            let reply = call.send().await;
            reply.assert_error(401, "Invalid token");
            assert!(reply.header("x-ratelimit-limit").is_none());
        }
    }
    assert_eq!(app.state("shop").await, "connected");
}

#[tokio::test(start_paused = true)]
async fn an_instance_token_reaches_its_own_instance_only() {
    let app = TestApp::start().await;
    let own = app.new_instance("shop").await;
    app.new_instance("sibling").await;
    let stranger = app.another_account("globex").await;
    let theirs = app
        .post("/api/instance/new")
        .token(&stranger)
        .json(&json!({"name": "theirs"}))
        .send()
        .await;
    assert_eq!(theirs.status, 201);

    let settings = |name: &str| format!("/api/instance/getSettings/{name}");
    assert_eq!(app.get(&settings("shop")).token(&own).send().await.status, 200);
    let sibling = app.get(&settings("sibling")).token(&own).send().await;
    sibling.assert_error(403, "Instance token does not match instance");
    // What is another account's is as absent as what is nobody's.
    for name in ["theirs", "nobodys", "SHOP", "shop%20", "%2e%2e"] {
        app.get(&settings(name))
            .token(&own)
            .send()
            .await
            .assert_error(404, "Instance not found");
        app.get(&settings(name))
            .send()
            .await
            .assert_error(404, "Instance not found");
    }
    let list = app
        .get("/api/instance/list?instanceName=sibling")
        .token(&own)
        .send()
        .await
        .json();
    assert_eq!(list["message"], "1 Instance found");
    assert_eq!(list["instances"][0]["name"], "shop");
    assert!(list["instances"][0].get("token").is_none());

    let new = app
        .post("/api/instance/new")
        .token(&own)
        .json(&json!({"name": "more"}))
        .send()
        .await;
    new.assert_error(401, "Invalid token");
    app.delete("/api/instance/delete/shop")
        .token(&own)
        .send()
        .await
        .assert_error(401, "Invalid token");
    app.delete("/api/instance/delete/nobodys")
        .token(&own)
        .send()
        .await
        .assert_error(401, "Invalid token");
}

#[tokio::test(start_paused = true)]
async fn an_instance_token_shows_presences() {
    let app = TestApp::start().await;
    let own = app.new_instance("shop").await;
    app.link("shop", SHOP).await;
    let reply = app
        .post("/api/chat/presence/shop")
        .token(&own)
        .body(PRESENCE)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(app.timeline(CUSTOMER).len(), 1);
}

/// Each request has the faults of all later checks too.
#[tokio::test(start_paused = true)]
async fn checks_come_in_the_contracts_order() {
    let app = TestApp::with(|options| options.http.limits.requests = 5).await;
    let own = app.new_instance("shop").await;
    app.new_instance("sibling").await;

    app.post("/api/chat/presences/x")
        .no_token()
        .body("{")
        .send()
        .await
        .assert_error(404, "Not found");
    app.call("PUT", "/api/chat/presence/nobodys")
        .no_token()
        .send()
        .await
        .assert_error(405, "Method not allowed");
    let wrong_token = app
        .post("/api/chat/presence/nobodys")
        .token("wrong")
        .body("{")
        .send()
        .await;
    wrong_token.assert_error(401, "Invalid token");
    let nobodys = app.post("/api/chat/presence/nobodys").body("{").send().await;
    nobodys.assert_error(404, "Instance not found");
    let sibling = app
        .post("/api/chat/presence/sibling")
        .token(&own)
        .body("{")
        .send()
        .await;
    sibling.assert_error(403, "Instance token does not match instance");
    app.post("/api/chat/presence/shop")
        .body("{")
        .send()
        .await
        .assert_error(400, "Invalid request body");
    let offline = app.post("/api/chat/presence/shop").body(PRESENCE).send().await;
    offline.assert_error(503, "Instance is not connected to WhatsApp");

    for _ in 0..2 {
        app.get("/api/instance/list").send().await;
    }
    let limited = app.post("/api/chat/presence/nobodys").body("{").send().await;
    limited.assert_error(429, "Rate limit exceeded. Try again later.");
    app.call("PUT", "/api/chat/presence/nobodys")
        .send()
        .await
        .assert_error(405, "Method not allowed");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_token_is_void_at_once() {
    use presence_store::Registry;

    let app = TestApp::with_shop().await;
    let account = app.registry.account_named("acme").unwrap();
    let token = app.registry.rotate_account(account.id).await.unwrap().unwrap();
    app.get("/api/instance/list")
        .send()
        .await
        .assert_error(401, "Invalid token");
    assert_eq!(
        app.get("/api/instance/list")
            .token(token.expose())
            .send()
            .await
            .status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn deleting_an_account_ends_its_sessions() {
    use presence_store::Registry;

    let app = TestApp::with_shop().await;
    app.show("typing", 60).await;
    let account = app.registry.account_named("acme").unwrap();
    assert!(app.registry.delete_account(account.id).await.unwrap());
    app.wait_for(|world| world.linked_devices(SHOP.parse().unwrap()) == 0)
        .await;
    assert_eq!(app.pauses(SHOP).len(), 1);
    app.get("/api/instance/list")
        .send()
        .await
        .assert_error(401, "Invalid token");
}
