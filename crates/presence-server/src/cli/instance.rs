//! `presence-server instance …`: instances, through the API of a running server.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::api::{Api, ServerArgs, TokenArgs};
use super::output::{block_on, say};
use super::pair::{self, PairArgs};

#[derive(Debug, Args)]
pub(super) struct InstanceArgs {
    #[command(subcommand)]
    command: InstanceCommand,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    token: TokenArgs,
    /// Answer with JSON, as the API does.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum InstanceCommand {
    /// Create an instance and print its token.
    New {
        /// 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit.
        name: String,
        /// A token of your own, 16 to 128 printable ASCII characters. Unset: the server makes one.
        #[arg(long, value_name = "TOKEN")]
        instance_token: Option<String>,
        /// Show the account as online all the time. Its phone stays silent.
        #[arg(long)]
        keep_online: bool,
    },
    /// List instances and how they are.
    List {
        /// Which; none is all.
        names: Vec<String>,
    },
    /// Link a phone: draws the QR code until it is scanned, or shows a link code.
    Pair(PairArgs),
    /// Open the saved session again.
    Reconnect {
        /// Which instance.
        name: String,
    },
    /// Unlink the phone and wipe the keys. The instance and its token stay.
    Logout {
        /// Which instance.
        name: String,
    },
    /// Unlink the phone and delete the instance.
    Delete {
        /// Which instance.
        name: String,
    },
}

pub(super) fn run(args: InstanceArgs) -> anyhow::Result<()> {
    block_on(execute(args))
}

async fn execute(args: InstanceArgs) -> anyhow::Result<()> {
    let api = Api::new(args.server, args.token)?;
    let at = |action: &'static str, name: &str| ["api", "instance", action, name].map(str::to_owned);
    let (method, path, query, body) = match args.command {
        InstanceCommand::Pair(pair) => return pair::run(&api, &pair, args.json).await,
        InstanceCommand::New {
            name,
            instance_token,
            keep_online,
        } => {
            let body = json!({"name": name, "token": instance_token, "keepOnlineStatus": keep_online});
            let created = api
                .call(Method::POST, &["api", "instance", "new"], &[], Some(body))
                .await?
                .success(args.json)?;
            return if args.json {
                Ok(say(&created.text)?)
            } else {
                print_text(&created.value["instance"]["token"])
            };
        }
        InstanceCommand::List { names } => {
            let names = names.join(",");
            let query: &[(&str, &str)] = if names.is_empty() {
                &[]
            } else {
                &[("instanceName", &names)]
            };
            let list = api
                .call(Method::GET, &["api", "instance", "list"], query, None)
                .await?
                .success(args.json)?;
            return if args.json {
                Ok(say(&list.text)?)
            } else {
                print_list(&list.value)
            };
        }
        InstanceCommand::Reconnect { name } => (Method::POST, at("reconnect", &name), [], None),
        InstanceCommand::Logout { name } => (Method::DELETE, at("logout", &name), [], None),
        InstanceCommand::Delete { name } => (Method::DELETE, at("delete", &name), [], None),
    };
    let path = path.each_ref().map(String::as_str);
    let answer = api.call(method, &path, &query, body).await?.success(args.json)?;
    if args.json {
        Ok(say(&answer.text)?)
    } else {
        print_text(&answer.value["message"])
    }
}

fn print_text(text: &Value) -> anyhow::Result<()> {
    Ok(say(text.as_str().unwrap_or_default())?)
}

fn print_list(list: &Value) -> anyhow::Result<()> {
    for instance in list["instances"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let name = text(&instance["name"]);
        let connection = &instance["connection"];
        say(format_args!(
            "{name:<30} {:<30} {}",
            text(&connection["numberJid"]),
            text(&connection["displayStatus"])
        ))?;
    }
    Ok(())
}
