//! How fast the service starts, and how large it is.

use std::collections::BTreeSet;
use std::fs;

use xshell::{Shell, cmd};

use super::Bencher;
use super::figures::Figures;
use super::town::Town;
use crate::root;

pub(super) fn measure(bencher: &Bencher, figures: &mut Figures) -> anyhow::Result<()> {
    let mut town = Town::build(bencher, 0)?;
    let mut named = 0;
    for instances in [0, bencher.size(10_000, 20)] {
        town.name(named..instances)?;
        named = instances;
        for _ in 0..bencher.rounds {
            let [ready, _] = town.restart(bencher)?;
            let of = format!("start with {instances} instances");
            figures.add(of, "ms from exec to /readyz", ready.as_secs_f64() * 1_000.0);
        }
    }
    town.end()?;

    let size = fs::metadata(bencher.programs.server_program())?.len();
    figures.add("the server's program", "MB", size as f64 / 1e6);
    let crates = crates_of("presence-server")?;
    figures.add("the server's program", "crates", crates as f64);
    Ok(())
}

/// How many crates are linked into a package, its own included.
pub(super) fn crates_of(package: &str) -> anyhow::Result<usize> {
    let shell = Shell::new()?;
    shell.change_dir(root());
    let format = "{p}";
    let tree = cmd!(
        shell,
        "cargo tree --locked --package {package} --edges normal --prefix none --format {format}"
    )
    .quiet()
    .read()?;
    let crates: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    Ok(crates.len())
}
