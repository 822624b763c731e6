//! Rate limits: exact counts and headers.

use presence_api::Limits;
use serde_json::json;
use tokio::time::sleep;

use crate::app::{Reply, TestApp, secs};

const REFUSED: &str = "Rate limit exceeded. Try again later.";

fn standing(reply: &Reply) -> (u32, u32) {
    let number = |name| {
        reply
            .header(name)
            .unwrap_or_else(|| panic!("no {name} in {reply:?}"))
            .parse()
            .unwrap()
    };
    (number("x-ratelimit-limit"), number("x-ratelimit-remaining"))
}

#[tokio::test(start_paused = true)]
async fn the_hundred_and_first_request_of_a_minute_is_refused() {
    let app = TestApp::with(|options| options.http.limits = Limits::default()).await;
    for left in (0..100).rev() {
        let reply = app.get("/api/instance/list").send().await;
        assert_eq!((reply.status, standing(&reply)), (200, (100, left)));
        assert!(reply.header("retry-after").is_none());
        let reset: i64 = reply.header("x-ratelimit-reset").unwrap().parse().unwrap();
        assert!(reset > 1_700_000_000, "{reset} are Unix seconds");
    }
    sleep(secs(20.0)).await;
    let refused = app.get("/api/instance/list").send().await;
    refused.assert_error(429, REFUSED);
    assert_eq!(standing(&refused), (100, 0));
    assert_eq!(refused.header("retry-after"), Some("40"));

    sleep(secs(40.0)).await;
    let next = app.get("/api/instance/list").send().await;
    assert_eq!((next.status, standing(&next)), (200, (100, 99)));
}

#[tokio::test(start_paused = true)]
async fn every_answer_to_a_valid_token_tells_where_it_stands() {
    let app = TestApp::with(|options| options.http.limits = Limits::default()).await;
    app.new_instance("shop").await;
    let calls = [
        (app.post("/api/chat/presence/shop").body("{"), 400),
        (
            app.post("/api/chat/presence/shop")
                .body(r#"{"number":"14155550123","state":"typing"}"#),
            503,
        ),
        (app.post("/api/chat/presence/nobodys"), 404),
        (app.post("/api/chat/presence/shop").body(vec![b' '; 600_000]), 413),
    ];
    for (call, status) in calls {
        let reply = call.send().await;
        assert_eq!(reply.status, status);
        assert_eq!(standing(&reply).0, 100);
    }
    let without_token = app.get("/api/instance/list").no_token().send().await;
    assert!(without_token.header("x-ratelimit-limit").is_none());
}

#[tokio::test(start_paused = true)]
async fn new_instances_and_each_token_have_windows_of_their_own() {
    let app = TestApp::with(|options| {
        options.http.limits = Limits {
            requests: 2,
            new_instances: 3,
            failures: 0,
        };
    })
    .await;
    let mut tokens = Vec::new();
    for name in ["a", "b", "c"] {
        let reply = app
            .post("/api/instance/new")
            .json(&json!({ "name": name }))
            .send()
            .await;
        assert_eq!((reply.status, standing(&reply).0), (201, 3));
        tokens.push(reply.json()["instance"]["token"].as_str().unwrap().to_owned());
    }
    app.post("/api/instance/new")
        .json(&json!({"name": "d"}))
        .send()
        .await
        .assert_error(429, REFUSED);
    for token in tokens.iter().chain([&app.token]) {
        for left in [1, 0] {
            let reply = app.get("/api/instance/list").token(token).send().await;
            assert_eq!((reply.status, standing(&reply)), (200, (2, left)));
        }
        app.get("/api/instance/list")
            .token(token)
            .send()
            .await
            .assert_error(429, REFUSED);
    }
}

#[tokio::test(start_paused = true)]
async fn after_too_many_guesses_a_right_one_learns_nothing() {
    let app = TestApp::with(|options| options.http.limits = Limits::default()).await;
    let stranger = app.another_account("globex").await;
    assert_eq!(app.get("/api/instance/list").send().await.status, 200);
    for guess in 0..60 {
        let reply = app
            .get("/api/instance/list")
            .token(&format!("guess-number-{guess:04}"))
            .send()
            .await;
        reply.assert_error(401, "Invalid token");
    }
    let refused = app.get("/api/instance/list").no_token().send().await;
    refused.assert_error(429, REFUSED);
    assert_eq!(refused.header("retry-after"), Some("60"));
    let right = app.get("/api/instance/list").token(&stranger).send().await;
    right.assert_error(429, REFUSED);
    // Who came with this token before goes on.
    assert_eq!(app.get("/api/instance/list").send().await.status, 200);
    sleep(secs(60.0)).await;
    let right = app.get("/api/instance/list").token(&stranger).send().await;
    assert_eq!(right.status, 200);
    app.get("/api/instance/list")
        .no_token()
        .send()
        .await
        .assert_error(401, "Invalid token");
}

#[tokio::test(start_paused = true)]
async fn zero_turns_a_limit_off() {
    let app = TestApp::start().await;
    for _ in 0..150 {
        let reply = app.get("/api/instance/list").send().await;
        assert_eq!(reply.status, 200);
        assert!(reply.header("x-ratelimit-limit").is_none());
        app.get("/api/instance/list")
            .no_token()
            .send()
            .await
            .assert_error(401, "Invalid token");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_trusted_proxy_each_client_has_its_own_failures() {
    let app = TestApp::with(|options| {
        options.http.limits = Limits::default();
        options.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let guess = |client: &str| {
        let call = app.get("/api/instance/list").token("a wrong token");
        call.header("x-forwarded-for", client).send()
    };
    for _ in 0..60 {
        guess("203.0.113.1, 198.51.100.7")
            .await
            .assert_error(401, "Invalid token");
    }
    guess("203.0.113.2, 198.51.100.7")
        .await
        .assert_error(429, REFUSED);
    guess("198.51.100.8").await.assert_error(401, "Invalid token");
}
