//! Copies of a data directory's files that are of one moment, open and checked.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use presence_core::InstanceId;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::data_dir::{DataDir, LockError};
use crate::error::StoreError;
use crate::files;
use crate::instance::Instance;
use crate::key::{KeySource, TokenKey};
use crate::key_check::{KeyCheck, UnknownKeys};
use crate::key_store::{SqliteKeyStore, pairings};
use crate::registry::Registry as _;
use crate::sqlite::{connect, failed};
use crate::store::Store;

/// A private copy of `presence.db`, `keys.db` and `token.key`, all of one moment. It is gone when dropped, unless
/// it is [published](Self::publish) or [put in place](Self::put_in_place).
pub struct Snapshot {
    /// Whose files they are.
    source: PathBuf,
    registry: Store,
    keys: SqliteKeyStore,
    pub(crate) check: KeyCheck,
    devices: BTreeSet<InstanceId>,
    unreadable: usize,
    /// Dropped last.
    files: TempDir,
}

/// Files of a data directory that cannot be copied, or whose copy is no good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no registry.
    #[error("there is no presence.db in {}", .0.display())]
    Missing(PathBuf),
    /// The files are of an earlier version.
    #[error(
        "{} holds a devices.db, which an earlier version made: start the server on it once, which takes it over",
        .0.display()
    )]
    Earlier(PathBuf),
    /// SQLite finds a file inconsistent.
    #[error("{file} in {} is damaged: {found}", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// Which file.
        file: &'static str,
        /// What SQLite says.
        found: String,
    },
    /// The files are not of one moment.
    #[error("the files in {} do not belong together: {}", .0.dir.display(), .0)]
    Unknown(#[source] Box<UnknownKeys>),
    /// A server runs where only files are expected.
    #[error(transparent)]
    Running(#[from] LockError),
    /// The place for a copy is taken.
    #[error("{} exists and is not an empty directory", .0.display())]
    Taken(PathBuf),
    /// A program other than a server has the files open.
    #[error("another program has {} open: end it first", .0.display())]
    InUse(PathBuf),
    /// A file could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A database failed, or has another key.
    #[error("the files in {} cannot be read", dir.display())]
    Store {
        /// The directory.
        dir: PathBuf,
        /// How.
        #[source]
        source: StoreError,
    },
}

impl SnapshotError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

impl DataDir {
    /// Copies what is in the directory to a temporary one in `beside`. A server may run meanwhile, and write; it is
    /// not held up. `key` is what everything is sealed with, if that is not in `token.key`.
    ///
    /// # Errors
    /// When a file cannot be read or copied, is damaged, or is sealed with another key.
    pub async fn snapshot(&self, beside: &Path, key: Option<&TokenKey>) -> Result<Snapshot, SnapshotError> {
        self.is_of_this_version()?;
        let (files, to) = draft(beside)?;
        self.copy_databases(&to)
            .await
            .map_err(|source| self.unreadable(source))?;
        if key.is_none() {
            copy_keys(self, &to)?;
        }
        Snapshot::open(self.path(), files, to, key).await
    }

    /// Copies back-up files, which nobody may be writing, to a temporary directory in `self`. Nothing of `from` is
    /// touched, so it may be on a medium that is read only. The key is `key`; or else that in `from`; or else, if
    /// it was left out of the back-up, the one that `self` has.
    ///
    /// # Errors
    /// [`SnapshotError::Running`] when a server runs on `from`; otherwise as [`snapshot`](Self::snapshot).
    pub async fn read_backup(&self, from: &Path, key: Option<&TokenKey>) -> Result<Snapshot, SnapshotError> {
        let source = Self::at(from);
        // Held until everything is copied.
        let _lock = source.lock_if_there()?;
        source.is_of_this_version()?;
        if !source.database().exists() {
            return Err(SnapshotError::Missing(from.to_owned()));
        }
        let (files, to) = draft(self.path())?;
        // Of a directory that was copied by hand, the log belongs to the file.
        for name in ["presence.db", "presence.db-wal", "keys.db", "keys.db-wal"] {
            let path = from.join(name);
            files::copy_private(&path, &to.path().join(name)).map_err(SnapshotError::file("copy", &path))?;
        }
        if key.is_none() && !copy_keys(&source, &to)? {
            copy_keys(self, &to)?;
        }
        let snapshot = Snapshot::open(from, files, to, key).await?;
        snapshot.must_belong_together()?;
        Ok(snapshot)
    }

    fn is_of_this_version(&self) -> Result<(), SnapshotError> {
        let earlier = self.path().join("devices.db");
        match earlier.exists() {
            true => Err(SnapshotError::Earlier(self.path().to_owned())),
            false => Ok(()),
        }
    }

    /// Copies both databases, which a server may be writing.
    ///
    /// The keys come first. Whatever happens until the registry is copied, the copies then fit: a device whose keys
    /// are there is known, as existing or as deleted. That nothing happened is looked up, and all of it is done
    /// again if a phone was linked or unlinked meanwhile; but not for ever, since the worst is that what was linked
    /// meanwhile is not linked in the copy, as if it had been made a moment before.
    async fn copy_databases(&self, to: &DataDir) -> Result<(), StoreError> {
        let mut keys = existing(&self.keys(), COPY_KEYS).await?;
        let mut registry = existing(&self.database(), COPY_REGISTRY).await?;
        for _ in 0..ATTEMPTS {
            copy(keys.as_mut(), &to.keys(), COPY_KEYS).await?;
            copy(registry.as_mut(), &to.database(), COPY_REGISTRY).await?;
            let (Some(now), Some(mut then)) = (&mut keys, existing(&to.keys(), COPY_KEYS).await?) else {
                break;
            };
            let unchanged = pairings(now).await? == pairings(&mut then).await?;
            then.close().await.map_err(failed(COPY_KEYS))?;
            if unchanged {
                break;
            }
        }
        for connection in [keys, registry].into_iter().flatten() {
            connection.close().await.map_err(failed("close the databases"))?;
        }
        Ok(())
    }

    fn unreadable(&self, source: StoreError) -> SnapshotError {
        SnapshotError::Store {
            dir: self.path().to_owned(),
            source,
        }
    }
}

/// How often both databases are copied to have them of a moment in which no phone was linked.
const ATTEMPTS: usize = 5;

const COPY_KEYS: &str = "copy keys.db";
const COPY_REGISTRY: &str = "copy presence.db";

impl Snapshot {
    async fn open(
        source: &Path,
        files: TempDir,
        dir: DataDir,
        key: Option<&TokenKey>,
    ) -> Result<Self, SnapshotError> {
        let failed = |error| SnapshotError::Store {
            dir: source.to_owned(),
            source: error,
        };
        for (path, file) in [(dir.database(), "presence.db"), (dir.keys(), "keys.db")] {
            if let Some(found) = damage(&path).await.map_err(failed)? {
                return Err(SnapshotError::Damaged {
                    dir: source.to_owned(),
                    file,
                    found,
                });
            }
        }
        let key = key.map_or(KeySource::File, |key| KeySource::Given(key.clone()));
        let registry = Store::open(&dir, key).await.map_err(failed)?;
        if let Some(key) = registry.token_key() {
            dir.settle_seal(key).await.map_err(failed)?;
        }
        let keys = SqliteKeyStore::open(&dir.keys(), registry.token_key().cloned())
            .await
            .map_err(failed)?;
        let check = registry.compare_keys(&keys).await.map_err(failed)?;
        let devices = crate::KeyStore::devices(&keys).await.map_err(failed)?;
        let sealed = registry.all_instances();
        let lost = sealed
            .iter()
            .filter(|instance| {
                registry.instance_token(instance).is_err() || registry.instance_proxy(instance).is_err()
            })
            .count();
        let unreadable = lost + keys.unreadable().await.map_err(failed)?;
        Ok(Self {
            source: source.to_owned(),
            registry,
            keys,
            check,
            devices,
            unreadable,
            files,
        })
    }

    /// The accounts and instances.
    #[must_use]
    pub fn registry(&self) -> &Store {
        &self.registry
    }

    /// The device keys.
    #[must_use]
    pub fn keys(&self) -> &SqliteKeyStore {
        &self.keys
    }

    /// How many tokens, proxies and device keys the key does not open. Usually it did not before either.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// The devices whose keys a server would not wipe: not those of instances that were logged out or deleted.
    #[must_use]
    pub fn devices_in_force(&self) -> BTreeSet<InstanceId> {
        let is_in_force = |id: &InstanceId| match self.registry.instance_by_id(*id) {
            Some(instance) => !instance.logged_out || self.check.paired_since.contains_key(id),
            None => self.check.unknown.contains(id),
        };
        self.devices.iter().copied().filter(is_in_force).collect()
    }

    /// Whether every device with keys is one that the registry knows.
    ///
    /// # Errors
    /// [`SnapshotError::Unknown`] when not: a server would refuse to start.
    pub fn must_belong_together(&self) -> Result<(), SnapshotError> {
        if self.check.unknown.is_empty() {
            return Ok(());
        }
        Err(SnapshotError::Unknown(Box::new(UnknownKeys {
            dir: self.source.clone(),
            devices: self.check.unknown.clone(),
            instances: self.registry.all_instances().len(),
        })))
    }

    /// The pairing of `instance` that its keys are of.
    pub(crate) fn pairing_number(&self, instance: &Instance) -> u32 {
        let since = self.check.paired_since.get(&instance.id);
        since.map_or(instance.pairing_number, |since| since.pairing_number)
    }

    /// Refuses a place at which something is there already, that [`publish`](Self::publish) would replace.
    ///
    /// # Errors
    /// [`SnapshotError::Taken`].
    pub fn may_become(to: &Path) -> Result<(), SnapshotError> {
        let taken = match fs::read_dir(to).map(|mut entries| entries.next().is_some()) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => true,
            Err(error) => return Err(SnapshotError::file("look into", to)(error)),
        };
        match taken {
            true => Err(SnapshotError::Taken(to.to_owned())),
            false => Ok(()),
        }
    }

    /// Makes the copy the directory `to`, durably, and as a whole or not at all; with `token.key` only if `with_key`.
    /// Returns how many bytes it has. `to` must not exist, or be an empty directory, and lie where the snapshot was
    /// made.
    ///
    /// # Errors
    /// [`SnapshotError::Taken`] when it is not; otherwise when files cannot be written.
    pub async fn publish(self, to: &Path, with_key: bool) -> Result<u64, SnapshotError> {
        Self::may_become(to)?;
        let files = self.close().await?;
        let failed = |doing| SnapshotError::file(doing, to);
        if !with_key {
            remove(&files.path().join("token.key"))?;
        }
        remove(&files.path().join("token.key.new"))?;
        files::sync_dir(files.path()).map_err(failed("write"))?;
        let mut bytes = 0;
        for entry in fs::read_dir(files.path()).map_err(failed("write"))? {
            let metadata = entry.and_then(|entry| entry.metadata());
            bytes += metadata.map_err(failed("write"))?.len();
        }
        files::rename(files.path(), to).map_err(failed("create"))?;
        // Nothing is left to be removed.
        let _ = files.keep();
        Ok(bytes)
    }

    /// Lets go of the databases, so that each is one file again.
    pub(crate) async fn close(self) -> Result<TempDir, SnapshotError> {
        self.keys.close().await;
        let closed = self.registry.close().await;
        closed.map_err(|source| SnapshotError::Store {
            dir: self.source,
            source,
        })?;
        Ok(self.files)
    }
}

/// A private temporary directory in `beside`.
fn draft(beside: &Path) -> Result<(TempDir, DataDir), SnapshotError> {
    let failed = SnapshotError::file("create a directory in", beside);
    files::create_private_dir(beside).map_err(failed)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".presence-copy-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let files = builder
        .tempdir_in(beside)
        .map_err(SnapshotError::file("create a directory in", beside))?;
    let dir = DataDir::at(files.path());
    Ok((files, dir))
}

/// Copies the key of `from`, and the one that may be about to take its place; whether there was one.
fn copy_keys(from: &DataDir, to: &DataDir) -> Result<bool, SnapshotError> {
    let mut found = false;
    for name in ["token.key", "token.key.new"] {
        let path = from.path().join(name);
        found |=
            files::copy_private(&path, &to.path().join(name)).map_err(SnapshotError::file("copy", &path))?;
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SnapshotError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Opens a database as it is; `None` when there is none.
pub(crate) async fn existing(
    path: &Path,
    doing: &'static str,
) -> Result<Option<SqliteConnection>, StoreError> {
    if !path
        .try_exists()
        .map_err(|source| StoreError::File { doing, source })?
    {
        return Ok(None);
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .disable_statement_logging();
    connect(&options).await.map(Some).map_err(failed(doing))
}

/// Copies a database to a new file at `to`, in the place of one that is there.
async fn copy(from: Option<&mut SqliteConnection>, to: &Path, doing: &'static str) -> Result<(), StoreError> {
    let Some(from) = from else { return Ok(()) };
    let file_failed = |source| StoreError::File { doing, source };
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_failed(error)),
        _ => {}
    }
    // SQLite would make it readable for others; of an empty one it takes the rights.
    files::create_private(to).map_err(file_failed)?;
    let to = to
        .to_str()
        .ok_or_else(|| file_failed(io::ErrorKind::InvalidFilename.into()))?;
    sqlx::query("VACUUM INTO ?")
        .bind(to)
        .execute(from)
        .await
        .map_err(failed(doing))?;
    Ok(())
}

/// What SQLite finds wrong with the file at `path`, if there is one.
async fn damage(path: &Path) -> Result<Option<String>, StoreError> {
    const CHECK: &str = "check a copy";
    let Some(mut connection) = existing(path, CHECK).await? else {
        return Ok(None);
    };
    let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut connection)
        .await
        .map_err(failed(CHECK))?;
    connection.close().await.map_err(failed(CHECK))?;
    Ok((found != "ok").then_some(found))
}
