//! How long an indicator is kept up.

use std::num::NonZeroU8;
use std::time::Duration;

use serde::Serialize;

/// How long an indicator is kept up before it is paused: 1 to 60 whole seconds.
///
/// "Not at all" is not a hold: it is the `None` of [`Hold::from_secs`]. `Serialize` gives the seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Hold(NonZeroU8);

impl Hold {
    /// The longest hold, 60 seconds: nobody believes in an answer that is typed for longer, and a request
    /// whose sender has died cannot leave an indicator up for longer either.
    pub const MAX: Self = Self(NonZeroU8::new(60).expect("it is not zero"));

    /// A hold of `secs` seconds; more than [`Hold::MAX`] is cut to it, and 0 is no hold.
    ///
    /// ```
    /// use presence_core::Hold;
    /// assert_eq!(Hold::from_secs(5).map(Hold::as_secs), Some(5));
    /// assert_eq!(Hold::from_secs(86_400), Some(Hold::MAX));
    /// assert_eq!(Hold::from_secs(0), None);
    /// ```
    #[must_use]
    pub fn from_secs(secs: u64) -> Option<Self> {
        match u8::try_from(secs) {
            Ok(secs) => NonZeroU8::new(secs).map(|secs| Self(secs).min(Self::MAX)),
            Err(_) => Some(Self::MAX),
        }
    }

    /// Whole seconds, 1 to 60.
    #[must_use]
    pub fn as_secs(self) -> u8 {
        self.0.get()
    }

    /// The same as a [`Duration`].
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.as_secs().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_cut_to_a_minute_and_none_is_no_hold() {
        let rows = [
            (0, None),
            (1, Some(1)),
            (5, Some(5)),
            (59, Some(59)),
            (60, Some(60)),
            (61, Some(60)),
        ];
        let beyond = [(255, Some(60)), (256, Some(60)), (u64::MAX, Some(60))];
        for (secs, expected) in rows.into_iter().chain(beyond) {
            assert_eq!(Hold::from_secs(secs).map(Hold::as_secs), expected, "{secs} s");
        }
        assert_eq!(Hold::MAX.duration(), Duration::from_secs(60));
    }
}
