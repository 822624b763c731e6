//! Groups: who is in them.

use std::collections::{BTreeSet, HashMap};

use super::{Number, Place, World};

/// How many groups there can be, and how many members in each, as on WhatsApp.
const MAX_GROUPS: usize = 100_000;
const MAX_MEMBERS: usize = 1024;

/// A group that cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGroup {
    /// The place is a phone.
    #[error("not a group")]
    NotAGroup,
    /// More members than a group can have.
    #[error("a group has at most {MAX_MEMBERS} members")]
    TooManyMembers,
    /// As many groups as there can be.
    #[error("there are {MAX_GROUPS} groups already")]
    TooManyGroups,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) subject: String,
    pub(crate) members: BTreeSet<Number>,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<Place, Group>,
}

impl Groups {
    pub(super) fn get(&self, place: Place) -> Option<&Group> {
        self.groups.get(&place)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Place, &Group)> {
        self.groups.iter().map(|(place, group)| (*place, group))
    }

    /// The groups of `member`, in no order.
    pub(super) fn of(&self, member: Number) -> impl Iterator<Item = (Place, &Group)> {
        self.all()
            .filter(move |(_, group)| group.members.contains(&member))
    }
}

impl World {
    /// Sets up a group, or changes it.
    pub(crate) fn set_group(
        &mut self,
        place: Place,
        subject: String,
        members: BTreeSet<Number>,
    ) -> Result<(), InvalidGroup> {
        if !matches!(place, Place::Group(..)) {
            return Err(InvalidGroup::NotAGroup);
        }
        if members.len() > MAX_MEMBERS {
            return Err(InvalidGroup::TooManyMembers);
        }
        if self.groups.groups.len() >= MAX_GROUPS && !self.groups.groups.contains_key(&place) {
            return Err(InvalidGroup::TooManyGroups);
        }
        self.groups.groups.insert(place, Group { subject, members });
        Ok(())
    }
}
