//! Evolution API's routes, to the letter.

use presence_api::CompatApi;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::app::{CUSTOMER, Call, Reply, SHOP, TestApp, secs};
use crate::compat::{app_with, call};

const SEND: &str = "/chat/sendPresence/shop";

/// A service that has them, and whose `shop` is connected.
async fn app() -> TestApp {
    let app = app_with(&[CompatApi::Evolution]).await;
    app.link("shop", SHOP).await;
    app
}

fn post<'a>(app: &'a TestApp, path: &str, body: &Value) -> Call<'a> {
    call(app, "POST", path, "apikey", &app.token).json(body)
}

async fn get(app: &TestApp, path: &str, token: &str) -> Reply {
    call(app, "GET", path, "apikey", token).send().await
}

#[track_caller]
fn assert_is(reply: &Reply, status: u16, text: &str) {
    assert_eq!((reply.status, &*reply.text), (status, text));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

/// Their error, with a list of one text.
fn error(status: u16, reason: &str, message: &str) -> String {
    let message = Value::from(message);
    format!(r#"{{"status":{status},"error":"{reason}","response":{{"message":[{message}]}}}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_shown_whole_and_without_a_gap_and_the_answer_comes_at_once() {
    let app = app().await;
    let asked = Instant::now();
    let body = json!({"number": CUSTOMER, "presence": "composing", "delay": 41_500});
    let reply = post(&app, SEND, &body).send().await;
    assert_is(&reply, 201, r#"{"presence":"composing"}"#);
    assert!(asked.elapsed() < secs(1.0), "{:?}", asked.elapsed());
    sleep(secs(90.0)).await;
    app.assert_typed(CUSTOMER, secs(42.0));
    assert_eq!(app.pauses(SHOP).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_presence_of_a_chat_has_its_stanza() {
    let app = app().await;
    let rows = [
        (
            json!({"presence": "composing", "delay": 1200}),
            "composing",
            "<composing/>",
        ),
        (
            json!({"presence": "recording", "delay": "1200"}),
            "recording",
            "<composing media=\"audio\"/>",
        ),
        (
            json!({"presence": "paused", "delay": 1200}),
            "paused",
            "<paused/>",
        ),
        (json!({"presence": " Composing "}), "composing", "<composing/>"),
        (
            json!({"options": {"presence": "recording", "delay": 3}}),
            "recording",
            "<composing media=\"audio\"/>",
        ),
        (
            json!({"presence": "composing", "delay": null, "unknown": [1]}),
            "composing",
            "<composing/>",
        ),
    ];
    for (at, (mut body, presence, stanza)) in rows.into_iter().enumerate() {
        let number = format!("1415555{at:04}");
        body["number"] = match at {
            0 => json!(format!("{number}@s.whatsapp.net")),
            1 => json!(number.parse::<u64>().unwrap()),
            _ => json!(number),
        };
        let reply = post(&app, SEND, &body).send().await;
        assert_is(&reply, 201, &format!(r#"{{"presence":"{presence}"}}"#));
        let expected = format!(r#"<chatstate to="{number}@s.whatsapp.net">{stanza}</chatstate>"#);
        assert_eq!(app.chat_states(SHOP).last().unwrap().1, expected, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_the_account_becomes_the_setting() {
    let app = app().await;
    let keeps = async || {
        let reply = app.get("/api/instance/getSettings/shop").send().await;
        reply.json()["settings"]["keepOnlineStatus"] == true
    };
    let rows = [
        (
            SEND,
            json!({"number": CUSTOMER, "presence": "available", "delay": 1200}),
            true,
        ),
        (SEND, json!({"presence": "unavailable"}), false),
        (
            "/instance/setPresence/shop",
            json!({"presence": "available"}),
            true,
        ),
        (
            "/instance/setPresence/shop",
            json!({"presence": "unavailable"}),
            false,
        ),
        (
            "/instance/setPresence/shop",
            json!({"presence": "AVAILABLE"}),
            true,
        ),
    ];
    for (path, body, expected) in rows {
        let reply = post(&app, path, &body).send().await;
        let word = if expected { "available" } else { "unavailable" };
        assert_is(&reply, 201, &format!(r#"{{"presence":"{word}"}}"#));
        assert_eq!(keeps().await, expected, "{body}");
        // And WhatsApp is told.
        sleep(secs(15.0)).await;
        let last = app
            .sent(SHOP)
            .into_iter()
            .rfind(|(_, stanza)| stanza.starts_with("<presence"));
        assert!(last.unwrap().1.contains(&format!("\"{word}\"")));
    }
    assert!(app.timeline(CUSTOMER).is_empty());
}

#[tokio::test(start_paused = true)]
async fn states_and_instances_are_told_in_their_words() {
    let app = app_with(&[CompatApi::Evolution]).await;
    let state = async || get(&app, "/instance/connectionState/shop", &app.token).await;
    let is = |state: &str| format!(r#"{{"instance":{{"instanceName":"shop","state":"{state}"}}}}"#);
    assert_is(&state().await, 200, &is("close"));
    let qr = app.qr("shop").await;
    assert_is(&state().await, 200, &is("connecting"));
    let token = token_of(&app, "shop").await;
    let item = |status: &str, owner: &str, profile: &str, token: &str| {
        format!(
            r#"{{"id":"1","name":"shop","connectionStatus":"{status}","ownerJid":{owner},"profileName":{profile},"token":{token}}}"#
        )
    };
    let shown = Value::from(token.clone()).to_string();
    let fetched = get(&app, "/instance/fetchInstances", &app.token).await;
    assert_is(
        &fetched,
        200,
        &format!("[{}]", item("connecting", "null", "null", &shown)),
    );
    assert_eq!(fetched.header("cache-control"), Some("no-store"));

    app.sandbox.scan(crate::app::phone(SHOP), &qr).await.unwrap();
    app.wait_for_state("shop", "connected").await;
    assert_is(&state().await, 200, &is("open"));
    let list = app.get("/api/instance/list").send().await.json();
    let profile = match &list["instances"][0]["profile"]["name"] {
        name if name == "" => Value::Null,
        name => name.clone(),
    };
    let owner = format!("\"{SHOP}@s.whatsapp.net\"");
    let all = item("open", &owner, &profile.to_string(), &shown);
    for path in [
        "/instance/fetchInstances",
        "/instance/fetchInstances?instanceName=shop",
    ] {
        assert_is(&get(&app, path, &app.token).await, 200, &format!("[{all}]"));
        // An instance's own token is known to who sends it.
        let own = item("open", &owner, &profile.to_string(), "null");
        assert_is(&get(&app, path, &token).await, 200, &format!("[{own}]"));
    }

    app.new_instance("other").await;
    let both = get(&app, "/instance/fetchInstances?instanceName=", &app.token)
        .await
        .json();
    assert_eq!(both.as_array().unwrap().len(), 2);
    let one = get(&app, "/instance/fetchInstances?instanceName=other", &app.token)
        .await
        .json();
    assert_eq!(
        (one.as_array().unwrap().len(), &one[0]["name"]),
        (1, &json!("other"))
    );
    let sibling = get(&app, "/instance/fetchInstances?instanceName=other", &token).await;
    let text = error(403, "Forbidden", "Instance token does not match instance");
    assert_is(&sibling, 403, &text);
    let absent = get(&app, "/instance/fetchInstances?instanceName=absent", &app.token).await;
    assert_is(&absent, 404, &error(404, "Not Found", "Instance not found"));
}

#[tokio::test(start_paused = true)]
async fn every_error_has_their_form() {
    let app = app().await;
    let other = app.another_account("rival").await;
    let chat = json!({"number": CUSTOMER, "presence": "composing", "delay": 1});
    let set = "/instance/setPresence/shop";
    let bad = |message: &str| error(400, "Bad Request", message);
    let enumeration =
        bad("presence is not one of enum values: unavailable,available,composing,recording,paused");
    let rows = [
        (SEND, "{", bad("Invalid request body")),
        (SEND, "", bad("Invalid request body")),
        (SEND, "[]", bad("Invalid request body")),
        (SEND, r#"{"presence":1}"#, bad("Invalid request body")),
        (
            SEND,
            r#"{"presence":"composing","number":{}}"#,
            bad("Invalid request body"),
        ),
        (
            SEND,
            r#"{"presence":"composing","number":"1415","delay":"soon"}"#,
            bad("Invalid request body"),
        ),
        (
            SEND,
            r#"{"presence":"composing","delay":1}"#,
            bad("Number is required"),
        ),
        (
            SEND,
            r#"{"presence":"composing","number":" "}"#,
            bad("Number is required"),
        ),
        (
            SEND,
            r#"{"presence":"composing","number":"12@newsletter"}"#,
            bad("Invalid number. Use a phone number with country code, or a JID"),
        ),
        (SEND, "{}", bad("instance requires property \"presence\"")),
        (
            SEND,
            r#"{"number":"1","presence":" "}"#,
            bad("instance requires property \"presence\""),
        ),
        (
            SEND,
            r#"{"number":"14155550123","presence":"typing"}"#,
            enumeration.clone(),
        ),
        (
            SEND,
            r#"{"number":"14155550123","presence":"pause"}"#,
            enumeration.clone(),
        ),
        (set, "{}", bad("instance requires property \"presence\"")),
        (set, r#"{"presence":"typing"}"#, enumeration),
        (
            set,
            r#"{"presence":"composing"}"#,
            bad("presence is not one of enum values: unavailable,available"),
        ),
    ];
    for (path, body, expected) in rows {
        let reply = call(&app, "POST", path, "apikey", &app.token)
            .body(body)
            .send()
            .await;
        assert_is(&reply, 400, &expected);
        let detail = reply.header("x-error-detail").unwrap_or_else(|| panic!("{body}"));
        assert!(
            !detail.contains("newsletter") && !detail.contains("soon"),
            "{detail}"
        );
    }
    let wrong = call(&app, "POST", SEND, "apikey", "wrong")
        .json(&chat)
        .send()
        .await;
    assert_is(
        &wrong,
        401,
        r#"{"status":401,"error":"Unauthorized","response":{"message":"Unauthorized"}}"#,
    );
    for (token, path) in [
        (&app.token, "/chat/sendPresence/a%22b"),
        (&other, "/chat/sendPresence/shop"),
    ] {
        let reply = call(&app, "POST", path, "apikey", token).json(&chat).send().await;
        let name = if path.ends_with("shop") { "shop" } else { "a\"b" };
        let text = format!("The \"{name}\" instance does not exist");
        assert_is(&reply, 404, &error(404, "Not Found", &text));
    }
    app.new_instance("second").await;
    let second = token_of(&app, "second").await;
    let sibling = call(&app, "POST", SEND, "apikey", &second)
        .json(&chat)
        .send()
        .await;
    let text = error(403, "Forbidden", "Instance token does not match instance");
    assert_is(&sibling, 403, &text);
    let offline = post(&app, "/chat/sendPresence/second", &chat).send().await;
    let text = error(
        503,
        "Service Unavailable",
        "Instance is not connected to WhatsApp",
    );
    assert_is(&offline, 503, &text);
    let method = get(&app, SEND, &app.token).await;
    assert_is(
        &method,
        405,
        &error(405, "Method Not Allowed", "Method not allowed"),
    );
    assert_eq!(method.header("allow"), Some("POST"));
    let large = call(&app, "POST", SEND, "apikey", &app.token).body(vec![b' '; 70_000]);
    let text = error(413, "Payload Too Large", "Request body too large");
    assert_is(&large.send().await, 413, &text);
    assert!(app.chat_states(SHOP).is_empty(), "nothing of it was sent");
}

/// The token of an instance, as the account's owner sees it.
async fn token_of(app: &TestApp, name: &str) -> String {
    let path = format!("/api/instance/list?instanceName={name}");
    let list = app.get(&path).send().await.json();
    list["instances"][0]["token"].as_str().unwrap().to_owned()
}
