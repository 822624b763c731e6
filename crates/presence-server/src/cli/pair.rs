//! `presence-server instance pair`: from a code on the terminal to a linked phone.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use hyper::{Method, StatusCode};
use presence_api::Picture;
use serde_json::Value;
use tokio::time::sleep;

use super::api::{Answer, Api};
use super::output::say;

/// How often the server is asked for the current code: within its rate limit, and before WhatsApp's shortest
/// renewal, 20 s.
const POLL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct PairArgs {
    /// Which instance.
    name: String,
    /// Show a code to type into the phone with this number, instead of a QR code.
    #[arg(long, value_name = "PHONE")]
    number: Option<String>,
}

/// Asks until the phone is linked, and shows every new code.
pub(super) async fn run(api: &Api, args: &PairArgs, json: bool) -> anyhow::Result<()> {
    let mut shown = None;
    loop {
        let answer = connect(api, args).await?;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            sleep(answer.retry_after.unwrap_or(POLL)).await;
            continue;
        }
        let answer = answer.success(json)?;
        let step = Step::of(&answer.value);
        if shown.as_ref() != Some(&step) {
            if json { say(&answer.text)? } else { step.show()? }
        }
        if step == Step::Linked {
            return Ok(());
        }
        shown = Some(step);
        sleep(POLL).await;
    }
}

async fn connect(api: &Api, args: &PairArgs) -> anyhow::Result<Answer> {
    let query: Vec<(&str, &str)> = args
        .number
        .iter()
        .map(|number| ("number", number.as_str()))
        .collect();
    api.call(
        Method::GET,
        &["api", "instance", "connect", &args.name],
        &query,
        None,
    )
    .await
}

/// What `connect` answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Linked,
    Scan(String),
    Type(String),
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

    fn show(&self) -> anyhow::Result<()> {
        const CLEAR: &str = "\x1b[2J\x1b[H";
        match self {
            Self::Linked => say("linked")?,
            Self::Type(code) => say(format_args!(
                "On the phone: Linked devices, Link a device, Link with phone number instead, and type\n\n    {code}\n"
            ))?,
            Self::Scan(qr) => {
                // The code before is void; on a screen, it must not be scanned by mistake.
                let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
                let picture = Picture::of(qr)?;
                let drawn = picture.to_half_blocks();
                say(format_args!(
                    "{clear}On the phone: Linked devices, Link a device, and scan\n\n{drawn}"
                ))?;
            }
        }
        Ok(())
    }
}
