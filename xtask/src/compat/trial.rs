//! A client on trial: with a sandbox, and the service that has the routes it was written for.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::{Client, install};
use crate::api::Api;
use crate::clients::driver::Driver;
use crate::service::{Programs, Sandbox, Server, until};

/// The account of the instance `shop`.
pub(super) const SHOP: &str = "5511988887777";
/// Whose phone is looked at. Not of Brazil, so that no look-up comes in between.
pub(super) const CUSTOMER: &str = "14155550123";

/// How long anything may take that two programs have to tell each other.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How far off what was promised a phone may be, for the same reason.
const TOLERANCE: Duration = Duration::from_millis(700);

pub(super) struct Trial {
    sandbox: Sandbox,
    server: Server,
    /// Where the service keeps what it has to; it must outlive it.
    _data: tempfile::TempDir,
    /// The service's own routes.
    pub(super) service: Api,
    client: Driver,
    /// The key of the account.
    pub(super) account: String,
    /// The key of `shop` alone.
    pub(super) shop: String,
}

impl Trial {
    /// `shop` is connected; `spare` was never linked to a phone.
    pub(super) fn start(programs: &Programs, client: Client) -> anyhow::Result<Self> {
        let sandbox = programs.sandbox()?;
        let data = tempfile::tempdir()?;
        let account = programs.new_account("compat", data.path())?;
        let settings = [
            "--listen",
            "127.0.0.1:0",
            "--compat",
            "evolution,waha",
            "--rate-limit",
            "0",
        ];
        let server = programs.server(&sandbox, data.path(), &settings)?;
        let service = Api::new(server.url.clone(), account.clone());
        let created = service.post("/api/instance/new", &json!({ "name": "shop" }))?;
        let shop = created["instance"]["token"]
            .as_str()
            .context("an instance has a token")?;
        service.post("/api/instance/new", &json!({ "name": "spare" }))?;
        let qr = service.get("/api/instance/connect/shop")?;
        let scan = json!({ "qr": qr["qrCode"] });
        sandbox.control.post(&format!("/v1/phones/{SHOP}/scan"), &scan)?;
        let trial = Self {
            client: Driver::start(&mut install::driver(client, &server.url))?,
            shop: shop.to_owned(),
            _data: data,
            sandbox,
            server,
            service,
            account,
        };
        trial.until("shop is connected", |trial| {
            let list = trial.service.get("/api/instance/list?instanceName=shop")?;
            Ok(list["instances"][0]["connection"]["state"] == "connected")
        })?;
        Ok(trial)
    }

    /// Has the client do something, and returns what it makes of the answer.
    pub(super) fn ask(&mut self, command: &Value) -> anyhow::Result<Value> {
        let done = self.done(command)?;
        match done["refused"].as_str() {
            None => Ok(done["value"].clone()),
            Some(refused) => bail!("{command}: it was refused: {refused}"),
        }
    }

    /// Has the client do something that must not work; what it says then has each of `words`.
    pub(super) fn is_refused(&mut self, command: &Value, words: &[&str]) -> anyhow::Result<()> {
        let done = self.done(command)?;
        let refused = done["refused"].as_str();
        let refused = refused.with_context(|| format!("{command} was answered {}", done["value"]))?;
        for word in words {
            ensure!(refused.contains(word), "there is no {word} in: {refused}");
        }
        Ok(())
    }

    /// Has the client show something, and looks at the customer's phone: it shows `state` for `shown`, and then
    /// nothing, because it was ended. `meanwhile` goes on while it is shown.
    pub(super) fn shows(
        &mut self,
        command: &Value,
        state: &str,
        shown: Duration,
        meanwhile: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let before = self.timeline()?.len();
        let asked = Instant::now();
        self.ask(command)?;
        let answered = asked.elapsed();
        ensure!(
            answered < Duration::from_secs(1),
            "it was answered only after {answered:?}"
        );
        meanwhile(self)?;
        self.until("the phone shows nothing again", |trial| {
            let timeline = trial.timeline()?;
            Ok(timeline.len() > before && timeline.iter().all(|spell| !spell["hidden_at_ms"].is_null()))
        })?;
        let timeline = self.timeline()?;
        ensure!(
            timeline.len() == before + 1,
            "more than one was shown: {timeline:?}"
        );
        let spell = &timeline[before];
        ensure!(
            spell["state"] == state && spell["from"] == SHOP && spell["why"] == "paused",
            "the phone showed {spell}"
        );
        let at = |key: &str| {
            spell[key]
                .as_u64()
                .with_context(|| format!("no {key} in {spell}"))
        };
        let found = Duration::from_millis(at("hidden_at_ms")? - at("shown_at_ms")?);
        ensure!(
            found.abs_diff(shown) < TOLERANCE,
            "it was shown for {found:?}, not for {shown:?}"
        );
        Ok(())
    }

    /// Whether the account is to be kept online, by the setting, becomes so, and WhatsApp is told.
    pub(super) fn is_kept_online(&self, kept: bool) -> anyhow::Result<()> {
        let settings = self.service.get("/api/instance/getSettings/shop")?;
        let setting = &settings["settings"]["keepOnlineStatus"];
        ensure!(*setting == kept, "keepOnlineStatus is {setting}");
        self.until("WhatsApp knows", |trial| {
            let phone = trial.sandbox.control.get(&format!("/v1/phones/{SHOP}"))?;
            Ok(phone["available"] == kept)
        })
    }

    /// Ends everything, and checks that the service ends well.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.client.quit()?;
        self.server.stop()
    }

    fn done(&mut self, command: &Value) -> anyhow::Result<Value> {
        self.client.tell(command)?;
        Ok(self.client.wait("done", |_| true)?.1)
    }

    /// What the customer's phone has shown, one after the other.
    fn timeline(&self) -> anyhow::Result<Vec<Value>> {
        let screen = self
            .sandbox
            .control
            .get(&format!("/v1/phones/{CUSTOMER}/shown"))?;
        let timeline = screen["timeline"].as_array();
        Ok(timeline.context("the phone has no timeline")?.clone())
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        until(TIMEOUT, what, || is_so(self))
    }
}
