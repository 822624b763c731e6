//! Phone numbers and LIDs.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A phone number: 5 to 15 digits with the country code, no leading zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u64);

/// The hidden id of an account (`<digits>@lid`): 5 to 18 digits, no leading zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lid(u64);

/// A text that is no phone number, LID or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}, without a leading zero")]
pub struct InvalidNumber {
    expected: &'static str,
}

impl InvalidNumber {
    pub(super) const GROUP: Self = Self {
        expected: "a group: <digits> or <digits>-<digits>",
    };
}

impl Number {
    pub(crate) fn from_digits(digits: u64) -> Option<Self> {
        digits.to_string().parse().ok()
    }
}

impl Lid {
    /// The LID of the `nth` account that has none from the table of numbers.
    pub(crate) fn nth(nth: u64) -> Self {
        Self(200_000_000_000_000 + nth)
    }
}

impl Lid {
    /// The LID that follows from a number, for those who have no other.
    pub(crate) fn derived(number: Number) -> Self {
        Self(DERIVED + number.0)
    }

    /// The number it follows from, if it does.
    pub(crate) fn derived_from(self) -> Option<Number> {
        Number::from_digits(self.0.checked_sub(DERIVED)?)
    }
}

/// Above all LIDs that are given out otherwise. With a number of 15 digits it still has 18.
const DERIVED: u64 = 300_000_000_000_000_000;

impl FromStr for Number {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        digits(text, 15).map(Self).ok_or(InvalidNumber {
            expected: "a phone number of 5 to 15 digits",
        })
    }
}

impl FromStr for Lid {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        digits(text, 18).map(Self).ok_or(InvalidNumber {
            expected: "a LID of 5 to 18 digits",
        })
    }
}

fn digits(text: &str, most: usize) -> Option<u64> {
    let plausible = (5..=most).contains(&text.len()) && !text.starts_with('0');
    (plausible && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Lid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Lid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Lid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Number {
    /// Only the last two digits: a `Debug` may end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{:02}", self.0 % 100)
    }
}

impl fmt::Debug for Lid {
    /// Only the last two digits: a `Debug` may end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{:02}@lid", self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_with_a_country_code() {
        for text in ["5511988887777", "12345", "999999999999999"] {
            assert_eq!(text.parse::<Number>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "1234",
            "0511988887777",
            "+5511988887777",
            "5511 988",
            "1234567890123456",
            "٣٤٥٦٧٨",
        ] {
            assert!(text.parse::<Number>().is_err(), "{text}");
        }
    }

    #[test]
    fn debug_does_not_tell_a_number() {
        assert_eq!(format!("{:?}", "5511988887702".parse::<Number>().unwrap()), "…02");
    }
}
