//! What a client wants of a chat.

use crate::{Hold, Indicator, PresenceState};

/// What a client wants of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Show an indicator, for as long as the hold says; without one, once.
    Show(Indicator, Option<Hold>),
    /// Show nothing.
    Pause,
}

impl Command {
    /// The command for `state`. A pause has no hold: the one given with it is ignored.
    #[must_use]
    pub fn new(state: PresenceState, hold: Option<Hold>) -> Self {
        match state.indicator() {
            Some(indicator) => Self::Show(indicator, hold),
            None => Self::Pause,
        }
    }

    /// The name of what is to be shown.
    #[must_use]
    pub fn state(self) -> PresenceState {
        match self {
            Self::Show(Indicator::Typing, _) => PresenceState::Typing,
            Self::Show(Indicator::Recording, _) => PresenceState::Recording,
            Self::Pause => PresenceState::Pause,
        }
    }

    /// For how long. `None` is once, until the recipient's phone hides it; and always for a pause.
    #[must_use]
    pub fn hold(self) -> Option<Hold> {
        match self {
            Self::Show(_, hold) => hold,
            Self::Pause => None,
        }
    }
}
