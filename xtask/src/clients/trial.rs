//! A client on trial: with a sandbox, the service, and what the client remembers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::Client;
use super::driver::Driver;
use super::install::Installed;
use crate::api::Api;
use crate::service::{Programs, Sandbox, Server, until};

/// The account of the client that is tried.
pub(super) const OWN: &str = "5511988887777";
/// The account of a second client of its kind.
pub(super) const SECOND: &str = "5511966665555";
/// Somebody with nothing but a phone.
pub(super) const FRIEND: &str = "5511977776666";
/// The account that the service has.
pub(super) const SERVICE: &str = "5511955554444";
/// A group of the first and the friend.
pub(super) const GROUP: &str = "120363000000000000";

/// How long what the sandbox is asked about may take to become so.
const TIMEOUT: Duration = Duration::from_secs(20);
/// What a check works with.
pub(super) struct Trial<'a> {
    pub(super) installed: &'a Installed,
    sandbox: Sandbox,
    server: Server,
    /// Where the service keeps what it has to; it must outlive it.
    _data: tempfile::TempDir,
    pub(super) service: Api,
    state: tempfile::TempDir,
    pub(super) client: Option<Driver>,
}

impl<'a> Trial<'a> {
    pub(super) fn start(programs: &Programs, installed: &'a Installed) -> anyhow::Result<Self> {
        let sandbox = programs.sandbox_with(&["--lids", "--app-state"])?;
        installed.point_at(&sandbox.edge_url, &sandbox.edge_root)?;
        let data = tempfile::tempdir()?;
        let token = programs.new_account("clients", data.path())?;
        let server = programs.server(&sandbox, data.path(), &["--listen", "127.0.0.1:0"])?;
        let service = Api::new(server.url.clone(), token);
        service.post("/api/instance/new", &json!({ "name": "clients" }))?;
        // whatsmeow writes to LIDs only, as accounts do whose chats have moved to them.
        if installed.client == Client::Whatsmeow {
            for number in [OWN, SECOND, SERVICE] {
                sandbox
                    .control
                    .call(
                        "PUT",
                        &format!("/v1/phones/{number}/lid"),
                        Some(&json!({ "migrated": true })),
                    )?
                    .success("lid")?;
            }
        }
        let qr = service.get("/api/instance/connect/clients")?;
        let code = qr["qrCode"].as_str().context("connect gave no QR code")?;
        scan(&sandbox.control, SERVICE, code)?;
        let group = json!({ "subject": "Friends", "members": [OWN, FRIEND] });
        sandbox
            .control
            .call("PUT", &format!("/v1/groups/{GROUP}"), Some(&group))?
            .success("groups")?;
        let trial = Self {
            installed,
            sandbox,
            server,
            _data: data,
            service,
            state: state_dir()?,
            client: None,
        };
        trial.until("the service is connected", |trial| {
            let list = trial.service.get("/api/instance/list")?;
            Ok(list["instances"][0]["connection"]["state"] == "connected")
        })?;
        Ok(trial)
    }

    pub(super) fn control(&self) -> &Api {
        &self.sandbox.control
    }

    pub(super) fn driver(&self, state: PathBuf) -> anyhow::Result<Driver> {
        let edge = (&self.sandbox.edge_url, &self.sandbox.edge_root);
        Driver::start(&mut self.installed.driver(edge.0, edge.1, &state))
    }

    pub(super) fn client(&mut self) -> anyhow::Result<&mut Driver> {
        self.client.as_mut().context("it is not connected")
    }

    /// The client starts anew with what it remembers, and is connected.
    pub(super) fn restart(&mut self) -> anyhow::Result<()> {
        if let Some(client) = self.client.take() {
            client.quit()?;
        }
        let mut client = self.driver(self.state.path().into())?;
        client.tell(&json!({ "do": "connect" }))?;
        client.wait("open", |_| true)?;
        self.client = Some(client);
        Ok(())
    }

    /// A client that remembers nothing shows its first QR code.
    pub(super) fn unlinked(&mut self) -> anyhow::Result<(Driver, String)> {
        self.client = None;
        self.state = state_dir()?;
        let mut client = self.driver(self.state.path().into())?;
        client.tell(&json!({ "do": "connect" }))?;
        let (_, qr) = client.wait("qr", |_| true)?;
        let qr = qr["qr"].as_str().context("a QR code is a text")?.to_owned();
        Ok((client, qr))
    }

    pub(super) fn until(
        &self,
        what: &str,
        is_so: impl Fn(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        until(TIMEOUT, what, || is_so(self))
    }

    pub(super) fn phone(&self, number: &str) -> anyhow::Result<Value> {
        self.control().get(&format!("/v1/phones/{number}"))
    }

    pub(super) fn send(&self, from: &str, to: &str, text: &str) -> anyhow::Result<Value> {
        let message = json!({ "to": to, "text": text });
        self.control().post(&format!("/v1/phones/{from}/send"), &message)
    }

    pub(super) fn fault(&self, fault: &Value) -> anyhow::Result<()> {
        self.control().post("/v1/faults", fault).map(drop)
    }

    /// The address under which the client writes to somebody.
    pub(super) fn address(&self, number: &str) -> anyhow::Result<String> {
        Ok(match self.installed.client {
            Client::Baileys => format!("{number}@s.whatsapp.net"),
            // As the sandbox gives LIDs to everybody.
            Client::Whatsmeow => format!("{}@lid", 300_000_000_000_000_000 + number.parse::<u64>()?),
        })
    }

    /// The last chat state that `number` sent, with which of its attributes were JIDs.
    pub(super) fn last_chat_state(&self, number: &str) -> anyhow::Result<(String, Value)> {
        let journal = self.control().get("/v1/journal")?;
        let entries = journal["entries"].as_array().context("a journal has entries")?;
        let of = entries.iter().rev().find(|entry| {
            let stanza = entry["stanza"].as_str().unwrap_or_default();
            entry["from"] == number && stanza.starts_with("<chatstate") && stanza.contains("<composing/>")
        });
        let entry = of.with_context(|| format!("…{} showed nothing", &number[number.len() - 2..]))?;
        let stanza = entry["stanza"].as_str().unwrap_or_default().to_owned();
        Ok((stanza, entry["jids"].clone()))
    }

    /// Ends everything, and checks that the service ends well.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        if let Some(client) = self.client.take() {
            client.quit()?;
        }
        self.server.stop()
    }

    /// Gets the client ready for a server whose certificates another root signed, and back.
    pub(super) fn with_root<T>(
        &self,
        root: &str,
        then: impl FnOnce(Driver) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (url, own) = (&self.sandbox.edge_url, &self.sandbox.edge_root);
        self.installed.point_at(url, root)?;
        let state = state_dir()?;
        let driver = Driver::start(&mut self.installed.driver(url, root, state.path()));
        let result = driver.and_then(then);
        self.installed.point_at(url, own)?;
        result
    }
}

/// Memory is faster than a disk for the hundreds of small writes of a pairing.
pub(super) fn state_dir() -> anyhow::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(match memory.is_dir() {
        true => tempfile::tempdir_in(memory)?,
        false => tempfile::tempdir()?,
    })
}

pub(super) fn scan(control: &Api, number: &str, qr: &str) -> anyhow::Result<()> {
    control
        .post(&format!("/v1/phones/{number}/scan"), &json!({ "qr": qr }))
        .map(drop)
}
