//! The rule that names of accounts and instances obey.

/// The most characters a name may have.
pub const MAX_NAME_LENGTH: usize = 100;

/// A text that is no name. Names are `[A-Za-z0-9][A-Za-z0-9._-]{0,99}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Nothing is no name.
    #[error("a name is not empty")]
    Empty,
    /// Longer than [`MAX_NAME_LENGTH`]; the number of bytes found.
    #[error("a name has at most {MAX_NAME_LENGTH} characters, not {0}")]
    Length(usize),
    /// A character that names do not have, or not at their start.
    #[error("a name has no {found:?} at position {at}")]
    Character {
        /// The first one.
        found: char,
        /// Its position in bytes, from 0.
        at: usize,
    },
}

/// Checks `name`. Names are compared byte by byte: case matters, and nothing is trimmed.
pub(crate) fn check(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(InvalidName::Length(name.len()));
    }
    let wrong = |&(at, found): &(usize, char)| {
        !(found.is_ascii_alphanumeric() || (at > 0 && matches!(found, '.' | '_' | '-')))
    };
    match name.char_indices().find(wrong) {
        Some((at, found)) => Err(InvalidName::Character { found, at }),
        None => Ok(()),
    }
}

/// Defines a newtype over a checked name. It is cheap to clone, and found in maps by `&str`.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::name::InvalidName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                $crate::name::check(name)?;
                Ok(Self(name.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::name::InvalidName;

            fn try_from(name: String) -> Result<Self, Self::Error> {
                name.parse()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use name_type;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_starts_with_a_letter_or_digit() {
        let table = [
            ("a", Ok(())),
            ("0-._Z", Ok(())),
            ("", Err(InvalidName::Empty)),
            (".a", Err(InvalidName::Character { found: '.', at: 0 })),
            ("-a", Err(InvalidName::Character { found: '-', at: 0 })),
            ("_a", Err(InvalidName::Character { found: '_', at: 0 })),
            ("a b", Err(InvalidName::Character { found: ' ', at: 1 })),
            ("a/b", Err(InvalidName::Character { found: '/', at: 1 })),
            ("a\n", Err(InvalidName::Character { found: '\n', at: 1 })),
            ("é", Err(InvalidName::Character { found: 'é', at: 0 })),
            ("a٣", Err(InvalidName::Character { found: '٣', at: 1 })),
        ];
        for (name, expected) in table {
            assert_eq!(check(name), expected, "{name:?}");
        }
        assert_eq!(check(&"x".repeat(100)), Ok(()));
        assert_eq!(check(&"x".repeat(101)), Err(InvalidName::Length(101)));
    }

    proptest! {
        #[test]
        fn exactly_the_contracts_pattern_is_accepted(name in "[A-Za-z0-9][A-Za-z0-9._-]{0,99}") {
            prop_assert_eq!(check(&name), Ok(()));
        }

        #[test]
        fn a_foreign_character_anywhere_is_found(
            head in "[A-Za-z0-9][A-Za-z0-9._-]{0,20}",
            wrong in any::<char>().prop_filter("foreign", |c| !c.is_ascii_alphanumeric() && !"._-".contains(*c)),
            tail in "[A-Za-z0-9._-]{0,20}",
        ) {
            let name = format!("{head}{wrong}{tail}");
            prop_assert_eq!(check(&name), Err(InvalidName::Character { found: wrong, at: head.len() }));
        }
    }
}
