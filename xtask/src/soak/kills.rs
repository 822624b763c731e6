//! kill -9 at random moments while messages come in: what a session has learnt of its peers is written behind its
//! back, and must be of one moment all the same.
//!
//! After each kill every session comes back without pairing again. At the end every message that was ever sent can be
//! read: each has a receipt that is no request to repeat it, however often it had to be repeated. And the sandbox has
//! seen no one-time key twice.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::messages::{Messages, check_refused};
use super::town::SETTINGS;
use crate::api::Api;
use crate::service::{Programs, Sandbox, Server, say, until};

/// How many sessions receive messages.
const INSTANCES: usize = 8;
/// When the server is killed after it was started, at the latest, in milliseconds: the sessions are on their way
/// back for some tens of them, and the messages that waited come right after that.
const LATEST_KILL_MS: u64 = 600;
/// How long all sessions may take to be back.
const ONLINE: Duration = Duration::from_secs(60);

/// Kills a server `count` times.
pub(super) fn run(programs: &Programs, count: usize, rng: &mut StdRng) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let sandbox = programs.sandbox_with(&["--lids"])?;
    let token = programs.new_account("kills", data.path())?;
    let mut server = programs.server(&sandbox, data.path(), &SETTINGS)?;
    for instance in 0..INSTANCES {
        pair(&Api::new(server.url.clone(), token.clone()), &sandbox, instance)?;
    }
    // They last for about as long as the kills.
    let lasts = Duration::from_millis(LATEST_KILL_MS / 2) * count as u32;
    let messages = Messages::new(&sandbox, (0..INSTANCES).map(number), lasts);
    let moments: Vec<u64> = (0..count).map(|_| rng.random_range(0..LATEST_KILL_MS)).collect();
    let began = Instant::now();
    messages.written_during(|| kill(programs, &sandbox, data.path(), &mut server, &moments, &token))?;
    wait_until_online(&server, &token)?;
    let (messages, repeated) = messages.check_read()?;
    // A login over a connection whose server was just killed replaces it; that is as it should be.
    check_refused(&sandbox, &["replaced"])?;
    check_devices(&sandbox)?;
    server.stop()?;
    say(format_args!(
        "{count} kills in {:.0} s: {INSTANCES} sessions came back each time, {messages} messages were read, {repeated} of \
         them after they were repeated, and no key was used twice.",
        began.elapsed().as_secs_f32()
    ));
    Ok(())
}

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

/// No phone has a device too many, or none.
fn check_devices(sandbox: &Sandbox) -> anyhow::Result<()> {
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
