//! `cargo xtask openapi`: writes `docs/openapi.json`. A test of presence-api says when it is not what it would be.

use std::fs;
use std::path::PathBuf;

use xshell::{Shell, cmd};

use crate::{own_package_variables, root};

/// Asks presence-api for the document, and writes it.
pub(crate) fn run() -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(root());
    let mut example = cmd!(
        shell,
        "cargo run --quiet --locked --package presence-api --example openapi"
    );
    for name in own_package_variables() {
        example = example.env_remove(name);
    }
    let document = example.output()?.stdout;
    Ok(fs::write(file(), document)?)
}

/// Where the document lies.
pub(crate) fn file() -> PathBuf {
    root().join("docs/openapi.json")
}
