//! What WhatsApp knows about numbers, as a usync query would tell it.

use std::collections::HashMap;

use super::{Lid, Number};

/// How many numbers can be set.
const MAX_NUMBERS: usize = 100_000;

/// The table of numbers is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table of numbers is full")]
pub struct TooManyNumbers;

/// Numbers that are not in it are on WhatsApp as they are, without a known LID.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    known: HashMap<Number, Known>,
    by_lid: HashMap<Lid, Number>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    canonical: Option<Number>,
    lid: Option<Lid>,
}

impl Numbers {
    pub(super) fn set(
        &mut self,
        number: Number,
        canonical: Option<Number>,
        lid: Option<Lid>,
    ) -> Result<(), TooManyNumbers> {
        if self.known.len() >= MAX_NUMBERS && !self.known.contains_key(&number) {
            return Err(TooManyNumbers);
        }
        self.forget(number);
        self.known.insert(number, Known { canonical, lid });
        if let (Some(canonical), Some(lid)) = (canonical, lid) {
            self.by_lid.insert(lid, canonical);
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, number: Number) {
        let Some(old) = self.known.remove(&number) else {
            return;
        };
        let Some(lid) = old.lid else { return };
        // An alias and its canonical number share the LID: it goes with the last of them.
        let shared = |known: &&Known| known.lid == Some(lid) && known.canonical.is_some();
        match self.known.values().find(shared).and_then(|known| known.canonical) {
            Some(canonical) => self.by_lid.insert(lid, canonical),
            None => self.by_lid.remove(&lid),
        };
    }

    /// The number under which WhatsApp knows `number`; `None` when it is not on WhatsApp.
    pub(super) fn canonical(&self, number: Number) -> Option<Number> {
        self.known
            .get(&number)
            .map_or(Some(number), |known| known.canonical)
    }

    /// The LID of `number`, which may be an alias.
    pub(super) fn lid(&self, number: Number) -> Option<Lid> {
        let direct = self.known.get(&number)?;
        direct.lid.or_else(|| self.known.get(&direct.canonical?)?.lid)
    }

    /// Everything that was set: a number, what it really is, and its LID.
    pub(super) fn all(&self) -> impl Iterator<Item = (Number, Option<Number>, Option<Lid>)> {
        self.known
            .iter()
            .map(|(number, known)| (*number, known.canonical, known.lid))
    }

    pub(super) fn by_lid(&self, lid: Lid) -> Option<Number> {
        self.by_lid.get(&lid).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    fn lid(text: &str) -> Option<Lid> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_unknown_number_is_itself() {
        let numbers = Numbers::default();
        assert_eq!(
            numbers.canonical(number("5511988887777")),
            Some(number("5511988887777"))
        );
        assert_eq!(numbers.lid(number("5511988887777")), None);
    }

    #[test]
    fn an_alias_shares_the_lid_of_its_number() {
        let (with, without) = (number("5511988887777"), number("551188887777"));
        let mut numbers = Numbers::default();
        numbers.set(with, Some(without), lid("123456789")).unwrap();
        numbers.set(without, Some(without), lid("123456789")).unwrap();
        assert_eq!(numbers.canonical(with), Some(without));
        assert_eq!(numbers.by_lid(lid("123456789").unwrap()), Some(without));
        numbers.forget(with);
        assert_eq!(numbers.by_lid(lid("123456789").unwrap()), Some(without));
        numbers.forget(without);
        assert_eq!(numbers.by_lid(lid("123456789").unwrap()), None);
    }

    #[test]
    fn setting_a_number_again_forgets_its_old_lid() {
        let mut numbers = Numbers::default();
        let one = number("5511988887777");
        numbers.set(one, Some(one), lid("123456789")).unwrap();
        numbers.set(one, Some(one), None).unwrap();
        assert_eq!(
            (numbers.by_lid(lid("123456789").unwrap()), numbers.lid(one)),
            (None, None)
        );
        numbers.set(one, None, None).unwrap();
        assert_eq!(numbers.canonical(one), None);
    }
}
