//! Links to the page that links a phone.

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::app::{Reply, SHOP, TestApp, phone, secs};

const LINK: &str = "/api/instance/pairing-link/shop";
const GONE: (u16, &str) = (404, "Pairing link not found");

/// A service with an instance `shop`, and the path of a link to pair it.
async fn with_link() -> (TestApp, String) {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let path = new_link(&app).await;
    (app, path)
}

async fn new_link(app: &TestApp) -> String {
    let reply = app.post(LINK).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let url = reply.json()["url"].as_str().unwrap().to_owned();
    let path = url
        .strip_prefix("http://presence")
        .unwrap_or_else(|| panic!("{url}"));
    assert!(
        path.starts_with("/pair/pl_") && path.len() >= "/pair/pl_".len() + 22,
        "{path}"
    );
    path.to_owned()
}

/// What the page asks.
async fn ask(app: &TestApp, path: &str, body: Value) -> Reply {
    let reply = app.post(path).no_token().json(&body).send().await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply
}

#[tokio::test(start_paused = true)]
async fn whoever_has_the_link_pairs_by_qr_code_once() {
    let (app, path) = with_link().await;
    let qr = ask(&app, &path, json!({})).await.json();
    assert_eq!(qr["status"], "qr");
    assert!(
        qr["qrCodeBase64"]
            .as_str()
            .unwrap()
            .starts_with("data:image/png;base64,")
    );
    app.sandbox
        .scan(phone(SHOP), qr["qrCode"].as_str().unwrap())
        .await
        .unwrap();
    app.wait_for_state("shop", "connected").await;
    let linked = ask(&app, &path, json!({})).await;
    assert_eq!(linked.json()["status"], "connected");
    assert!(!linked.text.contains(SHOP), "{}", linked.text);

    // It is used up: it pairs nothing any more, whatever becomes of the instance.
    assert_eq!(app.delete("/api/instance/logout/shop").send().await.status, 200);
    assert_eq!(ask(&app, &path, json!({})).await.json()["status"], "connected");
    let number = ask(&app, &path, json!({"number": SHOP})).await;
    assert_eq!(number.json()["status"], "connected");
    assert_eq!(app.state("shop").await, "loggedout");
    sleep(secs(15.0 * 60.0)).await;
    ask(&app, &path, json!({})).await.assert_error(GONE.0, GONE.1);
}

#[tokio::test(start_paused = true)]
async fn a_link_gives_a_code_for_a_number_too() {
    let (app, path) = with_link().await;
    assert_eq!(ask(&app, &path, json!({})).await.json()["status"], "qr");
    let wrong = ask(&app, &path, json!({"number": "12"})).await;
    wrong.assert_error(
        400,
        "Invalid number. Use a phone number with country code, or a JID",
    );
    let code = ask(&app, &path, json!({"number": "+55 11 98888-7777"}))
        .await
        .json();
    assert_eq!(code["status"], "pairing");
    let code = code["pairingCode"].as_str().unwrap();
    app.sandbox.enter_link_code(phone(SHOP), code).await.unwrap();
    app.wait_for_state("shop", "connected").await;
    assert_eq!(ask(&app, &path, json!({})).await.json()["status"], "connected");
}

#[tokio::test(start_paused = true)]
async fn a_link_ends_by_its_time_by_a_newer_one_and_by_a_revocation() {
    let (app, path) = with_link().await;
    sleep(secs(15.0 * 60.0 - 1.0)).await;
    assert_eq!(ask(&app, &path, json!({})).await.status, 200);
    sleep(secs(1.0)).await;
    ask(&app, &path, json!({})).await.assert_error(GONE.0, GONE.1);

    let first = new_link(&app).await;
    let second = new_link(&app).await;
    ask(&app, &first, json!({})).await.assert_error(GONE.0, GONE.1);
    assert_eq!(ask(&app, &second, json!({})).await.status, 200);
    for _ in 0..2 {
        let revoked = app.delete(LINK).send().await;
        assert_eq!(
            revoked.json(),
            json!({"success": true, "message": "Pairing link revoked"})
        );
    }
    ask(&app, &second, json!({})).await.assert_error(GONE.0, GONE.1);

    let third = new_link(&app).await;
    assert_eq!(app.delete("/api/instance/delete/shop").send().await.status, 200);
    ask(&app, &third, json!({})).await.assert_error(GONE.0, GONE.1);
}

#[tokio::test(start_paused = true)]
async fn a_links_secret_opens_nothing_else_and_a_token_opens_no_link() {
    let (app, path) = with_link().await;
    let secret = path.rsplit('/').next().unwrap();
    for route in [
        "/api/instance/list",
        "/api/instance/connect/shop",
        "/api/chat/presence/shop",
        "/api/events",
    ] {
        let refused = app.get(route).token(secret).send().await;
        refused.assert_error(401, "Invalid token");
    }
    let refused = app.post(LINK).token(secret).send().await;
    refused.assert_error(401, "Invalid token");
    let wrong = format!("{}x", &path[..path.len() - 1]);
    for other in [format!("/pair/{}", app.token), "/pair/pl_".to_owned(), wrong] {
        let refused = app.post(&other).json(&json!({})).send().await;
        refused.assert_error(GONE.0, GONE.1);
    }
    let other = app.another_account("other").await;
    let refused = app.post(LINK).token(&other).send().await;
    refused.assert_error(404, "Instance not found");
    assert_eq!(ask(&app, &path, json!({})).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn looking_at_the_page_changes_nothing_and_tells_nothing() {
    let (app, path) = with_link().await;
    let dials = app.dials();
    for method in ["GET", "HEAD"] {
        let page = app.call(method, &path).no_token().send().await;
        assert_eq!(page.status, 200);
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("vary", "accept-encoding, accept-language"),
        ] {
            assert_eq!(page.header(name), Some(value), "{method}");
        }
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'self';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(
            !page.text.contains("shop") && !page.text.contains("<script>"),
            "{}",
            page.text
        );
    }
    sleep(secs(5.0)).await;
    assert_eq!(
        (app.dials(), app.state("shop").await.as_str()),
        (dials, "disconnected")
    );

    // The page of no link is the same.
    let page = |path: &str, language: &str| {
        let call = app.get(path).no_token().header("accept-language", language);
        async move { call.send().await.text }
    };
    let english = page(&path, "en").await;
    assert!(english.contains(r#"<html lang="en">"#));
    assert_eq!(page("/pair/pl_nobodys", "en").await, english);
    assert!(
        page(&path, "pt-BR,pt;q=0.9")
            .await
            .contains(r#"<html lang="pt-BR">"#)
    );
    for file in ["/pair/pair.js", "/pair/pair.css", "/pair/icon.svg"] {
        assert_ne!(page(file, "en").await, english, "{file}");
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_are_limited_as_wrong_tokens_are_and_a_links_requests_by_themselves() {
    let app = TestApp::with(|options| options.http.limits.failures = 5).await;
    app.new_instance("shop").await;
    let path = new_link(&app).await;
    for _ in 0..60 {
        assert_eq!(ask(&app, &path, json!({})).await.status, 200);
    }
    let refused = ask(&app, &path, json!({})).await;
    refused.assert_error(429, "Rate limit exceeded. Try again later.");
    assert!(refused.header("retry-after").is_some());
    sleep(secs(60.0)).await;
    assert_eq!(ask(&app, &path, json!({})).await.status, 200);

    for _ in 0..5 {
        ask(&app, "/pair/pl_guess", json!({}))
            .await
            .assert_error(GONE.0, GONE.1);
    }
    let refused = ask(&app, "/pair/pl_guess", json!({})).await;
    refused.assert_error(429, "Rate limit exceeded. Try again later.");
    // Who has a link goes on.
    assert_eq!(ask(&app, &path, json!({})).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn links_lead_to_where_the_operator_says() {
    let app = TestApp::with(|options| {
        options.http.public_url = Some("https://presence.example.com/at/".parse().unwrap());
    })
    .await;
    app.new_instance("shop").await;
    let url = app.post(LINK).send().await.json()["url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        url.starts_with("https://presence.example.com/at/pair/pl_"),
        "{url}"
    );
}
