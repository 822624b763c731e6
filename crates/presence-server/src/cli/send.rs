//! `presence-server send` and `shown`: presences, through the API of a running server.

use anyhow::Context;
use clap::Args;
use hyper::Method;
use presence_core::PresenceSent;
use serde_json::{Value, json};

use super::api::CallArgs;
use super::instance::named;
use super::output::{Table, block_on, say, warn};

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// Which instance shows it.
    instance: String,
    /// Who is to see it: a number with its country code, or a JID.
    #[arg(allow_hyphen_values = true)]
    number: String,
    /// typing, recording or pause.
    state: String,
    /// For how long, 1 to 60. Unset or 0: until WhatsApp hides it, after some seconds.
    seconds: Option<u32>,
    /// For as long as a person would take for this text, which is sent nowhere.
    #[arg(long, conflicts_with = "seconds")]
    text: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, Args)]
pub(super) struct ShownArgs {
    /// Which instance.
    instance: String,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) fn run(args: SendArgs) -> anyhow::Result<()> {
    let body = json!({
        "number": args.number,
        "state": args.state,
        "duration": args.seconds.unwrap_or_default(),
        "text": args.text,
    });
    block_on(async {
        let path = ["api", "chat", "presence", &args.instance];
        let (api, json) = args.call.api()?;
        let answer = api.call(Method::POST, &path, &[], Some(body)).await?;
        let answer = answer.success(json).map_err(named(&args.instance))?;
        if json {
            return say(&answer.text);
        }
        let message = answer.value["message"].as_str().unwrap_or_default().to_owned();
        let sent: PresenceSent = serde_json::from_value(answer.value).context("an unknown answer")?;
        say(format_args!("{message}, to {}", sent.chat()))?;
        if let Some(warning) = sent.warning() {
            warn(warning);
        }
        Ok(())
    })
}

pub(super) fn run_shown(args: ShownArgs) -> anyhow::Result<()> {
    block_on(async {
        let path = ["api", "chat", "presence", &args.instance];
        let (api, json) = args.call.api()?;
        let answer = api.call(Method::GET, &path, &[], None).await?;
        let answer = answer.success(json).map_err(named(&args.instance))?;
        if json {
            return say(&answer.text);
        }
        print_shown(&answer.value)
    })
}

/// What the answer of `GET /api/chat/presence/:instance` says is shown.
pub(super) fn print_shown(answer: &Value) -> anyhow::Result<()> {
    let mut table = Table::new(["CHAT", "SHOWN", "LEFT"]);
    for presence in answer["presences"].as_array().into_iter().flatten() {
        let text = |key: &str| presence[key].as_str().unwrap_or("-").to_owned();
        let held = presence["duration"].as_u64().is_some_and(|seconds| seconds > 0);
        let left = match &presence["remaining"] {
            Value::Number(seconds) if held => format!("{seconds} s"),
            _ => "until it fades".to_owned(),
        };
        table.push([text("chat_jid"), text("state"), left]);
    }
    table.print("nothing is shown")
}
