//! Proxies of instances, as far as no proxy is needed for it. Real ones are tried by `cargo xtask proxies`.

use serde_json::{Value, json};

use crate::app::{SHOP, TestApp, secs};

const SET: &str = "/api/instance/proxy/shop";
const GET: &str = "/api/instance/getProxy/shop";

fn sent() -> Value {
    json!({
        "enabled": true, "host": "proxy.example.com", "port": "1080", "protocol": "socks5",
        "username": "user1", "password": "secret",
    })
}

fn shown() -> Value {
    json!({
        "enabled": true, "host": "proxy.example.com", "port": "1080", "protocol": "socks5", "username": "user1",
    })
}

fn none() -> Value {
    json!({ "enabled": false, "host": null, "port": null, "protocol": null, "username": null })
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_set_shown_without_its_password_and_removed() {
    let app = TestApp::start().await;
    let token = app.new_instance("shop").await;
    let before = app.get(GET).send().await.json();
    assert_eq!(
        before,
        json!({"success": true, "message": "Proxy configuration retrieved successfully", "proxy": none()})
    );
    for own in [app.token.as_str(), token.as_str()] {
        let set = app.post(SET).token(own).json(&sent()).send().await;
        assert_eq!(set.status, 200, "{}", set.text);
        assert_eq!(
            set.json(),
            json!({"success": true, "message": "Proxy configuration updated successfully", "proxy": shown()})
        );
        let got = app.get(GET).token(own).send().await;
        assert_eq!(got.json()["proxy"], shown());
        assert!(!got.text.contains("secret"));
        // What is left out is gone.
        let without = json!({"enabled": true, "host": "203.0.113.7", "port": 8080, "protocol": "HTTP"});
        let set = app.post(SET).token(own).json(&without).send().await.json();
        assert_eq!(
            set["proxy"],
            json!({"enabled": true, "host": "203.0.113.7", "port": "8080", "protocol": "http", "username": null})
        );
        for _ in 0..2 {
            let removed = app
                .post(SET)
                .token(own)
                .json(&json!({"enabled": false}))
                .send()
                .await;
            assert_eq!(removed.json()["proxy"], none());
            assert_eq!(app.get(GET).token(own).send().await.json()["proxy"], none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_may_be_created_with_its_proxy() {
    let app = TestApp::start().await;
    let mut new = json!({
        "name": "shop", "proxyEnabled": true, "proxyHost": "proxy.example.com", "proxyPort": "1080",
        "proxyProtocol": "socks5", "proxyUsername": "user1", "proxyPassword": "secret", "webhookURL": "x",
    });
    let created = app.post("/api/instance/new").json(&new).send().await;
    assert_eq!(created.json()["instance"]["ignored"], json!(["webhookURL"]));
    assert!(!created.text.contains("secret"), "{}", created.text);
    assert_eq!(app.get(GET).send().await.json()["proxy"], shown());

    new["name"] = "branch".into();
    new["proxyPort"] = "0".into();
    let refused = app.post("/api/instance/new").json(&new).send().await;
    refused.assert_error(400, "Invalid proxy port. Use a whole number from 1 to 65535");
    app.get("/api/instance/getProxy/branch")
        .send()
        .await
        .assert_error(404, "Instance not found");

    // Not switched on, none of it counts, and it is said so.
    new["proxyEnabled"] = false.into();
    let created = app.post("/api/instance/new").json(&new).send().await;
    assert_eq!(
        created.json()["instance"]["ignored"],
        json!([
            "proxyHost",
            "proxyPort",
            "proxyProtocol",
            "proxyUsername",
            "proxyPassword",
            "webhookURL"
        ])
    );
    let branch = app.get("/api/instance/getProxy/branch").send().await.json();
    assert_eq!(branch["proxy"], none());
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_refused_in_the_contracts_order_of_checks() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let branch = app.new_instance("branch").await;
    let wrong = json!({"enabled": true, "host": "http://proxy"});
    app.post(SET)
        .no_token()
        .json(&wrong)
        .send()
        .await
        .assert_error(401, "Invalid token");
    let sibling = app.post(SET).token(&branch).json(&wrong).send().await;
    sibling.assert_error(403, "Instance token does not match instance");
    let nobody = app.post("/api/instance/proxy/nobody").json(&wrong).send().await;
    nobody.assert_error(404, "Instance not found");
    let refused = app.post(SET).json(&wrong).send().await;
    refused.assert_error(
        400,
        "Invalid proxy host. Use a host name or an IP address, without a port",
    );
    for body in ["", "{}", r#"{"enabled":"true"}"#, r#"{"enabled":true,"host":7}"#] {
        let refused = app.post(SET).body(body).send().await;
        refused.assert_error(400, "Invalid request body");
    }
    let other = app.another_account("other").await;
    app.get(GET)
        .token(&other)
        .send()
        .await
        .assert_error(404, "Instance not found");
    assert_eq!(app.get(GET).send().await.json()["proxy"], none());
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_may_not_be_used_is_named_and_nobody_connects_without_it() {
    let app = TestApp::start().await;
    app.connected("shop", SHOP).await;
    let dials = app.dials();
    // Where a service of the operator's may be.
    let internal = json!({"enabled": true, "host": "127.0.0.1", "port": 9, "protocol": "http"});
    assert_eq!(app.post(SET).json(&internal).send().await.status, 200);
    assert_eq!(
        app.state("shop").await,
        "connected",
        "it takes effect at the next connection"
    );
    assert_eq!(app.post("/api/instance/reconnect/shop").send().await.status, 200);
    tokio::time::sleep(secs(60.0)).await;
    let list = app.get("/api/instance/list").send().await.json();
    let connection = &list["instances"][0]["connection"];
    let display = connection["displayStatus"].as_str().unwrap();
    assert!(
        display.starts_with(
            "connecting: the proxy is at an address that this service may not use, next attempt in"
        ),
        "{display}"
    );
    assert_eq!((&connection["state"], app.dials()), (&json!("connecting"), dials));

    assert_eq!(
        app.post(SET).json(&json!({"enabled": false})).send().await.status,
        200
    );
    tokio::time::sleep(secs(60.0)).await;
    assert_eq!(app.state("shop").await, "connected");
    assert_eq!(app.dials(), dials + 1);
}
