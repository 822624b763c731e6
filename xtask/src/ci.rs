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
    step("alone", || each_stands_alone(&shell))
}

/// Builds and tests each crate by itself, so that none lives on a feature that only another crate of the
/// workspace switches on: first as its users build it, with each of its features in turn and without what only
/// its tests bring, then with its tests. All of them together are the README's `cargo test --workspace`.
fn each_stands_alone(shell: &Shell) -> anyhow::Result<()> {
    let metadata = tidy::metadata()?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    for package in packages {
        let name = package["name"].as_str().context("a package has a name")?;
        run_one(cmd!(shell, "cargo check --locked --package {name}"))?;
        let features = package["features"]
            .as_object()
            .context("a package lists features")?;
        for feature in features.keys().filter(|feature| *feature != "default") {
            run_one(cmd!(
                shell,
                "cargo check --locked --package {name} --no-default-features --features {feature}"
            ))?;
        }
        run_one(cmd!(shell, "cargo test --locked --package {name}"))?;
    }
    Ok(())
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
