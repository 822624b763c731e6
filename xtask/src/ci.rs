//! `cargo xtask ci`: what a change must pass.

use std::time::Instant;

use anyhow::Context;
use xshell::{Cmd, Shell, cmd};

use crate::{own_package_variables, root, tidy};

/// Runs every check, the quick ones first, and stops at the first that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(root());

    step("format", || run_one(cmd!(shell, "cargo fmt --all --check")))?;
    step("tidy", tidy::run)?;
    step("clippy", || {
        run_one(cmd!(
            shell,
            "cargo clippy --locked --workspace --all-targets --all-features -- -D warnings"
        ))
    })?;
    step("doc", || {
        let doc = cmd!(shell, "cargo doc --locked --workspace --no-deps");
        run_one(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    step("test", || run_one(cmd!(shell, "cargo test --locked --workspace")))
}

fn run_one(mut cargo: Cmd<'_>) -> anyhow::Result<()> {
    for name in own_package_variables() {
        cargo = cargo.env_remove(name);
    }
    Ok(cargo.run()?)
}

fn step(name: &str, check: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let started = Instant::now();
    check().with_context(|| format!("{name} failed"))?;
    crate::service::say(format_args!(
        "{name}: passed in {:.1} s",
        started.elapsed().as_secs_f32()
    ));
    Ok(())
}
