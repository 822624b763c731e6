//! What nodes know each other by.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A secret that every node of a cluster has, and nobody else.
#[derive(Clone)]
pub struct ClusterSecret(Zeroizing<String>);

/// A text that is no secret for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster's secret has 32 to 512 printable characters of ASCII, without blanks")]
pub struct InvalidSecret;

impl ClusterSecret {
    /// Takes what is in `text`, but for blanks and line ends around it.
    ///
    /// # Errors
    /// [`InvalidSecret`] when it is too short to be one, or cannot be in a header.
    pub fn new(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim();
        let fits = (32..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(Zeroizing::new(text.to_owned())))
            .ok_or(InvalidSecret)
    }

    /// Whether it is what somebody presented. Hashes are compared, so that how long it takes tells nothing.
    pub(crate) fn is(&self, presented: &[u8]) -> bool {
        Sha256::digest(self.0.as_bytes()) == Sha256::digest(presented)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_fits_into_a_header() {
        let long = "s".repeat(32);
        assert!(
            ClusterSecret::new(&format!(" {long}\n"))
                .unwrap()
                .is(long.as_bytes())
        );
        assert!(!ClusterSecret::new(&long).unwrap().is(b"something else"));
        for wrong in [
            &long[1..],
            "",
            &"s".repeat(513),
            &format!("{long} {long}"),
            &"é".repeat(32),
        ] {
            assert_eq!(ClusterSecret::new(wrong).unwrap_err(), InvalidSecret, "{wrong}");
        }
    }
}
