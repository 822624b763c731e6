//! `cargo xtask ci`: what a change must pass.

use std::time::Instant;

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::{root, tidy};

/// Runs every check, the quick ones first, and stops at the first that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(root());

    step("format", || Ok(cmd!(shell, "cargo fmt --all --check").run()?))?;
    step("tidy", tidy::run)?;
    step("clippy", || {
        Ok(cmd!(
            shell,
            "cargo clippy --locked --workspace --all-targets --all-features -- -D warnings"
        )
        .run()?)
    })?;
    step("doc", || {
        let _deny = shell.push_env("RUSTDOCFLAGS", "-D warnings");
        Ok(cmd!(shell, "cargo doc --locked --workspace --no-deps").run()?)
    })?;
    step("test", || {
        Ok(cmd!(shell, "cargo test --locked --workspace").run()?)
    })
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
