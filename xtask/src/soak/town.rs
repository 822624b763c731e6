//! A server with its instances, the phones they are linked to, and the customers they write to.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use tempfile::TempDir;

use crate::api::Api;
use crate::hands;
use crate::promises::{Forgot, Page, Screen};
use crate::service::{Programs, Sandbox, Server};

/// How many customers there are; every instance writes to all of them.
const CUSTOMERS: usize = 12;
/// The number that makes a server panic that was built with the feature `panic-hook`.
const PANICS: &str = "999000000000";
/// The longest wait for its next attempt that an instance is left alone with, in seconds.
const LONG_WAIT: u64 = 15;
/// The server's settings: no limits, counters for the leak check.
pub(super) const SETTINGS: [&str; 10] = [
    "--metrics",
    "on",
    "--rate-limit",
    "0",
    "--rate-limit-new",
    "0",
    "--rate-limit-failures",
    "0",
    "--listen",
    "127.0.0.1:0",
];

pub(super) struct Town {
    data: TempDir,
    sandbox: Sandbox,
    server: Server,
    api: Api,
    chats: Vec<Mutex<[Page; CUSTOMERS]>>,
    /// When an instance last forgot what it showed.
    forgot: Vec<Mutex<Option<Forgot>>>,
}

impl Town {
    /// The phone number of an instance's account.
    pub(super) fn sender(instance: usize) -> u64 {
        5_511_900_000_000 + instance as u64
    }

    /// A customer's phone number; every other one is Brazilian, and so looked up before it is written to.
    fn customer(customer: usize) -> u64 {
        if customer.is_multiple_of(2) {
            5_511_980_000_000 + customer as u64
        } else {
            4_915_700_000_000 + customer as u64
        }
    }

    /// Starts everything, and pairs `size` instances.
    pub(super) fn build(programs: &Programs, size: usize) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let sandbox = programs.sandbox()?;
        let token = programs.new_account("soak", data.path())?;
        let server = programs.server(&sandbox, data.path(), &SETTINGS)?;
        let town = Self {
            api: Api::new(server.url.clone(), token),
            data,
            sandbox,
            server,
            chats: (0..size).map(|_| Mutex::default()).collect(),
            forgot: (0..size).map(|_| Mutex::default()).collect(),
        };
        town.for_each(0..size, |instance| {
            town.api
                .post("/api/instance/new", &json!({ "name": name(instance) }))?;
            town.pair(instance)
        })?;
        town.recover(&[], Duration::from_secs(60))?;
        Ok(town)
    }

    pub(super) fn size(&self) -> usize {
        self.chats.len()
    }

    /// The server's data directory.
    pub(super) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(super) fn control(&self) -> &Api {
        &self.sandbox.control
    }

    pub(super) fn server_pid(&self) -> u32 {
        self.server.pid()
    }

    /// What the server tells monitoring.
    pub(super) fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.api.call("GET", "/metrics", None)?.text)
    }

    /// How many tasks the server's runtime has.
    pub(super) fn server_tasks(&self) -> anyhow::Result<u64> {
        let metrics = self.metrics()?;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("presence_runtime_tasks "));
        line.and_then(|count| count.trim().parse().ok())
            .context("/metrics has no presence_runtime_tasks")
    }

    /// Ends the server and starts another one on the same address and data.
    pub(super) fn restart(&mut self, programs: &Programs, crash: bool) -> anyhow::Result<()> {
        let address = self.server.url.trim_start_matches("http://").to_owned();
        let after = Instant::now();
        // Taking the old one's place needs a new one, which needs the address: stop first, start after.
        self.server.end(crash)?;
        let mut settings = SETTINGS;
        settings[9] = &address;
        self.server = programs.server(&self.sandbox, Path::new(self.data.path()), &settings)?;
        (0..self.size()).for_each(|instance| self.forgets(instance, after, false));
        Ok(())
    }

    /// Sends random presences for every `workers`th instance until `stop`; returns how many, and how many
    /// were taken.
    pub(super) fn work(
        &self,
        mut rng: StdRng,
        worker: usize,
        workers: usize,
        stop: &AtomicBool,
    ) -> (u64, u64) {
        let (mut sent, mut taken) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let instance = worker + workers * rng.random_range(0..self.size().div_ceil(workers));
            if instance < self.size() {
                sent += 1;
                taken += u64::from(self.show(instance, rng.random_range(0..CUSTOMERS), &mut rng));
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(0..20)));
        }
        (sent, taken)
    }

    fn show(&self, instance: usize, customer: usize, rng: &mut StdRng) -> bool {
        let (state, screen) = [
            ("typing", Screen::Typing),
            ("recording", Screen::Recording),
            ("pause", Screen::Nothing),
        ][rng.random_range(0..3)];
        let seconds: u64 = [0, rng.random_range(1..10), rng.random_range(10..=60)][rng.random_range(0..3)];
        let hold =
            Some(Duration::from_secs(seconds)).filter(|hold| screen != Screen::Nothing && !hold.is_zero());
        let body =
            json!({ "number": Self::customer(customer).to_string(), "state": state, "duration": seconds });
        let asked = Instant::now();
        let path = format!("/api/chat/presence/{}", name(instance));
        let taken = self
            .api
            .call("POST", &path, Some(&body))
            .is_ok_and(|answer| answer.status == 200);
        let page = &mut lock(&self.chats[instance])[customer];
        if taken {
            page.took(screen, hold, asked, Instant::now());
        } else {
            page.failed(Instant::now());
        }
        taken
    }

    /// Makes the task of `instance` panic, if it is online: it begins anew and has forgotten what it showed.
    pub(super) fn panic(&self, instance: usize) -> anyhow::Result<()> {
        let body = json!({ "number": PANICS, "state": "pause" });
        let path = format!("/api/chat/presence/{}", name(instance));
        let after = Instant::now();
        self.api.call("POST", &path, Some(&body))?;
        self.forgets(instance, after, true);
        Ok(())
    }

    /// The phone of `instance` is about to be unlinked.
    pub(super) fn unlinked(&self, instance: usize) {
        self.forgets(instance, Instant::now(), false);
    }

    /// Between `after` and now, `instance` has forgotten what it showed, perhaps.
    fn forgets(&self, instance: usize, after: Instant, perhaps: bool) {
        *lock(&self.forgot[instance]) = Some(Forgot {
            after,
            before: Instant::now(),
            perhaps,
        });
    }

    /// Brings every instance back, as an operator would: `reconnect` where there is a session, pairing where
    /// it was logged out. `stuck` ones look connected, but their peer has gone deaf. One that WhatsApp told to
    /// wait longer than this has time is logged out and paired anew.
    pub(super) fn recover(&self, stuck: &[usize], limit: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        for &instance in stuck {
            self.control()
                .post_nothing(&format!("/v1/phones/{}/drop", Self::sender(instance)))?;
        }
        let mut asked = vec![None; self.size()];
        loop {
            let states = self.states()?;
            let down: Vec<usize> = (0..self.size())
                .filter(|&instance| states[instance].name != "connected")
                .collect();
            if down.is_empty() {
                return Ok(());
            }
            if began.elapsed() > limit {
                let first = down[0];
                bail!(
                    "{} instances did not recover, {} is {}",
                    down.len(),
                    name(first),
                    states[first].display
                );
            }
            // Asking again at once would only cancel what the first asking began.
            let due = |instance: &usize| {
                asked[*instance].is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(5))
            };
            let due: Vec<usize> = down.into_iter().filter(due).collect();
            due.iter()
                .for_each(|&instance| asked[instance] = Some(Instant::now()));
            self.for_each(due, |instance| match states[instance].name.as_str() {
                "loggedout" => {
                    self.unlinked(instance);
                    self.pair(instance)
                }
                _ if waits_long(&states[instance].display) => {
                    self.unlinked(instance);
                    self.api
                        .delete(&format!("/api/instance/logout/{}", name(instance)))?;
                    self.pair(instance)
                }
                _ => {
                    // 400 when it was logged out meanwhile; the next look tells.
                    self.api
                        .call(
                            "POST",
                            &format!("/api/instance/reconnect/{}", name(instance)),
                            None,
                        )
                        .map(drop)
                }
            })?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Compares every phone with what was promised.
    pub(super) fn check_screens(&self) -> anyhow::Result<()> {
        for customer in 0..CUSTOMERS {
            let asked = Instant::now();
            let screen = self
                .control()
                .get(&format!("/v1/phones/{}/shown", Self::customer(customer)))?;
            let looked = Instant::now();
            let now = screen["now"].as_array().context("a phone shows a list")?;
            for instance in 0..self.size() {
                let page = lock(&self.chats[instance])[customer];
                let forgot = *lock(&self.forgot[instance]);
                let expected = page.expected_between(asked, looked, forgot);
                let sender = Self::sender(instance).to_string();
                let seen = now.iter().find(|shown| shown["from"] == sender.as_str());
                let seen = match seen.map(|shown| shown["state"].as_str().unwrap_or_default()) {
                    None => Screen::Nothing,
                    Some("typing") => Screen::Typing,
                    Some(_) => Screen::Recording,
                };
                ensure!(
                    expected.is_none_or(|expected| expected == seen),
                    "{} shows {seen:?} to customer {customer}, not {expected:?}: {page:?}, {forgot:?}",
                    name(instance)
                );
            }
        }
        Ok(())
    }

    /// Ends everything that is shown, and waits until nothing is.
    pub(super) fn silence(&self) -> anyhow::Result<()> {
        self.for_each(0..self.size(), |instance| {
            for customer in 0..CUSTOMERS {
                let body = json!({ "number": Self::customer(customer).to_string(), "state": "pause" });
                let asked = Instant::now();
                self.api
                    .post(&format!("/api/chat/presence/{}", name(instance)), &body)?;
                lock(&self.chats[instance])[customer].took(Screen::Nothing, None, asked, Instant::now());
            }
            Ok(())
        })?;
        for customer in 0..CUSTOMERS {
            let screen = self
                .control()
                .get(&format!("/v1/phones/{}/shown", Self::customer(customer)))?;
            let now = screen["now"].as_array().context("a phone shows a list")?;
            ensure!(
                now.is_empty(),
                "customer {customer} still sees {now:?} after a pause in every chat"
            );
        }
        Ok(())
    }

    /// Stops the server, which must end well.
    pub(super) fn close(self) -> anyhow::Result<()> {
        self.server.stop()
    }

    fn pair(&self, instance: usize) -> anyhow::Result<()> {
        let path = format!("/api/instance/connect/{}", name(instance));
        let answer = self.api.get(&path)?;
        let Some(qr) = answer["qrCode"].as_str() else {
            ensure!(
                answer["status"] == "connected",
                "connect answered neither a QR code nor connected: {answer}"
            );
            return Ok(());
        };
        let number = Self::sender(instance);
        // A device that the server no longer has still counts as linked on the phone.
        self.control()
            .post_nothing(&format!("/v1/phones/{number}/unlink"))?;
        self.control()
            .post(&format!("/v1/phones/{number}/scan"), &json!({ "qr": qr }))
            .map(drop)
    }

    fn states(&self) -> anyhow::Result<Vec<State>> {
        let list = self.api.get("/api/instance/list")?;
        let mut states = vec![State::default(); self.size()];
        for item in list["instances"].as_array().context("list gave no instances")? {
            let instance = item["name"]
                .as_str()
                .and_then(|name| name.strip_prefix("soak-")?.parse().ok());
            let instance: usize = instance.context("list gave an instance that nobody created")?;
            let text = |key| item["connection"][key].as_str().unwrap_or_default().to_owned();
            states[instance] = State {
                name: text("state"),
                display: text("displayStatus"),
            };
        }
        Ok(states)
    }

    /// Does something for each of `instances`, several at a time; the first failure ends it.
    fn for_each(
        &self,
        instances: impl IntoIterator<Item = usize>,
        each: impl Fn(usize) -> anyhow::Result<()> + Sync,
    ) -> anyhow::Result<()> {
        let instances: Vec<usize> = instances.into_iter().collect();
        hands::for_each(0..instances.len(), |nth| {
            let instance = instances[nth];
            each(instance).with_context(|| name(instance))
        })
    }
}

/// What `list` says of an instance.
#[derive(Clone, Default)]
struct State {
    name: String,
    display: String,
}

/// Whether a `displayStatus` names a next attempt that is further off than a few back-offs.
fn waits_long(display: &str) -> bool {
    let wait = display
        .split_once("next attempt in ")
        .and_then(|(_, wait)| wait.split_once(' '));
    wait.is_some_and(|(count, unit)| {
        unit != "s" || count.parse::<u64>().is_ok_and(|seconds| seconds > LONG_WAIT)
    })
}

fn name(instance: usize) -> String {
    format!("soak-{instance}")
}

/// A page is never left half written, so a poisoned lock guards a good one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    //! How a wait is read.

    use super::*;

    #[test]
    fn minutes_and_many_seconds_are_long_and_a_status_without_an_attempt_is_none() {
        for (display, long) in [
            ("connecting: connection lost, next attempt in 4 s", false),
            ("connecting: connection lost, next attempt in 40 s", true),
            (
                "disconnected: refused by WhatsApp for now (code 429), next attempt in 1 min 2 s",
                true,
            ),
            (
                "disconnected: refused by WhatsApp with code 409, tried once more in 1 h 0 min",
                false,
            ),
            ("connecting", false),
        ] {
            assert_eq!(waits_long(display), long, "{display}");
        }
    }
}
