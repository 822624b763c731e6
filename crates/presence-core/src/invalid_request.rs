//! Why a request is refused.

use std::borrow::Cow;

use crate::{InvalidChat, InvalidPhone};

/// Why a request is refused, for the one who sent it.
///
/// `Display` is the contract's text, to the letter. [`detail`](Self::detail) says what exactly was wrong;
/// neither holds anything of what was sent. For a number that names no chat, `source` has the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct InvalidRequest {
    text: Cow<'static, str>,
    detail: Cow<'static, str>,
    #[source]
    cause: Option<InvalidChat>,
}

impl InvalidRequest {
    /// What exactly was wrong, as `<field>: <fault>`, `body` being the field of what is no field's fault:
    /// one line of printable ASCII, for example `duration: a number of seconds is needed`.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// No JSON object, or a field of the wrong type.
    pub(crate) fn body(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new("Invalid request body", detail)
    }

    /// A field says nothing, or something that has no meaning.
    pub(crate) fn new(text: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            detail: detail.into(),
            cause: None,
        }
    }

    /// `number` names no chat.
    pub(crate) fn number(text: impl Into<Cow<'static, str>>, cause: InvalidChat) -> Self {
        let detail = match &cause {
            // Its own text shows the character, which was sent.
            InvalidChat::Phone(InvalidPhone::Character { at, .. }) => {
                format!("number: the character at byte {at} does not belong in a phone number")
            }
            InvalidChat::Phone(fault) => format!("number: {fault}"),
            fault => format!("number: {fault}"),
        };
        Self {
            cause: Some(cause),
            ..Self::new(text, detail)
        }
    }
}
