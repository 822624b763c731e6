//! `cargo xtask cluster`: three nodes on one PostgreSQL, and the failures that they must survive.
//!
//! Everything is real: the processes, a PostgreSQL of our own, sessions that the sandbox has linked, clients that send
//! to random nodes. Between all of them are proxies, with which networks are cut. While a failure lasts, clients go on;
//! after each, every session is online again, every phone shows what was promised, and the database has seen no node
//! write what it had no right to.

mod audit;
mod database;
mod failures;
mod load;
mod measure;
mod node;
mod pace;
mod postgres;
mod proxy;
mod statements;
mod store_tests;
mod town;

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;

pub(crate) use self::database::Database;
use self::failures::{ALL, Failure, Needs};
use self::measure::{COLUMNS, Outcome};
use self::pace::Pace;
pub(crate) use self::postgres::free_port;
pub(crate) use self::proxy::Proxy;
use self::town::Town;
use crate::root;
use crate::service::{Programs, say};

/// The name of what is no failure: the store's own tests over PostgreSQL.
const STORE_TESTS: &str = "store-tests";

#[derive(Args)]
pub(crate) struct Cluster {
    /// Only the failures that take little time, with few sessions.
    #[arg(long)]
    quick: bool,
    /// Only this one; may be given more than once.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    only: Vec<String>,
    /// Lists them.
    #[arg(long)]
    list: bool,
    /// How many sessions there are: 300, or 60 in the quick run, unless set.
    #[arg(long, value_name = "N")]
    sessions: Option<usize>,
    /// Builds the programs optimised.
    #[arg(long)]
    release: bool,
}

fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|failure| failure.name).chain([STORE_TESTS])
}

impl Cluster {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if self.list {
            for failure in ALL {
                let quick = if failure.is_quick {
                    ", also in the quick run"
                } else {
                    ""
                };
                say(format_args!("{}: {}{quick}", failure.name, failure.what));
            }
            say(format_args!(
                "{STORE_TESTS}: the store's tests over PostgreSQL, also in the quick run"
            ));
            return Ok(());
        }
        let began = Instant::now();
        let logs = root().join("target/cluster");
        let _ = fs::remove_dir_all(&logs);
        fs::create_dir_all(&logs)?;
        if self.has(STORE_TESTS, true) {
            store_tests::run(&logs)?;
        }
        let failures: Vec<Failure> = ALL
            .into_iter()
            .filter(|failure| self.has(failure.name, failure.is_quick))
            .collect();
        if failures.is_empty() {
            return Ok(());
        }
        let profile = self.release.then_some("--release");
        let programs = Programs::build_with("warn", profile.as_slice())?;
        let size = self.sessions.unwrap_or(if self.quick { 60 } else { 300 });
        say(format_args!(
            "Starting PostgreSQL, a sandbox and three nodes, and pairing {size} instances."
        ));
        // The quick run is for whatever machine CI has. The whole one, which is the proof, holds to the bounds.
        let pace = if self.quick {
            Pace::start()
        } else {
            Pace::unmeasured()
        };
        let town = Town::build(programs, size, logs.clone(), pace)
            .with_context(|| format!("{} has the nodes' logs", logs.display()))?;
        say(format_args!(
            "All are online after {:.0} s.",
            began.elapsed().as_secs_f32()
        ));
        let report = Self::survive(&town, &failures);
        say(format_args!("\n{}", report.table));
        for left_out in &report.left_out {
            say(format_args!("Left out: {left_out}"));
        }
        ensure!(
            report.broken.is_empty(),
            "this does not hold:\n  {}\n{} has the nodes' logs",
            report.broken.join("\n  "),
            logs.display()
        );
        town.close()?;
        say(format_args!(
            "Everything held; {:.0} s.",
            began.elapsed().as_secs_f32()
        ));
        Ok(())
    }

    fn has(&self, name: &str, is_quick: bool) -> bool {
        match self.only.as_slice() {
            [] => is_quick || !self.quick,
            only => only.iter().any(|only| only == name),
        }
    }

    /// Goes through them, as long as it comes back from each.
    fn survive(town: &Town, failures: &[Failure]) -> Report {
        let mut report = Report::new();
        for failure in failures {
            if let Some(why) = failure.needs.missing(town) {
                report.left_out.push(format!("{}: {why}", failure.name));
                continue;
            }
            say(format_args!("{}: {} …", failure.name, failure.what));
            let began = Instant::now();
            let outcome = (failure.run)(town);
            let recovered = recover(town);
            let took = began.elapsed().as_secs_f32();
            match (outcome, &recovered) {
                (Ok(outcome), Ok(())) => {
                    say(format_args!("  held, {took:.0} s: {outcome}"));
                    if outcome.slowness > 1.5 {
                        say(format_args!(
                            "  on a machine that is busy: work took {:.1} times as long as alone",
                            outcome.slowness
                        ));
                    }
                    report.row(failure, Some(&outcome));
                    continue;
                }
                (Ok(outcome), Err(error)) => {
                    report.row(failure, Some(&outcome));
                    report.broke(failure, &format!("{error:#}"));
                }
                (Err(error), _) => {
                    report.row(failure, None);
                    report.broke(failure, &format!("{error:#}"));
                }
            }
            if let Err(error) = recovered {
                report.broken.push(format!(
                    "it did not come back, so nothing else was tried: {error:#}"
                ));
                break;
            }
        }
        report
    }
}

/// Three nodes run, every session is online and fairly shared, and the database has seen nothing wrong.
fn recover(town: &Town) -> anyhow::Result<()> {
    town.heal()?;
    for (nth, node) in town.nodes.iter().enumerate() {
        if nth < town::NODES {
            if !node.is_started() {
                town.start(nth)?;
            }
            node.rotate(true);
        } else {
            node.stop()?;
        }
    }
    town.settle()?;
    audit::check(&town.database)
}

/// What is told in the end.
struct Report {
    table: String,
    broken: Vec<String>,
    left_out: Vec<String>,
}

impl Report {
    fn new() -> Self {
        let rule = "|---".repeat(COLUMNS.split('|').count() + 1);
        Self {
            table: format!("| failure | {COLUMNS} |\n{rule}|\n"),
            broken: Vec::new(),
            left_out: Vec::new(),
        }
    }

    fn row(&mut self, failure: &Failure, outcome: Option<&Outcome>) {
        let columns = outcome.map_or_else(|| "did not hold".to_owned(), Outcome::to_string);
        self.table += &format!("| {} | {columns} |\n", failure.what);
    }

    fn broke(&mut self, failure: &Failure, why: &str) {
        say(format_args!("  DID NOT HOLD: {why}"));
        self.broken.push(format!("{}: {why}", failure.name));
    }
}

impl Needs {
    /// Why a failure with these needs cannot be made here.
    fn missing(self, town: &Town) -> Option<&'static str> {
        match self {
            Self::OurServer if !town.database.is_ours() => Some("the PostgreSQL is not ours to stop"),
            Self::Faketime if failures::faketime().is_none() => {
                Some("libfaketime is not installed; Debian has it as `libfaketime`")
            }
            _ => None,
        }
    }
}
