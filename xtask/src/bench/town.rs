//! A server with linked instances, and the phones that write to them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::Bencher;
use crate::api::Api;
use crate::hands::for_each;
use crate::service::{Sandbox, Server};

/// The server's settings: no limits but its own.
const SETTINGS: [&str; 8] = [
    "--listen",
    "127.0.0.1:0",
    "--rate-limit",
    "0",
    "--rate-limit-new",
    "0",
    "--rate-limit-failures",
    "0",
];
/// How long all may take to be online.
const ONLINE: Duration = Duration::from_secs(300);

pub(super) struct Town {
    data: TempDir,
    pub(super) sandbox: Sandbox,
    pub(super) server: Server,
    api: Api,
    pub(super) token: String,
    size: usize,
}

impl Town {
    /// With `size` linked instances that are online.
    pub(super) fn build(bencher: &Bencher, size: usize) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let sandbox = bencher.programs.sandbox()?;
        let token = bencher.programs.new_account("bench", data.path())?;
        let server = bencher.programs.server(&sandbox, data.path(), &SETTINGS)?;
        let api = Api::new(server.url.clone(), token.clone());
        let mut town = Self {
            data,
            sandbox,
            server,
            api,
            token,
            size: 0,
        };
        town.grow(size)?;
        Ok(town)
    }

    /// Links more instances, until there are `size`.
    pub(super) fn grow(&mut self, size: usize) -> anyhow::Result<()> {
        self.name(self.size..size)?;
        for_each(self.size..size, |instance| {
            self.sandbox
                .link(&self.api, &name(instance), account(instance))
                .with_context(|| name(instance))
        })?;
        self.size = size;
        self.wait_until_online()
    }

    /// Creates instances that are linked with nobody.
    pub(super) fn name(&self, instances: std::ops::Range<usize>) -> anyhow::Result<()> {
        for_each(instances, |instance| {
            let name = json!({ "name": name(instance) });
            self.api.post("/api/instance/new", &name).map(drop)
        })
    }

    /// Ends the server and starts it again.
    ///
    /// Returns how long that took from its start until it took requests, and until all were online.
    pub(super) fn restart(&mut self, bencher: &Bencher) -> anyhow::Result<[Duration; 2]> {
        self.server.end(false)?;
        let began = Instant::now();
        self.server = bencher
            .programs
            .server(&self.sandbox, self.data.path(), &SETTINGS)?;
        self.api = Api::new(self.server.url.clone(), self.token.clone());
        while self.api.call("GET", "/readyz", None)?.status != 200 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let ready = began.elapsed();
        self.wait_until_online()?;
        Ok([ready, began.elapsed()])
    }

    /// `contacts` people and `groups` groups write to each instance from the `from`th on.
    pub(super) fn write(&self, from: usize, contacts: usize, groups: usize) -> anyhow::Result<()> {
        for_each(from..self.size, |instance| {
            let to = json!({ "to": account(instance).to_string(), "text": "hello" });
            for contact in 0..contacts {
                self.sandbox
                    .control
                    .post(&format!("/v1/phones/{}/send", person(contact)), &to)?;
            }
            for nth in 0..groups {
                let group = format!("12036300{instance:05}{nth:05}@g.us");
                let members = [account(instance), person(nth)].map(|number| number.to_string());
                let body = json!({ "subject": "a group", "members": members });
                self.sandbox
                    .control
                    .call("PUT", &format!("/v1/groups/{group}"), Some(&body))?
                    .success("a group")?;
                let text = json!({ "to": group, "text": "hello, all" });
                self.sandbox
                    .control
                    .post(&format!("/v1/phones/{}/send", person(nth)), &text)?;
            }
            Ok(())
        })
    }

    /// Somebody writes to one instance after another, `a_second` of them, for so long.
    pub(super) fn trickle(&self, time: Duration, a_second: f64) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut nth = 0;
        while began.elapsed() < time {
            let to = json!({ "to": account(nth % self.size).to_string(), "text": "still there?" });
            self.sandbox
                .control
                .post(&format!("/v1/phones/{}/send", person(0)), &to)?;
            nth += 1;
            let due = began + Duration::from_secs_f64(nth as f64 / a_second);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// What the phone of the `nth` person has shown.
    pub(super) fn shown(&self, nth: usize) -> anyhow::Result<serde_json::Value> {
        self.sandbox
            .control
            .get(&format!("/v1/phones/{}/shown", person(nth)))
    }

    /// Ends the server, as an operator would.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.server.stop()
    }

    fn wait_until_online(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let answer = self.api.call("GET", "/health", None)?;
            let health: serde_json::Value = serde_json::from_str(&answer.text)?;
            let online = health["instances"]["connected"].as_u64().unwrap_or_default();
            if online == self.size as u64 {
                return Ok(());
            }
            ensure!(
                began.elapsed() < ONLINE,
                "{online} of {} are online: {health}",
                self.size
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn name(instance: usize) -> String {
    format!("bench-{instance}")
}

fn account(instance: usize) -> u64 {
    5_511_700_000_000 + instance as u64
}

/// Those that the load writes to, too.
fn person(nth: usize) -> u64 {
    4_915_700_000_000 + nth as u64
}
