//! `cargo xtask tidy`: the rules of `docs/architecture.md` that no compiler checks. Also run as tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::{root, vendor};

/// What may lie at the top of the work tree, beside dotfiles.
const TOP_LEVEL: [&str; 7] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "crates",
    "docs",
    "xtask",
];

/// Which of our crates a crate may depend on, outside its tests.
const ARROWS: [(&str, &[&str]); 10] = [
    (
        "presence-api",
        &[
            "presence-cluster",
            "presence-core",
            "presence-metrics",
            "presence-store",
            "presence-wa",
        ],
    ),
    ("presence-bench", &["presence-core"]),
    ("presence-cluster", &["presence-core", "presence-store"]),
    ("presence-core", &[]),
    ("presence-metrics", &[]),
    ("presence-sandbox", &[]),
    (
        "presence-server",
        &[
            "presence-api",
            "presence-cluster",
            "presence-core",
            "presence-store",
            "presence-wa",
        ],
    ),
    ("presence-store", &["presence-core"]),
    (
        "presence-wa",
        &["presence-core", "presence-metrics", "presence-store"],
    ),
    ("xtask", &[]),
];

/// What must never be in presence-core's tree: it has no runtime, no HTTP, no client, no IO.
const NOT_IN_CORE: [&str; 6] = [
    "tokio",
    "hyper",
    "http",
    "tracing-subscriber",
    "whatsapp-rust",
    "sqlx",
];

/// What must never be in the service's tree: a second SQLite stack beside sqlx, which the client library's own store
/// would bring along.
const NOT_IN_SERVER: [&str; 3] = ["diesel", "r2d2", "whatsapp-rust-sqlite-storage"];

/// Runs every rule; the first that is broken is the error.
pub(crate) fn run() -> anyhow::Result<()> {
    nothing_else_lies_at_the_top()?;
    arrows_point_one_way()?;
    core_stays_pure()?;
    there_is_one_sqlite_stack()?;
    no_danger_feature_is_enabled()?;
    files_say_what_they_are()?;
    vendor::check()?;
    ci_runs_the_readme()
}

fn nothing_else_lies_at_the_top() -> anyhow::Result<()> {
    let shell = shell()?;
    for path in cmd!(shell, "git ls-files").read()?.lines() {
        let top = path.split('/').next().unwrap_or(path);
        ensure!(
            top.starts_with('.') || TOP_LEVEL.contains(&top),
            "{top} does not belong at the top of the work tree"
        );
    }
    Ok(())
}

fn arrows_point_one_way() -> anyhow::Result<()> {
    let metadata = metadata()?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let ruled: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    ensure!(
        ours == ruled,
        "tidy's ARROWS and the workspace differ: {ours:?}, {ruled:?}"
    );

    for (name, allowed) in ARROWS {
        let package = packages
            .iter()
            .find(|package| package["name"] == name)
            .context(name)?;
        let dependencies = package["dependencies"]
            .as_array()
            .context("a package lists dependencies")?;
        for dependency in dependencies
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
        {
            let on = dependency["name"].as_str().unwrap_or_default();
            ensure!(
                !ours.contains(on) || allowed.contains(&on),
                "{name} must not depend on {on}"
            );
        }
    }
    Ok(())
}

fn core_stays_pure() -> anyhow::Result<()> {
    is_free_of("presence-core", &NOT_IN_CORE)
}

fn there_is_one_sqlite_stack() -> anyhow::Result<()> {
    is_free_of("presence-server", &NOT_IN_SERVER)
}

/// None of `packages` is in the tree of `package`, tests apart.
fn is_free_of(package: &str, packages: &[&str]) -> anyhow::Result<()> {
    let shell = shell()?;
    let tree = cmd!(
        shell,
        "cargo tree --locked --package {package} --edges normal --prefix none"
    )
    .read()?;
    for found in tree.lines().filter_map(|line| line.split(' ').next()) {
        ensure!(!packages.contains(&found), "{package} must not depend on {found}");
    }
    Ok(())
}

/// `danger-*` features of the WhatsApp client switch certificate checks off, for every crate of the build.
fn no_danger_feature_is_enabled() -> anyhow::Result<()> {
    let shell = shell()?;
    let tree = cmd!(
        shell,
        "cargo tree --locked --workspace --all-features --edges features --prefix none"
    )
    .read()?;
    for line in tree.lines() {
        ensure!(!line.contains("danger-"), "a danger feature is enabled: {line}");
    }
    Ok(())
}

fn files_say_what_they_are() -> anyhow::Result<()> {
    for path in sources()? {
        let text = fs::read_to_string(&path)?;
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        ensure!(
            text.starts_with("//!"),
            "{name} does not begin with a //! that says what it is"
        );
        for left in [
            concat!("#[ig", "nore"),
            concat!("#[should", "_panic"),
            concat!("FIX", "ME"),
        ] {
            ensure!(!text.contains(left), "{name} has a {left}");
        }
    }
    Ok(())
}

/// The README names one command that runs the tests; CI must run that one.
fn ci_runs_the_readme() -> anyhow::Result<()> {
    const TEST: &str = "cargo test --workspace";
    for file in ["README.md", ".ci/run"] {
        let text = fs::read_to_string(root().join(file)).with_context(|| format!("{file} cannot be read"))?;
        ensure!(
            text.lines().any(|line| line.trim() == TEST),
            "{file} has no line `{TEST}`"
        );
    }
    Ok(())
}

fn sources() -> anyhow::Result<Vec<PathBuf>> {
    let shell = shell()?;
    let listed = cmd!(shell, "git ls-files --cached --others --exclude-standard -- *.rs").read()?;
    // A file deleted but not yet committed is still listed.
    Ok(listed
        .lines()
        .map(|path| root().join(path))
        .filter(|path| Path::is_file(path))
        .collect())
}

/// What cargo says of the workspace's own packages.
pub(crate) fn metadata() -> anyhow::Result<Value> {
    let shell = shell()?;
    let json = cmd!(shell, "cargo metadata --locked --no-deps --format-version 1").read()?;
    Ok(serde_json::from_str(&json)?)
}

fn shell() -> anyhow::Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(root());
    Ok(shell)
}

#[cfg(test)]
mod tests {
    //! The rules, each under its own name.

    #[test]
    fn nothing_else_lies_at_the_top() {
        super::nothing_else_lies_at_the_top().unwrap();
    }

    #[test]
    fn arrows_point_one_way() {
        super::arrows_point_one_way().unwrap();
    }

    #[test]
    fn core_stays_pure() {
        super::core_stays_pure().unwrap();
    }

    #[test]
    fn there_is_one_sqlite_stack() {
        super::there_is_one_sqlite_stack().unwrap();
    }

    #[test]
    fn no_danger_feature_is_enabled() {
        super::no_danger_feature_is_enabled().unwrap();
    }

    #[test]
    fn files_say_what_they_are() {
        super::files_say_what_they_are().unwrap();
    }

    #[test]
    fn vendored_files_are_what_was_fetched() {
        crate::vendor::check().unwrap();
    }

    #[test]
    fn ci_runs_the_readme() {
        super::ci_runs_the_readme().unwrap();
    }
}
