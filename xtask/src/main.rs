//! The project's own commands. `cargo xtask --help` lists them; a file each.
#![allow(
    clippy::disallowed_methods,
    reason = "a developer's tool lives on the real clock"
)]

mod api;
mod bench;
mod ci;
mod clients;
mod cluster;
mod compat;
mod console_test;
mod demo;
mod dist;
mod generated_clients;
mod hands;
mod mutants;
mod npm;
mod openapi;
mod outside;
mod promises;
mod proxies;
mod service;
mod soak;
mod tidy;
mod vendor;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Commands for working on Presence.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows "typing…" on a simulated phone, through the real service, with no phone and no network.
    Demo(demo::Demo),
    /// Measures what the service costs, beside what is known, and how that grows.
    Bench(bench::Bench),
    /// Lets two hundred sessions live through faults of every kind, and checks what phones show and what leaks.
    Soak(soak::Soak),
    /// Lets three nodes share PostgreSQL, and goes through the failures that they must survive.
    Cluster(cluster::Cluster),
    /// Drives clients that nobody here wrote against the sandbox and the service, and prints what agreed.
    Clients(clients::Clients),
    /// Puts real proxies between the service and the sandbox, and checks what phones show and what is said.
    Proxies(proxies::Proxies),
    /// Drives clients of Evolution API and WAHA against the service, and looks at what the recipient's phone shows.
    Compat(compat::Compat),
    /// Makes clients of `docs/openapi.json`, and runs the programs of `docs/clients.md` and `docs/beside-a-gateway.md`.
    GeneratedClients(generated_clients::GeneratedClients),
    /// Uses the console as a person would, in Chromium, against the sandbox and the service.
    ConsoleTest(console_test::ConsoleTest),
    /// Makes the packages in `target/dist`, and tries them: a tarball, a Debian package, licences, bill of materials.
    Dist(dist::Dist),
    /// Fetches the console's two libraries from npm again, at the pinned versions.
    Vendor,
    /// Writes `docs/openapi.json`, the API for tools.
    Openapi,
    /// Runs what a change must pass: formatting, tidy, clippy, docs, each crate and feature alone, tests.
    Ci,
    Mutants(mutants::Mutants),
    /// Checks what no compiler does: who depends on whom, what lies where, that each file says what it is.
    Tidy,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // On one line, and without the backtrace that returning it would print where they are switched on.
            let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(demo) => demo.run(),
        Command::Bench(bench) => bench.run(),
        Command::Soak(soak) => soak.run(),
        Command::Cluster(cluster) => cluster.run(),
        Command::Clients(clients) => clients.run(),
        Command::Proxies(proxies) => proxies.run(),
        Command::Compat(compat) => compat.run(),
        Command::GeneratedClients(clients) => clients.run(),
        Command::ConsoleTest(test) => test.run(),
        Command::Dist(dist) => dist.run(),
        Command::Vendor => vendor::run(),
        Command::Openapi => openapi::run(),
        Command::Ci => ci::run(),
        Command::Mutants(mutants) => mutants.run(),
        Command::Tidy => tidy::run(),
    }
}

/// What `cargo run` tells the program it runs about its package. Build scripts watch these variables, so a
/// cargo that we start must not see ours, or it builds half of the dependencies again.
fn own_package_variables() -> impl Iterator<Item = String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
}

/// The top of the work tree.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the work tree").to_path_buf()
}
