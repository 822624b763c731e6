//! The licences of everything that is in the program, and which ones may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use spdx::{Expression, ParseMode};

use super::package::files_in;
use super::parts::{Part, Parts, SERVER};
use crate::root;

/// Who passes the program on has to pass these on with it, and nothing else. Anything new is to be thought about.
const ALLOWED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// Of libraries that are in the program without being crates, for its two pages.
const IN_THE_TREE: [&str; 3] = [
    "crates/presence-api/console/vendor/LICENSE.htm",
    "crates/presence-api/console/vendor/LICENSE.preact",
    "crates/presence-api/docs/vendor/LICENSE.openapi-explorer",
];

/// Every part with its licence, and each text once.
///
/// # Errors
/// When a part has a licence that is not allowed, or no text of it is found.
pub(super) fn text(parts: &Parts) -> anyhow::Result<String> {
    let mut whose: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((name, version), part) in &parts.0 {
        let named = format!("{name} {version}: {}", part.licence);
        let expression = Expression::parse_mode(&part.licence, ParseMode::LAX).context(named.clone())?;
        let is_allowed = expression.evaluate(|requirement| {
            requirement
                .license
                .id()
                .is_some_and(|id| ALLOWED.contains(&id.name))
        });
        ensure!(is_allowed, "{named} is not among the licences that are allowed");
        for text in texts(parts, part)? {
            whose.entry(text).or_default().push(named.clone());
        }
    }
    for path in IN_THE_TREE {
        let name = path.rsplit('.').next().unwrap_or(path);
        whose
            .entry(read(&root().join(path))?)
            .or_default()
            .push(name.to_owned());
    }

    let mut document = format!(
        "{SERVER} is made of what is named here. SQLite, in libsqlite3-sys, is in the public domain.\n"
    );
    let mut whose: Vec<_> = whose.into_iter().collect();
    whose.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, names) in whose {
        document.push_str(&format!("\n{}\n{}\n\n{text}\n", "=".repeat(80), names.join("\n")));
    }
    Ok(document)
}

/// The texts in a crate; or else those of another crate of the same repository, where a workspace keeps one copy.
fn texts(parts: &Parts, part: &Part) -> anyhow::Result<Vec<String>> {
    let mut files = licence_files(&part.dir)?;
    if part.checksum.is_none() {
        files.push(root().join("LICENSE"));
    }
    let mut siblings = parts.0.values().filter(|other| {
        part.repository.is_some() && other.repository == part.repository && other.licence == part.licence
    });
    while files.is_empty() {
        let sibling = siblings
            .next()
            .with_context(|| format!("there is no text of a licence in {}", part.dir.display()))?;
        files = licence_files(&sibling.dir)?;
    }
    files.iter().map(|path| read(path)).collect()
}

fn licence_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_licence = |name: &str| {
        let name = name.to_uppercase();
        ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let mut files = files_in(dir)?;
    files.retain(|(name, _)| is_licence(name));
    // As the REUSE specification has it.
    let reuse = dir.join("LICENSES");
    if files.is_empty() && reuse.is_dir() {
        files = files_in(&reuse)?;
    }
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(text.replace("\r\n", "\n").trim_matches('\n').to_owned())
}
