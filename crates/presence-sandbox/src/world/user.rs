//! Accounts and devices as stanzas address them: by number or by LID.

use super::{Lid, Number, World};

/// An account under one of its two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum User {
    Number(Number),
    Lid(Lid),
}

/// A device of an account; 0 is the phone itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceJid {
    pub(crate) user: User,
    pub(crate) id: u16,
}

impl World {
    /// The number of an account that WhatsApp knows under this name.
    pub(crate) fn number_of_user(&self, user: User) -> Option<Number> {
        match user {
            User::Number(number) => self.numbers.canonical(number).filter(|known| *known == number),
            User::Lid(lid) => self.number_of(lid),
        }
    }

    /// The number behind a LID.
    pub(super) fn number_of(&self, lid: Lid) -> Option<Number> {
        let known = self.numbers.by_lid(lid).or_else(|| self.accounts.by_lid(lid));
        known.or_else(|| {
            let number = lid.derived_from().filter(|_| self.settings.lids)?;
            // Whoever has another LID does not have this one.
            (self.lid_of(number) == Some(lid)).then_some(number)
        })
    }

    /// The name under which `reader` is told of `number`: its LID when the reader's chats have moved to LIDs.
    pub(crate) fn name_for(&self, reader: Number, number: Number) -> User {
        match self.lid_of(number) {
            Some(lid) if self.is_lid_migrated(reader) => User::Lid(lid),
            _ => User::Number(number),
        }
    }
}
