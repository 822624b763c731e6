//! The project's own commands. `cargo xtask --help` lists them; a file each.
#![allow(
    clippy::disallowed_methods,
    reason = "a developer's tool lives on the real clock"
)]

mod api;
mod ci;
mod demo;
mod service;
mod soak;
mod tidy;

use std::path::{Path, PathBuf};

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
    /// Lets two hundred sessions live through faults of every kind, and checks what phones show and what leaks.
    Soak(soak::Soak),
    /// Runs what a change must pass: formatting, clippy, docs, tests, tidy.
    Ci,
    /// Checks what no compiler does: who depends on whom, what lies where, that each file says what it is.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Demo(demo) => demo.run(),
        Command::Soak(soak) => soak.run(),
        Command::Ci => ci::run(),
        Command::Tidy => tidy::run(),
    }
}

/// The top of the work tree.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the work tree").to_path_buf()
}
