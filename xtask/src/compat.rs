//! `cargo xtask compat`: the service's routes of other gateways against clients that were written for those.
//!
//! They come unchanged from npm and PyPI, into `target/compat` and never into the repository. In a network
//! namespace of their own they reach nothing but this machine's loopback.

mod checks;
mod install;
mod trial;

use anyhow::ensure;
use clap::{Args, ValueEnum};

use crate::outside;
use crate::service::{Programs, say};
use trial::Trial;

#[derive(Args)]
pub(crate) struct Compat {
    /// Only this client.
    #[arg(long, value_name = "CLIENT")]
    only: Option<Client>,
    /// Set when the namespace without a network has been entered.
    #[arg(long, hide = true)]
    inside: bool,
}

/// A client of another gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// The n8n community node for Evolution API.
    N8n,
    Pyevolutionapi,
    Evolutionapi,
    WahaPy,
}

impl Client {
    const ALL: [Self; 4] = [Self::N8n, Self::Pyevolutionapi, Self::Evolutionapi, Self::WahaPy];

    /// As its registry knows it.
    const fn package(self) -> &'static str {
        match self {
            Self::N8n => "n8n-nodes-evolution-api",
            Self::Pyevolutionapi => "pyevolutionapi",
            Self::Evolutionapi => "evolutionapi",
            Self::WahaPy => "waha-py",
        }
    }
}

impl Compat {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let clients = Client::ALL.into_iter();
        let clients = clients.filter(|client| self.only.is_none_or(|only| only == *client));
        if !self.inside {
            // What comes from the network, before there is none.
            Programs::build("warn")?;
            for client in clients {
                outside::installed_or_said(client.package(), install::install(client))?;
            }
            return outside::run_inside(&outside::arguments_inside("compat", self.only));
        }
        let programs = Programs::build("warn")?;
        let (mut tried, mut failed) = (0, 0);
        for client in clients {
            let Some(version) = install::version(client) else {
                say(format_args!("{} is left out.", client.package()));
                continue;
            };
            say(format_args!("{} {version}:", client.package()));
            let mut trial = Trial::start(&programs, client)?;
            for (name, check) in checks::of(client) {
                tried += 1;
                match check(&mut trial) {
                    Ok(()) => say(format_args!("   yes  {name}")),
                    Err(error) => {
                        failed += 1;
                        say(format_args!("   NO   {name}: {error:#}"));
                    }
                }
            }
            trial.end()?;
        }
        ensure!(tried > 0, "no client could be tried");
        ensure!(failed == 0, "{failed} of {tried} checks failed");
        say(format_args!("All {tried} checks passed."));
        Ok(())
    }
}
