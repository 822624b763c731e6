//! What a client is tried at, in this order: each check goes on where the one before it ended.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::Client;
use super::install::Installed;
use super::trial::{FRIEND, GROUP, OWN, SECOND, SERVICE, Trial, scan, state_dir};
use crate::service::{Programs, say};

/// How long the service shows something, and how far off the client's clock may find it.
const SHOWN: Duration = Duration::from_secs(3);
const TOLERANCE: Duration = Duration::from_millis(700);

/// One line of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) result: CheckResult,
}

pub(super) enum CheckResult {
    Passed,
    Failed(String),
}

type Check = fn(&mut Trial<'_>) -> anyhow::Result<()>;

const CHECKS: [(&str, Check); 22] = [
    (
        "refuses a server whose certificate its root did not sign",
        refuses_another_root,
    ),
    ("pairs by QR code", pairs_by_qr),
    ("connects again with what it remembers", connects_again),
    ("says that it is available", is_available),
    ("looks numbers up", looks_up),
    ("shows typing, recording, pause", shows),
    ("its chat states are what the service sends", compares),
    (
        "is told of the service's typing and recording, and of their ends in time",
        is_told,
    ),
    ("is told of presences", is_told_of_presences),
    ("reads what a phone sends", reads),
    ("reads what its own phone sent", reads_its_own),
    ("is read by a phone", is_read),
    ("knows a group and reads in it", reads_in_a_group),
    ("two devices of one account read", second_device),
    (
        "what it sends for the service's account ends what the service shows",
        ends_what_is_shown,
    ),
    ("comes back after a cut", comes_back),
    ("stops when it is replaced", is_replaced),
    ("stops when it is banned, and comes back", is_banned),
    ("stops when it is unlinked", is_unlinked),
    ("pairs by link code", pairs_by_code),
    ("logs out", logs_out),
    ("uses each key once", uses_keys_once),
];

pub(super) fn run(programs: &Programs, installed: &Installed) -> anyhow::Result<Vec<Row>> {
    let mut trial = Trial::start(programs, installed)?;
    let mut rows = Vec::new();
    for (name, check) in CHECKS {
        let result = match check(&mut trial) {
            Ok(()) => CheckResult::Passed,
            Err(error) => CheckResult::Failed(format!("{error:#}")),
        };
        say(match &result {
            CheckResult::Passed => format!("   yes  {name}"),
            CheckResult::Failed(why) => format!("   NO   {name}: {why}"),
        });
        rows.push(Row { name, result });
    }
    trial.end()?;
    Ok(rows)
}

fn text_is(text: &str) -> impl Fn(&Value) -> bool {
    move |event| event["text"] == text
}

/// Another root than the one that signed the sandbox's certificates, in Base64.
const OTHER_ROOT: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

fn refuses_another_root(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.with_root(OTHER_ROOT, |mut client| {
        client.tell(&json!({ "do": "connect" }))?;
        client.never("qr", Duration::from_secs(4))
    })
}

fn pairs_by_qr(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let (mut client, qr) = trial.unlinked()?;
    scan(trial.control(), OWN, &qr)?;
    let (_, paired) = client.wait("paired", |_| true)?;
    ensure!(
        paired["jid"] == format!("{OWN}:1@s.whatsapp.net"),
        "it is paired as {}",
        paired["jid"]
    );
    client.wait("open", |_| true)?;
    trial.client = Some(client);
    Ok(())
}

fn connects_again(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    // What a pairing is followed by may take the client a moment to store.
    std::thread::sleep(Duration::from_secs(2));
    if let Some(client) = trial.client.take() {
        client.quit()?;
    }
    trial.until("it is gone", |trial| Ok(trial.phone(OWN)?["connections"] == 0))?;
    trial.restart()
}

fn is_available(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.client()?.tell(&json!({ "do": "available", "on": true }))?;
    trial.until("it is available", |trial| {
        Ok(trial.phone(OWN)?["available"] == true)
    })
}

fn looks_up(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let nobody = "5511900000001";
    trial
        .control()
        .call(
            "PUT",
            &format!("/v1/numbers/{nobody}"),
            Some(&json!({ "canonical": null })),
        )?
        .success("numbers")?;
    let alias = "551177776666";
    trial
        .control()
        .call(
            "PUT",
            &format!("/v1/numbers/{alias}"),
            Some(&json!({ "canonical": FRIEND })),
        )?
        .success("numbers")?;
    for (number, found) in [(FRIEND, Some(FRIEND)), (alias, Some(FRIEND)), (nobody, None)] {
        let client = trial.client()?;
        client.tell(&json!({ "do": "look_up", "number": number }))?;
        let (_, answer) = client.wait("looked_up", |_| true)?;
        ensure!(answer["exists"] == found.is_some(), "{number}: {answer}");
        if let Some(found) = found {
            ensure!(
                answer["jid"] == format!("{found}@s.whatsapp.net"),
                "{number}: {answer}"
            );
        }
    }
    Ok(())
}

fn shows(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let to = trial.address(FRIEND)?;
    for state in ["composing", "recording", "paused"] {
        trial
            .client()?
            .tell(&json!({ "do": "show", "to": to, "state": state }))?;
    }
    trial.until(
        "the friend's phone shows typing, then recording, then nothing",
        |trial| {
            let shown = trial.control().get(&format!("/v1/phones/{FRIEND}/shown"))?;
            let timeline = shown["timeline"].as_array().cloned().unwrap_or_default();
            let told: Vec<_> = timeline
                .iter()
                .filter(|spell| spell["from"] == OWN)
                .map(|spell| (spell["state"].clone(), spell["why"].clone()))
                .collect();
            Ok(told
                == [
                    (json!("typing"), json!("replaced")),
                    (json!("recording"), json!("paused")),
                ])
        },
    )
}

fn compares(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    show(trial, FRIEND, "typing")?;
    show(trial, FRIEND, "pause")?;
    let (ours, our_jids) = trial.last_chat_state(SERVICE)?;
    let (theirs, their_jids) = trial.last_chat_state(OWN)?;
    let to = trial.address(FRIEND)?;
    ensure!(
        ours == format!("<chatstate to=\"{to}\"><composing/></chatstate>"),
        "ours: {ours}"
    );
    ensure!(our_jids == json!(["chatstate.to"]), "ours: {our_jids}");
    // Baileys says who it is, which the others leave to the server.
    let (expected, jids) = match trial.installed.client {
        Client::Baileys => (
            format!("<chatstate from=\"{OWN}:1@s.whatsapp.net\" to=\"{to}\"><composing/></chatstate>"),
            json!(["chatstate.from", "chatstate.to"]),
        ),
        Client::Whatsmeow => (
            format!("<chatstate to=\"{to}\"><composing/></chatstate>"),
            json!(["chatstate.to"]),
        ),
    };
    ensure!(theirs == expected, "theirs: {theirs}");
    ensure!(their_jids == jids, "theirs: {their_jids}");
    Ok(())
}

/// The service shows something to `number` for [`SHOWN`].
fn show(trial: &Trial<'_>, number: &str, state: &str) -> anyhow::Result<()> {
    let request = json!({ "number": number, "state": state, "duration": SHOWN.as_secs() });
    trial
        .service
        .post("/api/chat/presence/clients", &request)
        .map(drop)
}

fn is_told(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    for (state, told) in [("typing", "composing"), ("recording", "recording")] {
        show(trial, OWN, state)?;
        let client = trial.client()?;
        let (began, event) = client.wait("presence", |event| event["state"] == told)?;
        let from = event["from"].as_str().unwrap_or_default();
        let expected = match trial.installed.client {
            Client::Baileys => format!("{SERVICE}@s.whatsapp.net"),
            Client::Whatsmeow => format!("{}@lid", 300_000_000_000_000_000 + SERVICE.parse::<u64>()?),
        };
        ensure!(from == expected, "it was told of {from}");
        // What Baileys calls `available` is a pause.
        let (ended, _) = trial
            .client()?
            .wait("presence", |event| event["state"] == "available")?;
        let lasted = ended - began;
        ensure!(
            lasted.abs_diff(SHOWN) < TOLERANCE,
            "{state} lasted {lasted:?}, not {SHOWN:?}"
        );
    }
    Ok(())
}

fn is_told_of_presences(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let to = trial.address(FRIEND)?;
    let client = trial.client()?;
    client.tell(&json!({ "do": "subscribe", "to": to }))?;
    client
        .wait("presence", |event| event["state"] == "unavailable")
        .map(drop)
}

fn reads(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let sent = trial.send(FRIEND, OWN, "hello")?;
    let (_, message) = trial.client()?.wait("message", text_is("hello"))?;
    ensure!(message["me"] == false, "it thinks that it wrote it: {message}");
    trial.until("the phone has a receipt", |trial| {
        let inbox = trial.control().get(&format!("/v1/phones/{FRIEND}/messages"))?;
        let receipts = inbox["receipts"].as_array().cloned().unwrap_or_default();
        ensure!(
            receipts.iter().all(|receipt| receipt["kind"] != "retry"),
            "it asked again: {receipts:?}"
        );
        Ok(receipts
            .iter()
            .any(|receipt| receipt["id"] == sent["id"] && receipt["from"] == OWN && receipt["device"] == 1))
    })
}

fn reads_its_own(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.send(OWN, FRIEND, "from my phone")?;
    let (_, message) = trial.client()?.wait("message", text_is("from my phone"))?;
    ensure!(
        message["me"] == true,
        "it thinks that somebody else wrote it: {message}"
    );
    Ok(())
}

fn is_read(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let to = format!("{FRIEND}@s.whatsapp.net");
    trial
        .client()?
        .tell(&json!({ "do": "text", "to": to, "text": "from a device" }))?;
    trial.client()?.wait("sent", |_| true)?;
    for number in [FRIEND, OWN] {
        trial.until("both phones have it", |trial| {
            let inbox = trial.control().get(&format!("/v1/phones/{number}/messages"))?;
            let messages = inbox["messages"].as_array().cloned().unwrap_or_default();
            Ok(messages
                .iter()
                .any(|message| message["text"] == "from a device" && message["from"] == OWN))
        })?;
    }
    Ok(())
}

fn reads_in_a_group(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let client = trial.client()?;
    client.tell(&json!({ "do": "group", "group": format!("{GROUP}@g.us") }))?;
    let (_, group) = client.wait("group", |_| true)?;
    ensure!(group["subject"] == "Friends" && group["size"] == 2, "{group}");
    for text in ["hello all", "again"] {
        trial.send(FRIEND, &format!("{GROUP}@g.us"), text)?;
        let (_, message) = trial.client()?.wait("message", text_is(text))?;
        ensure!(message["chat"] == format!("{GROUP}@g.us"), "{message}");
    }
    Ok(())
}

fn second_device(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let state = state_dir()?;
    let mut other = trial.driver(state.path().into())?;
    other.tell(&json!({ "do": "connect" }))?;
    let (_, qr) = other.wait("qr", |_| true)?;
    scan(trial.control(), OWN, qr["qr"].as_str().unwrap_or_default())?;
    other.wait("open", |_| true)?;
    trial.until("two are connected", |trial| {
        Ok(trial.phone(OWN)?["connections"] == 2)
    })?;
    std::thread::sleep(Duration::from_secs(2));
    trial.send(FRIEND, OWN, "to both")?;
    other.wait("message", text_is("to both"))?;
    trial.client()?.wait("message", text_is("to both"))?;
    // The one writes, the other reads.
    let to = format!("{FRIEND}@s.whatsapp.net");
    other.tell(&json!({ "do": "text", "to": to, "text": "from the second" }))?;
    let (_, message) = trial.client()?.wait("message", text_is("from the second"))?;
    ensure!(message["me"] == true, "{message}");
    other.tell(&json!({ "do": "logout" }))?;
    trial.until("one is left", |trial| Ok(trial.phone(OWN)?["devices"] == 1))
}

/// As a gateway that is linked beside the service: the one shows "typing…", the other sends the answer.
fn ends_what_is_shown(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let state = state_dir()?;
    let mut gateway = trial.driver(state.path().into())?;
    gateway.tell(&json!({ "do": "connect" }))?;
    let (_, qr) = gateway.wait("qr", |_| true)?;
    scan(trial.control(), SERVICE, qr["qr"].as_str().unwrap_or_default())?;
    gateway.wait("open", |_| true)?;
    trial.until("two are connected", |trial| {
        Ok(trial.phone(SERVICE)?["connections"] == 2)
    })?;
    std::thread::sleep(Duration::from_secs(2));
    let before = shown_by_service(trial)?.len();
    let request = json!({ "number": FRIEND, "state": "typing", "duration": 60 });
    trial.service.post("/api/chat/presence/clients", &request)?;
    trial.until("the friend's phone shows it", |trial| {
        Ok(shown_by_service(trial)?.len() == before + 1)
    })?;
    let to = format!("{FRIEND}@s.whatsapp.net");
    gateway.tell(&json!({ "do": "text", "to": to, "text": "the answer" }))?;
    gateway.wait("sent", |_| true)?;
    trial.until("the answer is there, and nothing is shown", |trial| {
        let inbox = trial.control().get(&format!("/v1/phones/{FRIEND}/messages"))?;
        let messages = inbox["messages"].as_array().cloned().unwrap_or_default();
        let came = messages.iter().any(|message| message["text"] == "the answer");
        Ok(came && shown_by_service(trial)?[before]["why"] == "paused")
    })?;
    // Longer than until the next re-send would come.
    std::thread::sleep(Duration::from_secs(6));
    let shown = shown_by_service(trial)?;
    ensure!(shown.len() == before + 1, "it came back: {shown:?}");
    gateway.tell(&json!({ "do": "logout" }))?;
    trial.until("one is left", |trial| Ok(trial.phone(SERVICE)?["devices"] == 1))
}

/// What the service has shown on the friend's phone.
fn shown_by_service(trial: &Trial<'_>) -> anyhow::Result<Vec<Value>> {
    let shown = trial.control().get(&format!("/v1/phones/{FRIEND}/shown"))?;
    let timeline = shown["timeline"].as_array().cloned().unwrap_or_default();
    Ok(timeline
        .into_iter()
        .filter(|spell| spell["from"] == SERVICE)
        .collect())
}

fn comes_back(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.control().post_nothing(&format!("/v1/phones/{OWN}/drop"))?;
    let own_way = trial.installed.client == Client::Whatsmeow;
    let client = trial.client()?;
    client.wait("closed", |_| true)?;
    if !own_way {
        client.tell(&json!({ "do": "connect" }))?;
    }
    client.wait("open", |_| true).map(drop)
}

fn is_replaced(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.fault(&json!({ "kind": "replaced", "account": OWN }))?;
    trial.client()?.wait("closed", |event| event["code"] == 440)?;
    trial.restart()
}

fn is_banned(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.fault(&json!({ "kind": "ban", "lasts_ms": 60_000, "account": OWN }))?;
    trial.client()?.wait("closed", |event| event["code"] == 402)?;
    trial.control().delete("/v1/faults")?;
    trial.restart()
}

fn is_unlinked(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial
        .control()
        .post_nothing(&format!("/v1/phones/{OWN}/unlink"))?;
    trial
        .client()?
        .wait("closed", |event| event["code"] == 401)
        .map(drop)
}

fn pairs_by_code(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let (mut client, _) = trial.unlinked()?;
    client.tell(&json!({ "do": "code", "number": SECOND }))?;
    let (_, code) = client.wait("code", |_| true)?;
    trial.control().post(
        &format!("/v1/phones/{SECOND}/link"),
        &json!({ "code": code["code"] }),
    )?;
    client.wait("open", |_| true)?;
    trial.client = Some(client);
    Ok(())
}

fn logs_out(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    std::thread::sleep(Duration::from_secs(2));
    trial.client()?.tell(&json!({ "do": "logout" }))?;
    trial.until("no device is linked", |trial| {
        Ok(trial.phone(SECOND)?["devices"] == 0)
    })
}

/// What the journal says was refused, of all this.
fn uses_keys_once(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let journal = trial.control().get("/v1/journal")?;
    let entries = journal["entries"].as_array().cloned().unwrap_or_default();
    let refused: Vec<_> = entries
        .iter()
        .map(|entry| &entry["refused"])
        .filter(|refused| {
            **refused == "pre_key_used" || **refused == "wrong_signature" || **refused == "wrong_identity"
        })
        .collect();
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(())
}
