//! The fields of a request's body as they were written, and which types each may have.

use std::ops::Deref;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::{Hold, InvalidRequest};

/// The fields that count, each as its JSON text; `None` when it is absent or `null`. `R` owns that text or
/// borrows it from the body.
///
/// They are taken as text so that each is read on its own, and a fault says whose it is; and because
/// serde_json stops at numbers that no `f64` holds, while the contract takes them: they are merely too much.
#[derive(Deserialize)]
pub(super) struct Fields<R> {
    number: Option<R>,
    state: Option<R>,
    duration: Option<R>,
    text: Option<R>,
    characters: Option<R>,
}

impl<R: Deref<Target = RawValue>> Fields<R> {
    /// A string, or a whole number as its digits.
    pub(super) fn number(&self) -> Result<Option<String>, InvalidRequest> {
        let read = |json: &str| string(json).or_else(|| whole_number(json));
        required_type(&self.number, read, "number: text or a whole number is needed")
    }

    /// A string.
    pub(super) fn state(&self) -> Result<Option<String>, InvalidRequest> {
        required_type(&self.state, string, "state: text is needed")
    }

    /// A number of seconds, or a string that is one. A blank string is none, like the empty field of a form.
    pub(super) fn hold(&self) -> Result<Option<Hold>, InvalidRequest> {
        let seconds = required_type(&self.duration, seconds, "duration: a number of seconds is needed")?;
        // The cast to `u64` saturates: below 0 is 0.
        Ok(seconds.and_then(|seconds| Hold::from_secs(seconds.ceil() as u64)))
    }

    /// How many characters the message will have: those of `text`, or else as many as `characters` says.
    pub(super) fn characters(&self) -> Result<Option<u64>, InvalidRequest> {
        // A string that is JSON, and cannot be read, can have this fault only.
        let is_text = self.text.as_ref().is_some_and(|text| text.get().starts_with('"'));
        let needed = if is_text {
            "text: half of a surrogate pair is no character"
        } else {
            "text: text is needed"
        };
        let text = required_type(&self.text, string, needed)?;
        let needed = "characters: a whole number is needed, 0 or more";
        let characters = required_type(&self.characters, count, needed)?;
        Ok(text.map(|text| text.chars().count() as u64).or(characters))
    }
}

fn required_type<R: Deref<Target = RawValue>, T>(
    field: &Option<R>,
    read: impl Fn(&str) -> Option<T>,
    detail: &'static str,
) -> Result<Option<T>, InvalidRequest> {
    let read = |json: &R| read(json.get()).ok_or_else(|| InvalidRequest::body(detail));
    field.as_ref().map(read).transpose()
}

fn string(json: &str) -> Option<String> {
    // Asked for a text, serde_json composes a whole error of a number.
    let is_text = json.starts_with('"');
    is_text.then(|| serde_json::from_str(json).ok())?
}

fn whole_number(json: &str) -> Option<String> {
    if json.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(json.to_owned());
    }
    // `5511999999999.0`, as programs write it that know floats only. Phone numbers are far below the
    // whole numbers that an `f64` cannot tell apart.
    let number =
        float(json).filter(|number| number.fract() == 0.0 && (0.0..EXACT_FLOATS).contains(number))?;
    Some((number as u64).to_string())
}

/// A whole number that is not negative, as large as it likes.
fn count(json: &str) -> Option<u64> {
    if json.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(json.parse().unwrap_or(u64::MAX));
    }
    let number = float(json)?;
    let is_whole = number.is_infinite() || number.fract() == 0.0;
    // The cast saturates.
    (is_whole && number >= 0.0).then_some(number as u64)
}

/// Below it, every whole number is an `f64` of its own: 2⁵³.
const EXACT_FLOATS: f64 = 9_007_199_254_740_992.0;

fn seconds(json: &str) -> Option<f64> {
    match string(json) {
        Some(text) if text.trim().is_empty() => Some(0.0),
        Some(text) => float(text.trim()),
        None => float(json),
    }
}

/// The value of a JSON number; infinite when it is beyond an `f64`.
fn float(json: &str) -> Option<f64> {
    // All JSON numbers, and of JSON nothing else, are floats to Rust; but so are `inf`, `.5` and `+5`.
    serde_json::from_str::<IgnoredAny>(json).ok()?;
    json.parse().ok()
}
