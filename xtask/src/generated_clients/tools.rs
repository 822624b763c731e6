//! The linter, and what makes clients: from npm and PyPI, at pinned versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::npm::{self, run};
use crate::root;

const NPM_PACKAGES: [(&str, &str); 5] = [
    ("@redocly/cli", "2.77.0"),
    ("@types/node", "20.19.25"),
    ("openapi-fetch", "0.17.0"),
    ("openapi-typescript", "7.13.0"),
    ("typescript", "5.9.3"),
];
const PYPI_PACKAGES: [&str; 2] = ["openapi-python-client==0.29.1", "mypy==2.4.1"];

/// Installs what is not there in these versions.
pub(super) fn install() -> anyhow::Result<()> {
    npm::install(&typescript(), &NPM_PACKAGES)?;
    let installed = python().join("installed");
    let wanted = PYPI_PACKAGES.join("\n");
    if fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(python()))?;
    run(Command::new(python().join("bin/pip"))
        .args(["install", "--quiet"])
        .args(PYPI_PACKAGES))?;
    Ok(fs::write(installed, wanted)?)
}

/// The document is without a fault by the strictest of the linter's own rules.
pub(super) fn lint(document: &Path) -> anyhow::Result<()> {
    check(
        node("redocly")
            .args(["lint", "--extends", "recommended-strict"])
            .arg(document)
            // It neither asks whether there is a newer one nor tells anybody that it runs.
            .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
            .env("REDOCLY_TELEMETRY", "off"),
    )
}

/// Where the tools for TypeScript are, and the programs that need them.
pub(super) fn typescript() -> PathBuf {
    root().join("target/generated-clients/typescript")
}

/// The same for Python.
pub(super) fn python() -> PathBuf {
    root().join("target/generated-clients/python")
}

/// One of npm's programs.
pub(super) fn node(name: &str) -> Command {
    let mut command = Command::new(typescript().join("node_modules/.bin").join(name));
    command.current_dir(typescript());
    command
}

/// One of PyPI's programs.
pub(super) fn pip(name: &str) -> Command {
    let mut command = Command::new(python().join("bin").join(name));
    command.current_dir(python());
    command
}

/// Runs `command`; what it says is told when it fails.
pub(super) fn check(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be run"))?;
    ensure!(
        output.status.success(),
        "{name} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
