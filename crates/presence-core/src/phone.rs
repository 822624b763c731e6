//! Phone numbers, as people write them.

use std::fmt;
use std::str::FromStr;

/// E.164 numbers, country code included, have at most 15 digits.
const MAX_DIGITS: usize = 15;

/// The shortest numbers with a country code that are in use have 5 digits or more (Saint Helena: 290 + 5).
/// Less is a short code or a slip.
const MIN_DIGITS: usize = 5;

/// In bytes. 15 digits, a prefix, and two three-byte separators around each digit stay below it, so that
/// whatever is longer is no number and is not read.
pub(crate) const MAX_WRITTEN: usize = 128;

/// A phone number with its country code: 5 to 15 digits, the first not 0.
///
/// It is parsed from any human writing: `+` or `00` before it; spaces, dots, hyphens, slashes and parentheses
/// in it; the invisible marks that come along when a number is copied from an address book. `(0)`, the prefix
/// dialled inside a country only, is dropped. Digits are ASCII digits; letters, extensions and other scripts'
/// digits are refused.
///
/// `Debug` shows the last two digits only.
///
/// ```
/// use presence_core::PhoneNumber;
/// let number: PhoneNumber = "+55 (11) 99999-9999".parse()?;
/// assert_eq!(number.as_str(), "5511999999999");
/// assert_eq!(format!("{number:?}"), "PhoneNumber(…99)");
/// # Ok::<(), presence_core::InvalidPhone>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber {
    /// ASCII digits, then zero bytes, which keeps the derived order that of [`PhoneNumber::as_str`].
    digits: [u8; MAX_DIGITS],
    len: u8,
}

impl PhoneNumber {
    /// The digits, country code first.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.digits()).expect("only ASCII digits are stored")
    }

    /// The ways to write this number that may mean the same mobile, this one first: two for the mobiles of
    /// Brazil, Mexico and Argentina, one for all others.
    ///
    /// All three countries once put a digit before mobile numbers, or dropped one, and WhatsApp knows an
    /// account by either. Only its servers know which; nothing here guesses.
    ///
    /// - Brazil: 55, a two-digit area, and 8 digits that have had a 9 before them since 2012–2016 (Anatel,
    ///   Resolução 553/2010). 8 digits that begin with 2 to 5 are a landline, and have one spelling.
    /// - Mexico: 52, and 10 digits that had a 1 before them when a mobile was called from abroad, until
    ///   August 2019 (IFT, Plan Técnico Fundamental de Numeración). Landlines look the same.
    /// - Argentina: 54, and 10 digits whose area begins with 1, 2 or 3, with a 9 before them when a mobile
    ///   is called from abroad (ENACOM, Plan Fundamental de Numeración Nacional).
    ///
    /// ```
    /// use presence_core::PhoneNumber;
    /// let number: PhoneNumber = "+55 31 98888-7777".parse()?;
    /// let spellings: Vec<String> = number.spellings().map(|n| n.to_string()).collect();
    /// assert_eq!(spellings, ["5531988887777", "553188887777"]);
    /// # Ok::<(), presence_core::InvalidPhone>(())
    /// ```
    pub fn spellings(&self) -> impl Iterator<Item = Self> + use<> {
        std::iter::once(*self).chain(self.other_spelling())
    }

    /// Whether there are two [`spellings`](Self::spellings), so that only WhatsApp knows which one it uses.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.other_spelling().is_some()
    }

    fn other_spelling(&self) -> Option<Self> {
        match *self.digits() {
            [b'5', b'5', b'1'..=b'9', b'1'..=b'9', b'9', _, _, _, _, _, _, _, _] => Some(self.without(4)),
            [
                b'5',
                b'5',
                b'1'..=b'9',
                b'1'..=b'9',
                b'6'..=b'9',
                _,
                _,
                _,
                _,
                _,
                _,
                _,
            ] => Some(self.with(4, b'9')),
            [b'5', b'2', b'1', b'2'..=b'9', _, _, _, _, _, _, _, _, _] => Some(self.without(2)),
            [b'5', b'2', b'2'..=b'9', _, _, _, _, _, _, _, _, _] => Some(self.with(2, b'1')),
            [b'5', b'4', b'9', b'1'..=b'3', _, _, _, _, _, _, _, _, _] => Some(self.without(2)),
            [b'5', b'4', b'1'..=b'3', _, _, _, _, _, _, _, _, _] => Some(self.with(2, b'9')),
            _ => None,
        }
    }

    fn without(&self, at: usize) -> Self {
        let (head, tail) = self.digits().split_at(at);
        Self::join([head, &tail[1..]])
    }

    fn with(&self, at: usize, digit: u8) -> Self {
        let (head, tail) = self.digits().split_at(at);
        Self::join([head, &[digit], tail])
    }

    /// Both callers stay between 12 and 13 digits.
    fn join<const N: usize>(parts: [&[u8]; N]) -> Self {
        let mut joined = Self {
            digits: [0; MAX_DIGITS],
            len: 0,
        };
        for &digit in parts.into_iter().flatten() {
            joined.digits[usize::from(joined.len)] = digit;
            joined.len += 1;
        }
        joined
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }
}

impl FromStr for PhoneNumber {
    type Err = InvalidPhone;

    fn from_str(text: &str) -> Result<Self, InvalidPhone> {
        let text = text.trim();
        if text.len() > MAX_WRITTEN {
            return Err(InvalidPhone::TooLong(text.len()));
        }
        let mut plus = false;
        let mut written = [0; MAX_WRITTEN];
        let mut count = 0;
        for (at, found) in text.char_indices() {
            match found {
                '0' if count > 0 && text[..at].ends_with('(') && text[at + 1..].starts_with(')') => {}
                '0'..='9' => {
                    written[count] = text.as_bytes()[at];
                    count += 1;
                }
                '+' if !plus && count == 0 => plus = true,
                _ if is_separator(found) => {}
                _ => return Err(InvalidPhone::Character { found, at }),
            }
        }
        let written = &written[..count];
        let number = if plus {
            written
        } else {
            written.strip_prefix(b"00").unwrap_or(written)
        };
        match (number.len(), number.first()) {
            (MIN_DIGITS..=MAX_DIGITS, Some(b'0')) => Err(InvalidPhone::LeadingZero),
            (MIN_DIGITS..=MAX_DIGITS, _) => Ok(Self::join([number])),
            (len, _) => Err(InvalidPhone::Length(len)),
        }
    }
}

/// What people and address books put between digits.
fn is_separator(c: char) -> bool {
    match c {
        '-' | '.' | '/' | '(' | ')' => true,
        // Hyphens and dashes of every length, the minus sign, and the soft hyphen.
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}' => true,
        // Zero-width spaces and joiners, and the marks that pin the direction of a copied number.
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => true,
        _ => c.is_whitespace(),
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.as_str();
        write!(f, "PhoneNumber(…{})", &number[number.len() - 2..])
    }
}

/// Why a text is no phone number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPhone {
    /// More bytes than any writing of a number needs; how many.
    #[error("{0} bytes are too long for a phone number")]
    TooLong(usize),
    /// A character that no phone number has.
    #[error("{found:?} at byte {at} does not belong in a phone number")]
    Character {
        /// The character.
        found: char,
        /// Where it begins, in bytes, the space before the number not counted.
        at: usize,
    },
    /// Number of digits, a `00` prefix not counted; 5 to 15 are allowed.
    #[error("a phone number has 5 to 15 digits, not {0}")]
    Length(usize),
    /// A national number, or a slip: no country code begins with 0.
    #[error("a phone number begins with its country code, not with 0")]
    LeadingZero,
}

#[cfg(test)]
mod tests;
