//! The data directory, opened, or words for people why not.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use presence_store::DataDir;

/// Opens the data directory at `path`, which is created when there is nothing.
pub(crate) fn open(path: &Path) -> anyhow::Result<DataDir> {
    leads_somewhere(path)?;
    if let Ok(found) = path.metadata() {
        ensure!(found.is_dir(), "{} is a file, not a directory", path.display());
        belongs_to_us(path, &found)?;
    }
    DataDir::open(path).with_context(|| format!("cannot open the data directory {}", path.display()))
}

/// As [`open`], of a directory that is there already: a mistyped one would otherwise look like an empty one.
pub(crate) fn open_existing(path: &Path) -> anyhow::Result<DataDir> {
    leads_somewhere(path)?;
    if !path.exists() {
        bail!("there is no data directory {}", path.display());
    }
    open(path)
}

/// A link to nothing is no directory, and none can be created in its place.
fn leads_somewhere(path: &Path) -> anyhow::Result<()> {
    match (path.metadata(), path.read_link()) {
        (Err(error), Ok(target)) if error.kind() == io::ErrorKind::NotFound => bail!(
            "{} is a link to {}, which is not there: create that directory, or remove the link",
            path.display(),
            target.display()
        ),
        _ => Ok(()),
    }
}

/// Its files are their owner's alone, so nobody else but root gets any further.
fn belongs_to_us(path: &Path, found: &Metadata) -> anyhow::Result<()> {
    let us = rustix::process::geteuid();
    if us.is_root() || found.uid() == us.as_raw() {
        return Ok(());
    }
    bail!(
        "{} belongs to {}: run this as that user",
        path.display(),
        user(found.uid())
    )
}

/// A user's name, or else its number.
fn user(id: u32) -> String {
    match uzers::get_user_by_uid(id) {
        Some(user) => user.name().to_string_lossy().into_owned(),
        None => format!("user {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_directory_that_is_missing_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("afile");
        std::fs::write(&file, "").unwrap();
        let complaint = |path: &Path| open_existing(path).unwrap_err().to_string();
        assert_eq!(
            complaint(&file),
            format!("{} is a file, not a directory", file.display())
        );
        let missing = dir.path().join("missing");
        assert_eq!(
            complaint(&missing),
            format!("there is no data directory {}", missing.display())
        );
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&missing, &link).unwrap();
        for complaint in [complaint(&link), open(&link).unwrap_err().to_string()] {
            assert_eq!(
                complaint,
                format!(
                    "{} is a link to {}, which is not there: create that directory, or remove the link",
                    link.display(),
                    missing.display()
                )
            );
        }
        assert!(open_existing(dir.path()).is_ok());
        assert!(open(&missing).is_ok() && missing.is_dir());
        assert!(open(&link).is_ok());
    }

    #[test]
    fn users_have_names() {
        assert_eq!(user(0), "root");
        assert_eq!(user(u32::MAX - 7), format!("user {}", u32::MAX - 7));
    }
}
