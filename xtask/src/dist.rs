//! `cargo xtask dist`: the packages, in `target/dist`, each tried as far as this machine can.

mod deb;
mod dockerfile;
mod licences;
mod package;
mod parts;
mod sbom;
mod trial;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use flate2::Compression;
use sha2::{Digest as _, Sha256};

use self::package::Package;
use self::parts::Parts;
use crate::root;
use crate::service::{Programs, say};

#[derive(Args)]
pub(crate) struct Dist {
    /// `dev` takes the program as it is built for tests: it shows that packages can be made, in seconds.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Release,
    Dev,
}

impl Dist {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let programs = Programs::build("warn")?;
        let program = step("the program, by the Dockerfile's commands", || {
            let stage = dockerfile::Dockerfile::read()?;
            match self.profile {
                Profile::Release => stage.build(),
                Profile::Dev => stage.check().map(|()| programs.server_program().to_owned()),
            }
        })?;
        let parts = step("what it is made of", Parts::of_the_server)?;
        let package = step("its licences, bill of materials and manual", || {
            let compression = match self.profile {
                Profile::Release => Compression::best(),
                // A large program, by a slow build of the compressor.
                Profile::Dev => Compression::none(),
            };
            let mut package = Package::of(&program, compression)?;
            package.add("LICENSES.txt", licences::text(&parts)?);
            package.add(sbom::NAME, sbom::json(&parts)?);
            Ok(package)
        })?;

        let dist = root().join("target/dist");
        if dist.exists() {
            fs::remove_dir_all(&dist)?;
        }
        fs::create_dir_all(&dist)?;
        let tarball = step("the tarball", || package.tarball(&dist))?;
        let deb = step("the Debian package", || deb::build(&package, &dist))?;
        fs::write(dist.join(sbom::NAME), package.file(sbom::NAME)?)?;
        step("the checksums", || checksums(&dist))?;

        step("the unit, as systemd reads it", || trial::unit(&deb))?;
        step("five commands, from the tarball to typing…", || {
            trial::five_commands(&tarball, &programs)
        })?;
        say(format_args!("{}:", dist.display()));
        for line in fs::read_to_string(dist.join(SUMS))?.lines() {
            say(format_args!("  {line}"));
        }
        Ok(())
    }
}

const SUMS: &str = "SHA256SUMS";

/// As `sha256sum --check` reads it.
fn checksums(dist: &Path) -> anyhow::Result<()> {
    let mut sums = String::new();
    for (name, path) in package::files_in(dist)? {
        let digest = Sha256::digest(fs::read(path)?);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        sums.push_str(&format!("{digest}  {name}\n"));
    }
    Ok(fs::write(dist.join(SUMS), sums)?)
}

fn step<T>(what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say(format_args!("{what} …"));
    let began = Instant::now();
    let done = work().with_context(|| what.to_owned())?;
    say(format_args!("   {:.1} s", began.elapsed().as_secs_f32()));
    Ok(done)
}

/// What a command that must succeed prints.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether a program is installed here.
fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
