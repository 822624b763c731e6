//! The crates that the server is made of, tests and build scripts apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::root;

/// Name and version.
pub(super) type PartId = (String, String);

/// A crate.
pub(super) struct Part {
    /// An SPDX expression, in whatever spelling the crate has it.
    pub(super) licence: String,
    pub(super) repository: Option<String>,
    /// Where its files are.
    pub(super) dir: PathBuf,
    /// SHA-256 of what the registry has; `None` of our own.
    pub(super) checksum: Option<String>,
    pub(super) needs: BTreeSet<PartId>,
}

/// The server and everything that is compiled into it.
pub(super) struct Parts(pub(super) BTreeMap<PartId, Part>);

/// The crate whose program is packed.
pub(super) const SERVER: &str = "presence-server";

impl Parts {
    pub(super) fn of_the_server() -> anyhow::Result<Self> {
        let shell = Shell::new()?;
        shell.change_dir(root());
        // Which features are on depends on whose build it is: `metadata` knows of the whole workspace's alone.
        let format = "{p}";
        let tree = cmd!(
            shell,
            "cargo tree --locked --package {SERVER} --edges normal --prefix none --format {format}"
        )
        .read()?;
        let compiled: BTreeSet<PartId> = tree.lines().filter_map(part_id).collect();
        // Without the platform, it would fetch the crates of all others.
        let rustc = cmd!(shell, "rustc --version --verbose").read()?;
        let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("rustc does not name its platform")?;
        let metadata = cmd!(
            shell,
            "cargo metadata --locked --format-version 1 --filter-platform {host}"
        )
        .read()?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let checksums = checksums(&fs::read_to_string(root().join("Cargo.lock"))?);

        let mut ids = BTreeMap::new();
        let mut parts = BTreeMap::new();
        for package in array(&metadata["packages"])? {
            let id = (text(&package["name"])?, text(&package["version"])?);
            if !compiled.contains(&id) {
                continue;
            }
            ids.insert(text(&package["id"])?, id.clone());
            let manifest = text(&package["manifest_path"])?;
            let part = Part {
                licence: text(&package["license"]).with_context(|| format!("{id:?} names no licence"))?,
                repository: package["repository"].as_str().map(str::to_owned),
                dir: Path::new(&manifest)
                    .parent()
                    .context("a manifest lies somewhere")?
                    .to_owned(),
                checksum: checksums.get(&id).cloned(),
                needs: BTreeSet::new(),
            };
            parts.insert(id, part);
        }
        ensure!(
            parts.len() == compiled.len(),
            "cargo knows {} of {} crates",
            parts.len(),
            compiled.len()
        );
        for node in array(&metadata["resolve"]["nodes"])? {
            let Some(id) = ids.get(&text(&node["id"])?) else {
                continue;
            };
            for dependency in array(&node["deps"])? {
                let is_normal = array(&dependency["dep_kinds"])?
                    .iter()
                    .any(|kind| kind["kind"].is_null());
                if let (true, Some(needed)) = (is_normal, ids.get(&text(&dependency["pkg"])?)) {
                    let part = parts.get_mut(id).expect("it was inserted with its id");
                    part.needs.insert(needed.clone());
                }
            }
        }
        Ok(Self(parts))
    }
}

/// Of a line of `cargo tree`: `name v1.2.3 (where it is from)`.
fn part_id(line: &str) -> Option<PartId> {
    let mut words = line.split(' ');
    let name = words.next().filter(|name| !name.is_empty())?;
    let version = words.next()?.strip_prefix('v')?;
    Some((name.to_owned(), version.to_owned()))
}

/// Those that a `Cargo.lock` names.
fn checksums(lock: &str) -> BTreeMap<PartId, String> {
    let packages = lock.split("[[package]]");
    let value = |package: &str, key: &str| {
        let mut lines = package.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        value.map(str::to_owned)
    };
    packages
        .filter_map(|package| {
            let id = (value(package, "name")?, value(package, "version")?);
            Some((id, value(package, "checksum")?))
        })
        .collect()
}

fn array(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value.as_array().context("cargo's metadata has other fields")
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value
        .as_str()
        .context("cargo's metadata has other fields")?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_tree_and_of_a_lock_are_understood() {
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(part_id("serde v1.0.229"), Some(id("serde", "1.0.229")));
        assert_eq!(part_id("a v2.0.0 (/x/a) (*)"), Some(id("a", "2.0.0")));
        assert_eq!(part_id(""), None);
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n\n[[package]]\nname = \"b\"\n\
                    version = \"1.0.0\"\nsource = \"s\"\nchecksum = \"00ff\"\n";
        assert_eq!(
            checksums(lock),
            BTreeMap::from([(id("b", "1.0.0"), "00ff".to_owned())])
        );
    }
}
