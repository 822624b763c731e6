//! Where the clients come from, and what of them has to be changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Client;
use crate::npm::{self, run};
use crate::root;

const BAILEYS: &str = "7.0.0-rc14";
const NEONIZE: &str = "0.5.2";

/// WhatsApp's root, which signs the certificates of its servers.
const ROOT: [u8; 32] = [
    0x14, 0x23, 0x75, 0x57, 0x4d, 0x0a, 0x58, 0x71, 0x66, 0xaa, 0xe7, 0x1e, 0xbe, 0x51, 0x64, 0x37, 0xc4,
    0xa2, 0x8b, 0x73, 0xe3, 0x69, 0x5c, 0x6c, 0xe1, 0xf7, 0xf9, 0x54, 0x5d, 0xa8, 0xee, 0x6b,
];

/// Where whatsmeow connects.
const ADDRESS: &[u8] = b"wss://web.whatsapp.com/ws/chat";

/// A client that is installed.
pub(super) struct Installed {
    pub(super) client: Client,
    directory: PathBuf,
}

impl Installed {
    /// Installs `client`, unless this version of it is.
    pub(super) fn install(client: Client) -> anyhow::Result<()> {
        let directory = directory(client);
        fs::create_dir_all(&directory)?;
        if Self::find(client).is_some() {
            return Ok(());
        }
        match client {
            Client::Baileys => npm::install(&directory, &[("@whiskeysockets/baileys", BAILEYS)]),
            Client::Whatsmeow => {
                run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
                let package = format!("neonize=={NEONIZE}");
                run(Command::new(directory.join("bin/pip")).args(["install", "--quiet", &package]))?;
                run(Command::new(directory.join("bin/python")).args(["-c", "import neonize"]))
                    .context("neonize does not start; it needs Debian's libmagic1")?;
                fs::write(directory.join("version"), NEONIZE)?;
                Ok(())
            }
        }
    }

    /// The installed `client`, when it is this version.
    pub(super) fn find(client: Client) -> Option<Self> {
        let directory = directory(client);
        let found = match client {
            Client::Baileys => {
                let manifest = directory.join("node_modules/@whiskeysockets/baileys/package.json");
                let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).ok()?).ok()?;
                manifest["version"] == BAILEYS
            }
            Client::Whatsmeow => {
                fs::read_to_string(directory.join("version")).is_ok_and(|version| version == NEONIZE)
            }
        };
        found.then_some(Self { client, directory })
    }

    pub(super) fn version(&self) -> String {
        match self.client {
            Client::Baileys => BAILEYS.to_owned(),
            Client::Whatsmeow => format!("in neonize {NEONIZE}"),
        }
    }

    /// Gets the installed copy ready for a sandbox. Baileys is told where it is and what it is signed with;
    /// whatsmeow has both as constants, which are changed.
    pub(super) fn point_at(&self, edge_url: &str, edge_root: &str) -> anyhow::Result<()> {
        if self.client == Client::Baileys {
            return Ok(());
        }
        let library = self.library()?;
        let original = library.with_extension("so.orig");
        if !original.exists() {
            fs::copy(&library, &original)?;
        }
        let mut bytes = fs::read(&original)?;
        // As long as the constant it replaces; the sandbox does not look at a query.
        let mut address = format!("{edge_url}?").into_bytes();
        ensure!(
            address.len() <= ADDRESS.len(),
            "{edge_url} is too long to take the place of WhatsApp's"
        );
        address.resize(ADDRESS.len(), b'x');
        replace(&mut bytes, ADDRESS, &address)?;
        replace(&mut bytes, &ROOT, &BASE64_STANDARD.decode(edge_root)?)?;
        Ok(fs::write(library, bytes)?)
    }

    /// A command that starts its driver; what it remembers goes to `state`.
    pub(super) fn driver(&self, edge_url: &str, edge_root: &str, state: &Path) -> Command {
        let scripts = root().join("xtask/clients");
        let mut command = match self.client {
            Client::Baileys => {
                let mut command = Command::new("node");
                command
                    .arg(scripts.join("baileys.mjs"))
                    .args([edge_url, edge_root])
                    .arg(state);
                command
            }
            Client::Whatsmeow => {
                let mut command = Command::new(self.directory.join("bin/python"));
                command
                    .arg(scripts.join("whatsmeow.py"))
                    .arg(state.join("state.db"));
                command
            }
        };
        command.current_dir(&self.directory);
        command
    }

    fn library(&self) -> anyhow::Result<PathBuf> {
        let lib = self.directory.join("lib");
        for python in fs::read_dir(lib)? {
            let package = python?.path().join("site-packages/neonize");
            for file in fs::read_dir(package).into_iter().flatten() {
                let path = file?.path();
                if path.extension().is_some_and(|extension| extension == "so") {
                    return Ok(path);
                }
            }
        }
        anyhow::bail!("neonize has no library")
    }
}

fn directory(client: Client) -> PathBuf {
    root().join("target/clients").join(match client {
        Client::Baileys => "baileys",
        Client::Whatsmeow => "whatsmeow",
    })
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> anyhow::Result<()> {
    let places: Vec<_> = bytes
        .windows(old.len())
        .enumerate()
        .filter(|(_, window)| *window == old)
        .map(|(at, _)| at)
        .collect();
    ensure!(
        places.len() == 1,
        "the library has a constant {} times, not once",
        places.len()
    );
    bytes[places[0]..places[0] + old.len()].copy_from_slice(new);
    Ok(())
}
