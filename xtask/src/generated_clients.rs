//! `cargo xtask generated-clients`: the clients that tools make of `docs/openapi.json`, at work.
//!
//! A strict linter reads the document first. Then the programs of `docs/clients.md` are compiled with the clients that
//! were made for them, and run as they stand there against the service and the sandbox; what they show is read from the
//! recipient's phone. So are the bots of `docs/beside-a-gateway.md`. The tools come from npm and PyPI into
//! `target/generated-clients`.

mod bots;
mod program;
mod tools;

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::api::Api;
use crate::service::{Programs, Sandbox, say, until};
use crate::{openapi, outside};
use program::Program;

#[derive(Args)]
pub(crate) struct GeneratedClients {
    /// Set when the namespace without a network has been entered.
    #[arg(long, hide = true)]
    inside: bool,
}

/// The account of the instance `shop`.
const SHOP: &str = "5511988887777";
/// Whose phone is looked at. Not of Brazil, so that no look-up comes in between.
const CUSTOMER: &str = "14155550123";
/// How long the programs think.
const THOUGHT: Duration = Duration::from_secs(3);
/// How long anything may take that two programs have to tell each other.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How much longer than that a phone may show it, on a machine that is busy.
const TOLERANCE: Duration = Duration::from_secs(3);

impl GeneratedClients {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if !self.inside {
            // What comes from the network, before there is none.
            Programs::build("warn")?;
            tools::install()?;
            return outside::run_inside(&["generated-clients".to_owned(), "--inside".to_owned()]);
        }
        let programs = Programs::build("warn")?;
        tools::lint(&openapi::file())?;
        say("The document passes the linter.");

        let (sandbox, data) = (programs.sandbox()?, tempfile::tempdir()?);
        let token = programs.new_account("clients", data.path())?;
        let server = programs.server(&sandbox, data.path(), &["--listen", "127.0.0.1:0"])?;
        let service = Api::new(server.url.clone(), token.clone());
        link(&service, &sandbox)?;
        for program in Program::all() {
            let compiled = program.compile().with_context(|| program.name())?;
            try_out(&compiled, &server.url, &token, &sandbox).with_context(|| program.name())?;
            say(format_args!(
                "{}: typing came and went, and a refusal was told from it.",
                program.name()
            ));
        }
        bots::try_out(&service, &token, &sandbox)?;
        server.stop()
    }
}

/// `shop` is connected; `spare` was never linked to a phone.
fn link(service: &Api, sandbox: &Sandbox) -> anyhow::Result<()> {
    for name in ["shop", "spare"] {
        service.post("/api/instance/new", &json!({ "name": name }))?;
    }
    let qr = service.get("/api/instance/connect/shop")?;
    let scan = json!({ "qr": qr["qrCode"] });
    sandbox.control.post(&format!("/v1/phones/{SHOP}/scan"), &scan)?;
    until(TIMEOUT, "shop is connected", || {
        let list = service.get("/api/instance/list?instanceName=shop")?;
        Ok(list["instances"][0]["connection"]["state"] == "connected")
    })
}

/// Runs a program for an instance that is connected, and looks at the phone; and for one that is not.
fn try_out(program: &program::Compiled, url: &str, token: &str, sandbox: &Sandbox) -> anyhow::Result<()> {
    let before = timeline(sandbox)?.len();
    let said = program.run(url, token, ["shop", CUSTOMER])?;
    ensure!(
        said.contains("answered: Your order arrives today.") && said.ends_with("done\n"),
        "it says: {said}"
    );
    until(TIMEOUT, "the phone shows nothing again", || {
        let timeline = timeline(sandbox)?;
        Ok(timeline.len() > before && timeline.iter().all(|spell| !spell["hidden_at_ms"].is_null()))
    })?;
    check_spell(&timeline(sandbox)?[before..])?;

    let said = program.run(url, token, ["spare", CUSTOMER])?;
    ensure!(
        said == "not shown: Instance is not connected to WhatsApp\n",
        "of an instance that is not connected it says: {said}"
    );
    Ok(())
}

/// What the phone has shown is one `typing`, for as long as the program thought, ended by a pause.
fn check_spell(spells: &[Value]) -> anyhow::Result<()> {
    let [spell] = spells else {
        anyhow::bail!("not one was shown, but {spells:?}");
    };
    let at = |key: &str| {
        spell[key]
            .as_u64()
            .with_context(|| format!("no {key} in {spell}"))
    };
    let shown = Duration::from_millis(at("hidden_at_ms")? - at("shown_at_ms")?);
    ensure!(
        spell["state"] == "typing" && spell["why"] == "paused" && spell["from"] == SHOP,
        "the phone showed {spell}"
    );
    ensure!(
        (THOUGHT..THOUGHT + TOLERANCE).contains(&shown),
        "it was shown for {shown:?}, not for {THOUGHT:?}"
    );
    Ok(())
}

/// What the customer's phone has shown, one after the other.
fn timeline(sandbox: &Sandbox) -> anyhow::Result<Vec<Value>> {
    let screen = sandbox.control.get(&format!("/v1/phones/{CUSTOMER}/shown"))?;
    Ok(screen["timeline"]
        .as_array()
        .context("the phone has no timeline")?
        .clone())
}
