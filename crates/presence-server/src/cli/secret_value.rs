//! Arguments that hold secrets, which no complaint repeats.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Parses an argument. Where clap's own complaint begins with the value, this one's says only what is wrong with it.
#[derive(Clone, Copy)]
pub(super) struct SecretValue<T>(pub(super) fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for SecretValue<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let parsed = match value.to_str() {
            Some(text) => (self.0)(text),
            None => Err("it is not UTF-8".to_owned()),
        };
        parsed.map_err(|problem| {
            let arg = arg.map(ToString::to_string).unwrap_or_default();
            let text = format!("invalid value for '{arg}': {problem}\n");
            Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}
