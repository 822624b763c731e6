//! `presence-server migrate`: everything from a data directory into a database that nodes share, or back.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use presence_store::{KeySource, Moved, Postgres};
use serde_json::json;

use super::backup::TokenKeyArgs;
use super::output::{block_on, say};
use super::records::DatabaseArgs;
use crate::data_dir;

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// The data directory whose contents the database gets.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "to",
        conflicts_with = "to"
    )]
    from: Option<PathBuf>,
    /// The data directory that gets what the database has. It is created.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    key: TokenKeyArgs,
    /// Answer with JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: MigrateArgs) -> anyhow::Result<()> {
    block_on(migrate(args))
}

async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    let database = args.database.connect().await?;
    let database = database.context("--database-url (PRESENCE_DATABASE_URL) is needed")?;
    let moved = match (&args.from, &args.to) {
        (Some(from), None) => import(&args, from, &database).await,
        (None, Some(to)) => export(&args, to, &database).await,
        _ => bail!("one of --from and --to is needed"),
    };
    database.close().await;
    moved
}

async fn import(args: &MigrateArgs, from: &Path, database: &Postgres) -> anyhow::Result<()> {
    let dir = data_dir::open_existing(from)?;
    let lock = dir.lock()?;
    let given = args.key.read()?;
    let in_file = given.is_none();
    let key = given.map_or(KeySource::File, KeySource::Given);
    let moved = database.import(&dir, &lock, key, &mut progress(args.json)).await;
    let moved = moved.context("nothing was moved")?;
    if args.json {
        return say(json!({ "moved": counts(moved) }));
    }
    let from = from.display();
    say(format_args!(
        "moved {} from {from} into the database",
        words(moved)
    ))?;
    if in_file {
        say(format_args!(
            "give every node the key in {from}/token.key, as PRESENCE_TOKEN_KEY"
        ))?;
    }
    say(format_args!(
        "no server may run on {from} any more: its keys grow old, and WhatsApp ends sessions that use them"
    ))?;
    Ok(())
}

async fn export(args: &MigrateArgs, to: &Path, database: &Postgres) -> anyhow::Result<()> {
    let key = args.key.read()?;
    let key = key.context("the key that the nodes have is needed: --token-key (PRESENCE_TOKEN_KEY)")?;
    let dir = data_dir::open(to)?;
    let lock = dir.lock()?;
    let moved = database.export(&dir, &lock, &key, &mut progress(args.json)).await;
    let moved = moved.context("nothing was moved")?;
    if args.json {
        return say(json!({ "moved": counts(moved) }));
    }
    let to = to.display();
    say(format_args!("moved {} from the database to {to}", words(moved)))?;
    say(format_args!(
        "start its server with the same PRESENCE_TOKEN_KEY, and no node on the database any more: its keys grow old"
    ))?;
    Ok(())
}

/// Says how far it is, to a person.
fn progress(json: bool) -> impl FnMut(Moved) + Send {
    let shown = !json && stderr().is_terminal();
    move |moved| {
        if shown {
            // Nobody is told when the terminal is gone.
            let _ = write!(stderr(), "\r{} …", words(moved));
        }
    }
}

fn words(moved: Moved) -> String {
    let Moved {
        accounts,
        instances,
        keys,
        ..
    } = moved;
    format!("{accounts} accounts, {instances} instances and {keys} device keys")
}

fn counts(moved: Moved) -> serde_json::Value {
    json!({ "accounts": moved.accounts, "instances": moved.instances, "keys": moved.keys })
}
