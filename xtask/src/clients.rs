//! `cargo xtask clients`: the sandbox and the service against clients that nobody here wrote.
//!
//! Baileys comes from npm, whatsmeow in the neonize package from PyPI, both into `target/clients` and never into
//! the repository. In a network namespace of their own they reach nothing but this machine's loopback.

mod checks;
pub(crate) mod driver;
mod install;
mod trial;

use anyhow::ensure;
use clap::{Args, ValueEnum};

use crate::outside;
use crate::service::{Programs, say};
use checks::{CheckResult, Row};
use install::Installed;

#[derive(Args)]
pub(crate) struct Clients {
    /// Only this client.
    #[arg(long, value_name = "CLIENT")]
    only: Option<Client>,
    /// Set when the namespace without a network has been entered.
    #[arg(long, hide = true)]
    inside: bool,
}

/// A client that speaks with WhatsApp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    Baileys,
    Whatsmeow,
}

impl Client {
    const ALL: [Self; 2] = [Self::Baileys, Self::Whatsmeow];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Baileys => "Baileys",
            Self::Whatsmeow => "whatsmeow",
        }
    }
}

impl Clients {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let clients: Vec<_> = Client::ALL
            .into_iter()
            .filter(|client| self.only.is_none_or(|only| only == *client))
            .collect();
        if !self.inside {
            // What comes from the network, before there is none.
            Programs::build("warn")?;
            for client in &clients {
                outside::installed_or_said(client.name(), Installed::install(*client))?;
            }
            return outside::run_inside(&outside::arguments_inside("clients", self.only));
        }
        let programs = Programs::build("warn")?;
        let mut columns = Vec::new();
        for client in clients {
            match Installed::find(client) {
                Some(installed) => {
                    say(format_args!("{} {}:", client.name(), installed.version()));
                    columns.push((client, checks::run(&programs, &installed)?));
                }
                None => say(format_args!("{} is left out.", client.name())),
            }
        }
        ensure!(!columns.is_empty(), "no client could be tried");
        print(&columns);
        let failed = columns.iter().flat_map(|(_, rows)| rows);
        let failed = failed
            .filter(|row| matches!(row.result, CheckResult::Failed(_)))
            .count();
        ensure!(failed == 0, "{failed} checks failed");
        Ok(())
    }
}

/// The table client × check.
fn print(columns: &[(Client, Vec<Row>)]) {
    let names = columns.iter().map(|(client, _)| client.name());
    say(format_args!(
        "\n| check | {} |\n|---|{}",
        names.collect::<Vec<_>>().join(" | "),
        "---|".repeat(columns.len())
    ));
    for (at, row) in columns[0].1.iter().enumerate() {
        let outcomes = columns
            .iter()
            .map(|(_, rows)| match rows.get(at).map(|row| &row.result) {
                Some(CheckResult::Passed) => "yes".to_owned(),
                Some(CheckResult::Failed(why)) => format!("NO: {}", why.replace('\n', " ")),
                None => "not reached".to_owned(),
            });
        say(format_args!(
            "| {} | {} |",
            row.name,
            outcomes.collect::<Vec<_>>().join(" | ")
        ));
    }
}
