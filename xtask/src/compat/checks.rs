//! What a client is tried at. What it shows is read from the customer's phone.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::Client;
use super::trial::{CUSTOMER, SHOP, Trial};

type Check = fn(&mut Trial) -> anyhow::Result<()>;

/// The checks of `client`, in their order.
pub(super) fn of(client: Client) -> &'static [(&'static str, Check)] {
    match client {
        Client::N8n => &N8N,
        Client::Pyevolutionapi => &PYEVOLUTIONAPI,
        Client::Evolutionapi => &EVOLUTIONAPI,
        Client::WahaPy => &WAHA,
    }
}

const N8N: [(&str, Check); 8] = [
    (
        "Credential test: an account's and an instance's key pass, others do not",
        n8n_credentials,
    ),
    ("Fetch Instances", n8n_finds_instances),
    (
        "Send Presence with what its form shows at first",
        n8n_shows_by_default,
    ),
    ("Send Presence: typing for as long as it says", types),
    ("Send Presence: recording", records),
    (
        "Send Presence with the instance's own key",
        types_with_its_own_key,
    ),
    ("Set Presence: available, unavailable", sets_presence),
    ("what is refused is told in the node's words", n8n_is_refused),
];

const PYEVOLUTIONAPI: [(&str, Check); 8] = [
    ("fetch_instances", py_finds_instances),
    ("connection_state", knows_states),
    ("send_presence: typing for as long as it says", types),
    ("send_presence: recording", records),
    ("send_presence: paused ends it", pauses),
    (
        "send_presence with the instance's own key",
        types_with_its_own_key,
    ),
    ("set_presence: available, unavailable", sets_presence),
    ("errors are those that the package knows", py_is_refused),
];

const EVOLUTIONAPI: [(&str, Check); 8] = [
    ("fetch_instances", finds_instances),
    ("get_connection_state", knows_states),
    ("send_presence: typing for as long as it says", types),
    ("send_presence: recording", records),
    ("send_presence: paused ends it", pauses),
    (
        "send_presence with the instance's own key",
        types_with_its_own_key,
    ),
    ("set_presence: available, unavailable", sets_presence),
    ("errors are those that the package knows", evolution_is_refused),
];

const WAHA: [(&str, Check); 6] = [
    ("sessions.list, sessions.get", waha_finds_sessions),
    ("start_typing shows until stop_typing", waha_types),
    ("set_presence: recording, typing, paused", waha_sets_chat_presence),
    ("set_presence: online, offline", waha_sets_presence),
    ("session \"default\" is the instance of its key", waha_default),
    ("errors have their statuses", waha_is_refused),
];

/// A command with the account's key.
fn command(trial: &Trial, name: &str, mut arguments: Value) -> Value {
    arguments["do"] = json!(name);
    if arguments["key"].is_null() {
        arguments["key"] = json!(trial.account);
    }
    arguments
}

fn send(trial: &Trial, presence: &str, delay: u64) -> Value {
    let arguments = json!({ "instance": "shop", "number": CUSTOMER, "presence": presence, "delay": delay });
    command(trial, "send_presence", arguments)
}

fn nothing(_: &mut Trial) -> anyhow::Result<()> {
    Ok(())
}

fn types(trial: &mut Trial) -> anyhow::Result<()> {
    // Longer than a phone shows what is not renewed.
    let typing = send(trial, "composing", 11_500);
    trial.shows(&typing, "typing", Duration::from_secs(12), nothing)
}

fn records(trial: &mut Trial) -> anyhow::Result<()> {
    let recording = send(trial, "recording", 1_200);
    trial.shows(&recording, "recording", Duration::from_secs(2), nothing)
}

fn pauses(trial: &mut Trial) -> anyhow::Result<()> {
    let typing = send(trial, "composing", 30_000);
    trial.shows(&typing, "typing", Duration::from_secs(2), |trial| {
        std::thread::sleep(Duration::from_secs(2));
        let paused = send(trial, "paused", 1_000);
        trial.ask(&paused).map(drop)
    })
}

fn types_with_its_own_key(trial: &mut Trial) -> anyhow::Result<()> {
    let mut typing = send(trial, "composing", 1_000);
    typing["key"] = json!(trial.shop);
    trial.shows(&typing, "typing", Duration::from_secs(1), nothing)
}

fn sets_presence(trial: &mut Trial) -> anyhow::Result<()> {
    for (presence, kept) in [("available", true), ("unavailable", false)] {
        let arguments = json!({ "instance": "shop", "presence": presence });
        let set = command(trial, "set_presence", arguments);
        trial.ask(&set)?;
        trial.is_kept_online(kept)?;
    }
    Ok(())
}

fn knows_states(trial: &mut Trial) -> anyhow::Result<()> {
    for (instance, state) in [("shop", "open"), ("spare", "close")] {
        let asked = command(trial, "connection_state", json!({ "instance": instance }));
        let found = trial.ask(&asked)?;
        ensure!(
            found == json!({ "instance": { "instanceName": instance, "state": state } }),
            "{found}"
        );
    }
    Ok(())
}

/// `shop` is among them, and what is said of it is right.
fn are_instances(found: &Value) -> anyhow::Result<()> {
    let shop = &found[0];
    ensure!(
        shop["name"] == "shop"
            && shop["connectionStatus"] == "open"
            && shop["ownerJid"] == format!("{SHOP}@s.whatsapp.net")
            && found[1]["connectionStatus"] == "close",
        "{found}"
    );
    Ok(())
}

fn finds_instances(trial: &mut Trial) -> anyhow::Result<()> {
    let fetch = command(trial, "fetch_instances", json!({}));
    are_instances(&trial.ask(&fetch)?)
}

fn py_finds_instances(trial: &mut Trial) -> anyhow::Result<()> {
    let fetch = command(trial, "fetch_instances", json!({}));
    let found = trial.ask(&fetch)?;
    // Of what Evolution API says now, its model keeps this.
    ensure!(found[0]["id"] == "1" && found[1]["id"] == "2", "{found}");
    Ok(())
}

fn py_is_refused(trial: &mut Trial) -> anyhow::Result<()> {
    let typing = send(trial, "composing", 1_000);
    let rows = [
        ("key", "wrong", "AuthenticationError", "Unauthorized"),
        (
            "instance",
            "nobody",
            "NotFoundError",
            "The \"nobody\" instance does not exist",
        ),
        ("number", "12", "ValidationError", "Invalid number"),
        (
            "presence",
            "typing",
            "ValidationError",
            "presence is not one of enum values",
        ),
        (
            "instance",
            "spare",
            "EvolutionAPIError",
            "Instance is not connected",
        ),
    ];
    for (field, value, error, text) in rows {
        let mut wrong = typing.clone();
        wrong[field] = json!(value);
        trial.is_refused(&wrong, &[error, text])?;
    }
    Ok(())
}

fn evolution_is_refused(trial: &mut Trial) -> anyhow::Result<()> {
    let wrong = command(trial, "fetch_instances", json!({ "key": "wrong" }));
    trial.is_refused(&wrong, &["EvolutionAuthenticationError"])?;
    let nobody = command(trial, "connection_state", json!({ "instance": "nobody" }));
    trial.is_refused(&nobody, &["EvolutionNotFoundError"])?;
    // It hands an answer to a POST over whatever it is.
    let mut wrong = send(trial, "composing", 1_000);
    wrong["number"] = json!("12");
    let answer = trial.ask(&wrong)?;
    ensure!(
        answer["status"] == 400 && answer["response"]["message"][0].is_string(),
        "{answer}"
    );
    Ok(())
}

fn n8n_credentials(trial: &mut Trial) -> anyhow::Result<()> {
    for key in [trial.account.clone(), trial.shop.clone()] {
        let test = command(trial, "test_credentials", json!({ "key": key }));
        trial.ask(&test)?;
    }
    for key in ["wrong", ""] {
        let test = command(trial, "test_credentials", json!({ "key": key }));
        trial.is_refused(&test, &["401"])?;
    }
    Ok(())
}

fn n8n_finds_instances(trial: &mut Trial) -> anyhow::Result<()> {
    let fetch = command(trial, "fetch_instances", json!({}));
    are_instances(&trial.ask(&fetch)?["data"])?;
    let one = command(trial, "fetch_instances", json!({ "instance": "spare" }));
    let found = trial.ask(&one)?;
    ensure!(
        found["data"][0]["name"] == "spare" && found["data"][1].is_null(),
        "{found}"
    );
    Ok(())
}

fn n8n_shows_by_default(trial: &mut Trial) -> anyhow::Result<()> {
    // Typing, and 1,200 ms.
    let typing = command(
        trial,
        "send_presence",
        json!({ "instance": "shop", "number": CUSTOMER }),
    );
    trial.shows(&typing, "typing", Duration::from_secs(2), nothing)
}

fn n8n_is_refused(trial: &mut Trial) -> anyhow::Result<()> {
    let typing = send(trial, "composing", 1_000);
    let rows = [
        ("key", "wrong", "401", "Unauthorized"),
        ("instance", "nobody", "404", "instance does not exist"),
        ("number", "12", "400", "Invalid number"),
        ("instance", "spare", "503", "Instance is not connected"),
    ];
    for (field, value, status, text) in rows {
        let mut wrong = typing.clone();
        wrong[field] = json!(value);
        trial.is_refused(&wrong, &["NodeOperationError", status, text])?;
    }
    Ok(())
}

fn waha_finds_sessions(trial: &mut Trial) -> anyhow::Result<()> {
    let list = command(trial, "sessions", json!({}));
    let found = trial.ask(&list)?;
    let shop = &found[0];
    ensure!(
        shop["name"] == "shop"
            && shop["status"] == "WORKING"
            && shop["me"]["id"] == format!("{SHOP}@c.us")
            && found[1].is_null(),
        "{found}"
    );
    for (session, status) in [("shop", "WORKING"), ("spare", "STOPPED")] {
        let get = command(trial, "session", json!({ "session": session }));
        let found = trial.ask(&get)?;
        ensure!(found["name"] == session && found["status"] == status, "{found}");
    }
    Ok(())
}

fn waha_types(trial: &mut Trial) -> anyhow::Result<()> {
    let chat = json!({ "session": "shop", "number": CUSTOMER });
    let start = command(trial, "start_typing", chat.clone());
    let stop = command(trial, "stop_typing", chat);
    // Longer than a phone shows what is not renewed.
    trial.shows(&start, "typing", Duration::from_secs(12), |trial| {
        std::thread::sleep(Duration::from_secs(12));
        let done = trial.ask(&stop)?;
        ensure!(done == json!({ "result": true }), "{done}");
        Ok(())
    })
}

fn waha_sets_chat_presence(trial: &mut Trial) -> anyhow::Result<()> {
    let set = |trial: &Trial, presence: &str| {
        let arguments = json!({ "session": "shop", "presence": presence, "number": CUSTOMER });
        command(trial, "set_presence", arguments)
    };
    for presence in ["recording", "typing"] {
        let show = set(trial, presence);
        trial.shows(&show, presence, Duration::from_secs(2), |trial| {
            std::thread::sleep(Duration::from_secs(2));
            let paused = set(trial, "paused");
            trial.ask(&paused).map(drop)
        })?;
    }
    Ok(())
}

fn waha_sets_presence(trial: &mut Trial) -> anyhow::Result<()> {
    for (presence, kept) in [("online", true), ("offline", false)] {
        let set = command(
            trial,
            "set_presence",
            json!({ "session": "shop", "presence": presence }),
        );
        trial.ask(&set)?;
        trial.is_kept_online(kept)?;
    }
    Ok(())
}

fn waha_default(trial: &mut Trial) -> anyhow::Result<()> {
    let chat = json!({ "session": "default", "number": CUSTOMER, "key": trial.shop });
    let start = command(trial, "start_typing", chat.clone());
    let stop = command(trial, "stop_typing", chat);
    trial.shows(&start, "typing", Duration::from_secs(1), |trial| {
        std::thread::sleep(Duration::from_secs(1));
        trial.ask(&stop).map(drop)
    })
}

fn waha_is_refused(trial: &mut Trial) -> anyhow::Result<()> {
    let typing = command(
        trial,
        "start_typing",
        json!({ "session": "shop", "number": CUSTOMER }),
    );
    let rows = [
        ("key", "wrong", "401", "Unauthorized"),
        ("session", "nobody", "404", "Session not found"),
        ("session", "default", "404", "Session not found"),
        ("number", "12", "400", "Invalid number"),
        (
            "session",
            "spare",
            "422",
            "\"status\":\"STOPPED\",\"expected\":[\"WORKING\"]",
        ),
    ];
    for (field, value, status, text) in rows {
        let mut wrong = typing.clone();
        wrong[field] = json!(value);
        trial.is_refused(&wrong, &["HTTPStatusError", status, text])?;
    }
    Ok(())
}
