//! A copy takes the place of what is in a data directory, if nothing is lost with that.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use presence_core::InstanceId;
use sqlx::Connection as _;

use crate::account::AccountName;
use crate::data_dir::{DataDir, DataLock};
use crate::error::StoreError;
use crate::files;
use crate::instance::InstanceName;
use crate::registry::Registry as _;
use crate::snapshot::{Snapshot, SnapshotError, existing};
use crate::sqlite::failed;

/// Something that a data directory has and a back-up has not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// An account.
    Account {
        /// Its name.
        name: AccountName,
        /// How many instances it has.
        instances: usize,
    },
    /// An instance of an account that both have.
    Instance {
        /// Of which account.
        account: AccountName,
        /// Its name.
        name: InstanceName,
        /// Whether a phone is linked.
        linked: bool,
    },
    /// The link to a phone, of an instance that both have.
    Link {
        /// Of which account.
        account: AccountName,
        /// Of which instance.
        name: InstanceName,
    },
    /// The link to a phone of a device that the directory's own registry does not know.
    Device(InstanceId),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { name, instances } => write!(f, "account {name}, with {instances} instances"),
            Self::Instance {
                account,
                name,
                linked,
            } => {
                let linked = if *linked { ", which is linked" } else { "" };
                write!(f, "instance {account}/{name}{linked}")
            }
            Self::Link { account, name } => {
                write!(f, "the link of {account}/{name}, which was made since")
            }
            Self::Device(id) => write!(f, "the link of device {id}, which presence.db does not name"),
        }
    }
}

impl Snapshot {
    /// What would be lost if `self` took the place of `there`. Both come with the devices that phones are linked
    /// to, of those [in force](Self::devices_in_force).
    #[must_use]
    pub fn lacks(
        &self,
        linked: &BTreeSet<InstanceId>,
        there: &Self,
        linked_there: &BTreeSet<InstanceId>,
    ) -> Vec<Lost> {
        let mut lost = Vec::new();
        for account in there.registry().accounts() {
            let instances = there.registry().instances(account.id);
            let found = self.registry().account(account.id);
            if found.is_none_or(|found| found.name != account.name) {
                lost.push(Lost::Account {
                    name: account.name.clone(),
                    instances: instances.len(),
                });
                continue;
            }
            for instance in instances {
                let is_linked = linked_there.contains(&instance.id);
                let found = self.registry().instance_by_id(instance.id);
                // Of another directory it has the number by chance, but not the moment of its creation.
                let found = found
                    .filter(|found| (found.created_at, &found.name) == (instance.created_at, &instance.name));
                let (account, name) = (account.name.clone(), instance.name.clone());
                match found {
                    None => lost.push(Lost::Instance {
                        account,
                        name,
                        linked: is_linked,
                    }),
                    Some(found)
                        if is_linked
                            && (!linked.contains(&found.id)
                                || self.pairing_number(&found) < there.pairing_number(&instance)) =>
                    {
                        lost.push(Lost::Link { account, name });
                    }
                    Some(_) => {}
                }
            }
        }
        let unknown = there.check.unknown.intersection(linked_there);
        lost.extend(
            unknown
                .filter(|id| !linked.contains(id))
                .copied()
                .map(Lost::Device),
        );
        lost
    }

    /// Makes the copy, which was made in `dir`, what is in `dir`. What was there before is kept, in a directory that
    /// is returned if there was anything. A crash leaves each file the old one or the new one, and the old ones kept.
    ///
    /// # Errors
    /// When files cannot be written, or a program other than a server has them open.
    pub async fn put_in_place(
        self,
        dir: &DataDir,
        _lock: &DataLock,
        now: DateTime<Utc>,
    ) -> Result<Option<PathBuf>, SnapshotError> {
        let files = self.close().await?;
        for path in [dir.database(), dir.keys()] {
            write_log(&path).await.map_err(|source| SnapshotError::Store {
                dir: dir.path().to_owned(),
                source,
            })?;
            let log = path.with_extension("db-wal");
            if path.exists() && log.exists() {
                return Err(SnapshotError::InUse(path));
            }
        }
        let aside = name_aside(dir.path(), now);
        let kept = keep(dir, &aside)?;
        belong_to_owner_of(dir.path(), files.path())?;
        files::sync_dir(files.path()).map_err(SnapshotError::file("write", files.path()))?;
        // The registry first: it knows all that the older keys are of, so a server would start.
        for name in NAMES {
            let (from, to) = (files.path().join(name), dir.path().join(name));
            if from.exists() {
                files::rename(&from, &to).map_err(SnapshotError::file("replace", &to))?;
            }
        }
        Ok(kept.then_some(aside))
    }
}

/// The files that are replaced.
const NAMES: [&str; 4] = ["presence.db", "keys.db", "token.key", "token.key.new"];

/// What SQLite keeps beside a database. A process that ends on the spot leaves it there.
const LOGS: [(&str, [&str; 2]); 2] = [
    ("presence.db", ["presence.db-wal", "presence.db-shm"]),
    ("keys.db", ["keys.db-wal", "keys.db-shm"]),
];

/// A name in `dir` that nothing has, for what is replaced at `now`. Nobody else gives any while it is locked.
fn name_aside(dir: &Path, now: DateTime<Utc>) -> PathBuf {
    let mut aside = dir.join(format!("before-restore-{}", now.format("%Y%m%dT%H%M%SZ")));
    while aside.exists() {
        aside.as_mut_os_string().push("-again");
    }
    aside
}

/// Has SQLite write its log into the file at `path`, if there is one.
async fn write_log(path: &Path) -> Result<(), StoreError> {
    const DOING: &str = "write the log into the database";
    if let Some(mut connection) = existing(path, DOING).await? {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut connection)
            .await
            .map_err(failed(DOING))?;
        connection.close().await.map_err(failed(DOING))?;
    }
    Ok(())
}

/// Gives the files of `dir` a second name in `aside`, and moves logs there whose database is lost: SQLite would read them
/// into the new one. Whether there were any.
fn keep(dir: &DataDir, aside: &Path) -> Result<bool, SnapshotError> {
    let failed = |error| SnapshotError::file("keep the old files in", aside)(error);
    let is_there = |name: &&str| dir.path().join(name).exists();
    let there: Vec<_> = NAMES.into_iter().filter(is_there).collect();
    let lost = LOGS.into_iter().filter(|(database, _)| !there.contains(database));
    let lost_logs: Vec<_> = lost.flat_map(|(_, logs)| logs).filter(is_there).collect();
    if there.is_empty() && lost_logs.is_empty() {
        return Ok(false);
    }
    files::create_private_dir(aside).map_err(failed)?;
    for name in there {
        fs::hard_link(dir.path().join(name), aside.join(name)).map_err(failed)?;
    }
    for name in lost_logs {
        files::rename(&dir.path().join(name), &aside.join(name)).map_err(failed)?;
    }
    belong_to_owner_of(dir.path(), aside)?;
    files::sync_dir(aside).map_err(failed)?;
    Ok(true)
}

/// Gives `path`, and what is in it, to the owner of `dir`: root may do this for the user that runs the server.
#[cfg(unix)]
fn belong_to_owner_of(dir: &Path, path: &Path) -> Result<(), SnapshotError> {
    use std::os::unix::fs::{MetadataExt as _, chown};

    let give = || {
        let owner = fs::metadata(dir)?;
        if owner.uid() == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        let (user, group) = (Some(owner.uid()), Some(owner.gid()));
        for entry in fs::read_dir(path)? {
            chown(entry?.path(), user, group)?;
        }
        chown(path, user, group)
    };
    give().map_err(SnapshotError::file("give away", path))
}

#[cfg(not(unix))]
fn belong_to_owner_of(_dir: &Path, _path: &Path) -> Result<(), SnapshotError> {
    Ok(())
}
