//! What a registry holds, on its way to another place.

use std::collections::BTreeSet;

use presence_core::InstanceId;

use crate::directory::{Change, Directory};

/// Everything that a registry holds.
pub(crate) struct Contents {
    /// What makes it of an empty one.
    pub(crate) changes: Vec<Change>,
    /// The highest number of an account that was ever given.
    pub(crate) last_account: i64,
}

impl Contents {
    /// `deleted` has all instances that are remembered as deleted.
    pub(crate) fn new(directory: &Directory, deleted: BTreeSet<InstanceId>) -> Self {
        let mut changes = Vec::new();
        changes.extend(directory.accounts().cloned().map(Change::PutAccount));
        changes.extend(directory.all_instances().cloned().map(Change::PutInstance));
        changes.extend(directory.edge().map(Change::PinEdge));
        let wiped = deleted.iter().copied();
        let wiped = wiped.filter(|id| !directory.is_unwiped(*id)).collect();
        changes.push(Change::RememberDeleted(deleted.into_iter().collect()));
        changes.push(Change::MarkWiped(wiped));
        changes.extend(InstanceId::new(directory.last_instance()).map(Change::ReserveIds));
        Self {
            changes,
            last_account: directory.last_account(),
        }
    }
}
