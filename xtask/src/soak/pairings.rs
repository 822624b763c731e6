//! Many pairings, some at a time, each from a new instance to its deletion: none may be lost.
//!
//! A pairing is lost when the phone lists the device while the service has no keys for it any more: it shows a
//! fresh QR code, or says that it is logged out. It happened when a login overtook the registration of the
//! device, so the sandbox takes its time with that here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::town::SETTINGS;
use crate::api::Api;
use crate::service::{Programs, Sandbox, say};

/// How many pairings go on at a time.
const AT_A_TIME: usize = 8;
/// How long an instance may take from the scan until it is online.
const ONLINE: Duration = Duration::from_secs(30);
/// How long the phone may list a device after the service has said that it is unlinked.
const UNLINKED: Duration = Duration::from_secs(10);
/// How often the service and the phone are asked.
const LOOK: Duration = Duration::from_millis(25);
/// After how many pairings a line tells how far it is.
const TOLD_EVERY: usize = 500;
/// When the sandbox registers a device after its confirmation, and tells it to connect again after that, in
/// milliseconds: a client that connects again at once comes too early.
const REGISTRATION: [&str; 4] = ["--register-after-ms", "150", "--restart-after-ms", "50"];

/// Pairs `count` instances, eight at a time.
pub(super) fn run(programs: &Programs, count: usize) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let sandbox = programs.sandbox_with(&REGISTRATION)?;
    let token = programs.new_account("pairings", data.path())?;
    let server = programs.server(&sandbox, data.path(), &SETTINGS)?;
    let service = Api::new(server.url.clone(), token);
    let pairings = Pairings {
        service: &service,
        sandbox: &sandbox,
        count,
        next: AtomicUsize::new(0),
    };
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(|| pairings.work())).collect();
        for worker in workers {
            let took = worker.join().expect("a worker reports its failures");
            slowest = slowest.max(took?);
        }
        anyhow::Ok(())
    })?;
    server.stop()?;
    say(format_args!(
        "{count} pairings, {AT_A_TIME} at a time, none lost, the slowest online {:.1} s after its scan; {:.0} s.",
        slowest.as_secs_f32(),
        began.elapsed().as_secs_f32()
    ));
    Ok(())
}

struct Pairings<'a> {
    service: &'a Api,
    sandbox: &'a Sandbox,
    count: usize,
    /// The pairing that is begun next.
    next: AtomicUsize,
}

impl Pairings<'_> {
    /// Pairs until there is nothing left; returns how long the slowest took from scan to online.
    fn work(&self) -> anyhow::Result<Duration> {
        let mut slowest = Duration::ZERO;
        loop {
            let pairing = self.next.fetch_add(1, Ordering::Relaxed);
            if pairing >= self.count {
                return Ok(slowest);
            }
            let took = self.pair(pairing);
            if took.is_err() {
                // The others need not go on.
                self.next.store(self.count, Ordering::Relaxed);
            }
            slowest = slowest.max(took.with_context(|| name(pairing))?);
            if (pairing + 1).is_multiple_of(TOLD_EVERY) {
                say(format_args!("{} pairings.", pairing + 1));
            }
        }
    }

    fn pair(&self, pairing: usize) -> anyhow::Result<Duration> {
        let name = name(pairing);
        let phone = format!("/v1/phones/{}", 5_511_800_000_000 + pairing as u64);
        self.service.post("/api/instance/new", &json!({ "name": name }))?;
        let connect = self.service.get(&format!("/api/instance/connect/{name}"))?;
        let qr = connect["qrCode"].as_str().context("connect gave no QR code")?;
        let scanned = Instant::now();
        self.sandbox
            .control
            .post(&format!("{phone}/scan"), &json!({ "qr": qr }))?;
        self.wait_until_online(&name, &phone, scanned)?;
        let took = scanned.elapsed();

        // Every other one is logged out first, as a client might.
        if pairing.is_multiple_of(2) {
            self.service.delete(&format!("/api/instance/logout/{name}"))?;
        }
        self.service.delete(&format!("/api/instance/delete/{name}"))?;
        let deleted = Instant::now();
        while self.devices(&phone)? != 0 {
            ensure!(
                deleted.elapsed() < UNLINKED,
                "the phone still lists a device {} s after its instance was deleted",
                UNLINKED.as_secs()
            );
            std::thread::sleep(LOOK);
        }
        Ok(took)
    }

    fn wait_until_online(&self, name: &str, phone: &str, scanned: Instant) -> anyhow::Result<()> {
        let mut seen = BTreeMap::new();
        loop {
            let connection = self.connection(name)?;
            let state = connection["state"].as_str().unwrap_or_default();
            let status = connection["displayStatus"].as_str().unwrap_or_default();
            seen.entry(status.to_owned()).or_insert_with(|| scanned.elapsed());
            if state == "connected" {
                let devices = self.devices(phone)?;
                ensure!(
                    devices == 1,
                    "it is connected, and its phone lists {devices} devices"
                );
                return Ok(());
            }
            if state == "loggedout" {
                let devices = self.devices(phone)?;
                bail!("lost: it is {status}, and its phone lists {devices} devices; it was {seen:?}");
            }
            if scanned.elapsed() > ONLINE {
                let devices = self.devices(phone)?;
                bail!(
                    "not online {} s after the scan, its phone lists {devices} devices; it was {seen:?}",
                    ONLINE.as_secs()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    fn connection(&self, name: &str) -> anyhow::Result<Value> {
        let list = self.service.get("/api/instance/list")?;
        let instances = list["instances"].as_array().context("list gave no instances")?;
        let instance = instances.iter().find(|instance| instance["name"] == name);
        Ok(instance.context("list does not name it")?["connection"].clone())
    }

    fn devices(&self, phone: &str) -> anyhow::Result<u64> {
        self.sandbox.control.get(phone)?["devices"]
            .as_u64()
            .context("a phone counts its devices")
    }
}

fn name(pairing: usize) -> String {
    format!("pairing-{pairing}")
}
