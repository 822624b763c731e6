//! Whether the registry and the device keys beside it are of one moment, and what is safe when they are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use presence_core::InstanceId;

use crate::error::StoreError;
use crate::instance::Instance;

/// What a start has to do about the keys that it finds.
///
/// `presence.db` and `keys.db` are two files, and either may have been restored from a back-up, or be gone.
/// Each device with keys is one of these rows; nothing else is ever wiped:
///
/// | presence.db says of the device | how that comes | what is done |
/// |---|---|---|
/// | an instance, not logged out | they are of one moment, or either is older | the session is resumed; keys that WhatsApp no longer takes are its to refuse |
/// | an instance, logged out, same pairing number | a crash between a logout and its wipe | the keys are wiped |
/// | an instance, logged out, lower pairing number | presence.db is older: it was paired again since | the keys are good: it is no longer logged out |
/// | an instance, logged out, higher pairing number | keys.db is older | the keys are wiped: they are of a pairing that was logged out |
/// | deleted, keys to be wiped | a crash, or it was deleted while no server ran | the keys are wiped |
/// | deleted, keys were wiped | keys.db is older | the keys are wiped again |
/// | nothing | presence.db is older, missing, or of another directory | **the start is refused**, whatever the others are |
///
/// An instance without keys must be paired again, whether keys.db is older or missing or presence.db is
/// older: it is no reason to refuse. A presence.db of another directory whose numbers happen to fit cannot be
/// told from the right one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyCheck {
    /// Devices with keys of which nothing is known.
    pub(crate) unknown: BTreeSet<InstanceId>,
    /// Deleted instances that have keys (again).
    pub(crate) to_wipe: BTreeSet<InstanceId>,
    /// Instances whose keys are of a later pairing than the registry knows.
    pub(crate) paired_since: BTreeMap<InstanceId, PairedSince>,
    /// The highest number that the key file names.
    pub(crate) highest: Option<InstanceId>,
}

/// A pairing that the registry knows nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairedSince {
    /// The number that was noted with it.
    pub(crate) pairing_number: u32,
    /// Whether it left keys.
    pub(crate) has_keys: bool,
}

impl KeyCheck {
    /// `instance` looks an instance up; `deleted` has those of `devices` that are remembered as deleted.
    pub(crate) fn new<'a>(
        devices: &BTreeSet<InstanceId>,
        pairing_numbers: &BTreeMap<InstanceId, u32>,
        instance: impl Fn(InstanceId) -> Option<&'a Instance>,
        deleted: &BTreeSet<InstanceId>,
    ) -> Self {
        let mut check = Self {
            highest: devices.last().max(pairing_numbers.keys().last()).copied(),
            ..Self::default()
        };
        for device in devices.iter().filter(|device| instance(**device).is_none()) {
            if deleted.contains(device) {
                check.to_wipe.insert(*device);
            } else {
                check.unknown.insert(*device);
            }
        }
        for (id, number) in pairing_numbers {
            if instance(*id).is_some_and(|instance| instance.pairing_number < *number) {
                let since = PairedSince {
                    pairing_number: *number,
                    has_keys: devices.contains(id),
                };
                check.paired_since.insert(*id, since);
            }
        }
        check
    }
}

/// Device keys of which the registry knows nothing. Nothing was wiped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct UnknownKeys {
    /// The data directory.
    pub dir: PathBuf,
    /// Under which numbers they are kept.
    pub devices: BTreeSet<InstanceId>,
    /// How many instances the registry has.
    pub instances: usize,
}

impl fmt::Display for UnknownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dir, unknown) = (self.dir.display(), self.devices.len());
        write!(
            f,
            "keys.db in {dir} holds the WhatsApp keys of {unknown} devices ("
        )?;
        for (at, device) in self.devices.iter().take(NAMED).enumerate() {
            write!(f, "{}{device}", if at > 0 { ", " } else { "" })?;
        }
        if unknown > NAMED {
            f.write_str(", …")?;
        }
        write!(
            f,
            ") of which presence.db, with {} instances, knows nothing: it is new, was restored from an older \
             back-up, or belongs elsewhere. Nothing was changed. Either restore the presence.db that these \
             keys belong to (and remove presence.db-wal and presence.db-shm beside it), or give up the keys \
             with `presence-server devices wipe-unknown --data-dir {dir}`: then their phones have to be linked \
             again",
            self.instances
        )
    }
}

/// Device keys that could not be checked, or did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckKeysError {
    /// The registry knows nothing of some of them.
    #[error(transparent)]
    Unknown(#[from] UnknownKeys),
    /// Either of the files failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many of the unknown devices are named.
const NAMED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_unknown_devices_are_named_and_no_more_hinted_at() {
        let words = |count| {
            let unknown = UnknownKeys {
                dir: "data".into(),
                devices: (1..=count).filter_map(InstanceId::new).collect(),
                instances: 3,
            };
            unknown.to_string()
        };
        assert!(words(1).starts_with("keys.db in data holds the WhatsApp keys of 1 devices (1) of which"));
        assert!(words(10).contains("(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) of which"));
        assert!(words(11).contains("8, 9, 10, …) of which"));
    }
}
