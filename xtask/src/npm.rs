//! Packages from npm, below `target/` and never in the repository. Their install scripts do not run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

/// Installs these versions of these packages into `directory`, unless they are there.
pub(crate) fn install(directory: &Path, packages: &[(&str, &str)]) -> anyhow::Result<()> {
    if packages
        .iter()
        .all(|(name, version)| is_installed(directory, name, version))
    {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    let dependencies = packages
        .iter()
        .map(|(name, version)| ((*name).to_owned(), json!(version)));
    let manifest = json!({ "private": true, "dependencies": dependencies.collect::<Map<_, _>>() });
    fs::write(directory.join("package.json"), manifest.to_string())?;
    run(Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel=error",
        ])
        .current_dir(directory))
}

/// Runs a command, with what it says on stderr on the terminal.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{name} cannot be run"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

fn is_installed(directory: &Path, name: &str, version: &str) -> bool {
    let manifest = directory.join("node_modules").join(name).join("package.json");
    let manifest = fs::read(manifest).ok();
    let manifest = manifest.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    manifest.is_some_and(|manifest| manifest["version"] == version)
}
