//! `cargo xtask vendor`: the libraries of the console and of `/docs`, from npm.
//!
//! They lie in the repository as they are served, so that a build needs no npm. Here is which versions they are of,
//! what npm must say of them, and what becomes of them: only addresses within them are changed, and the large one is
//! packed. `tidy` checks that what lies there is what was fetched.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::npm;
use crate::root;
use crate::service::say;

struct Package {
    name: &'static str,
    version: &'static str,
    /// What npm's registry says of the archive.
    integrity: &'static str,
    /// Whose it is, a directory of presence-api.
    page: &'static str,
    /// From where in it to where here; what ends in `.gz` here is packed.
    files: &'static [(&'static str, &'static str)],
}

const PACKAGES: [Package; 3] = [
    Package {
        name: "preact",
        version: "11.2.0",
        integrity: "sha512-/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AbLnND/1UlGHe1sR6oYuTGwId0nP7dqDU9OnLxMPZ7xBg==",
        page: "console",
        files: &[
            ("dist/preact.mjs", "preact.mjs"),
            ("hooks/dist/hooks.mjs", "hooks.mjs"),
            ("LICENSE", "LICENSE.preact"),
        ],
    },
    Package {
        name: "htm",
        version: "3.1.1",
        integrity: "sha512-983Vyg8NwUE7JkZ6NmOqpCZ+sh1bKv2iYTlUkzlWmA5JD2acKoxd4KVxbMmxX/85mtfdnDmTFoNKcg5DGAvxNQ==",
        page: "console",
        files: &[
            ("dist/htm.module.js", "htm.module.js"),
            ("LICENSE", "LICENSE.htm"),
        ],
    },
    Package {
        name: "openapi-explorer",
        version: "2.4.820",
        integrity: "sha512-mHSIxkQS57/QDZtLJKZL4zmsR2HStgBI4PbrgYr/+i+Bk+HgRwdtBRN1n0uUnlHUenpyiOJAKPGleThm5rdhsA==",
        page: "docs",
        files: &[
            (
                "dist/browser/openapi-explorer.min.js",
                "openapi-explorer.min.js.gz",
            ),
            ("LICENSE", "LICENSE.openapi-explorer"),
        ],
    },
];

/// The checksums, as `sha256sum` writes them.
const SUMS: &str = "SHA256SUMS";

/// The pages that have libraries.
const PAGES: [&str; 2] = ["console", "docs"];

pub(crate) fn run() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    for page in PAGES {
        let mut sums = String::new();
        for package in of(page) {
            let unpacked = fetch(package, work.path())?;
            for (from, to) in package.files {
                let text = fs::read_to_string(unpacked.join(from))
                    .with_context(|| format!("{} has no {from}", package.name))?;
                let file = file(to, &rewrite(&text))?;
                fs::write(directory(page).join(to), &file)?;
                sums += &format!("{}  {to}\n", sum(&file));
            }
            say(format_args!("{} {}", package.name, package.version));
        }
        fs::write(directory(page).join(SUMS), sums)?;
    }
    Ok(())
}

/// What lies in the repository is what was fetched.
pub(crate) fn check() -> anyhow::Result<()> {
    PAGES.into_iter().try_for_each(check_page)
}

fn check_page(page: &'static str) -> anyhow::Result<()> {
    let sums = fs::read_to_string(directory(page).join(SUMS))?;
    let files: usize = of(page).map(|package| package.files.len()).sum();
    ensure!(
        sums.lines().count() == files,
        "{SUMS} does not list each file of `cargo xtask vendor`"
    );
    for line in sums.lines() {
        let (expected, name) = line
            .split_once("  ")
            .context("a line of SHA256SUMS has two columns")?;
        let found =
            sum(&fs::read(directory(page).join(name)).with_context(|| format!("{name} cannot be read"))?);
        ensure!(
            found == expected,
            "{name} is not what `cargo xtask vendor` fetched"
        );
    }
    Ok(())
}

fn of(page: &'static str) -> impl Iterator<Item = &'static Package> {
    PACKAGES.iter().filter(move |package| package.page == page)
}

fn directory(page: &str) -> PathBuf {
    root().join("crates/presence-api").join(page).join("vendor")
}

/// The bytes that lie here under the name of `to`.
fn file(to: &str, text: &str) -> anyhow::Result<Vec<u8>> {
    if !to.ends_with(".gz") {
        return Ok(text.into());
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text.as_bytes())?;
    Ok(packed.finish()?)
}

/// Fetches and unpacks an archive, if it is the one that is meant.
fn fetch(package: &Package, work: &Path) -> anyhow::Result<PathBuf> {
    let name = format!("{}@{}", package.name, package.version);
    let packed = Command::new("npm")
        .args(["pack", "--json", "--silent", &name])
        .current_dir(work)
        .output()
        .context("npm cannot be run")?;
    ensure!(packed.status.success(), "npm could not fetch {name}");
    let packed: Value = serde_json::from_slice(&packed.stdout)?;
    let packed = packed
        .get(0)
        .or_else(|| packed.get(package.name))
        .context("npm packed nothing")?;
    ensure!(
        packed["integrity"] == package.integrity,
        "{name} is another archive: {}",
        packed["integrity"]
    );
    let archive = packed["filename"].as_str().context("npm names no file")?;
    let unpacked = work.join(package.name);
    fs::create_dir(&unpacked)?;
    npm::run(
        Command::new("tar")
            .arg("-xzf")
            .arg(work.join(archive))
            .arg("-C")
            .arg(&unpacked),
    )?;
    Ok(unpacked.join("package"))
}

/// Browsers find no library by its bare name, and the maps are not served.
fn rewrite(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("//# sourceMappingURL"));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace("from\"preact\"", "from\"./preact.mjs\"") + "\n"
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
