//! Tokens: what clients prove themselves with.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::random::random;

/// A secret by which a client is known. It is wiped from memory when dropped, and no log can show it: its
/// `Debug` is redacted, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The fewest characters a chosen token may have. With fewer, it could be guessed.
    pub const MIN_LENGTH: usize = 16;
    /// The most characters a token may have. It bounds what an unknown client can have hashed.
    pub const MAX_LENGTH: usize = 128;

    /// A new token of an account. Its prefix tells people, and scanners for leaked secrets, what it is; a token
    /// without one, from before, is as good.
    pub(crate) fn for_account() -> Result<Self, StoreError> {
        Self::generate("pa_")
    }

    /// A new token of an instance.
    pub(crate) fn for_instance() -> Result<Self, StoreError> {
        Self::generate("pi_")
    }

    /// 256 bits from the operating system, as 43 characters after the prefix that need no escaping in a URL.
    fn generate(prefix: &str) -> Result<Self, StoreError> {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(random::<32>()?));
        Ok(Self(Zeroizing::new([prefix, &secret].concat())))
    }

    /// The secret itself, to show it to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

/// A token that a client chose: 16 to 128 visible ASCII characters. A space is none of them, since HTTP
/// fields lose it at their ends.
impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        if let Some(at) = token.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(InvalidToken::Character { at });
        }
        if !(Self::MIN_LENGTH..=Self::MAX_LENGTH).contains(&token.len()) {
            return Err(InvalidToken::Length(token.len()));
        }
        Ok(Self(Zeroizing::new(token.to_owned())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A text that cannot be a token. It does not repeat the text, which may be a secret all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// Too short or too long; the number of characters found.
    #[error("a token has {min} to {max} characters, not {0}", min = Token::MIN_LENGTH, max = Token::MAX_LENGTH)]
    Length(usize),
    /// A character that is not visible ASCII.
    #[error("a token has only visible ASCII characters, unlike that at position {at}")]
    Character {
        /// Its position in bytes, from 0.
        at: usize,
    },
}

/// What a token is found by: its SHA-256.
///
/// Tokens carry enough entropy that no slow hash is needed. They are looked up in an ordinary map: how long
/// that takes tells at most how much of the hash agrees with a stored one, and nobody can steer a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash(pub(crate) [u8; 32]);

impl TokenHash {
    /// The hash of what a client sent; `None` when that cannot be a token.
    pub(crate) fn of(presented: &str) -> Option<Self> {
        let token = presented.as_bytes();
        let plausible = token.len() <= Token::MAX_LENGTH && token.iter().all(u8::is_ascii_graphic);
        plausible.then(|| Self(Sha256::digest(token).into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chosen_token_has_16_to_128_visible_ascii_characters() {
        let table = [
            ("x".repeat(15), Some(InvalidToken::Length(15))),
            ("x".repeat(16), None),
            ("~!\"#$%&'()*+,-./".to_owned(), None),
            ("x".repeat(128), None),
            ("x".repeat(129), Some(InvalidToken::Length(129))),
            (String::new(), Some(InvalidToken::Length(0))),
            (
                format!("{} {}", "x".repeat(8), "x".repeat(8)),
                Some(InvalidToken::Character { at: 8 }),
            ),
            (
                format!("{}\n", "x".repeat(16)),
                Some(InvalidToken::Character { at: 16 }),
            ),
            (
                format!("{}é", "x".repeat(16)),
                Some(InvalidToken::Character { at: 16 }),
            ),
            (
                format!("\0{}", "x".repeat(16)),
                Some(InvalidToken::Character { at: 0 }),
            ),
            (
                format!("\u{7f}{}", "x".repeat(16)),
                Some(InvalidToken::Character { at: 0 }),
            ),
        ];
        for (token, expected) in table {
            assert_eq!(token.parse::<Token>().err(), expected, "{token:?}");
        }
    }

    #[test]
    fn generated_tokens_are_tokens_and_differ() {
        for (prefix, make) in [
            ("pa_", Token::for_account as fn() -> _),
            ("pi_", Token::for_instance),
        ] {
            let [one, other] = [(); 2].map(|()| make().unwrap());
            assert_ne!(one, other);
            assert_eq!(one.expose().strip_prefix(prefix).map(str::len), Some(43));
            assert_eq!(one.expose().parse::<Token>().unwrap(), one);
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_token() {
        assert_eq!(
            format!("{:?}", "0123456789abcdef".parse::<Token>().unwrap()),
            "Token(..)"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_found_by_its_text(token in "[!-~]{16,128}") {
            let parsed: Token = token.parse().unwrap();
            prop_assert!(TokenHash::of(&token) == Some(parsed.hash()));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            if text.parse::<Token>().is_ok() {
                prop_assert!(TokenHash::of(&text).is_some());
            }
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_not_even_hashed() {
        assert!(TokenHash::of(&"x".repeat(Token::MAX_LENGTH)).is_some());
        for text in [
            "x".repeat(Token::MAX_LENGTH + 1),
            "é".to_owned(),
            "a b".to_owned(),
        ] {
            assert!(TokenHash::of(&text).is_none(), "{text:?}");
        }
    }
}
