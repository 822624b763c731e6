//! What building the program from nothing costs.

use std::fs;
use std::time::Instant;

use xshell::{Shell, cmd};

use super::figures::Figures;
use super::start::crates_of;
use super::usage;
use crate::root;
use crate::service::Built;

/// What is built, and how.
struct Package {
    name: &'static str,
    /// What the package is built to.
    target: &'static str,
    arguments: &'static [&'static str],
}

const PROGRAM: Package = Package {
    name: "presence-server",
    target: "presence-server",
    arguments: &["--release"],
};
/// Takes seconds, for it depends on nothing.
const SMALL: Package = Package {
    name: "presence-metrics",
    target: "presence_metrics",
    arguments: &["--lib"],
};

pub(super) fn measure(smoke: bool, figures: &mut Figures) -> anyhow::Result<()> {
    let package = if smoke { SMALL } else { PROGRAM };
    let shell = Shell::new()?;
    shell.change_dir(root());
    // How long a download takes says nothing of the program.
    cmd!(shell, "cargo fetch --locked --quiet").quiet().run()?;
    let bench = root().join("target/bench");
    fs::create_dir_all(&bench)?;
    let target = tempfile::Builder::new().prefix("build-").tempdir_in(&bench)?;
    let directory = target.path().to_string_lossy();
    let arguments = [package.arguments, &["--target-dir", &directory]].concat();

    let (began, cpu) = (Instant::now(), usage::cpu_of_children()?);
    let built = Built::build(&[package.name], &arguments)?;
    let (took, cpu) = (began.elapsed(), usage::cpu_of_children()? - cpu);

    let of = format!("clean build of {}", package.name);
    figures.add(&of, "s", took.as_secs_f64());
    figures.add(&of, "s of CPU", cpu.as_secs_f64());
    let size = fs::metadata(built.file(package.target)?)?.len();
    figures.add(&of, "MB", size as f64 / 1e6);
    figures.add(&of, "crates linked", crates_of(package.name)? as f64);
    figures.add(
        &of,
        "crates compiled, macros and their like too",
        built.packages() as f64,
    );
    Ok(())
}
