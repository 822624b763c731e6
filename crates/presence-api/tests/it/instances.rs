//! The instance routes: exact answers, and what they do to the session.

use std::time::Duration;

use base64::Engine as _;
use chrono::{DateTime, Utc};
use presence_api::utc_now;
use presence_sandbox::{Answer, Fault};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use crate::app::{CUSTOMER, SHOP, TestApp, assert_near, phone, secs};

#[tokio::test(start_paused = true)]
async fn a_new_instance_is_answered_with_its_token() {
    let app = TestApp::start().await;
    let reply = app
        .post("/api/instance/new")
        .json(&json!({"name": "shop"}))
        .send()
        .await;
    assert_eq!(reply.status, 201);
    let body = reply.json();
    let instance = &body["instance"];
    let (token, created) = (
        instance["token"].as_str().unwrap(),
        instance["createdAt"].as_str().unwrap(),
    );
    let expected = format!(
        r#"{{"success":true,"message":"Instance created","instance":{{"name":"shop","token":"{token}","status":"disconnected","createdAt":"{created}"}}}}"#
    );
    assert_eq!(reply.text, expected);
    chrono::DateTime::parse_from_rfc3339(created).unwrap();
    assert_eq!(
        app.get("/api/instance/list").token(token).send().await.status,
        200
    );
    assert_eq!(app.state("shop").await, "disconnected");
}

#[tokio::test(start_paused = true)]
async fn what_a_new_instance_must_not_be() {
    let app = TestApp::with(|options| options.quota = Some(3)).await;
    let new = |body: Value| app.post("/api/instance/new").json(&body).send();
    for name in [json!(null), json!(""), json!("  ")] {
        new(json!({ "name": name }))
            .await
            .assert_error(400, "Instance name is required");
    }
    new(json!({}))
        .await
        .assert_error(400, "Instance name is required");
    for name in ["-a", ".a", "a b", "a/b", "é", &"x".repeat(101)] {
        let reply = new(json!({ "name": name })).await;
        assert_eq!(reply.status, 400);
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("Invalid instance name. "), "{message}");
    }
    let invalid_token = |reply: crate::app::Reply| {
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            reply.status == 400 && message.starts_with("Invalid instance token. "),
            "{reply:?}"
        );
    };
    for token in [
        "short",
        &"x".repeat(129),
        "sixteen letters\u{e9}",
        "with a space in it",
    ] {
        invalid_token(new(json!({"name": "shop", "token": token})).await);
    }
    let own = "my-very-own-token-0001";
    assert_eq!(
        new(json!({"name": "shop", "token": own})).await.json()["instance"]["token"],
        own
    );
    invalid_token(new(json!({"name": "other", "token": own})).await);
    invalid_token(new(json!({"name": "other", "token": app.token})).await);
    let stranger = app.another_account("globex").await;
    let taken = app.post("/api/instance/new").token(&stranger);
    invalid_token(taken.json(&json!({"name": "x", "token": own})).send().await);

    new(json!({"name": "shop"}))
        .await
        .assert_error(409, "Instance name already exists");
    assert_eq!(new(json!({"name": "Shop"})).await.status, 201);
    assert_eq!(new(json!({"name": "x".repeat(100)})).await.status, 201);
    new(json!({"name": "fourth"}))
        .await
        .assert_error(403, "Account instance quota exceeded");
    assert_eq!(app.delete("/api/instance/delete/Shop").send().await.status, 200);
    assert_eq!(new(json!({"name": "fourth"})).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn fields_of_the_reference_are_taken_and_named_when_they_have_no_effect() {
    let app = TestApp::start().await;
    let body = json!({
        "name": "shop", "keepOnlineStatus": true, "webhookEnabled": true, "webhookEvents": ["a"], "s3Bucket": null,
        "autoRejectCalls": true, "proxyPort": "1080", "somethingElse": 1,
    });
    let reply = app.post("/api/instance/new").json(&body).send().await.json();
    assert_eq!(
        reply["instance"]["ignored"],
        json!(["proxyPort", "webhookEnabled", "webhookEvents", "autoRejectCalls"])
    );
    let settings = app.get("/api/instance/getSettings/shop").send().await.json();
    assert_eq!(settings["settings"]["keepOnlineStatus"], true);
}

#[tokio::test(start_paused = true)]
async fn list_tells_each_instance_and_filters_by_name() {
    let app = TestApp::start().await;
    let list = |query: &str| app.get(&format!("/api/instance/list{query}")).send();
    assert_eq!(
        list("").await.text,
        r#"{"success":true,"message":"0 Instances found","instances":[]}"#
    );
    let token = app.new_instance("shop").await;
    app.link("shop", SHOP).await;
    app.new_instance("branch").await;

    tokio::time::sleep(secs(60.0)).await;
    let all = list("").await.json();
    assert_eq!(all["message"], "2 Instances found");
    let created = all["instances"][0]["createdAt"].clone();
    let since = all["instances"][0]["connection"]["since"].clone();
    let connected: DateTime<Utc> = since.as_str().unwrap().parse().unwrap();
    let connected_for = (utc_now() - connected).to_std().unwrap();
    assert!(
        (secs(60.0)..secs(70.0)).contains(&connected_for),
        "{connected_for:?}"
    );
    let expected = json!({
        "name": "shop", "token": token, "createdAt": created,
        "connection": {"state": "connected", "numberJid": format!("{SHOP}@s.whatsapp.net"),
                       "presenceStatus": "unavailable", "displayStatus": "connected", "since": since},
        "profile": {"name": all["instances"][0]["profile"]["name"]},
        "settings": {"keepOnlineStatus": false},
    });
    assert_eq!(all["instances"][0], expected);
    assert!(
        !all["instances"][0]["profile"]["name"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let branch = &all["instances"][1];
    assert_eq!(
        (&branch["name"], &branch["connection"]["state"]),
        (&json!("branch"), &json!("disconnected"))
    );
    assert_eq!(
        (&branch["connection"]["numberJid"], &branch["profile"]["name"]),
        (&Value::Null, &json!(""))
    );

    let names = async |query: &str| {
        let found = list(query).await.json();
        let names = found["instances"].as_array().unwrap().iter();
        names
            .map(|instance| instance["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("?instanceName=").await, ["shop", "branch"]);
    assert_eq!(names("?instanceName=branch").await, ["branch"]);
    assert_eq!(names("?instanceName=branch,shop").await, ["shop", "branch"]);
    assert_eq!(names("?instanceName=branch,absent").await, ["branch"]);
    assert_eq!(names("?instanceName=absent,gone").await, Vec::<String>::new());
    list("?instanceName=absent")
        .await
        .assert_error(404, "Instance not found");
    list("?instanceName=SHOP")
        .await
        .assert_error(404, "Instance not found");

    app.show("typing", 60).await;
    assert_eq!(
        list("").await.json()["instances"][0]["connection"]["presenceStatus"],
        "available"
    );
}

#[tokio::test(start_paused = true)]
async fn connect_answers_a_qr_code_and_repeats_it_until_it_is_scanned() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let reply = app.get("/api/instance/connect/shop").send().await;
    let body = reply.json();
    let qr = body["qrCode"].as_str().unwrap();
    assert!(qr.starts_with("2@"), "{qr}");
    let png = body["qrCodeBase64"]
        .as_str()
        .unwrap()
        .strip_prefix("data:image/png;base64,")
        .unwrap();
    let png = base64::engine::general_purpose::STANDARD.decode(png).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n"));
    assert_eq!(
        (&body["message"], &body["status"]),
        (&json!("QR code generated"), &json!("qr"))
    );
    let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
    let left: u64 = reply.header("x-qr-valid-for").unwrap().parse().unwrap();
    assert!((58..=60).contains(&left), "{left}");
    assert_eq!(app.state("shop").await, "connecting");

    assert_eq!(
        app.qr("shop").await,
        qr,
        "a repeated call begins no second pairing"
    );
    sleep(secs(61.0)).await;
    let renewed = app.qr("shop").await;
    assert_ne!(renewed, qr);

    app.sandbox.scan(phone(SHOP), &renewed).await.unwrap();
    let start = Instant::now();
    let connected = app.get("/api/instance/connect/shop").send().await;
    let expected = r#"{"success":true,"message":"Instance is already connected","status":"connected"}"#;
    assert_eq!((connected.status, connected.text.as_str()), (200, expected));
    assert!(
        start.elapsed() < secs(2.0),
        "from the scan to a session took {:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn connect_with_a_number_answers_a_link_code() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let path = format!("/api/instance/connect/shop?number={SHOP}");
    let reply = app.get(&path).send().await;
    let code = reply.json()["pairingCode"]
        .as_str()
        .unwrap_or_else(|| panic!("{reply:?}"))
        .to_owned();
    let expected = format!(
        r#"{{"success":true,"message":"Pairing code generated","pairingCode":"{code}","status":"pairing"}}"#
    );
    assert_eq!((reply.status, reply.text.as_str()), (200, expected.as_str()));
    assert_eq!((code.len(), code.as_bytes()[4]), (9, b'-'), "{code}");
    assert_eq!(app.get(&path).send().await.json()["pairingCode"], code.as_str());

    app.sandbox.enter_link_code(phone(SHOP), &code).await.unwrap();
    assert_eq!(app.get(&path).send().await.json()["status"], "connected");
    let wrong = app.get("/api/instance/connect/shop?number=abc").send().await;
    wrong.assert_error(
        400,
        "Invalid number. Use a phone number with country code, or a JID",
    );
}

#[tokio::test(start_paused = true)]
async fn connect_gives_up_after_a_minute() {
    let app = TestApp::with(|options| options.fleet.login_timeout = secs(600.0)).await;
    app.new_instance("shop").await;
    app.sandbox.fault(Fault::withhold(Answer::PairDevice)).unwrap();
    let start = Instant::now();
    let reply = app.get("/api/instance/connect/shop").send().await;
    reply.assert_error(504, "WhatsApp did not answer in time");
    assert_near(start.elapsed(), secs(60.0));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_connect_does_not_hold_up_the_end() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    app.sandbox.fault(Fault::withhold(Answer::PairDevice)).unwrap();
    let start = Instant::now();
    let stop = async {
        sleep(secs(1.0)).await;
        app.server.stop(secs(5.0)).await;
    };
    let (reply, ()) = tokio::join!(app.get("/api/instance/connect/shop").send(), stop);
    reply.assert_error(503, "Service is shutting down");
    assert!(start.elapsed() < secs(7.0), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn reconnect_opens_the_saved_session_again() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let unpaired = app.post("/api/instance/reconnect/shop").send().await;
    unpaired.assert_error(400, "Instance has no saved session — call /connect first");
    app.link("shop", SHOP).await;
    let reply = app.post("/api/instance/reconnect/shop").send().await;
    let expected = r#"{"success":true,"message":"Reconnect initiated","status":"connecting"}"#;
    assert_eq!((reply.status, reply.text.as_str()), (200, expected));
    app.wait_for_state("shop", "connected").await;
    app.show("typing", 5).await;
}

#[tokio::test(start_paused = true)]
async fn logout_unlinks_and_keeps_the_instance() {
    let app = TestApp::with_shop().await;
    let expected = r#"{"success":true,"message":"Instance logged out","instance":{"status":"loggedout"}}"#;
    for _ in 0..2 {
        let reply = app.delete("/api/instance/logout/shop").send().await;
        assert_eq!((reply.status, reply.text.as_str()), (200, expected));
        assert_eq!(app.sandbox.look(|world| world.linked_devices(phone(SHOP))), 0);
        assert_eq!(app.state("shop").await, "loggedout");
    }
    let unpaired = app.post("/api/instance/reconnect/shop").send().await;
    unpaired.assert_error(400, "Instance has no saved session — call /connect first");
    let body = json!({"number": CUSTOMER, "state": "typing"});
    let offline = app.post("/api/chat/presence/shop").json(&body).send().await;
    offline.assert_error(503, "Instance is not connected to WhatsApp");

    app.link("shop", "5511977776666").await;
    assert_eq!(app.state("shop").await, "connected");
}

#[tokio::test(start_paused = true)]
async fn a_device_unlinked_on_the_phone_can_be_linked_to_another() {
    let app = TestApp::start().await;
    let token = app.new_instance("shop").await;
    app.link("shop", SHOP).await;
    app.sandbox.unlink(phone(SHOP));
    app.wait_for_state("shop", "loggedout").await;
    assert_eq!(
        app.get("/api/instance/list").token(&token).send().await.status,
        200
    );
    app.link("shop", "5511977776666").await;
    let list = app.get("/api/instance/list").send().await.json();
    assert_eq!(
        list["instances"][0]["connection"]["numberJid"],
        "5511977776666@s.whatsapp.net"
    );
}

#[tokio::test(start_paused = true)]
async fn delete_unlinks_and_forgets() {
    let app = TestApp::start().await;
    let token = app.new_instance("shop").await;
    app.link("shop", SHOP).await;
    let reply = app.delete("/api/instance/delete/shop").send().await;
    let expected = r#"{"success":true,"message":"Instance deleted","instance":{"status":"deleted"}}"#;
    assert_eq!((reply.status, reply.text.as_str()), (200, expected));
    assert_eq!(app.sandbox.look(|world| world.linked_devices(phone(SHOP))), 0);
    app.delete("/api/instance/delete/shop")
        .send()
        .await
        .assert_error(404, "Instance not found");
    app.get("/api/instance/list")
        .token(&token)
        .send()
        .await
        .assert_error(401, "Invalid token");
    // The name is free again, and what has it is a new instance.
    app.new_instance("shop").await;
    assert_eq!(app.state("shop").await, "disconnected");
}

#[tokio::test(start_paused = true)]
async fn settings_are_shown_and_the_real_one_is_kept() {
    let app = TestApp::with_shop().await;
    let settings = |keep: bool| {
        json!({"autoRejectCalls": false, "callRejectMessage": "", "ignoreGroupMessages": false,
               "keepOnlineStatus": keep, "autoReadMessages": false, "disableHistorySync": true, "ignoreStatus": false})
    };
    let shown = app.get("/api/instance/getSettings/shop").send().await.json();
    assert_eq!(
        shown,
        json!({"success": true, "message": "Settings retrieved successfully", "settings": settings(false)})
    );
    let change = |body: Value| app.post("/api/instance/settings/shop").json(&body).send();
    let changed = change(settings(true)).await.json();
    assert_eq!(
        changed,
        json!({"success": true, "message": "Settings updated successfully", "settings": settings(true)})
    );
    // What is not named stays; another value of what is constant is taken, changes nothing, and is named.
    assert_eq!(change(json!({})).await.json()["settings"], settings(true));
    let changed =
        change(json!({"keepOnlineStatus": false, "autoReadMessages": true, "ignoreStatus": false})).await;
    let expected = json!({"success": true, "message": "Settings updated successfully",
                          "settings": settings(false), "ignored": ["autoReadMessages"]});
    assert_eq!((changed.status, changed.json()), (200, expected));
    change(json!({"keepOnlineStatus": true, "autoReadMessages": 1}))
        .await
        .assert_error(400, "Invalid request body");
    let shown = app.get("/api/instance/getSettings/shop").send().await.json();
    assert_eq!(
        shown["settings"],
        settings(false),
        "what is refused changes nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fresh_pairing_shows_its_first_presence_within_two_seconds() {
    let app = TestApp::start().await;
    app.new_instance("shop").await;
    let qr = app.qr("shop").await;
    let start = Instant::now();
    app.sandbox.scan(phone(SHOP), &qr).await.unwrap();
    app.wait_for_state("shop", "connected").await;
    app.show("typing", 5).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_change_is_finished_though_its_client_has_gone() {
    let app = TestApp::with_shop().await;
    let found = async || app.get("/api/instance/list").send().await.json()["message"].clone();
    // The logout is not answered; it is given up after 5 s.
    app.sandbox.fault(Fault::stall().on(phone(SHOP))).unwrap();
    let (mut stream, serving) = app.connection();
    let request = format!(
        "DELETE /api/instance/delete/shop HTTP/1.1\r\ntoken: {}\r\n\r\n",
        app.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    sleep(secs(1.0)).await;
    serving.abort();
    assert!(
        serving.await.unwrap_err().is_cancelled(),
        "it was not answered yet"
    );
    assert_eq!(found().await, "1 Instance found");
    sleep(secs(10.0)).await;
    assert_eq!(found().await, "0 Instances found");
}
