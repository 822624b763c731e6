//! `presence-server account …`: accounts, where they are kept.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use presence_api::utc_now;
use presence_store::{Account, AccountName, InvalidName, Registry, Store};
use serde_json::json;

use super::confirm::ConfirmArgs;
use super::output::{Table, block_on, say};
use super::records::RecordsArgs;

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
    #[command(flatten)]
    records: RecordsArgs,
    /// Answer with JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Create an account and print its token. It is stored nowhere: keep it.
    New {
        /// 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit.
        name: String,
        /// The most instances it may have. Unset: no limit.
        #[arg(long, env = "PRESENCE_QUOTA", value_name = "N")]
        quota: Option<u32>,
    },
    /// List accounts.
    List,
    /// Give an account a new token and print it. The old one is void, in a running server within a second.
    Rotate {
        /// Which account.
        name: String,
    },
    /// Delete an account with its instances. A running server ends their sessions within a second; else their
    /// keys are wiped when one starts.
    Delete {
        /// Which account.
        name: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

pub(super) fn run(args: AccountArgs) -> anyhow::Result<()> {
    block_on(execute(args))
}

async fn execute(args: AccountArgs) -> anyhow::Result<()> {
    let json = args.json;
    let records = match args.command {
        // Only a new account makes a directory.
        AccountCommand::New { .. } => args.records.open().await?,
        _ => args.records.open_existing().await?,
    };
    let store = &records.store;
    match args.command {
        AccountCommand::New { name, quota } => {
            let name: AccountName = name.parse().map_err(|invalid| no_name(&name, invalid))?;
            let (account, token) = store.create_account(name, quota, utc_now()).await?;
            records.are_followed().await;
            if json {
                say(json!({"account": describe(store, &account), "token": token.expose()}))?;
            } else {
                say(token.expose())?;
            }
        }
        AccountCommand::List => {
            let accounts = store.accounts();
            if json {
                let accounts: Vec<_> = accounts.iter().map(|account| describe(store, account)).collect();
                say(json!({ "accounts": accounts }))?;
            } else {
                print_list(store, &accounts)?;
            }
        }
        AccountCommand::Rotate { name } => {
            let account = named(store, &name)?;
            let token = store
                .rotate_account(account.id)
                .await?
                .with_context(|| no_account(&name))?;
            records.are_followed().await;
            if json {
                say(json!({"account": describe(store, &account), "token": token.expose()}))?;
            } else {
                say(token.expose())?;
            }
        }
        AccountCommand::Delete { name, confirm } => {
            let account = named(store, &name)?;
            let instances = store.instances(account.id).len();
            confirm.confirm(&format!(
                "Delete {name:?} with {instances} instances, and unlink their phones?"
            ))?;
            if !store.delete_account(account.id).await? {
                bail!(no_account(&name));
            }
            if json {
                say(json!({"deleted": {"name": name, "instances": instances}}))?;
            } else {
                say(format_args!("deleted {name} with {instances} instances"))?;
            }
        }
    }
    records.close().await
}

fn print_list(store: &Store, accounts: &[Arc<Account>]) -> anyhow::Result<()> {
    let mut table = Table::new(["NAME", "INSTANCES", "QUOTA", "CREATED"]);
    for account in accounts {
        let quota = account
            .quota
            .map_or("no limit".to_owned(), |quota| format!("at most {quota}"));
        table.push([
            account.name.to_string(),
            store.instances(account.id).len().to_string(),
            quota,
            account.created_at.format("%Y-%m-%d").to_string(),
        ]);
    }
    table.print("there is no account yet: make one with \"presence-server account new NAME\"")
}

fn no_name(name: &str, invalid: InvalidName) -> anyhow::Error {
    let rule = "letters, digits, '.', '_' or '-', beginning with a letter or digit";
    match invalid {
        InvalidName::Character { found, at } => {
            let place = ordinal(name[..at].chars().count() + 1);
            let found = match found {
                ' ' => "a space".to_owned(),
                found => format!("{found:?}"),
            };
            anyhow!("{name:?}: {rule}; the {place} character is {found}")
        }
        invalid => anyhow!("{name:?}: {invalid}"),
    }
}

fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn named(store: &Store, name: &str) -> anyhow::Result<Arc<Account>> {
    store.account_named(name).with_context(|| no_account(name))
}

fn no_account(name: &str) -> String {
    format!("there is no account {name:?}")
}

fn describe(store: &Store, account: &Account) -> serde_json::Value {
    json!({
        "name": account.name.as_str(),
        "quota": account.quota,
        "instances": store.instances(account.id).len(),
        "createdAt": account.created_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_told_where_it_is_wrong() {
        for (name, said) in [
            ("bad name", "the 4th character is a space"),
            ("_x", "the 1st character is '_'"),
            ("\u{e9}", "the 1st character is '\u{e9}'"),
            ("a\n", "the 2nd character is '\\n'"),
            ("aaaaaaaaaaa/", "the 12th character is '/'"),
        ] {
            let invalid = name.parse::<AccountName>().unwrap_err();
            let text = no_name(name, invalid).to_string();
            assert!(text.starts_with(&format!("{name:?}: letters, digits")), "{text}");
            assert!(text.ends_with(said), "{text}");
        }
        let text = no_name("", InvalidName::Empty).to_string();
        assert_eq!(text, "\"\": a name is not empty");
    }

    #[test]
    fn places_are_counted_as_people_do() {
        let said = [1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111].map(ordinal).join(" ");
        assert_eq!(said, "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 101st 111th");
    }
}
