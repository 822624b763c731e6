//! The words for a presence: what clients say, what can be shown, and what the wire says.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a client asks for. In JSON it is a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(
        rename_all = "lowercase",
        description = "What was asked for, by its canonical name."
    )
)]
pub enum PresenceState {
    /// `typing`: show "typing…".
    Typing,
    /// `recording`: show "recording audio…".
    Recording,
    /// `pause`: show nothing.
    Pause,
}

impl PresenceState {
    /// What clients may call each.
    pub(crate) const NAMES: [(&str, Self); 4] = [
        ("typing", Self::Typing),
        ("recording", Self::Recording),
        ("pause", Self::Pause),
        ("paused", Self::Pause),
    ];

    /// The canonical name: `typing`, `recording` or `pause`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Typing => "typing",
            Self::Recording => "recording",
            Self::Pause => "pause",
        }
    }

    /// What is to be shown; `None` for [`PresenceState::Pause`].
    #[must_use]
    pub fn indicator(self) -> Option<Indicator> {
        match self {
            Self::Typing => Some(Indicator::Typing),
            Self::Recording => Some(Indicator::Recording),
            Self::Pause => None,
        }
    }
}

/// Reads `typing`, `recording`, `pause` or `paused` in any ASCII case, with any space around it.
impl FromStr for PresenceState {
    type Err = InvalidState;

    fn from_str(text: &str) -> Result<Self, InvalidState> {
        let text = text.trim();
        let found = Self::NAMES
            .iter()
            .find(|(name, _)| text.eq_ignore_ascii_case(name));
        found.map(|&(_, state)| state).ok_or(InvalidState)
    }
}

impl fmt::Display for PresenceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for PresenceState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// From a string, as [`FromStr`] reads it.
impl<'de> Deserialize<'de> for PresenceState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that names no [`PresenceState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a presence state")]
pub struct InvalidState;

/// What a recipient's phone can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(rename_all = "lowercase")
)]
pub enum Indicator {
    /// "typing…"
    Typing,
    /// "recording audio…"
    Recording,
}

/// What goes over WhatsApp's wire, as the child of `<chatstate to=JID>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChatState {
    /// `<composing/>`
    Composing,
    /// `<composing media="audio"/>`
    Recording,
    /// `<paused/>`
    Paused,
}

impl From<Indicator> for PresenceState {
    fn from(indicator: Indicator) -> Self {
        match indicator {
            Indicator::Typing => Self::Typing,
            Indicator::Recording => Self::Recording,
        }
    }
}

impl From<Indicator> for ChatState {
    fn from(indicator: Indicator) -> Self {
        match indicator {
            Indicator::Typing => Self::Composing,
            Indicator::Recording => Self::Recording,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_in_any_case_and_with_any_space_around() {
        use PresenceState::{Pause, Recording, Typing};
        let rows = [
            ("typing", Ok(Typing)),
            ("TYPING", Ok(Typing)),
            ("\u{a0} Recording\r\n", Ok(Recording)),
            ("pause", Ok(Pause)),
            ("PauseD", Ok(Pause)),
            ("", Err(InvalidState)),
            ("  ", Err(InvalidState)),
            ("typin", Err(InvalidState)),
            ("typing…", Err(InvalidState)),
            ("composing", Err(InvalidState)),
            ("ty ping", Err(InvalidState)),
            // KELVIN SIGN and LONG S lower-case to ASCII letters in Unicode, but these are not ASCII.
            ("pau\u{17f}e", Err(InvalidState)),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_state_is_written_by_its_canonical_name() {
        for state in [
            PresenceState::Typing,
            PresenceState::Recording,
            PresenceState::Pause,
        ] {
            assert_eq!(state.to_string().parse(), Ok(state));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }
}
