//! `presence-server settings`: what an instance does besides, through the API of a running server.

use clap::{Args, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};

use super::api::CallArgs;
use super::instance::named;
use super::output::{block_on, say};

#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// Which instance.
    instance: String,
    /// Whether to show the account as online all the time. On, its phone stays silent. Applies at once.
    #[arg(long, value_name = "on|off", hide_possible_values = true)]
    keep_online: Option<Switch>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

pub(super) fn run(args: SettingsArgs) -> anyhow::Result<()> {
    let (method, action, body) = match args.keep_online {
        None => (Method::GET, "getSettings", None),
        Some(keep_online) => {
            let body = json!({"keepOnlineStatus": matches!(keep_online, Switch::On)});
            (Method::POST, "settings", Some(body))
        }
    };
    block_on(async {
        let path = ["api", "instance", action, &args.instance];
        let (api, json) = args.call.api()?;
        let answer = api.call(method, &path, &[], body).await?;
        let answer = answer.success(json).map_err(named(&args.instance))?;
        if json {
            return say(&answer.text);
        }
        // The others of the API are constants, for clients that were written for another service.
        let online = answer.value["settings"]["keepOnlineStatus"] == Value::Bool(true);
        say(format_args!("keep online  {}", if online { "on" } else { "off" }))?;
        Ok(())
    })
}
