//! kill -9 at random moments while messages come in: what a session has learnt of its peers is written behind its
//! back, and must be of one moment all the same.
//!
//! After each kill every session comes back without pairing again. At the end every message that was ever sent can be
//! read: each has a receipt that is no request to repeat it, however often it had to be repeated. And the sandbox has
//! seen no one-time key twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::town::SETTINGS;
use crate::api::Api;
use crate::service::{Programs, Sandbox, Server, say, until};

/// How many sessions receive messages.
const INSTANCES: usize = 8;
/// How many peers write to each. Every one begins with a one-time key of the device.
const PEERS: usize = 6;
/// When the server is killed after it was started, at the latest, in milliseconds: the sessions are on their way
/// back for some tens of them, and the messages that waited come right after that.
const LATEST_KILL_MS: u64 = 600;
/// How long all sessions may take to be back.
const ONLINE: Duration = Duration::from_secs(60);
/// How long the last messages may take to be read.
const READ: Duration = Duration::from_secs(60);
/// How long a writer rests between two messages.
const PAUSE: Duration = Duration::from_millis(15);
/// The sandbox keeps the last 1000 receipts of a phone, and a message may have several.
const MOST_A_PEER: usize = 250;

/// Kills a server `count` times.
pub(super) fn run(programs: &Programs, count: usize, rng: &mut StdRng) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let sandbox = programs.sandbox_with(&["--lids"])?;
    let token = programs.new_account("kills", data.path())?;
    let mut server = programs.server(&sandbox, data.path(), &SETTINGS)?;
    for instance in 0..INSTANCES {
        pair(&Api::new(server.url.clone(), token.clone()), &sandbox, instance)?;
    }
    let stop = AtomicBool::new(false);
    let sent = Sent::default();
    let moments: Vec<u64> = (0..count).map(|_| rng.random_range(0..LATEST_KILL_MS)).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..PEERS)
            .map(|nth| {
                scope.spawn({
                    let (sandbox, stop, sent) = (&sandbox, &stop, &sent);
                    move || write(sandbox, nth, count, stop, sent)
                })
            })
            .collect();
        let killed = kill(programs, &sandbox, data.path(), &mut server, &moments, &token);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("a writer reports its failures")?;
        }
        killed
    })?;
    wait_until_online(&server, &token)?;
    let (messages, repeated) = check_read(&sandbox, &sent)?;
    check_refused(&sandbox)?;
    server.stop()?;
    say(format_args!(
        "{count} kills in {:.0} s: {INSTANCES} sessions came back each time, {messages} messages were read, {repeated} of \
         them after they were repeated, and no key was used twice.",
        began.elapsed().as_secs_f32()
    ));
    Ok(())
}

/// The messages that were sent, by the peer who wrote them.
#[derive(Default)]
struct Sent(Mutex<BTreeMap<usize, BTreeSet<String>>>);

fn kill(
    programs: &Programs,
    sandbox: &Sandbox,
    data: &Path,
    server: &mut Server,
    moments: &[u64],
    token: &str,
) -> anyhow::Result<()> {
    for (nth, moment) in moments.iter().enumerate() {
        // Every other time the sessions are all online and busy, and else just about to be.
        if nth % 2 == 0 {
            wait_until_online(server, token)?;
        }
        std::thread::sleep(Duration::from_millis(*moment));
        server.end(true)?;
        *server = programs.server(sandbox, data, &SETTINGS)?;
        if (nth + 1) % 25 == 0 {
            say(format_args!("{} kills.", nth + 1));
        }
    }
    Ok(())
}

/// Writes to every instance in turn, until it is told to stop.
fn write(sandbox: &Sandbox, nth: usize, kills: usize, stop: &AtomicBool, sent: &Sent) -> anyhow::Result<()> {
    let path = format!("{}/send", peer(nth));
    for message in 0.. {
        if stop.load(Ordering::Relaxed) || message >= MOST_A_PEER {
            break;
        }
        let body =
            json!({ "to": number(message % INSTANCES).to_string(), "text": format!("{message} of {kills}") });
        let answer = sandbox.control.post(&path, &body)?;
        let id = answer["id"].as_str().context("a message has an id")?.to_owned();
        sent.0
            .lock()
            .expect("no writer panics")
            .entry(nth)
            .or_default()
            .insert(id);
        // They last for about as long as the kills.
        std::thread::sleep(
            PAUSE.max(Duration::from_millis(LATEST_KILL_MS / 2) * kills as u32 / MOST_A_PEER as u32),
        );
    }
    Ok(())
}

/// Every message has a receipt of the device that says that it could be read; how many there are, and how many had
/// to be repeated.
fn check_read(sandbox: &Sandbox, sent: &Sent) -> anyhow::Result<(usize, usize)> {
    let (mut messages, mut repeated) = (0, 0);
    let sent = sent.0.lock().expect("no writer panics");
    for (nth, ids) in &*sent {
        let unread = || -> anyhow::Result<BTreeSet<String>> {
            let receipts = receipts(sandbox, *nth)?;
            let read = receipts
                .iter()
                .filter(|(_, kind)| kind != "retry")
                .map(|(id, _)| id);
            let read: BTreeSet<_> = read.collect();
            Ok(ids.iter().filter(|id| !read.contains(id)).cloned().collect())
        };
        until(READ, "every message is read", || Ok(unread()?.is_empty()))
            .with_context(|| format!("peer {nth} wrote {} messages", ids.len()))?;
        let receipts = receipts(sandbox, *nth)?;
        let asked_again: BTreeSet<_> = receipts.iter().filter(|(_, kind)| kind == "retry").collect();
        messages += ids.len();
        repeated += asked_again.len();
    }
    ensure!(messages > 0, "no message was sent");
    Ok((messages, repeated))
}

/// Which message, and the kind: those of linked devices, not of phones.
fn receipts(sandbox: &Sandbox, nth: usize) -> anyhow::Result<Vec<(String, String)>> {
    let got = sandbox.control.get(&format!("{}/messages", peer(nth)))?;
    let receipts = got["receipts"].as_array().context("a phone lists its receipts")?;
    let text = |receipt: &Value, field: &str| receipt[field].as_str().unwrap_or_default().to_owned();
    Ok(receipts
        .iter()
        .filter(|receipt| receipt["device"] != 0)
        .map(|receipt| (text(receipt, "id"), text(receipt, "kind")))
        .collect())
}

/// WhatsApp has refused nothing that has to do with keys.
fn check_refused(sandbox: &Sandbox) -> anyhow::Result<()> {
    let journal = sandbox.control.get("/v1/journal")?;
    let entries = journal["entries"].as_array().context("a journal has entries")?;
    for entry in entries {
        // A login over a connection whose server was just killed replaces it; that is as it should be.
        let refused = entry["refused"].as_str().unwrap_or_default();
        ensure!(
            matches!(refused, "" | "replaced"),
            "the sandbox refused a stanza as {refused}: {}",
            entry["stanza"]
        );
    }
    for instance in 0..INSTANCES {
        let devices = &sandbox.control.get(&phone(instance))?["devices"];
        ensure!(
            devices == 1,
            "the phone of {} lists {devices} devices",
            name(instance)
        );
    }
    Ok(())
}

fn wait_until_online(server: &Server, token: &str) -> anyhow::Result<()> {
    let api = Api::new(server.url.clone(), token);
    until(ONLINE, "every session is back", || {
        let list = api.get("/api/instance/list")?;
        let instances = list["instances"].as_array().context("list gave no instances")?;
        let state = |instance: &Value| {
            instance["connection"]["state"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        for instance in instances {
            let state = state(instance);
            ensure!(
                state == "connected" || state == "connecting",
                "{} is {state}: {}",
                instance["name"],
                instance["connection"]["displayStatus"]
            );
        }
        Ok(instances.iter().all(|instance| state(instance) == "connected"))
    })
}

fn pair(api: &Api, sandbox: &Sandbox, instance: usize) -> anyhow::Result<()> {
    api.post("/api/instance/new", &json!({ "name": name(instance) }))?;
    sandbox.link(api, &name(instance), number(instance))?;
    let path = format!("/api/instance/list?instanceName={}", name(instance));
    until(ONLINE, "a new session is online", || {
        let list = api.get(&path)?;
        Ok(list["instances"][0]["connection"]["state"] == "connected")
    })
}

fn name(instance: usize) -> String {
    format!("kill-{instance}")
}

fn number(instance: usize) -> u64 {
    5_511_600_000_000 + instance as u64
}

fn phone(instance: usize) -> String {
    format!("/v1/phones/{}", number(instance))
}

fn peer(nth: usize) -> String {
    format!("/v1/phones/{}", 14_155_550_100 + nth as u64)
}
