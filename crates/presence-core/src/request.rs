//! What a client asks for, and what that means.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use validator::{Validate, ValidationError};

use crate::{Command, Hold, InvalidChat, PresenceState, Recipient};

/// The body of a presence request, as it was sent: its fields are of the right types, and nothing more is
/// known of them. [`ChatPresence::try_from`] checks what they say.
#[derive(Clone, Default, Deserialize, Validate)]
pub struct ChatPresenceRequest {
    #[validate(required, custom(function = "not_blank"))]
    number: Option<String>,
    #[validate(required, custom(function = "not_blank"))]
    state: Option<String>,
    #[serde(default, deserialize_with = "hold_from_seconds")]
    duration: Option<Hold>,
}

impl ChatPresenceRequest {
    /// A request as a client would write it: `number` and `state` in any spelling that the contract takes.
    #[must_use]
    pub fn new(number: impl Into<String>, state: impl Into<String>, duration: Option<Hold>) -> Self {
        Self {
            number: Some(number.into()),
            state: Some(state.into()),
            duration,
        }
    }

    /// Reads a body: a JSON object in UTF-8 with these fields, none of them twice. Others are ignored.
    ///
    /// | field | type |
    /// |---|---|
    /// | `number` | string |
    /// | `state` | string |
    /// | `duration` | whole number of seconds; as large or as small as it likes, `5.0` and `5e0` included |
    ///
    /// Each may be absent or `null`.
    ///
    /// # Errors
    /// [`InvalidRequest::Body`] for everything else. Of no field's content is anything said yet.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        // serde_json does not look into the strings of ignored fields, so UTF-8 is checked here.
        let body = str::from_utf8(body).map_err(|_| InvalidRequest::Body)?;
        // Serde would read `["5511999999999", "typing"]` into a struct.
        if !body.trim_ascii_start().starts_with('{') {
            return Err(InvalidRequest::Body);
        }
        serde_json::from_str(body).map_err(|_| InvalidRequest::Body)
    }
}

impl fmt::Debug for ChatPresenceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was sent as a number may be one, whatever else is wrong with it.
        let number = self.number.as_ref().map(|_| "…");
        let mut debug = f.debug_struct("ChatPresenceRequest");
        debug
            .field("number", &number)
            .field("state", &self.state)
            .field("duration", &self.duration)
            .finish()
    }
}

fn not_blank(text: &str) -> Result<(), ValidationError> {
    if text.trim().is_empty() {
        Err(ValidationError::new("blank"))
    } else {
        Ok(())
    }
}

/// Reads a whole number of seconds, or `null`. It is taken as text, because serde_json stops at numbers that
/// no `f64` holds, while the contract takes them: they are merely too much.
fn hold_from_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hold>, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    if json.get() == "null" {
        return Ok(None);
    }
    // All JSON numbers, and of JSON nothing else, are floats to Rust. The cast to `u64` saturates.
    match json.get().parse::<f64>() {
        Ok(seconds) if is_whole(json.get()) => Ok(Hold::from_secs(seconds as u64)),
        _ => Err(serde::de::Error::custom("not a whole number of seconds")),
    }
}

/// Whether a JSON number is whole. Its digits tell; a float has forgotten the last of them.
fn is_whole(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    // An exponent past every integer is as good as the last integer: so many digits fit in no body.
    let past = if exponent.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    let exponent = exponent.parse().unwrap_or(past);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    // How far behind the point the last digit that counts stands; before it when negative.
    let last = if fraction.is_empty() {
        whole.trim_end_matches('0').len() as i64 - whole.len() as i64
    } else {
        fraction.len() as i64
    };
    let is_zero = !mantissa.contains(|digit: char| matches!(digit, '1'..='9'));
    is_zero || last <= exponent
}

/// What a request means: show `state` to `recipient`, for as long as `hold` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatPresence {
    /// Whose chat.
    pub recipient: Recipient,
    /// What to show there.
    pub state: PresenceState,
    /// For how long. `None` is once, until the recipient's phone hides it; and always for
    /// [`PresenceState::Pause`].
    pub hold: Option<Hold>,
}

impl ChatPresence {
    /// What [`Indicators`](crate::Indicators) has to be told.
    #[must_use]
    pub fn command(&self) -> Command {
        match self.state.indicator() {
            Some(indicator) => Command::Show(indicator, self.hold),
            None => Command::Pause,
        }
    }
}

impl TryFrom<ChatPresenceRequest> for ChatPresence {
    type Error = InvalidRequest;

    /// The first fault in the order of [`InvalidRequest`]'s variants.
    fn try_from(request: ChatPresenceRequest) -> Result<Self, InvalidRequest> {
        // validator gathers its faults in a hash map: they are asked for by field, in the contract's order.
        let faults = request.validate().err().unwrap_or_default();
        let lacks = |field| faults.errors().contains_key(field);
        let ChatPresenceRequest {
            number,
            state,
            duration,
        } = request;

        let number = number
            .filter(|_| !lacks("number"))
            .ok_or(InvalidRequest::NumberRequired)?;
        let recipient = number.parse().map_err(InvalidRequest::InvalidNumber)?;
        let state = state
            .filter(|_| !lacks("state"))
            .ok_or(InvalidRequest::StateRequired)?;
        let state: PresenceState = state.parse().map_err(|_| InvalidRequest::InvalidState)?;
        let hold = duration.filter(|_| state != PresenceState::Pause);
        Ok(Self {
            recipient,
            state,
            hold,
        })
    }
}

/// Why a request is refused. `Display` is the contract's text for the client, to the letter; the variants are
/// in the contract's order, and the first that applies is the one reported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// No JSON object, or a field of the wrong type.
    #[error("Invalid request body")]
    Body,
    /// `number` is missing, null or blank.
    #[error("Number is required")]
    NumberRequired,
    /// `number` names no chat.
    #[error("Invalid number. Use a phone number with country code, or a JID")]
    InvalidNumber(#[source] InvalidChat),
    /// `state` is missing, null or blank.
    #[error("State is required. Use 'typing', 'recording', or 'pause'")]
    StateRequired,
    /// `state` is not one of the three.
    #[error("Invalid state. Use 'typing', 'recording', or 'pause'")]
    InvalidState,
}

#[cfg(test)]
mod tests;
