//! A text that is kept sealed.

use std::fmt;

use zeroize::Zeroizing;

/// A text, such as the proxy of an instance, of which the store knows nothing but that it is secret. It is wiped from
/// memory when dropped, and its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// What is to be kept as `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}
