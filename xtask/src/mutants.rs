//! `cargo xtask mutants`: whether the tests notice when the code is changed. Run by hand; it takes hours.

use anyhow::ensure;
use clap::Args;
use xshell::{Shell, cmd};

use crate::{own_package_variables, root};

/// Changes the code in small ways, one at a time, and lists the changes that no test notices.
///
/// Covers presence-core, presence-store and the lifecycle of an instance in presence-wa. It needs cargo-mutants,
/// and installs nothing: `cargo install --locked cargo-mutants` brings it. The lists are left in
/// `target/mutants/PACKAGE/mutants.out`; a change that lives needs a test, or a reason why it changes nothing.
#[derive(Args)]
pub(crate) struct Mutants {
    /// Only this package; all three otherwise.
    #[arg(long, value_name = "NAME", value_parser = PACKAGES.map(|(name, _)| name))]
    package: Option<String>,
    /// How many changes are tried at a time, each with a build of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
}

/// The packages, and which of their files are changed: all of them, or these.
const PACKAGES: [(&str, &[&str]); 3] = [
    ("presence-core", &[]),
    ("presence-store", &[]),
    (
        "presence-wa",
        &[
            "crates/presence-wa/src/instance/lifecycle.rs",
            "crates/presence-wa/src/instance/lifecycle/*.rs",
            "crates/presence-wa/src/instance/open_budget.rs",
            "crates/presence-wa/src/instance/session_end.rs",
        ],
    ),
];

impl Mutants {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let shell = Shell::new()?;
        shell.change_dir(root());
        ensure!(
            cmd!(shell, "cargo mutants --version")
                .quiet()
                .ignore_stdout()
                .ignore_stderr()
                .run()
                .is_ok(),
            "cargo-mutants is not installed; `cargo install --locked cargo-mutants` brings it"
        );
        let jobs = self.jobs.to_string();
        let mut alive = Vec::new();
        for (package, files) in PACKAGES {
            if self.package.as_deref().is_some_and(|only| only != package) {
                continue;
            }
            let output = root().join("target/mutants").join(package);
            shell.create_dir(&output)?;
            let files = files.iter().flat_map(|file| ["--file", file]);
            let mut mutants = cmd!(
                shell,
                "cargo mutants --package {package} --jobs {jobs} --output {output} {files...}"
            );
            for name in own_package_variables() {
                mutants = mutants.env_remove(name);
            }
            // It fails when a change lives; the other packages are tried all the same.
            if mutants.run().is_err() {
                alive.push(package);
            }
        }
        ensure!(
            alive.is_empty(),
            "not every change was noticed: {}",
            alive.join(", ")
        );
        Ok(())
    }
}
