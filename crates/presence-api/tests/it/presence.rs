//! `POST /api/chat/presence/:instance`: every row of the contract's tables.

use serde_json::{Value, json};

use crate::app::{CUSTOMER, SHOP, TestApp, phone};

const INVALID_NUMBER: &str = "Invalid number. Use a phone number with country code, or a JID";
const STATE_REQUIRED: &str = "State is required. Use 'typing', 'recording', or 'pause'";
const INVALID_STATE: &str = "Invalid state. Use 'typing', 'recording', or 'pause'";

const COMPOSING: &str = "<composing/>";
const RECORDING: &str = "<composing media=\"audio\"/>";
const PAUSED: &str = "<paused/>";

#[tokio::test(start_paused = true)]
async fn a_duration_is_promised_in_the_answer_and_the_stanza_is_sent() {
    let app = TestApp::with_shop().await;
    let body = r#"{"number":"14155550123","state":"typing","duration":5}"#;
    let reply = app.post("/api/chat/presence/shop").body(body).send().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(
        reply.text,
        r#"{"success":true,"message":"Presence 'typing' sent successfully (will auto-pause after 5 seconds)","chat_jid":"14155550123@s.whatsapp.net","state":"typing","duration":5}"#
    );
    let stanzas = app.chat_states(SHOP);
    assert_eq!(stanzas.len(), 1, "{stanzas:?}");
    assert_eq!(
        stanzas[0].1,
        r#"<chatstate to="14155550123@s.whatsapp.net"><composing/></chatstate>"#
    );
}

#[tokio::test(start_paused = true)]
async fn every_state_and_duration_has_its_answer_and_stanza() {
    let app = TestApp::with_shop().await;
    let held = |state: &str, seconds: u8| {
        format!("Presence '{state}' sent successfully (will auto-pause after {seconds} seconds)")
    };
    let once = |state: &str| format!("Presence '{state}' sent successfully");
    let rows = [
        (
            json!("typing"),
            json!(5),
            held("typing", 5),
            "typing",
            5,
            COMPOSING,
        ),
        (
            json!("recording"),
            json!(1),
            held("recording", 1),
            "recording",
            1,
            RECORDING,
        ),
        (
            json!("typing"),
            json!(60),
            held("typing", 60),
            "typing",
            60,
            COMPOSING,
        ),
        (
            json!("typing"),
            json!(61),
            held("typing", 60),
            "typing",
            60,
            COMPOSING,
        ),
        (
            json!("typing"),
            json!(u64::MAX),
            held("typing", 60),
            "typing",
            60,
            COMPOSING,
        ),
        (
            json!("typing"),
            json!(1e300),
            held("typing", 60),
            "typing",
            60,
            COMPOSING,
        ),
        (
            json!("typing"),
            json!(5.0),
            held("typing", 5),
            "typing",
            5,
            COMPOSING,
        ),
        (
            json!("recording"),
            json!(0),
            once("recording"),
            "recording",
            0,
            RECORDING,
        ),
        (json!("typing"), json!(-7), once("typing"), "typing", 0, COMPOSING),
        (
            json!("typing"),
            Value::Null,
            once("typing"),
            "typing",
            0,
            COMPOSING,
        ),
        (
            json!(" Typing "),
            json!(0),
            once("typing"),
            "typing",
            0,
            COMPOSING,
        ),
        (
            json!("RECORDING"),
            json!(0),
            once("recording"),
            "recording",
            0,
            RECORDING,
        ),
        (json!("pause"), json!(0), once("pause"), "pause", 0, PAUSED),
        (json!("paused"), json!(30), once("pause"), "pause", 0, PAUSED),
        (json!("PAUSE"), json!(0), once("pause"), "pause", 0, PAUSED),
    ];
    for (at, (state, duration, message, canonical, seconds, stanza)) in rows.into_iter().enumerate() {
        let number = format!("1415555{at:04}");
        let body =
            json!({"number": number, "state": state, "duration": duration, "unknown": {"is": "ignored"}});
        let reply = app.post("/api/chat/presence/shop").json(&body).send().await;
        let jid = format!("{number}@s.whatsapp.net");
        let expected = json!({"success": true, "message": message, "chat_jid": jid, "state": canonical, "duration": seconds});
        assert_eq!((reply.status, reply.json()), (200, expected), "{body}");
        let sent = app.chat_states(SHOP).pop().unwrap().1;
        assert_eq!(
            sent,
            format!("<chatstate to=\"{jid}\">{stanza}</chatstate>"),
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_has_its_text_and_sends_nothing() {
    let app = TestApp::with_shop().await;
    let rows = [
        ("", "Invalid request body"),
        ("{", "Invalid request body"),
        ("[]", "Invalid request body"),
        ("null", "Invalid request body"),
        (r#"["14155550123","typing"]"#, "Invalid request body"),
        (
            r#"{"number":14155550123.5,"state":"typing"}"#,
            "Invalid request body",
        ),
        (r#"{"number":"14155550123","state":7}"#, "Invalid request body"),
        (
            r#"{"number":"14155550123","state":"typing","duration":[1]}"#,
            "Invalid request body",
        ),
        (
            r#"{"number":"14155550123","state":"typing","duration":"5 s"}"#,
            "Invalid request body",
        ),
        (
            r#"{"number":"14155550123","state":"typing","duration":true}"#,
            "Invalid request body",
        ),
        (r#"{"state":"typing"}"#, "Number is required"),
        (r#"{"number":null,"state":"typing"}"#, "Number is required"),
        (r#"{"number":" ","state":"typing"}"#, "Number is required"),
        (r#"{"number":"1234","state":"typing"}"#, INVALID_NUMBER),
        (
            r#"{"number":"1234567890123456","state":"typing"}"#,
            INVALID_NUMBER,
        ),
        (r#"{"number":"call me","state":"typing"}"#, INVALID_NUMBER),
        (r#"{"number":"1@newsletter","state":"typing"}"#, INVALID_NUMBER),
        (
            r#"{"number":"status@broadcast","state":"typing"}"#,
            INVALID_NUMBER,
        ),
        (
            r#"{"number":"14155550123@s.whatsapp.net@lid","state":"typing"}"#,
            INVALID_NUMBER,
        ),
        (r#"{"number":"14155550123"}"#, STATE_REQUIRED),
        (r#"{"number":"14155550123","state":null}"#, STATE_REQUIRED),
        (r#"{"number":"14155550123","state":""}"#, STATE_REQUIRED),
        (r#"{"number":"14155550123","state":"composing"}"#, INVALID_STATE),
        // Several faults: the first in the order of the contract's table.
        (
            r#"{"number":"x","state":"y","duration":"z"}"#,
            "Invalid request body",
        ),
        (r#"{"number":"","state":"y"}"#, "Number is required"),
        (r#"{"number":"x","state":""}"#, INVALID_NUMBER),
        (r#"{}"#, "Number is required"),
    ];
    for (body, message) in rows {
        let reply = app.post("/api/chat/presence/shop").body(body).send().await;
        reply.assert_error(400, message);
    }
    assert!(app.chat_states(SHOP).is_empty());
    assert!(app.timeline(CUSTOMER).is_empty());
}

#[tokio::test(start_paused = true)]
async fn numbers_and_jids_reach_the_chat_they_name() {
    let app = TestApp::with_shop().await;
    let rows = [
        ("+1 (415) 555-0123", "14155550123@s.whatsapp.net"),
        ("0014155550123", "14155550123@s.whatsapp.net"),
        ("1.415.555.0123", "14155550123@s.whatsapp.net"),
        ("14155550123@c.us", "14155550123@s.whatsapp.net"),
        ("14155550123:7@s.whatsapp.net", "14155550123@s.whatsapp.net"),
        ("123456789012345@lid", "123456789012345@lid"),
        ("120363024567890123@g.us", "120363024567890123@g.us"),
        ("14155550123-1600000000@g.us", "14155550123-1600000000@g.us"),
    ];
    for (number, jid) in rows {
        let body = json!({"number": number, "state": "typing"});
        let reply = app.post("/api/chat/presence/shop").json(&body).send().await;
        assert_eq!(reply.json()["chat_jid"], jid, "{}", reply.text);
        let sent = app.chat_states(SHOP).pop().unwrap().1;
        assert_eq!(sent, format!("<chatstate to=\"{jid}\"><composing/></chatstate>"));
    }
}

#[tokio::test(start_paused = true)]
async fn whatsapp_decides_which_spelling_of_a_brazilian_number_counts() {
    let app = TestApp::with_shop().await;
    app.sandbox
        .set_number(phone("5511999990000"), Some(phone("551199990000")), None)
        .unwrap();
    let body = json!({"number": "+55 11 99999-0000", "state": "typing"});
    let reply = app.post("/api/chat/presence/shop").json(&body).send().await;
    assert_eq!(
        reply.json()["chat_jid"],
        "551199990000@s.whatsapp.net",
        "{}",
        reply.text
    );
    assert_eq!(app.timeline("551199990000").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_session_it_is_503_and_nothing_is_sent_later() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let body = json!({"number": CUSTOMER, "state": "typing", "duration": 60});
    let reply = app.post("/api/chat/presence/shop").json(&body).send().await;
    reply.assert_error(503, "Instance is not connected to WhatsApp");
    app.link("shop", SHOP).await;
    assert!(app.chat_states(SHOP).is_empty());
}
