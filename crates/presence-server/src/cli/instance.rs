//! `presence-server instance …`: instances, through the API of a running server.

use anyhow::anyhow;
use clap::{Args, Subcommand};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::{Api, CallArgs, Refused};
use super::confirm::ConfirmArgs;
use super::output::{Table, block_on, say};
use super::pair::{self, PairArgs};
use super::send::print_shown;

#[derive(Debug, Args)]
pub(super) struct InstanceArgs {
    #[command(subcommand)]
    command: InstanceCommand,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, Subcommand)]
enum InstanceCommand {
    /// Create an instance and print its token.
    New {
        /// 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit.
        name: String,
        /// A token of your own, 16 to 128 printable ASCII characters. Unset: the server makes one.
        #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
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
    /// Tell how an instance is, and what its customers see now.
    Show {
        /// Which instance.
        name: String,
    },
    /// Link a phone: draws the QR code until it is scanned, or shows a link code.
    Pair(PairArgs),
    /// Print a link to send to the phone's owner: whoever opens it within 15 minutes can link the phone.
    PairingLink {
        /// Which instance.
        name: String,
        /// Make the link void instead.
        #[arg(long)]
        revoke: bool,
    },
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
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

pub(super) fn run(args: InstanceArgs) -> anyhow::Result<()> {
    block_on(execute(args))
}

async fn execute(args: InstanceArgs) -> anyhow::Result<()> {
    let (api, json) = args.call.api()?;
    let (method, action, name) = match args.command {
        InstanceCommand::Pair(pair) => return pair::run(&api, &pair, json).await,
        InstanceCommand::New {
            name,
            instance_token,
            keep_online,
        } => {
            let body = json!({"name": name, "token": instance_token, "keepOnlineStatus": keep_online});
            return create(&api, body, json).await;
        }
        InstanceCommand::List { names } => return list(&api, &names, json).await,
        InstanceCommand::Show { name } => return show(&api, &name, json).await,
        InstanceCommand::PairingLink { name, revoke: false } => return pairing_link(&api, &name, json).await,
        InstanceCommand::PairingLink { name, revoke: true } => (Method::DELETE, "pairing-link", name),
        InstanceCommand::Reconnect { name } => (Method::POST, "reconnect", name),
        InstanceCommand::Logout { name } => (Method::DELETE, "logout", name),
        InstanceCommand::Delete { name, confirm } => {
            confirm.confirm(&format!("Unlink the phone of {name:?} and delete the instance?"))?;
            (Method::DELETE, "delete", name)
        }
    };
    let answer = api
        .call(method, &["api", "instance", action, &name], &[], None)
        .await?;
    let answer = answer.success(json).map_err(named(&name))?;
    if json {
        say(&answer.text)
    } else {
        print_text(&answer.value["message"])
    }
}

async fn create(api: &Api, body: Value, json: bool) -> anyhow::Result<()> {
    let created = api
        .call(Method::POST, &["api", "instance", "new"], &[], Some(body))
        .await?
        .success(json)?;
    if json {
        say(&created.text)
    } else {
        print_text(&created.value["instance"]["token"])
    }
}

async fn pairing_link(api: &Api, name: &str, json: bool) -> anyhow::Result<()> {
    let path = ["api", "instance", "pairing-link", name];
    let link = api.call(Method::POST, &path, &[], None).await?;
    let link = link.success(json).map_err(named(name))?;
    if json {
        say(&link.text)
    } else {
        print_text(&link.value["url"])
    }
}

async fn list(api: &Api, names: &[String], json: bool) -> anyhow::Result<()> {
    let joined = names.join(",");
    let query: &[(&str, &str)] = if joined.is_empty() {
        &[]
    } else {
        &[("instanceName", &joined)]
    };
    let list = api
        .call(Method::GET, &["api", "instance", "list"], query, None)
        .await?
        .success(json)
        .map_err(named(&joined))?;
    if json {
        return say(&list.text);
    }
    let mut table = Table::new(["NAME", "NUMBER", "CREATED", "SINCE", "STATE"]);
    for instance in list.value["instances"].as_array().into_iter().flatten() {
        table.push(row_of(instance));
    }
    table.print("there is no instance yet: make one with \"presence-server instance new NAME\"")
}

async fn show(api: &Api, name: &str, json: bool) -> anyhow::Result<()> {
    let query = [("instanceName", name)];
    let list = api
        .call(Method::GET, &["api", "instance", "list"], &query, None)
        .await?
        .success(json)
        .map_err(named(name))?;
    // A token of one instance gets that one, whatever it asks for.
    let item = list.value["instances"].as_array().into_iter().flatten();
    let item = item.clone().find(|instance| instance["name"] == name);
    let item = item.ok_or_else(|| no_instance(name))?;
    if json {
        return say(item);
    }
    let [name, number, created, since, state] = row_of(item);
    let online = item["settings"]["keepOnlineStatus"] == true;
    say(format_args!(
        "name         {name}\nnumber       {number}\ncreated      {created}\nstate        {state}\nsince        {since}\nkeep online  {}\n",
        if online { "on" } else { "off" }
    ))?;
    let shown = api
        .call(Method::GET, &["api", "chat", "presence", &name], &[], None)
        .await?
        .success(json)?;
    print_shown(&shown.value)
}

/// Name, number, when it was created, since when it is in its state, and that in words.
fn row_of(instance: &Value) -> [String; 5] {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let connection = &instance["connection"];
    let number = text(&connection["numberJid"]);
    let created = text(&instance["createdAt"]);
    // To the second, and as every other time in UTC.
    let since = text(&connection["since"]);
    let since = since
        .get(..19)
        .map_or(since.clone(), |second| format!("{second}Z"));
    [
        text(&instance["name"]),
        number
            .strip_suffix("@s.whatsapp.net")
            .unwrap_or(&number)
            .to_owned(),
        created.get(..10).unwrap_or(&created).to_owned(),
        since,
        text(&connection["displayStatus"]),
    ]
}

fn print_text(text: &Value) -> anyhow::Result<()> {
    say(text.as_str().unwrap_or_default())
}

/// The server's "Instance not found", with the name that was not found.
pub(super) fn named(name: &str) -> impl FnOnce(anyhow::Error) -> anyhow::Error {
    move |error| match error.downcast_ref::<Refused>() {
        Some(refused) if refused.status == StatusCode::NOT_FOUND => no_instance(name),
        _ => error,
    }
}

fn no_instance(name: &str) -> anyhow::Error {
    anyhow!("the account has no instance {name:?}")
}
