//! `cargo xtask console-test`: the console and the API page in a real browser, as a person uses them.
//!
//! The browser is Debian's Chromium; what drives it comes from npm, into `target/console`. The steps are in
//! `xtask/console/test.mjs`. In a network namespace of their own they reach nothing but this machine's loopback.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use crate::service::{Programs, say};
use crate::{npm, outside, root};

const PACKAGES: [(&str, &str); 4] = [
    ("@axe-core/playwright", "4.13.0"),
    ("jsqr", "1.4.0"),
    ("playwright-core", "1.65.1"),
    ("pngjs", "7.0.0"),
];

#[derive(Args)]
pub(crate) struct ConsoleTest {
    /// Make the pictures in `docs/pictures` anew.
    #[arg(long)]
    pictures: bool,
    /// Set when the namespace without a network has been entered.
    #[arg(long, hide = true)]
    inside: bool,
}

impl ConsoleTest {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let packages = root().join("target/console");
        if !self.inside {
            // What comes from the network, before there is none.
            Programs::build("warn")?;
            npm::install(&packages, &PACKAGES)?;
            let mut inside = vec!["console-test".to_owned(), "--inside".to_owned()];
            inside.extend(self.pictures.then(|| "--pictures".to_owned()));
            return outside::run_inside(&inside);
        }
        let programs = Programs::build("warn")?;
        let data = tempfile::tempdir()?;
        let sandbox = programs.sandbox()?;
        let token = programs.new_account("shopkeeper", data.path())?;
        let server = programs.server(&sandbox, data.path(), &["--listen", "127.0.0.1:0"])?;
        let pictures = root().join("docs/pictures");
        if self.pictures {
            std::fs::create_dir_all(&pictures)?;
        }
        say("The console in Chromium:");
        let settings = json!({
            "server": server.url,
            "control": sandbox.control.base(),
            "token": token,
            "chromium": chromium()?,
            "pictures": self.pictures.then_some(pictures),
        });
        let status = Command::new("node")
            .arg(root().join("xtask/console/test.mjs"))
            .arg(settings.to_string())
            .current_dir(packages)
            .stdin(Stdio::null())
            .status()
            .context("node cannot be run")?;
        server.stop()?;
        ensure!(status.success(), "the console is not as it should be");
        say("The console: all steps passed.");
        Ok(())
    }
}

fn chromium() -> anyhow::Result<PathBuf> {
    let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].map(Path::new);
    let found = places.into_iter().find(|path| path.exists());
    Ok(found
        .context("there is no Chromium; on Debian: apt-get install chromium")?
        .to_path_buf())
}
