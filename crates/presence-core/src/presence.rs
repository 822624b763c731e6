//! What a request means, once it is understood.

use crate::{Command, Hold, Indicator, PresenceState, Recipient};

/// What to show to whom, and for how long.
///
/// ```
/// use presence_core::{ChatPresence, Hold, PresenceState};
///
/// let presence = ChatPresence::typing("+55 11 91234-5678".parse()?, Hold::from_secs(5));
/// assert_eq!(presence.state(), PresenceState::Typing);
/// assert_eq!(presence.hold().map(Hold::as_secs), Some(5));
/// # Ok::<(), presence_core::InvalidChat>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatPresence {
    recipient: Recipient,
    command: Command,
}

impl ChatPresence {
    /// "typing…" for as long as `hold` says; without one, once, until the recipient's phone hides it.
    #[must_use]
    pub fn typing(recipient: Recipient, hold: Option<Hold>) -> Self {
        Self::new(recipient, Command::Show(Indicator::Typing, hold))
    }

    /// "recording audio…", as [`typing`](Self::typing).
    #[must_use]
    pub fn recording(recipient: Recipient, hold: Option<Hold>) -> Self {
        Self::new(recipient, Command::Show(Indicator::Recording, hold))
    }

    /// Nothing: what is shown is ended.
    #[must_use]
    pub fn pause(recipient: Recipient) -> Self {
        Self::new(recipient, Command::Pause)
    }

    /// `command` in the chat with `recipient`.
    #[must_use]
    pub fn new(recipient: Recipient, command: Command) -> Self {
        Self { recipient, command }
    }

    /// Whose chat.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// What [`Indicators`](crate::Indicators) has to be told.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command
    }

    /// The name of what is to be shown.
    #[must_use]
    pub fn state(&self) -> PresenceState {
        self.command.state()
    }

    /// For how long. `None` is once, until the recipient's phone hides it; and always for a pause.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.command.hold()
    }
}
