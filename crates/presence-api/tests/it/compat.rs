//! Other gateways' routes: not there unless they are switched on, and no part of ours.

use presence_api::{CompatApi, Limits};
use serde_json::json;

use crate::app::{Call, TestApp};

/// A method and a path of every route of theirs, and the field that carries its token.
pub(crate) const ROUTES: [(&str, &str, &str); 9] = [
    ("POST", "/chat/sendPresence/shop", "apikey"),
    ("POST", "/instance/setPresence/shop", "apikey"),
    ("GET", "/instance/connectionState/shop", "apikey"),
    ("GET", "/instance/fetchInstances", "apikey"),
    ("POST", "/api/startTyping", "x-api-key"),
    ("POST", "/api/stopTyping", "x-api-key"),
    ("POST", "/api/shop/presence", "x-api-key"),
    ("GET", "/api/sessions", "x-api-key"),
    ("GET", "/api/sessions/shop", "x-api-key"),
];

/// A service that has the routes of `apis`, with one instance `shop` that no phone is linked to.
pub(crate) async fn app_with(apis: &[CompatApi]) -> TestApp {
    let app = TestApp::with(|options| options.http.compat = apis.to_vec()).await;
    app.new_instance("shop").await;
    app
}

/// A request as a client of theirs sends it.
pub(crate) fn call<'a>(app: &'a TestApp, method: &str, path: &str, field: &str, token: &str) -> Call<'a> {
    app.call(method, path).no_token().header(field, token)
}

#[tokio::test(start_paused = true)]
async fn what_is_not_switched_on_is_no_route_whatever_is_sent() {
    for apis in [
        &[][..],
        &[CompatApi::Evolution],
        &[CompatApi::Waha],
        &[CompatApi::Waha, CompatApi::Evolution],
    ] {
        let app = app_with(apis).await;
        for (method, path, field) in ROUTES {
            let api = if field == "apikey" {
                CompatApi::Evolution
            } else {
                CompatApi::Waha
            };
            let there = apis.contains(&api);
            for other in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                for token in [app.token.as_str(), "wrong"] {
                    let reply = call(&app, other, path, field, token).send().await;
                    if !there {
                        assert_eq!(reply.status, 404, "{other} {path}");
                        assert!(
                            reply.header("x-ratelimit-limit").is_none() && reply.header("allow").is_none()
                        );
                        if other != "HEAD" {
                            reply.assert_error(404, "Not found");
                        }
                    } else if other == method {
                        assert!(![404, 405].contains(&reply.status), "{other} {path}: {reply:?}");
                    } else if !(other == "HEAD" && method == "GET") {
                        assert_eq!(reply.status, 405, "{other} {path}: {reply:?}");
                        let allow = reply.header("allow").unwrap();
                        assert!(allow.split(", ").any(|allowed| allowed == method), "{allow}");
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_counts_in_the_field_of_its_route_only() {
    let app = app_with(&[CompatApi::Evolution, CompatApi::Waha]).await;
    let bearer = format!("Bearer {}", app.token);
    let fields = [
        ("token", app.token.as_str()),
        ("authorization", &bearer),
        ("apikey", &app.token),
        ("x-api-key", &app.token),
    ];
    let ours = [("GET", "/api/instance/list", "token")];
    for (method, path, wanted) in ROUTES.into_iter().chain(ours) {
        for (field, value) in fields {
            let reply = call(&app, method, path, field, value).send().await;
            let counts = field == wanted || (wanted == "token" && field == "authorization");
            assert_eq!(
                reply.status != 401,
                counts,
                "{method} {path} with {field}: {reply:?}"
            );
        }
        // The right one beside wrong ones, and the other way round.
        let mut right = app.call(method, path).no_token();
        let mut wrong = app.call(method, path).no_token();
        for (field, value) in fields.into_iter().filter(|(field, _)| *field != "authorization") {
            right = right.header(field, if field == wanted { value } else { "wrong" });
            wrong = wrong.header(field, if field == wanted { "wrong" } else { value });
        }
        assert_ne!(right.send().await.status, 401, "{method} {path}");
        assert_eq!(wrong.send().await.status, 401, "{method} {path}");
        let in_the_address = format!("{path}?apikey={0}&x-api-key={0}&token={0}", app.token);
        assert_eq!(
            app.call(method, &in_the_address).no_token().send().await.status,
            401
        );
    }
}

#[tokio::test(start_paused = true)]
async fn they_count_in_the_same_window_as_ours() {
    let limits = Limits {
        requests: 4,
        ..Limits::default()
    };
    let app = TestApp::with(|options| {
        options.http.compat = vec![CompatApi::Evolution, CompatApi::Waha];
        options.http.limits = limits;
    })
    .await;
    let evolution = || call(&app, "GET", "/instance/fetchInstances", "apikey", &app.token);
    let waha = || call(&app, "GET", "/api/sessions", "x-api-key", &app.token);
    for (left, request) in [
        (3, evolution()),
        (2, waha()),
        (1, app.get("/api/instance/list")),
        (0, waha()),
    ] {
        let reply = request.send().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-ratelimit-remaining"), Some(&*left.to_string()));
    }
    let refused = evolution().send().await;
    assert_eq!(
        refused.text,
        r#"{"status":429,"error":"Too Many Requests","response":{"message":["Rate limit exceeded. Try again later."]}}"#
    );
    assert!(refused.status == 429 && refused.header("retry-after") == Some("60"));
    let refused = waha().send().await;
    assert_eq!(
        refused.text,
        r#"{"message":"Rate limit exceeded. Try again later.","error":"Too Many Requests","statusCode":429}"#
    );
    assert!(refused.status == 429 && refused.header("x-ratelimit-remaining") == Some("0"));
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_there_count_as_wrong_tokens_here() {
    let app = TestApp::with(|options| {
        options.http.compat = vec![CompatApi::Evolution, CompatApi::Waha];
        options.http.limits.failures = 2;
    })
    .await;
    let guess = |field, path| call(&app, "GET", path, field, "a guess");
    assert_eq!(
        guess("apikey", "/instance/fetchInstances").send().await.status,
        401
    );
    assert_eq!(guess("x-api-key", "/api/sessions").send().await.status, 401);
    // Now not even the right one is tried, anywhere.
    let right = call(&app, "GET", "/api/sessions", "x-api-key", &app.token)
        .send()
        .await;
    assert_eq!(right.status, 429);
    assert_eq!(app.get("/api/instance/list").send().await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn ours_are_the_same_with_them_and_without() {
    let with = app_with(&[CompatApi::Evolution, CompatApi::Waha]).await;
    let without = app_with(&[]).await;
    let presence = json!({"number": "14155550123", "state": "typing"}).to_string();
    let rows = [
        ("POST", "/api/chat/presence/shop", presence.as_str()),
        ("POST", "/api/chat/presence/shop", "{"),
        ("POST", "/api/chat/presence/nobodys", ""),
        ("GET", "/api/chat/presence/shop", ""),
        ("GET", "/api/instance/list", ""),
        ("POST", "/api/instance/new", "{}"),
        ("GET", "/api/instance/getSettings/shop", ""),
        ("POST", "/api/instance/settings/shop", "{}"),
        ("GET", "/api/instance/presence/shop", ""),
        ("GET", "/openapi.json", ""),
        ("GET", "/chat", ""),
        ("GET", "/api", ""),
    ];
    for (method, path, body) in rows {
        let mut replies = Vec::new();
        for app in [&with, &without] {
            let reply = app.call(method, path).body(body.to_owned()).send().await;
            let text = reply.text.replace(&app.token, "…");
            // What differs by itself.
            let text = text
                .split("\"createdAt\"")
                .next()
                .unwrap()
                .split("\"token\"")
                .next()
                .unwrap()
                .to_owned();
            replies.push((reply.status, text, reply.header("allow").map(str::to_owned)));
        }
        assert_eq!(replies[0], replies[1], "{method} {path}");
    }
}
