//! `presence-server webhook …`: where an account is told how its instances are, through the API of a running server.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::api::CallArgs;
use super::output::{block_on, say};

#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// Tell where the account is called.
    Show,
    /// Have each change of an instance's state posted to a URL, and print the secret that calls are signed with.
    Set {
        /// An http or https URL.
        // Not `url`, which is the server's.
        #[arg(value_name = "URL")]
        webhook_url: String,
    },
    /// Call the account no more. Its secret is forgotten.
    Remove,
}

pub(super) fn run(args: WebhookArgs) -> anyhow::Result<()> {
    let (method, body) = match args.command {
        WebhookCommand::Show => (Method::GET, None),
        WebhookCommand::Set { webhook_url } => {
            (Method::POST, Some(json!({"enabled": true, "url": webhook_url})))
        }
        WebhookCommand::Remove => (Method::POST, Some(json!({"enabled": false}))),
    };
    block_on(async {
        let (api, json) = args.call.api()?;
        let answer = api.call(method, &["api", "events", "webhook"], &[], body).await?;
        let answer = answer.success(json)?;
        if json {
            return say(&answer.text);
        }
        let webhook = &answer.value["webhook"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        say(text(&webhook["secret"])
            .or_else(|| text(&webhook["url"]))
            .unwrap_or_else(|| "the account has no webhook".to_owned()))
    })
}
