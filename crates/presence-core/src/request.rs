//! What a client asks for: the body of a request, and how it is understood.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;
use validator::{Validate, ValidationError, ValidationErrors};

use self::fields::Fields;
use crate::{ChatPresence, Command, Hold, InvalidRequest, Pace, PresenceState, Recipient};

mod fields;
#[cfg(feature = "openapi")]
mod schema;

/// The body of a presence request: its fields are of the right types, and nothing more is known of them.
/// [`ChatPresence::try_from`] checks what they say.
///
/// The service reads it with [`from_json`](Self::from_json); a client builds it from a [`ChatPresence`] and
/// serialises it. `Deserialize` takes what `from_json` takes, from JSON only, and is for requests inside
/// other JSON.
///
/// ```
/// use presence_core::{ChatPresence, ChatPresenceRequest, Hold};
///
/// let presence = ChatPresence::recording("5511999999999".parse()?, Hold::from_secs(7));
/// let body = serde_json::to_string(&ChatPresenceRequest::from(&presence))?;
/// assert_eq!(body, r#"{"number":"5511999999999","state":"recording","duration":7}"#);
/// assert_eq!(ChatPresenceRequest::from_json(body.as_bytes())?.try_into(), Ok(presence));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Validate)]
pub struct ChatPresenceRequest {
    #[validate(
        required(message = "Number is required"),
        custom(function = "not_blank", message = "Number is required"),
        custom(
            function = "is::<Recipient>",
            message = "Invalid number. Use a phone number with country code, or a JID"
        )
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    #[validate(
        required(message = "State is required. Use 'typing', 'recording', or 'pause'"),
        custom(
            function = "not_blank",
            message = "State is required. Use 'typing', 'recording', or 'pause'"
        ),
        custom(
            function = "is::<PresenceState>",
            message = "Invalid state. Use 'typing', 'recording', or 'pause'"
        )
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<Hold>,
    /// How long the message will be, whichever field said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    characters: Option<u64>,
}

impl ChatPresenceRequest {
    /// A request as a client would write it: `number` and `state` in any spelling that the contract takes.
    #[must_use]
    pub fn new(number: impl Into<String>, state: impl Into<String>, duration: Option<Hold>) -> Self {
        Self {
            number: Some(number.into()),
            state: Some(state.into()),
            duration,
            characters: None,
        }
    }

    /// The same, for a message of so many characters (Unicode scalar values). Without a duration, the
    /// indicator is shown for as long as a person would take for it.
    #[must_use]
    pub fn with_characters(self, characters: u64) -> Self {
        let characters = Some(characters);
        Self { characters, ..self }
    }

    /// What the request means. Without a duration, `pace` says how long its message would take; without
    /// that too, the indicator is shown once.
    ///
    /// # Errors
    /// The first fault, by the order of the fields and of what is asked of each.
    pub fn at_pace(self, pace: Pace) -> Result<ChatPresence, InvalidRequest> {
        self.validate().map_err(|faults| first_fault(&faults, &self))?;
        let recipient: Recipient = read(self.number).expect("`number` is validated to be a recipient");
        let state: PresenceState = read(self.state).expect("`state` is validated to be a state");
        let needed = || Some(pace.hold(state.indicator()?, &recipient.chat(), self.characters?));
        let hold = self.duration.or_else(needed);
        Ok(ChatPresence::new(recipient, Command::new(state, hold)))
    }

    /// Reads a body: a JSON object in UTF-8 with these fields, none of them twice. Others are ignored.
    ///
    /// | field | type |
    /// |---|---|
    /// | `number` | string; or a whole number that is not negative, as its digits |
    /// | `state` | string |
    /// | `duration` | number of seconds, as large or as small as it likes: a fraction is rounded up, below 0 is 0, more than [`Hold::MAX`] is that; or a string that is such a number, or blank, which is 0 |
    /// | `text` | string: the message that will be sent. Its characters (Unicode scalar values) are counted, and no more is kept of it |
    /// | `characters` | whole number that is not negative: as many as `text` would have, which counts when both are there |
    ///
    /// Each may be absent or `null`.
    ///
    /// # Errors
    /// `Invalid request body` for everything else. Of no field's content is anything said yet.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        // serde_json does not look into the strings of ignored fields, so UTF-8 is checked here.
        let body = str::from_utf8(body).map_err(|_| InvalidRequest::body("body: UTF-8 is needed"))?;
        // Serde would read `["5511999999999", "typing"]` into a struct.
        if !body.trim_ascii_start().starts_with('{') {
            return Err(InvalidRequest::body("body: a JSON object is needed"));
        }
        let fields: Fields<&RawValue> =
            serde_json::from_str(body).map_err(|fault| match fault.classify() {
                // The fields are taken whatever they hold, and so this is all that can be wrong with them.
                Category::Data => InvalidRequest::body("body: a field is there twice"),
                _ => InvalidRequest::body(format!(
                    "body: malformed JSON at line {}, column {}",
                    fault.line(),
                    fault.column()
                )),
            })?;
        fields.try_into()
    }
}

impl<'de> Deserialize<'de> for ChatPresenceRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::<Box<RawValue>>::deserialize(deserializer)?;
        fields
            .try_into()
            .map_err(|fault: InvalidRequest| serde::de::Error::custom(fault.detail()))
    }
}

impl<R: Deref<Target = RawValue>> TryFrom<Fields<R>> for ChatPresenceRequest {
    type Error = InvalidRequest;

    fn try_from(fields: Fields<R>) -> Result<Self, InvalidRequest> {
        Ok(Self {
            number: fields.number()?,
            state: fields.state()?,
            duration: fields.hold()?,
            characters: fields.characters()?,
        })
    }
}

impl From<&ChatPresence> for ChatPresenceRequest {
    fn from(presence: &ChatPresence) -> Self {
        let number = match presence.recipient() {
            Recipient::Phone(number) => number.to_string(),
            Recipient::Jid(chat) => chat.to_string(),
        };
        Self::new(number, presence.state().as_str(), presence.hold())
    }
}

impl TryFrom<ChatPresenceRequest> for ChatPresence {
    type Error = InvalidRequest;

    /// As [`ChatPresenceRequest::at_pace`], at the contract's pace.
    fn try_from(request: ChatPresenceRequest) -> Result<Self, InvalidRequest> {
        request.at_pace(Pace::default())
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
            .field("characters", &self.characters)
            .finish()
    }
}

/// The validated fields in the contract's order, and what each needs.
const FIELDS: [(&str, &str); 2] = [
    ("number", "number: a phone number or a JID is needed"),
    ("state", "state: 'typing', 'recording', or 'pause' is needed"),
];

const MEANINGLESS: &str = "meaningless";

/// validator gathers the faults in a hash map: they are asked for by field. Those of a field are in the order
/// of its attributes, whose `message` is what the client reads.
fn first_fault(faults: &ValidationErrors, request: &ChatPresenceRequest) -> InvalidRequest {
    let faults = faults.field_errors();
    let first = FIELDS.into_iter().find_map(|(field, needed)| {
        let fault = faults.get(field)?.first()?;
        Some((field, needed, fault.code.as_ref(), fault.message.clone()?))
    });
    match first {
        Some(("number", needed, MEANINGLESS, text)) => {
            match request.number.as_deref().map(str::parse::<Recipient>) {
                Some(Err(cause)) => InvalidRequest::number(text, cause),
                _ => InvalidRequest::new(text, needed),
            }
        }
        Some((_, needed, _, text)) => InvalidRequest::new(text, needed),
        None => InvalidRequest::body("body: a field is not valid"),
    }
}

fn not_blank(text: &str) -> Result<(), ValidationError> {
    if text.trim().is_empty() {
        Err(ValidationError::new("blank"))
    } else {
        Ok(())
    }
}

fn is<T: FromStr>(text: &str) -> Result<(), ValidationError> {
    match text.parse::<T>() {
        Ok(_) => Ok(()),
        Err(_) => Err(ValidationError::new(MEANINGLESS)),
    }
}

fn read<T: FromStr>(text: Option<String>) -> Option<T> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests;
