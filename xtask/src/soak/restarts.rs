//! Bad starts: after a kill in the middle of a pairing, and over a registry that is older than the keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::town::SETTINGS;
use crate::api::Api;
use crate::service::{Programs, Sandbox, Server, say};

/// How many pairings are cut off.
const KILLS: usize = 10;
/// When the server is killed after the phone began to scan, at the latest, in milliseconds. A pairing takes
/// about a quarter of a second on an idle machine.
const LATEST_KILL_MS: u64 = 250;
/// How long an instance may take to be online after a start.
const ONLINE: Duration = Duration::from_secs(30);
/// How long the sandbox may take to list a device whose confirmation it has read.
const REGISTERED: Duration = Duration::from_millis(500);

/// Kills a server while it pairs, again and again, and then gives it an older registry.
pub(super) fn run(programs: &Programs, rng: &mut StdRng) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let sandbox = programs.sandbox_with(&["--register-after-ms", "100"])?;
    let token = programs.new_account("restarts", data.path())?;
    let mut trial = Trial {
        server: programs.server(&sandbox, data.path(), &SETTINGS)?,
        programs,
        sandbox: &sandbox,
        data: data.path(),
        token,
    };
    let mut linked = 0;
    for kill in 0..KILLS {
        let after = Duration::from_millis(rng.random_range(0..LATEST_KILL_MS));
        let survived = trial.kill_while_pairing(kill, after);
        linked +=
            usize::from(survived.with_context(|| format!("a kill {} ms into a pairing", after.as_millis()))?);
    }
    say(format_args!(
        "{KILLS} kills while a phone was being linked: {linked} links had come about, and each came online."
    ));
    trial.restore().context("an older registry was restored")?;
    say("An older registry was refused, and the newer one brought every instance back.");
    trial.server.stop()
}

struct Trial<'a> {
    programs: &'a Programs,
    sandbox: &'a Sandbox,
    data: &'a Path,
    token: String,
    server: Server,
}

impl Trial<'_> {
    /// Returns whether the phone had linked the device before the server was killed.
    fn kill_while_pairing(&mut self, kill: usize, after: Duration) -> anyhow::Result<bool> {
        let qr = self.create(kill)?;
        let server = &mut self.server;
        let phone = phone(kill);
        let sandbox = self.sandbox;
        std::thread::scope(|scope| {
            // It may well fail: nobody is there any more.
            scope.spawn(|| {
                let scan = json!({ "qr": qr });
                let _ = sandbox
                    .control
                    .call("POST", &format!("{phone}/scan"), Some(&scan));
            });
            std::thread::sleep(after);
            server.end(true)
        })?;
        std::thread::sleep(REGISTERED);
        let linked = self.devices(kill)? == 1;
        self.start()?;
        if linked {
            self.wait_until_online(kill)?;
        } else {
            // Nothing came of it, so it is begun anew.
            let qr = self.qr(kill)?;
            self.scan(kill, &qr)?;
        }
        Ok(linked)
    }

    /// Puts a registry from before a pairing over the keys, and then the right one again.
    fn restore(&mut self) -> anyhow::Result<()> {
        self.server.end(false)?;
        let older = registry(self.data)?;
        self.start()?;
        let qr = self.create(KILLS)?;
        self.scan(KILLS, &qr)?;
        self.server.end(false)?;
        let newer = registry(self.data)?;

        write_registry(self.data, &older)?;
        say("The server now says why it does not start:");
        ensure!(
            self.programs.server(self.sandbox, self.data, &SETTINGS).is_err(),
            "the server started over keys of which its registry knows nothing"
        );
        write_registry(self.data, &newer)?;
        self.start()?;
        (0..=KILLS).try_for_each(|instance| self.wait_until_online(instance))
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.server = self.programs.server(self.sandbox, self.data, &SETTINGS)?;
        Ok(())
    }

    fn api(&self) -> Api {
        Api::new(self.server.url.clone(), self.token.clone())
    }

    fn create(&self, instance: usize) -> anyhow::Result<String> {
        self.api()
            .post("/api/instance/new", &json!({ "name": name(instance) }))?;
        self.qr(instance)
    }

    fn qr(&self, instance: usize) -> anyhow::Result<String> {
        let path = format!("/api/instance/connect/{}", name(instance));
        let answer = self.api().get(&path)?;
        let qr = answer["qrCode"].as_str().context("connect gave no QR code")?;
        Ok(qr.to_owned())
    }

    fn scan(&self, instance: usize, qr: &str) -> anyhow::Result<()> {
        self.sandbox
            .control
            .post(&format!("{}/scan", phone(instance)), &json!({ "qr": qr }))?;
        self.wait_until_online(instance)
    }

    fn devices(&self, instance: usize) -> anyhow::Result<u64> {
        self.sandbox.control.get(&phone(instance))?["devices"]
            .as_u64()
            .context("a phone counts its devices")
    }

    fn wait_until_online(&self, instance: usize) -> anyhow::Result<()> {
        let (began, api, name) = (Instant::now(), self.api(), name(instance));
        loop {
            let list = api.get("/api/instance/list")?;
            let instances = list["instances"].as_array().context("list gave no instances")?;
            let found = instances.iter().find(|item| item["name"] == name.as_str());
            let connection: &Value = &found.context("list does not name it")?["connection"];
            if connection["state"] == "connected" {
                return Ok(());
            }
            if connection["state"] == "loggedout" || began.elapsed() > ONLINE {
                bail!(
                    "{name} is {} {:.1} s after the start, and its phone lists {} devices",
                    connection["displayStatus"],
                    began.elapsed().as_secs_f32(),
                    self.devices(instance)?
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The registry's files, as a stopped server leaves them.
fn registry(data: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("presence.db") {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(files)
}

fn write_registry(data: &Path, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    for name in registry(data)?.into_keys() {
        fs::remove_file(data.join(name))?;
    }
    for (name, content) in files {
        fs::write(data.join(name), content)?;
    }
    Ok(())
}

fn phone(instance: usize) -> String {
    format!("/v1/phones/{}", 5_511_700_000_000 + instance as u64)
}

fn name(instance: usize) -> String {
    format!("restart-{instance}")
}
