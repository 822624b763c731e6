//! Where the clients come from: npm and PyPI, into `target/compat`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::Client;
use crate::npm::{self, run};
use crate::root;

const N8N_NODE: &str = "1.0.4";
/// What the node expects of n8n around it; its newest version 1.
const N8N_WORKFLOW: &str = "1.120.31";

/// Installs `client`, unless this version of it is.
pub(super) fn install(client: Client) -> anyhow::Result<()> {
    if version(client).is_some() {
        return Ok(());
    }
    let directory = directory(client);
    fs::create_dir_all(&directory)?;
    match pinned(client) {
        Package::Npm => {
            let packages = [
                ("n8n-nodes-evolution-api", N8N_NODE),
                ("n8n-workflow", N8N_WORKFLOW),
            ];
            npm::install(&directory, &packages)?;
        }
        Package::PyPi(version) => {
            run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
            let package = format!("{}=={version}", client.package());
            run(Command::new(directory.join("bin/pip")).args(["install", "--quiet", &package]))?;
        }
    }
    Ok(fs::write(directory.join("version"), pinned(client).version())?)
}

/// The version of `client` that is installed, when it is the one to be tried.
pub(super) fn version(client: Client) -> Option<String> {
    let version = fs::read_to_string(directory(client).join("version")).ok()?;
    (version == pinned(client).version()).then_some(version)
}

/// A command that starts its driver against the service at `url`.
pub(super) fn driver(client: Client, url: &str) -> Command {
    let (scripts, directory) = (root().join("xtask/compat"), directory(client));
    let mut command = match pinned(client) {
        Package::Npm => {
            let mut command = Command::new("node");
            command.arg(scripts.join("n8n.cjs"));
            command
        }
        Package::PyPi(_) => {
            let mut command = Command::new(directory.join("bin/python"));
            command.arg(scripts.join("client.py")).arg(client.package());
            command
        }
    };
    // A proxy that the installers needed would be asked for loopback too.
    command.arg(url).current_dir(directory).env("NO_PROXY", "*");
    command
}

enum Package {
    Npm,
    /// Of this version.
    PyPi(&'static str),
}

impl Package {
    fn version(&self) -> &'static str {
        match self {
            Self::Npm => N8N_NODE,
            Self::PyPi(version) => version,
        }
    }
}

fn pinned(client: Client) -> Package {
    match client {
        Client::N8n => Package::Npm,
        Client::Pyevolutionapi => Package::PyPi("0.1.1"),
        Client::Evolutionapi => Package::PyPi("0.1.2"),
        Client::WahaPy => Package::PyPi("2026.9.2"),
    }
}

fn directory(client: Client) -> PathBuf {
    root().join("target/compat").join(client.package())
}
