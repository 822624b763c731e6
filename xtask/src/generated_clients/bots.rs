//! The bots of `docs/beside-a-gateway.md`, beside a stand-in of the gateways that they are written for: it takes their
//! answers where each gateway does, and has the account's phone send them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::program::{compile_bot, documented};
use super::tools::{python, typescript};
use super::{CUSTOMER, SHOP, check_spell, timeline};
use crate::api::Api;
use crate::service::{Process, Sandbox, say, until};

const DOCS: &str = "docs/beside-a-gateway.md";
/// As GOWA takes it; the others take any text.
const KEY: &str = "user:key";
const QUESTION: &str = "Where is my order?";
const ANSWER: &str = "Your order arrives today.";

/// Runs each bot for `shop`, and lets every gateway tell it of a message.
pub(super) fn try_out(service: &Api, token: &str, sandbox: &Sandbox) -> anyhow::Result<()> {
    let (gateway, answers) = stand_in(sandbox.control.clone())?;
    for (name, mut command) in [("Python", in_python()?), ("TypeScript", in_typescript()?)] {
        let (bot, line) = Process::start(
            name,
            command
                .arg("shop")
                .env("PRESENCE_URL", service.base())
                .env("PRESENCE_TOKEN", token)
                .env("GATEWAY_URL", &gateway)
                .env("GATEWAY_KEY", KEY)
                .env("PORT", "0")
                // A proxy that the installers needed would be asked for loopback too.
                .env("NO_PROXY", "*"),
        )?;
        let url = line
            .strip_prefix("listening on ")
            .context("its first line says where it listens")?;
        let bot_api = Api::new(url, "");
        for webhook in not_for_it() {
            tell(&bot_api, &webhook)?;
        }
        for (gateway, webhook, path) in webhooks() {
            converse(&bot_api, &webhook, path, &answers, sandbox)
                .with_context(|| format!("{name}, {gateway}"))?;
        }
        drop(bot);
        say(format_args!(
            "The {name} bot: beside four gateways, typing came, and the answer ended it."
        ));
    }
    Ok(())
}

fn in_python() -> anyhow::Result<Command> {
    let script = python().join("bot.py");
    fs::write(&script, documented(DOCS, "python")?)?;
    let mut command = Command::new(python().join("bin/python"));
    command.arg(script);
    Ok(command)
}

fn in_typescript() -> anyhow::Result<Command> {
    fs::write(typescript().join("bot.mts"), documented(DOCS, "ts")?)?;
    compile_bot()?;
    let mut command = Command::new("node");
    command.arg(typescript().join("bot.mjs"));
    Ok(command)
}

/// One message comes in, and its answer goes out through the gateway.
fn converse(
    bot: &Api,
    webhook: &Value,
    path: &str,
    answers: &Receiver<String>,
    sandbox: &Sandbox,
) -> anyhow::Result<()> {
    let before = timeline(sandbox)?.len();
    tell(bot, webhook)?;
    let answered = answers.recv_timeout(super::TIMEOUT).context("no answer came")?;
    ensure!(
        answered == path,
        "it answered at {answered}, and the gateway takes answers at {path}"
    );
    until(super::TIMEOUT, "the phone shows nothing again", || {
        let timeline = timeline(sandbox)?;
        Ok(timeline.len() > before && timeline.iter().all(|spell| !spell["hidden_at_ms"].is_null()))
    })?;
    check_spell(&timeline(sandbox)?[before..])
}

fn tell(bot: &Api, webhook: &Value) -> anyhow::Result<()> {
    let answer = bot.call("POST", "/", Some(webhook))?;
    ensure!(answer.status == 200, "{webhook} was answered {}", answer.status);
    Ok(())
}

/// What each gateway says of a customer's message, and where it takes the answer.
fn webhooks() -> [(&'static str, Value, &'static str); 4] {
    let chat = format!("{CUSTOMER}@s.whatsapp.net");
    [
        (
            "Evolution API",
            json!({ "event": "messages.upsert", "instance": "gw", "data": {
                "key": { "remoteJid": chat, "fromMe": false }, "message": { "conversation": QUESTION } } }),
            "/message/sendText/gw",
        ),
        (
            "WAHA",
            json!({ "event": "message", "session": "gw", "payload": {
                "from": format!("{CUSTOMER}@c.us"), "fromMe": false, "body": QUESTION } }),
            "/api/sendText",
        ),
        (
            "GOWA",
            json!({ "event": "message", "device_id": format!("{SHOP}@s.whatsapp.net"), "payload": {
                "chat_id": chat, "is_from_me": false, "body": QUESTION } }),
            "/send/message",
        ),
        (
            "RyzeAPI",
            json!({ "event": "message.exchange", "instanceData": { "instance": "gw" }, "data": { "message": {
                "direction": "incoming", "chat": { "jid": CUSTOMER }, "content": { "text": QUESTION } } } }),
            "/api/message/text/gw",
        ),
    ]
}

/// Messages that the account wrote itself, of a group, and without a text.
fn not_for_it() -> [Value; 3] {
    let upsert = |chat: &str, from_me: bool, message: Value| {
        json!({ "event": "messages.upsert", "instance": "gw", "data": {
            "key": { "remoteJid": chat, "fromMe": from_me }, "message": message } })
    };
    let chat = format!("{CUSTOMER}@s.whatsapp.net");
    [
        upsert(&chat, true, json!({ "conversation": QUESTION })),
        upsert(
            "120363000000000000@g.us",
            false,
            json!({ "conversation": QUESTION }),
        ),
        upsert(&chat, false, json!({ "imageMessage": {} })),
    ]
}

/// A gateway: what it is asked to send goes out from the account's phone, and the path of each is told.
fn stand_in(control: Api) -> anyhow::Result<(String, Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let (sender, answers) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A bot that is answered nothing says so.
            if let Ok(path) = take(stream, &control)
                && sender.send(path).is_err()
            {
                return;
            }
        }
    });
    Ok((url, answers))
}

/// Takes one request, and returns its path.
fn take(mut stream: TcpStream, control: &Api) -> anyhow::Result<String> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length, mut keys) = (String::new(), 0, false);
    while reader.read_line(&mut head)? > 2 {
        let line = head.lines().next_back().unwrap_or_default().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        keys |= ["apikey: ", "x-api-key: ", "authorization: basic ", "token: "]
            .iter()
            .any(|field| line.starts_with(field));
    }
    let path = head.split(' ').nth(1).context("a request has a path")?.to_owned();
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    let text = body["text"].as_str().or(body["message"].as_str());
    ensure!(keys && text == Some(ANSWER), "{head}{body}");
    let message = json!({ "to": CUSTOMER, "text": ANSWER });
    control.post(&format!("/v1/phones/{SHOP}/send"), &message)?;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
    )?;
    Ok(path)
}
