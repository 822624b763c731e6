//! `cargo xtask demo`: the main job, live, with no phone and no network.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::api::Api;
use crate::service::{Programs, say};

/// The account whose phone scans the QR code.
const SENDER: &str = "5511888888888";
/// The customer who sees "typing…".
const RECIPIENT: &str = "5511999999999";
/// What the demo promises: how long "typing…" is shown.
const PROMISED: Duration = Duration::from_secs(5);
/// What it asks for then, as who does not know how long the answer will take.
const AT_MOST: Duration = Duration::from_secs(60);
/// When the answer is sent.
const ANSWERED_AFTER: Duration = Duration::from_secs(4);
const ANSWER: &str = "Your parcel is on its way!";
/// How long the phone is looked at after the answer: longer than until the next re-send would come.
const QUIET: Duration = Duration::from_secs(6);
/// How far off the promise a shown indicator may be: the time that two programs need to tell each other.
const TOLERANCE: Duration = Duration::from_millis(500);
/// How often the recipient's phone is looked at.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(crate) struct Demo {
    /// End after the answer; fail if what was shown is not what was promised.
    #[arg(long)]
    once: bool,
    /// Where the service listens; port 0 is any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
}

impl Demo {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let stop = stop_signal()?;

        say("1. Building the service and the sandbox, a WhatsApp on loopback.");
        let programs = Programs::build("warn")?;

        say("2. Starting both in a temporary directory.");
        let data = tempfile::tempdir()?;
        let sandbox = programs.sandbox()?;
        let token = programs.new_account("demo", data.path())?;
        let server = programs.server(&sandbox, data.path(), &["--listen", &self.listen])?;
        let api = Api::new(server.url.clone(), token.clone());
        say(format_args!("   The service listens on {}.", server.url));
        say(format_args!(
            "   Watch along in a browser: {}/console, and sign in with\n   {token}",
            server.url
        ));

        say("3. Creating the instance `demo` and scanning its QR code with the sandbox's phone.");
        api.post("/api/instance/new", &json!({ "name": "demo" }))?;
        let qr = api.get("/api/instance/connect/demo")?;
        let code = qr["qrCode"].as_str().context("connect gave no QR code")?;
        sandbox
            .control
            .post(&format!("/v1/phones/{SENDER}/scan"), &json!({ "qr": code }))?;
        wait_until_connected(&api)?;

        ask(&api, 4, PROMISED)?;

        say(format_args!("5. What +{RECIPIENT}'s phone shows:"));
        let mut phone = Phone {
            control: &sandbox.control,
            seen: 0,
            live: std::io::stdout().is_terminal(),
        };
        let shown = phone.watch(PROMISED + Duration::from_secs(10), &stop)?;
        check(&shown, PROMISED)?;
        say("   As promised.");

        say("\nAnd the answer ends it, from whichever device of the account it is sent:");
        ask(&api, 6, AT_MOST)?;
        say(format_args!(
            "7. What the phone shows, while +{SENDER} sends the answer after {} s:",
            ANSWERED_AFTER.as_secs()
        ));
        phone.answered(&stop)?;
        if self.once {
            return server.stop();
        }

        say(format_args!(
            "\nThe service stays up. Paste these into another terminal and watch here:\n"
        ));
        for (state, duration) in [("typing", 10), ("recording", 10), ("pause", 0)] {
            let body = json!({ "number": RECIPIENT, "state": state, "duration": duration });
            say(format_args!(
                "curl -X POST {}/api/chat/presence/demo -H 'token: {token}' -H 'content-type: application/json' -d '{body}'",
                server.url
            ));
        }
        say("\nCtrl-C ends both.\n");
        while !stopped(&stop, LOOK) {
            phone.look()?;
        }
        phone.clear();
        say("Stopping: what is still shown is paused first.");
        server.stop()?;
        while phone.look()?.is_some() {}
        Ok(())
    }
}

/// Step `step`: asks the service for "typing…" for `duration`.
fn ask(api: &Api, step: u32, duration: Duration) -> anyhow::Result<()> {
    let request = json!({ "number": RECIPIENT, "state": "typing", "duration": duration.as_secs() });
    say(format_args!("{step}. POST /api/chat/presence/demo {request}"));
    let answer = api.call("POST", "/api/chat/presence/demo", Some(&request))?;
    say(format_args!("   {} {}", answer.status, answer.text));
    ensure!(answer.status == 200, "the service did not say success");
    Ok(())
}

/// Polls until WhatsApp has the session; pairing takes the client two connections.
fn wait_until_connected(api: &Api) -> anyhow::Result<()> {
    let asked = Instant::now();
    loop {
        let list = api.get("/api/instance/list")?;
        let state = &list["instances"][0]["connection"]["state"];
        if state == "connected" {
            say(format_args!(
                "   Connected {:.1} s after the scan.",
                asked.elapsed().as_secs_f32()
            ));
            return Ok(());
        }
        ensure!(
            asked.elapsed() < Duration::from_secs(20),
            "the instance is {state} 20 s after the scan"
        );
        std::thread::sleep(LOOK);
    }
}

/// The recipient's phone, as a person would watch it.
struct Phone<'a> {
    control: &'a Api,
    /// How many entries of its timeline have ended and are printed.
    seen: usize,
    /// Whether the terminal can redraw a line.
    live: bool,
}

impl Phone<'_> {
    /// Looks until the next indicator has come and gone, and returns its entry in the timeline.
    fn watch(&mut self, patience: Duration, stop: &Receiver<()>) -> anyhow::Result<Value> {
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(ended) = self.look()? {
                return Ok(ended);
            }
            ensure!(!stopped(stop, LOOK), "stopped");
        }
        anyhow::bail!(
            "the phone showed no whole indicator within {} s",
            patience.as_secs()
        )
    }

    /// Looks on while the answer is sent from the sender's phone: the indicator ends, and does not come back.
    fn answered(&mut self, stop: &Receiver<()>) -> anyhow::Result<()> {
        let asked = Instant::now();
        while asked.elapsed() < ANSWERED_AFTER {
            ensure!(self.look()?.is_none(), "it ended before the answer");
            ensure!(!stopped(stop, LOOK), "stopped");
        }
        let message = json!({ "to": RECIPIENT, "text": ANSWER });
        self.control
            .post(&format!("/v1/phones/{SENDER}/send"), &message)?;
        let shown = self.watch(QUIET, stop)?;
        check(&shown, ANSWERED_AFTER)?;
        let inbox = self.control.get(&format!("/v1/phones/{RECIPIENT}/messages"))?;
        let messages = inbox["messages"]
            .as_array()
            .context("the phone has no messages")?;
        ensure!(
            messages.iter().any(|message| message["text"] == ANSWER),
            "the answer did not come: {messages:?}"
        );
        say(format_args!("   {ANSWER}"));
        let quiet = Instant::now();
        while quiet.elapsed() < QUIET {
            ensure!(self.look()?.is_none() && !self.shows()?, "it came back");
            ensure!(!stopped(stop, LOOK), "stopped");
        }
        say(format_args!("   Nothing else for {} s.", QUIET.as_secs()));
        Ok(())
    }

    /// Whether an indicator is on the screen.
    fn shows(&self) -> anyhow::Result<bool> {
        let screen = self.control.get(&format!("/v1/phones/{RECIPIENT}/shown"))?;
        let timeline = screen["timeline"]
            .as_array()
            .context("the phone has no timeline")?;
        Ok(timeline.iter().any(|entry| entry["hidden_at_ms"].is_null()))
    }

    /// Looks once, prints what is new, and returns an entry that has ended since.
    fn look(&mut self) -> anyhow::Result<Option<Value>> {
        let screen = self.control.get(&format!("/v1/phones/{RECIPIENT}/shown"))?;
        let timeline = screen["timeline"]
            .as_array()
            .context("the phone has no timeline")?;
        let ended = timeline
            .iter()
            .filter(|entry| !entry["hidden_at_ms"].is_null())
            .nth(self.seen);
        if let Some(entry) = ended {
            self.seen += 1;
            self.clear();
            let shown = shown_for(entry)?;
            say(format_args!(
                "   {:<WIDTH$} for {:.2} s, then nothing ({})",
                label(&entry["state"]),
                shown.as_secs_f32(),
                entry["why"].as_str().unwrap_or("?"),
            ));
        } else if self.live
            && let Some(entry) = timeline.iter().find(|entry| entry["hidden_at_ms"].is_null())
        {
            let _ = write!(
                std::io::stdout().lock(),
                "\r   {:<WIDTH$}",
                label(&entry["state"])
            );
            let _ = std::io::stdout().flush();
        }
        Ok(ended.cloned())
    }

    fn clear(&self) {
        if self.live {
            let _ = write!(std::io::stdout().lock(), "\r{:40}\r", "");
        }
    }
}

/// How wide the longest of these words is.
const WIDTH: usize = 16;

/// The words that WhatsApp shows.
fn label(state: &Value) -> &str {
    match state.as_str() {
        Some("typing" | "composing") => "typing…",
        Some("recording") => "recording audio…",
        _ => "?",
    }
}

fn shown_for(entry: &Value) -> anyhow::Result<Duration> {
    let at = |key: &str| {
        entry[key]
            .as_u64()
            .with_context(|| format!("a timeline entry has no {key}"))
    };
    Ok(Duration::from_millis(
        at("hidden_at_ms")?.saturating_sub(at("shown_at_ms")?),
    ))
}

fn check(entry: &Value, promised: Duration) -> anyhow::Result<()> {
    let shown = shown_for(entry)?;
    ensure!(
        label(&entry["state"]) == "typing…",
        "the phone showed {entry}, not typing"
    );
    ensure!(
        entry["from"] == SENDER,
        "the phone showed an indicator from {}",
        entry["from"]
    );
    ensure!(
        entry["why"] == "paused",
        "the indicator ended because it {}, not by a pause",
        entry["why"]
    );
    ensure!(
        shown.abs_diff(promised) < TOLERANCE,
        "typing… was shown for {shown:?}, not {promised:?}"
    );
    Ok(())
}

fn stop_signal() -> anyhow::Result<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = sender.send(());
    })?;
    Ok(receiver)
}

/// Waits for `time`, or less when Ctrl-C comes.
fn stopped(stop: &Receiver<()>, time: Duration) -> bool {
    !matches!(stop.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}
