//! `presence-server instance pair`: from a code on the terminal to a linked phone.

mod screen;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use self::screen::Screen;
use super::api::{Answer, Api};
use super::instance::named;
use super::output::say;

/// How often the server is asked for the current code: well before WhatsApp's shortest renewal, 20 s, and with
/// most of the token's limit left for others.
const POLL: Duration = Duration::from_secs(4);
/// How long is waited for a phone. Nobody scans a code that has hung on a screen for longer.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long the server may look for a code before is told how the instance is meanwhile.
const SILENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct PairArgs {
    /// Which instance.
    name: String,
    /// Show a code to type into the phone with this number, instead of a QR code.
    #[arg(long, value_name = "PHONE", allow_hyphen_values = true)]
    number: Option<String>,
    /// Write the QR code into this file, as a PNG, instead of drawing it. Each new code replaces the one before.
    #[arg(long, value_name = "FILE", conflicts_with = "number")]
    png: Option<PathBuf>,
    /// Open that picture in the program that shows pictures on this machine.
    #[arg(long, requires = "png")]
    open: bool,
}

/// What `connect` answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Linked,
    Scan(String),
    Type(String),
}

/// Asks until the phone is linked, and shows every new code.
pub(super) async fn run(api: &Api, args: &PairArgs, json: bool) -> anyhow::Result<()> {
    let gives_up = Instant::now() + PATIENCE;
    let mut screen = Screen::new(args);
    let mut shown = None;
    loop {
        let answer = connect(api, args, &mut screen).await?;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            sleep(answer.retry_after.unwrap_or(POLL)).await;
            continue;
        }
        let answer = answer.success(json).map_err(named(&args.name))?;
        let step = Step::of(&answer.value);
        let is_new = shown.as_ref() != Some(&step);
        match &step {
            _ if json && is_new => say(&answer.text)?,
            _ if json => {}
            step => screen.show(step, is_new)?,
        }
        if step == Step::Linked {
            return if json {
                Ok(())
            } else {
                tell_of_success(api, args).await
            };
        }
        shown = Some(step);
        let left = gives_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            screen.clear_line()?;
            bail!("no phone was linked within {} minutes", PATIENCE.as_secs() / 60);
        }
        if !json {
            screen.wait(left)?;
        }
        sleep(POLL.min(left)).await;
    }
}

/// The current code. Takes it long, the reason is told meanwhile.
async fn connect(api: &Api, args: &PairArgs, screen: &mut Screen) -> anyhow::Result<Answer> {
    let query: Vec<(&str, &str)> = args
        .number
        .iter()
        .map(|number| ("number", number.as_str()))
        .collect();
    let path = ["api", "instance", "connect", &args.name];
    let connecting = api.call(Method::GET, &path, &query, None);
    tokio::pin!(connecting);
    loop {
        if let Ok(answer) = timeout(SILENCE, &mut connecting).await {
            return answer;
        }
        if let Some(instance) = look(api, &args.name).await? {
            let status = instance["connection"]["displayStatus"].as_str();
            screen.tell(status.unwrap_or_default())?;
        }
    }
}

/// The instance, as `list` has it.
async fn look(api: &Api, name: &str) -> anyhow::Result<Option<Value>> {
    let path = ["api", "instance", "list"];
    let answer = api
        .call(Method::GET, &path, &[("instanceName", name)], None)
        .await?;
    let listed = answer.body.value["instances"].as_array().into_iter().flatten();
    let mut listed = listed.filter(|instance| instance["name"] == name);
    Ok(listed.next().cloned())
}

async fn tell_of_success(api: &Api, args: &PairArgs) -> anyhow::Result<()> {
    let name = &args.name;
    let instance = look(api, name).await?.unwrap_or_default();
    let number = instance["connection"]["numberJid"].as_str().map(masked);
    say(format_args!(
        "{name} is linked to {} and online. Next:\n\n    presence-server send {name} NUMBER typing 5",
        number.as_deref().unwrap_or("the phone")
    ))?;
    Ok(())
}

/// A number of which a person recognises their own: a terminal is often shared.
fn masked(jid: &str) -> String {
    let digits = jid.split(['@', ':']).next().unwrap_or_default();
    match (digits.get(..5), digits.get(digits.len().saturating_sub(2)..)) {
        (Some(first), Some(last)) if digits.len() > 7 => format!("+{first}…{last}"),
        _ => format!("+{digits}"),
    }
}

impl Step {
    fn of(answer: &Value) -> Self {
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        match (text("qrCode"), text("pairingCode")) {
            (Some(qr), _) => Self::Scan(qr),
            (None, Some(code)) => Self::Type(code),
            (None, None) => Self::Linked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_recognised_and_not_given_away() {
        assert_eq!(masked("5511988887788@s.whatsapp.net"), "+55119…88");
        assert_eq!(masked("5511988887788:7@s.whatsapp.net"), "+55119…88");
        assert_eq!(masked("4915112"), "+4915112");
        assert_eq!(masked(""), "+");
    }
}
