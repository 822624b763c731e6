//! What a registry holds, on its way to another place.

use std::collections::BTreeSet;
use std::sync::Arc;

use presence_core::InstanceId;

use crate::account::Account;
use crate::directory::{Change, Directory};
use crate::instance::Instance;

/// Everything that a registry holds.
pub(crate) struct Contents {
    pub(crate) accounts: Vec<Arc<Account>>,
    pub(crate) instances: Vec<Arc<Instance>>,
    /// What makes all of it, once these are there.
    pub(crate) changes: Vec<Change>,
    /// The highest number of an account that was ever given.
    pub(crate) last_account: i64,
}

impl Contents {
    /// `deleted` has all instances that are remembered as deleted.
    pub(crate) fn new(directory: &Directory, deleted: BTreeSet<InstanceId>) -> Self {
        let wiped = deleted.iter().copied();
        let wiped = wiped.filter(|id| !directory.is_unwiped(*id)).collect();
        let mut changes = vec![
            Change::RememberDeleted(deleted.into_iter().collect()),
            Change::MarkWiped(wiped),
        ];
        changes.extend(directory.edge().map(Change::PinEdge));
        changes.extend(InstanceId::new(directory.last_instance()).map(Change::ReserveIds));
        Self {
            accounts: directory.accounts().cloned().collect(),
            instances: directory.all_instances().cloned().collect(),
            changes,
            last_account: directory.last_account(),
        }
    }
}
