//! The webhook of an account, as it is set and shown. Calls are tested in presence-server, over real connections.

use serde_json::{Value, json};

use crate::app::TestApp;

const WEBHOOK: &str = "/api/events/webhook";
const URL: &str = "https://example.com/presence";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn none() -> Value {
    json!({ "enabled": false, "url": null })
}

async fn set(app: &TestApp, body: Value) -> Value {
    let reply = app.post(WEBHOOK).json(&body).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.json()["webhook"].clone()
}

async fn shown(app: &TestApp) -> Value {
    let reply = app.get(WEBHOOK).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(!reply.text.contains("whsec_"), "{}", reply.text);
    reply.json()["webhook"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_set_shown_without_its_secret_and_removed() {
    let app = TestApp::start().await;
    assert_eq!(shown(&app).await, none());
    let made = set(&app, json!({"enabled": true, "url": URL})).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!(shown(&app).await, json!({"enabled": true, "url": URL}));

    // It may be at another address with the same secret, and it may have a secret of its owner's.
    let moved = set(&app, json!({"enabled": true, "url": "http://example.com"})).await;
    assert_eq!(
        moved,
        json!({"enabled": true, "url": "http://example.com/", "secret": secret})
    );
    let own = set(&app, json!({"enabled": true, "url": URL, "secret": SECRET})).await;
    assert_eq!(own, json!({"enabled": true, "url": URL, "secret": SECRET}));

    let other = app.another_account("other").await;
    let others = app.get(WEBHOOK).token(&other).send().await.json();
    assert_eq!(others["webhook"], none());

    for _ in 0..2 {
        assert_eq!(
            set(&app, json!({"enabled": false, "url": "nothing"})).await,
            none()
        );
        assert_eq!(shown(&app).await, none());
    }
    let anew = set(&app, json!({"enabled": true, "url": URL})).await;
    assert!(anew["secret"] != secret.as_str() && anew["secret"] != SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_its_accounts_alone_and_its_faults_are_named() {
    let app = TestApp::start().await;
    let instance = app.new_instance("shop").await;
    for token in [instance.as_str(), "nobody's"] {
        let read = app.get(WEBHOOK).token(token).send().await;
        read.assert_error(401, "Invalid token");
        let body = json!({"enabled": true, "url": URL});
        let set = app.post(WEBHOOK).token(token).json(&body).send().await;
        set.assert_error(401, "Invalid token");
    }
    for (body, text) in [
        (json!({}), "Invalid request body"),
        (json!({"enabled": "true", "url": URL}), "Invalid request body"),
        (json!({"enabled": true}), "Webhook url is required"),
        (
            json!({"enabled": true, "url": " ", "secret": 7}),
            "Invalid request body",
        ),
        (
            json!({"enabled": true, "url": " ", "secret": ""}),
            "Webhook url is required",
        ),
        (
            json!({"enabled": true, "url": "example.com"}),
            "Invalid webhook url. Use an http or https URL",
        ),
        (
            json!({"enabled": true, "url": URL, "secret": "whsec_short"}),
            "Invalid webhook secret. Use 'whsec_' and 24 to 64 bytes in base64",
        ),
    ] {
        let refused = app.post(WEBHOOK).json(&body).send().await;
        refused.assert_error(400, text);
        assert!(!refused.header("x-error-detail").unwrap().contains("short"));
    }
    assert_eq!(shown(&app).await, none());
}
