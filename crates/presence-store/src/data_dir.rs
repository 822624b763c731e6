//! The directory in which everything is kept.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::files;

/// A data directory.
///
/// It holds `presence.db` (accounts and instances), `keys.db` (the keys of all sessions), `token.key` (what those
/// and instances' tokens are sealed with) and `lock`; all readable by their owner only.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Takes the directory at `path`. It is created for its owner only when there is none; the rights of one
    /// that exists are left as they are, since the files in it are private by themselves.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        files::create_private_dir(&path)?;
        Ok(Self { path })
    }

    /// The directory at `path`, which is there already.
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes this process the only server on the directory, until the lock is dropped or the process ends in
    /// whatever way. Others may still read and change accounts.
    ///
    /// # Errors
    /// [`LockError::Held`] when a server runs on it.
    pub fn lock(&self) -> Result<DataLock, LockError> {
        let failed = |source| LockError::File {
            dir: self.path.clone(),
            source,
        };
        let path = self.path.join("lock");
        let mut options = files::private_options();
        let options = options.read(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        files::belong_to_owner_of_dir(&file, &path).map_err(failed)?;
        self.take(&mut file)?;
        // Who holds it is for people to read; the lock itself is the system's.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(DataLock { _file: file })
    }

    /// As [`lock`](Self::lock), of a directory that may not be written: without a lock file no server runs there.
    pub(crate) fn lock_if_there(&self) -> Result<Option<DataLock>, LockError> {
        let failed = |source| LockError::File {
            dir: self.path.clone(),
            source,
        };
        let mut file = match File::open(self.path.join("lock")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        self.take(&mut file)?;
        Ok(Some(DataLock { _file: file }))
    }

    fn take(&self, file: &mut File) -> Result<(), LockError> {
        match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(LockError::Held {
                dir: self.path.clone(),
                pid: read_pid(file),
            }),
            Err(TryLockError::Error(source)) => Err(LockError::File {
                dir: self.path.clone(),
                source,
            }),
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("presence.db")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.path.join("keys.db")
    }

    pub(crate) fn token_key(&self) -> PathBuf {
        self.path.join("token.key")
    }
}

/// The right to be the server on a data directory. Given back when dropped.
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct DataLock {
    _file: File,
}

/// A data directory that could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another server runs on it.
    #[error("another server{} runs on the data directory {}", named(*pid), dir.display())]
    Held {
        /// Which directory.
        dir: PathBuf,
        /// The number of its process, unless it could not be read.
        pid: Option<u32>,
    },
    /// Its lock file could not be opened.
    #[error("cannot lock the data directory {}", dir.display())]
    File {
        /// Which directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn named(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
