//! WAHA's routes, to the letter.

use presence_api::CompatApi;
use presence_sandbox::Why;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::app::{CUSTOMER, Reply, SHOP, TestApp, assert_near, secs};
use crate::compat::{app_with, call};

/// A service that has them, and whose `shop` is connected.
async fn app() -> TestApp {
    let app = app_with(&[CompatApi::Waha]).await;
    app.link("shop", SHOP).await;
    app
}

async fn post(app: &TestApp, path: &str, token: &str, body: &Value) -> Reply {
    let call = call(app, "POST", path, "X-Api-Key", token);
    call.json(body).send().await
}

async fn get(app: &TestApp, path: &str, token: &str) -> Reply {
    call(app, "GET", path, "X-Api-Key", token).send().await
}

#[track_caller]
fn assert_is(reply: &Reply, status: u16, text: &str) {
    assert_eq!((reply.status, &*reply.text), (status, text));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[track_caller]
fn assert_done(reply: &Reply) {
    assert_is(reply, 201, r#"{"result":true}"#);
}

/// As theirs answers a presence.
#[track_caller]
fn assert_nothing(reply: &Reply) {
    assert_eq!((reply.status, &*reply.text), (201, ""));
    assert_eq!(reply.header("content-type"), None);
}

fn error(status: u16, reason: &str, message: &str) -> String {
    let message = Value::from(message);
    format!(r#"{{"message":{message},"error":"{reason}","statusCode":{status}}}"#)
}

/// What somebody is told of a session that cannot do it.
fn unready(status: &str) -> String {
    format!(
        r#"{{"message":"Instance is not connected to WhatsApp","error":"Session status is not as expected. Try again later or restart the session","statusCode":422,"session":"shop","status":"{status}","expected":["WORKING"]}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn typing_shows_until_it_is_stopped() {
    let app = app().await;
    let chat = json!({"session": "shop", "chatId": format!("{CUSTOMER}@c.us")});
    assert_done(&post(&app, "/api/startTyping", &app.token, &chat).await);
    sleep(secs(33.0)).await;
    assert_done(&post(&app, "/api/stopTyping", &app.token, &chat).await);
    sleep(secs(60.0)).await;
    app.assert_typed(CUSTOMER, secs(33.0));
    assert_eq!(app.pauses(SHOP).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn typing_that_nobody_stops_ends_after_a_minute() {
    let app = app().await;
    for (path, body) in [
        ("/api/startTyping", json!({"session": "shop", "chatId": CUSTOMER})),
        (
            "/api/shop/presence",
            json!({"presence": "typing", "chatId": CUSTOMER}),
        ),
        (
            "/api/shop/presence",
            json!({"presence": "recording", "chatId": CUSTOMER}),
        ),
    ] {
        assert_eq!(post(&app, path, &app.token, &body).await.status, 201);
        sleep(secs(90.0)).await;
        let spell = app.timeline(CUSTOMER).pop().unwrap();
        assert_eq!(spell.why, Some(Why::Paused), "{path} {body}");
        assert_near(spell.hidden_at.unwrap() - spell.shown_at, secs(60.0));
    }
    assert_eq!(app.timeline(CUSTOMER).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn every_presence_of_a_chat_has_its_stanza_and_an_empty_answer() {
    let app = app().await;
    let rows = [
        ("typing", "<composing/>"),
        ("recording", "<composing media=\"audio\"/>"),
        ("paused", "<paused/>"),
        (" Typing", "<composing/>"),
    ];
    for (at, (presence, stanza)) in rows.into_iter().enumerate() {
        let body =
            json!({"presence": presence, "chatId": format!("1415555{at:04}@c.us"), "session": "ignored"});
        assert_nothing(&post(&app, "/api/shop/presence", &app.token, &body).await);
        let expected = format!(r#"<chatstate to="1415555{at:04}@s.whatsapp.net">{stanza}</chatstate>"#);
        assert_eq!(app.chat_states(SHOP).last().unwrap().1, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn online_and_offline_are_the_setting() {
    let app = app().await;
    for (body, expected) in [
        (json!({"presence": "online"}), true),
        (json!({"presence": "offline", "chatId": null}), false),
        (json!({"presence": "ONLINE", "chatId": ""}), true),
    ] {
        assert_nothing(&post(&app, "/api/shop/presence", &app.token, &body).await);
        let settings = app.get("/api/instance/getSettings/shop").send().await.json();
        assert_eq!(settings["settings"]["keepOnlineStatus"], expected, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn default_is_the_instance_of_a_token_that_has_one() {
    let app = app_with(&[CompatApi::Waha]).await;
    let list = app.get("/api/instance/list").send().await.json();
    let token = list["instances"][0]["token"].as_str().unwrap().to_owned();
    app.link("shop", SHOP).await;
    let chat = json!({"chatId": CUSTOMER});
    let default = json!({"session": "default", "chatId": CUSTOMER});
    let empty = json!({"session": "", "chatId": CUSTOMER});
    for body in [&chat, &default, &empty] {
        assert_done(&post(&app, "/api/startTyping", &token, body).await);
    }
    let typing = json!({"presence": "typing", "chatId": CUSTOMER});
    assert_nothing(&post(&app, "/api/default/presence", &token, &typing).await);
    let session = get(&app, "/api/sessions/default", &token).await;
    assert_eq!((session.status, &session.json()["name"]), (200, &json!("shop")));
    // To an account it is a name, which nobody has.
    let nobody = error(404, "Not Found", "Session not found");
    assert_is(
        &post(&app, "/api/startTyping", &app.token, &chat).await,
        404,
        &nobody,
    );
    assert_is(
        &get(&app, "/api/sessions/default", &app.token).await,
        404,
        &nobody,
    );
    assert_is(&get(&app, "/api/sessions/Default", &token).await, 404, &nobody);

    // Until somebody has it: then it is that one, and a sibling's token is not its.
    app.new_instance("default").await;
    let sibling = error(403, "Forbidden", "Instance token does not match instance");
    assert_is(
        &post(&app, "/api/startTyping", &token, &default).await,
        403,
        &sibling,
    );
    assert_is(&get(&app, "/api/sessions/default", &token).await, 403, &sibling);
    assert_eq!(get(&app, "/api/sessions/default", &app.token).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_told_in_their_words() {
    let app = app_with(&[CompatApi::Waha]).await;
    let one = async || get(&app, "/api/sessions/shop", &app.token).await;
    let is = |status: &str, me: &str| format!(r#"{{"name":"shop","status":"{status}","me":{me}}}"#);
    assert_is(&one().await, 200, &is("STOPPED", "null"));
    assert_is(&get(&app, "/api/sessions", &app.token).await, 200, "[]");
    for all in ["all=true", "all=1", "x=1&all=True"] {
        let listed = get(&app, &format!("/api/sessions?{all}"), &app.token).await;
        assert_is(&listed, 200, &format!("[{}]", is("STOPPED", "null")));
    }
    let chat = json!({"session": "shop", "chatId": CUSTOMER});
    assert_is(
        &post(&app, "/api/startTyping", &app.token, &chat).await,
        422,
        &unready("STOPPED"),
    );
    let online = json!({"presence": "online"});
    assert_is(
        &post(&app, "/api/shop/presence", &app.token, &online).await,
        422,
        &unready("STOPPED"),
    );
    let settings = app.get("/api/instance/getSettings/shop").send().await.json();
    assert_eq!(settings["settings"]["keepOnlineStatus"], false);

    app.qr("shop").await;
    assert_is(&one().await, 200, &is("SCAN_QR_CODE", "null"));
    assert_is(
        &post(&app, "/api/stopTyping", &app.token, &chat).await,
        422,
        &unready("SCAN_QR_CODE"),
    );

    app.link("shop", SHOP).await;
    let list = app.get("/api/instance/list").send().await.json();
    let name = &list["instances"][0]["profile"]["name"];
    let working = is("WORKING", &format!(r#"{{"id":"{SHOP}@c.us","pushName":{name}}}"#));
    assert_is(&one().await, 200, &working);
    assert_is(
        &get(&app, "/api/sessions", &app.token).await,
        200,
        &format!("[{working}]"),
    );

    app.delete("/api/instance/logout/shop").send().await;
    assert_eq!(one().await.json()["status"], "FAILED");
    assert_is(
        &post(&app, "/api/startTyping", &app.token, &chat).await,
        422,
        &unready("FAILED"),
    );
}

#[tokio::test(start_paused = true)]
async fn every_error_has_their_form() {
    let app = app().await;
    let other = app.another_account("rival").await;
    let (start, stop, presence) = ("/api/startTyping", "/api/stopTyping", "/api/shop/presence");
    let bad = |message: &str| error(400, "Bad Request", message);
    let number = bad("Invalid number. Use a phone number with country code, or a JID");
    let global = |word: &str| {
        bad(&format!(
            "'{word}' presence works on the global scope and doesn't require 'chatId' field."
        ))
    };
    let needs = |word: &str| bad(&format!("'{word}' presence requires 'chatId' field."));
    let none =
        bad("presence must be one of the following values: offline, online, typing, recording, paused");
    let rows = [
        (start, "{", bad("Invalid request body")),
        (start, "", bad("Invalid request body")),
        (start, r#"["shop","1@c.us"]"#, bad("Invalid request body")),
        (
            start,
            r#"{"session":1,"chatId":"14155550123@c.us"}"#,
            bad("Invalid request body"),
        ),
        (
            start,
            r#"{"session":"shop","chatId":["14155550123"]}"#,
            bad("Invalid request body"),
        ),
        (start, r#"{"session":"shop"}"#, needs("typing")),
        (stop, r#"{"session":"shop","chatId":" "}"#, needs("paused")),
        (
            start,
            r#"{"session":"shop","chatId":"status@broadcast"}"#,
            number.clone(),
        ),
        (presence, r#"{"presence":"typing"}"#, needs("typing")),
        (
            presence,
            r#"{"presence":"recording","chatId":""}"#,
            needs("recording"),
        ),
        (
            presence,
            r#"{"presence":"paused","chatId":null}"#,
            needs("paused"),
        ),
        (presence, r#"{"presence":"paused","chatId":"1@c.us"}"#, number),
        (
            presence,
            r#"{"presence":"online","chatId":"14155550123@c.us"}"#,
            global("online"),
        ),
        (
            presence,
            r#"{"presence":"offline","chatId":0}"#,
            global("offline"),
        ),
        (presence, "{}", none.clone()),
        (
            presence,
            r#"{"presence":"composing","chatId":"14155550123@c.us"}"#,
            none,
        ),
    ];
    for (path, body, expected) in rows {
        let reply = call(&app, "POST", path, "x-api-key", &app.token)
            .body(body)
            .send()
            .await;
        assert_is(&reply, 400, &expected);
        let detail = reply.header("x-error-detail").unwrap_or_else(|| panic!("{body}"));
        assert!(
            !detail.contains("broadcast") && !detail.contains("14155550123"),
            "{detail}"
        );
    }
    let chat = json!({"session": "shop", "chatId": CUSTOMER});
    let unauthorized = error(401, "Unauthorized", "Unauthorized");
    assert_is(&post(&app, start, "wrong", &chat).await, 401, &unauthorized);
    let not_found = error(404, "Not Found", "Session not found");
    assert_is(&post(&app, start, &other, &chat).await, 404, &not_found);
    // Whose session it is comes before what is wrong with the chat.
    let nobodys = json!({"session": "a\"b", "chatId": []});
    assert_is(&post(&app, start, &app.token, &nobodys).await, 404, &not_found);
    assert_is(
        &get(&app, "/api/sessions/nobodys", &app.token).await,
        404,
        &not_found,
    );
    let method = get(&app, start, &app.token).await;
    assert_is(
        &method,
        405,
        &error(405, "Method Not Allowed", "Method not allowed"),
    );
    assert_eq!(method.header("allow"), Some("POST"));
    assert!(app.chat_states(SHOP).is_empty(), "nothing of it was sent");
}
