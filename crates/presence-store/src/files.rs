//! Files that only their owner may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::random::random;

/// Creates `path` and its missing parents, for the owner only. Leaves one that exists as it is.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Creates an empty file for the owner only, or takes others' rights to one that exists.
///
/// One that exists is never opened: a process that closes any handle of a file loses all its POSIX locks on
/// it, those of a SQLite connection included.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    match private_options().create_new(true).open(path) {
        Ok(file) => {
            belong_to_owner_of_dir(&file, path)?;
            file.sync_all()?;
            sync_parent(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => make_private(path),
        Err(error) => Err(error),
    }
}

/// Takes others' rights to the file at `path`, unless it is a link.
///
/// Root runs commands on the directory of the user that runs the server. What that user links to may be any file of
/// the system.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let found = fs::symlink_metadata(path)?;
        // Only who owns a file may set its rights, and need not when they are right.
        if !found.is_symlink() && found.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Makes a file with `content` appear at `path`, complete and durable. `false`, and nothing changed, when
/// there is one already.
pub(crate) fn publish_private(path: &Path, content: &[u8]) -> io::Result<bool> {
    let suffix = random::<8>().map_err(io::Error::other)?;
    let draft = path.with_extension(format!("{:016x}.tmp", u64::from_ne_bytes(*suffix)));
    let mut file = private_options().create_new(true).open(&draft)?;
    let written = belong_to_owner_of_dir(&file, &draft)
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all());
    // Unlike a rename, a link fails when the name is taken.
    let published = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match published {
        Ok(()) => sync_parent(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a new file to the owner of its directory: root may run a command for the user that runs the server.
#[cfg(unix)]
pub(crate) fn belong_to_owner_of_dir(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};

    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let dir = fs::metadata(parent_of(path))?;
    let (user, group) = (dir.uid(), dir.gid());
    if user == 0 {
        return Ok(());
    }
    fchown(file, Some(user), Some(group))
}

#[cfg(not(unix))]
pub(crate) fn belong_to_owner_of_dir(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

/// Puts the file at `from` in the place of the one at `to`, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Copies the file at `from` to a new one at `to`, for its owner only. `false` when there is none at `from`.
pub(crate) fn copy_private(from: &Path, to: &Path) -> io::Result<bool> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut copy = private_options().create_new(true).open(to)?;
    io::copy(&mut source, &mut copy)?;
    Ok(true)
}

/// Makes what is in the directory `dir` durable: its files, and their names.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        File::open(entry?.path())?.sync_all()?;
    }
    sync_parent(&dir.join("a name in it"))
}

/// How files are opened for writing, so that only their owner may read what is created.
pub(crate) fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A new name in a directory is durable only once the directory is.
fn sync_parent(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(parent_of(path))?.sync_all()
    } else {
        Ok(())
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_rights_of_others_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        for (before, after) in [(0o644, 0o600), (0o601, 0o600), (0o600, 0o600), (0o400, 0o400)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            make_private(&path).unwrap();
            assert_eq!(mode(&path), after, "{before:o}");
        }
        assert!(make_private(&dir.path().join("none")).is_err());
    }

    #[test]
    fn what_a_link_leads_to_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| dir.path().join(name));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        make_private(&link).unwrap();
        create_private(&link).unwrap();
        assert_eq!(mode(&file), 0o644);
    }

    #[test]
    fn a_file_is_created_for_its_owner_and_never_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        create_private(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::write(&path, "content").unwrap();
        create_private(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert!(create_private(&path.join("below")).is_err());
    }

    #[test]
    fn of_two_that_publish_one_wins_and_no_draft_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(publish_private(&path, b"first").unwrap());
        assert!(!publish_private(&path, b"second").unwrap());
        assert_eq!(
            (fs::read(&path).unwrap().as_slice(), mode(&path)),
            (&b"first"[..], 0o600)
        );
        // The draft can be written, but no file can have this name.
        let impossible = dir.path().join(format!("file.{}", "x".repeat(300)));
        assert!(publish_private(&impossible, b"third").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// Only root can tell: for anybody else there is nothing to do.
    #[test]
    fn what_root_makes_in_anothers_directory_is_that_ones() {
        use std::os::unix::fs::{MetadataExt as _, chown};

        let us = rustix::process::geteuid();
        let dir = tempfile::tempdir().unwrap();
        let (user, group) = if us.is_root() {
            (7, 9)
        } else {
            let found = fs::metadata(dir.path()).unwrap();
            (found.uid(), found.gid())
        };
        if us.is_root() {
            chown(dir.path(), Some(user), Some(group)).unwrap();
        }
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        create_private(&one).unwrap();
        assert!(publish_private(&other, b"content").unwrap());
        for path in [one, other] {
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid(), mode(&path)), (user, group, 0o600));
        }
    }

    #[test]
    fn the_directory_of_a_name_is_what_is_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        assert!(sync_parent(&dir.path().join("file")).is_ok());
        assert!(sync_parent(Path::new("file")).is_ok(), "in the working directory");
        assert!(sync_parent(&dir.path().join("none/file")).is_err());
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert!(!from.exists());
        assert!(rename(&from, &to).is_err());
    }
}
