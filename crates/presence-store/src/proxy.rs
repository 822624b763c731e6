//! The proxy of an instance, as it is kept.

use std::fmt;

use zeroize::Zeroizing;

/// The proxy of an instance as a text, of which the store knows nothing but that it is secret. It is wiped from
/// memory when dropped, and its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxySecret(Zeroizing<String>);

impl ProxySecret {
    /// A proxy, written as `text`.
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

impl fmt::Debug for ProxySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxySecret(..)")
    }
}
