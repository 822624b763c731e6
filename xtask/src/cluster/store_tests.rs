//! The store's own tests over PostgreSQL, which `cargo test` leaves out since a newcomer has none.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::database::OWN_SERVER;
use super::postgres::Postgres;
use crate::service::say;
use crate::{own_package_variables, root};

/// Runs them against a server of our own, unless another one is named.
pub(super) fn run(logs: &Path) -> anyhow::Result<()> {
    say("The store's tests over PostgreSQL …");
    let server = match std::env::var_os(OWN_SERVER) {
        Some(_) => None,
        None => Some(Postgres::start(&logs.join("store-tests.log"))?),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for name in own_package_variables() {
        command.env_remove(name);
    }
    if let Some(server) = &server {
        let url = format!(
            "postgres://postgres@{}/postgres?sslmode=disable",
            server.address()
        );
        command.env(OWN_SERVER, url);
    }
    let tested = command
        .args(["test", "--locked", "--workspace", "--test", "it"])
        .args(["--features", "presence-store/postgres-tests", "--", "postgres"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    let told = String::from_utf8_lossy(&tested.stdout);
    let passed = told
        .lines()
        .filter(|line| line.starts_with("test ") && line.ends_with(" ok"))
        .count();
    if !tested.status.success() {
        say(&told);
    }
    ensure!(
        tested.status.success(),
        "the store's tests over PostgreSQL failed"
    );
    ensure!(passed > 0, "there are no tests of the store over PostgreSQL");
    say(format_args!("  {passed} passed"));
    Ok(())
}
