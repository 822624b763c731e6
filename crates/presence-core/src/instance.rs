//! The number of an instance, by which every part of the service knows it.

use std::fmt;
use std::num::NonZeroI32;

use serde::{Deserialize, Serialize};

/// Names one WhatsApp session of an account, and its device keys, for good: 1 to 2 147 483 647, never given
/// twice. The width is that of the device's number in the client library's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct InstanceId(NonZeroI32);

impl InstanceId {
    /// The instance with this number; `None` unless it is positive.
    #[must_use]
    pub const fn new(number: i32) -> Option<Self> {
        match NonZeroI32::new(number) {
            Some(number) if number.get() > 0 => Some(Self(number)),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0.get()
    }
}

impl TryFrom<i32> for InstanceId {
    type Error = NotPositive;

    fn try_from(number: i32) -> Result<Self, NotPositive> {
        Self::new(number).ok_or(NotPositive)
    }
}

impl From<InstanceId> for i32 {
    fn from(id: InstanceId) -> Self {
        id.get()
    }
}

/// A number that is no instance's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of an instance is positive")]
pub struct NotPositive;

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_positive_number() {
        let rows = [
            (1, Some(1)),
            (i32::MAX, Some(i32::MAX)),
            (0, None),
            (-1, None),
            (i32::MIN, None),
        ];
        for (number, expected) in rows {
            assert_eq!(InstanceId::new(number).map(InstanceId::get), expected, "{number}");
        }
        assert_eq!(InstanceId::new(7).unwrap().to_string(), "7");
    }
}
