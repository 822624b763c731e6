//! How long a person would take for a message.

use std::num::NonZeroU16;

use crate::{ChatJid, Hold, Indicator};

/// How fast a person types and speaks.
///
/// ```
/// use presence_core::{Hold, Indicator, Pace};
///
/// let chat = "5511999999999".parse()?;
/// assert_eq!(Pace::default().hold(Indicator::Typing, &chat, 42), Hold::from_secs(6).unwrap());
/// # Ok::<(), presence_core::InvalidChat>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Characters typed in a second. Default 6.
    pub typing: NonZeroU16,
    /// Characters spoken in a second. Default 15.
    pub recording: NonZeroU16,
}

impl Pace {
    /// How long `indicator` is shown in `chat` before a message of so many characters: as long as they take,
    /// 15 % more or less so that not all messages of a length take the same, rounded to whole seconds.
    ///
    /// The same chat and length always give the same, in every process, on every machine and in every version:
    /// what is more or less is drawn by FNV-1a of 64 bits, of the chat's JID in ASCII and then the length in
    /// eight bytes, the lowest first.
    #[must_use]
    pub fn hold(self, indicator: Indicator, chat: &ChatJid, characters: u64) -> Hold {
        let rate = match indicator {
            Indicator::Typing => self.typing,
            Indicator::Recording => self.recording,
        };
        let per_second = u64::from(rate.get()) * 1000;
        // So many take a minute at any pace; and the product stays far below what a `u64` holds.
        let counted = characters.min(u32::MAX.into());
        let permille = counted * permille(chat, characters);
        let seconds = (permille + per_second / 2) / per_second;
        Hold::from_secs(seconds.max(1)).expect("a second is a hold")
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            typing: NonZeroU16::new(6).expect("it is not zero"),
            recording: NonZeroU16::new(15).expect("it is not zero"),
        }
    }
}

/// What part of the time that the characters take they take here, in thousandths: 850 to 1150.
fn permille(chat: &ChatJid, characters: u64) -> u64 {
    let bytes = chat.as_str().bytes().chain(characters.to_le_bytes());
    let hash = bytes.fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    });
    // The upper half is the better one.
    850 + (((hash >> 32) * 301) >> 32)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANA: &str = "5511999999999@s.whatsapp.net";

    fn chat(jid: &str) -> ChatJid {
        jid.parse().unwrap()
    }

    #[test]
    fn a_length_takes_what_it_has_always_taken() {
        let rows = [
            (ANA, Indicator::Typing, 0, 1),
            (ANA, Indicator::Typing, 1, 1),
            (ANA, Indicator::Typing, 42, 6),
            (ANA, Indicator::Recording, 42, 2),
            (ANA, Indicator::Typing, 100, 17),
            (ANA, Indicator::Typing, 101, 18),
            (ANA, Indicator::Typing, 102, 16),
            (ANA, Indicator::Typing, 300, 52),
            (ANA, Indicator::Recording, 300, 21),
            ("4915112345678@s.whatsapp.net", Indicator::Typing, 100, 14),
            ("120363025246125486@g.us", Indicator::Typing, 100, 14),
            ("99887766554433@lid", Indicator::Typing, 100, 18),
            (ANA, Indicator::Typing, 500, 60),
            (ANA, Indicator::Recording, 65_536, 60),
            (ANA, Indicator::Typing, u64::MAX, 60),
        ];
        for (jid, indicator, characters, expected) in rows {
            let hold = Pace::default().hold(indicator, &chat(jid), characters);
            assert_eq!(hold.as_secs(), expected, "{characters} characters to {jid}");
        }
    }

    proptest! {
        #[test]
        fn a_message_takes_about_as_long_as_its_characters(
            number in 10_000_000_u64..999_999_999_999_999, characters in 0_u64..100_000,
            typing in 1_u16.., recording in 1_u16..,
        ) {
            let pace = Pace {
                typing: NonZeroU16::new(typing).unwrap(),
                recording: NonZeroU16::new(recording).unwrap(),
            };
            let chat = chat(&format!("{number}@s.whatsapp.net"));
            for (indicator, rate) in [(Indicator::Typing, typing), (Indicator::Recording, recording)] {
                let hold = pace.hold(indicator, &chat, characters);
                prop_assert_eq!(hold, pace.hold(indicator, &chat, characters));
                let exact = characters as f64 / f64::from(rate);
                let (least, most) = ((exact * 0.85).clamp(1.0, 60.0), (exact * 1.15).clamp(1.0, 60.0));
                let seconds = f64::from(hold.as_secs());
                prop_assert!((least - 0.501..most + 0.501).contains(&seconds), "{seconds} s for {exact} s");
            }
        }

        #[test]
        fn no_length_is_too_large(characters: u64, typing in 1_u16..) {
            let pace = Pace { typing: NonZeroU16::new(typing).unwrap(), ..Pace::default() };
            let hold = pace.hold(Indicator::Typing, &chat(ANA), characters);
            if characters > 60 * 2 * u64::from(typing) {
                prop_assert_eq!(hold, Hold::MAX);
            }
        }
    }

    #[test]
    fn lengths_of_a_chat_are_spread_over_the_whole_range() {
        let drawn = (0..3_000).map(|characters| permille(&chat(ANA), characters));
        let mut sixths = [0; 6];
        for permille in drawn {
            assert!((850..=1150).contains(&permille), "{permille}");
            sixths[((permille - 850) / 50).min(5) as usize] += 1;
        }
        assert!(
            sixths.iter().all(|drawn| (400..600).contains(drawn)),
            "{sixths:?}"
        );
    }
}
