//! What is packed, whatever it is packed in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::output;
use crate::root;

/// What the program is called.
pub(super) const NAME: &str = "presence-server";
/// The workspace has one.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Files by their paths in a tarball.
pub(super) struct Package {
    files: BTreeMap<String, Vec<u8>>,
    /// Of every file, in Unix time: that of the commit, so that the same commit makes the same package.
    time: u64,
    compression: Compression,
}

/// Where a shell looks for completions in a distribution, and what they are called there and here.
pub(super) const COMPLETIONS: [(&str, &str, &str); 3] = [
    (
        "bash",
        "presence-server.bash",
        "bash-completion/completions/presence-server",
    ),
    (
        "fish",
        "presence-server.fish",
        "fish/vendor_completions.d/presence-server.fish",
    ),
    (
        "zsh",
        "_presence-server",
        "zsh/vendor-completions/_presence-server",
    ),
];

/// Taken from the work tree as they are, where they are called something else there.
const FROM_THE_TREE: [(&str, &str); 2] = [("LICENSE", "LICENSE"), ("README.md", "docs/deploy/README.md")];

/// Directories of pages and of what lies beside them, which name each other.
const PAGES: [&str; 2] = ["docs", "docs/deploy"];

impl Package {
    /// The program, what it says of itself, and what lies beside it in the work tree.
    pub(super) fn of(program: &Path, compression: Compression) -> anyhow::Result<Self> {
        let mut package = Self {
            files: BTreeMap::new(),
            time: time(),
            compression,
        };
        package.add(
            NAME,
            fs::read(program).with_context(|| format!("{}", program.display()))?,
        );
        for (name, path) in FROM_THE_TREE {
            package.add(name, fs::read(root().join(path)).context(path)?);
        }
        for dir in PAGES {
            for (name, path) in files_in(&root().join(dir))? {
                package.add(&format!("{dir}/{name}"), fs::read(path)?);
            }
        }
        let said = output(Command::new(program).arg("--version"))?;
        ensure!(
            said.starts_with(&format!("{NAME} {VERSION}")),
            "the program is another version: {said}"
        );
        for (shell, name, _) in COMPLETIONS {
            let script = output(Command::new(program).args(["completions", shell]))?;
            package.add(&format!("completions/{name}"), script);
        }
        let man = tempfile::tempdir()?;
        output(Command::new(program).arg("man").arg(man.path()))?;
        for (name, path) in files_in(man.path())? {
            package.add(&format!("man/{name}"), fs::read(path)?);
        }
        Ok(package)
    }

    pub(super) fn add(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.files.insert(name.to_owned(), content.into());
    }

    pub(super) fn file(&self, name: &str) -> anyhow::Result<&[u8]> {
        let file = self
            .files
            .get(name)
            .with_context(|| format!("{name} is not packed"))?;
        Ok(file)
    }

    /// Those in a directory, by their names there.
    pub(super) fn files_in<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.files.iter().filter_map(move |(path, content)| {
            let name = path.strip_prefix(dir)?.strip_prefix('/')?;
            Some((name, content.as_slice()))
        })
    }

    /// Writes a tarball to `dist`.
    pub(super) fn tarball(&self, dist: &Path) -> anyhow::Result<PathBuf> {
        let name = format!("{NAME}-{VERSION}-{}-linux", std::env::consts::ARCH);
        let path = dist.join(format!("{name}.tar.gz"));
        let mut archive = self.archive(File::create(&path)?);
        for (file, content) in &self.files {
            let mode = if file == NAME { 0o755 } else { 0o644 };
            archive.file(&format!("{name}/{file}"), mode, content)?;
        }
        archive.finish()?;
        Ok(path)
    }

    /// An empty archive, whose files have the package's time.
    pub(super) fn archive<W: Write>(&self, to: W) -> Archive<W> {
        Archive {
            tar: tar::Builder::new(GzEncoder::new(to, self.compression)),
            time: self.time,
        }
    }
}

/// A compressed tar in which everything is root's.
pub(super) struct Archive<W: Write> {
    tar: tar::Builder<GzEncoder<W>>,
    time: u64,
}

impl<W: Write> Archive<W> {
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        let mut header = self.header(mode, tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        Ok(self.tar.append_data(&mut header, path, content)?)
    }

    pub(super) fn dir(&mut self, path: &str) -> anyhow::Result<()> {
        let mut header = self.header(0o755, tar::EntryType::Directory);
        Ok(self.tar.append_data(&mut header, path, std::io::empty())?)
    }

    pub(super) fn finish(self) -> anyhow::Result<W> {
        Ok(self.tar.into_inner()?.finish()?)
    }

    fn header(&self, mode: u32, kind: tar::EntryType) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(self.time);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header
    }
}

/// The names and paths of the files in a directory, without those in directories of its own.
pub(super) fn files_in(dir: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.context("a file's name is no text")?.to_owned();
        if path.is_file() {
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}

/// The commit's; without git, the latest that was ever released.
fn time() -> u64 {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(root());
    output(&mut git)
        .ok()
        .and_then(|time| time.trim().parse().ok())
        .unwrap_or(1_767_225_600)
}
