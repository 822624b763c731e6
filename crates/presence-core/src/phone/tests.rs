//! Which texts are phone numbers, and how else a number is written.

use proptest::prelude::*;

use super::*;

#[test]
fn numbers_are_read_as_people_write_them() {
    let rows = [
        ("5511999999999", "5511999999999"),
        ("+55 (11) 99999-9999", "5511999999999"),
        ("(+55) 11 99999 9999", "5511999999999"),
        ("  0055 11 99999.9999\t", "5511999999999"),
        ("(00 55) 11/99999/9999", "5511999999999"),
        ("+44 (0)20 7946 0958", "442079460958"),
        ("0044 (0) 20 7946 0958", "442079460958"),
        ("+49 30/901820", "4930901820"),
        ("+1.202.555.0143", "12025550143"),
        ("+33\u{a0}6\u{202f}12 34\u{2009}56 78", "33612345678"),
        ("\u{202a}+351 912\u{2011}345\u{2013}678\u{202c}", "351912345678"),
        ("\u{feff}+1 202\u{2212}555\u{ad}0143", "12025550143"),
        ("12345", "12345"),
        ("123456789012345", "123456789012345"),
        ("00123456789012345", "123456789012345"),
    ];
    for (text, expected) in rows {
        let number: PhoneNumber = text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(number.as_str(), expected, "{text:?}");
        assert_eq!(
            number.to_string().parse(),
            Ok(number),
            "{text:?}: what is written reads the same"
        );
    }
}

#[test]
fn what_is_no_number_is_refused_by_name() {
    let character = |found, at| InvalidPhone::Character { found, at };
    let rows = [
        ("", InvalidPhone::Length(0)),
        ("+", InvalidPhone::Length(0)),
        ("-()", InvalidPhone::Length(0)),
        ("1234", InvalidPhone::Length(4)),
        ("001234", InvalidPhone::Length(4)),
        ("1234567890123456", InvalidPhone::Length(16)),
        ("011999999999", InvalidPhone::LeadingZero),
        ("+0055119999999", InvalidPhone::LeadingZero),
        ("000551199999999", InvalidPhone::LeadingZero),
        ("(0)11 99999-9999", InvalidPhone::LeadingZero),
        ("++5511999999999", character('+', 1)),
        ("55+11999999999", character('+', 2)),
        ("5511999999999 ext 5", character('e', 14)),
        ("5511999999999,5", character(',', 13)),
        ("*5511999999999", character('*', 0)),
        ("tel:+5511999999999", character('t', 0)),
        ("１２３４５６７", character('１', 0)),
        ("٠١٢٣٤٥٦", character('٠', 0)),
        ("＋5511999999999", character('＋', 0)),
        ("5511999999999\0", character('\0', 13)),
        ("5511999999999@", character('@', 13)),
    ];
    for (text, expected) in rows {
        assert_eq!(text.parse::<PhoneNumber>(), Err(expected), "{text:?}");
    }
    let long = "5".repeat(MAX_WRITTEN + 1);
    assert_eq!(
        long.parse::<PhoneNumber>(),
        Err(InvalidPhone::TooLong(MAX_WRITTEN + 1))
    );
    assert_eq!(
        "5".repeat(MAX_WRITTEN).parse::<PhoneNumber>(),
        Err(InvalidPhone::Length(MAX_WRITTEN))
    );
}

#[test]
fn only_mobiles_of_three_countries_have_two_spellings() {
    let rows = [
        ("5511999999999", Some("551199999999")),
        ("551199999999", Some("5511999999999")),
        ("5531688887777", None), // 9 digits, but not with a 9
        ("551133334444", None),  // a landline
        ("553168887777", Some("5531968887777")),
        ("5510988887777", None), // no such area
        ("55119888877771", None),
        ("5215512345678", Some("525512345678")),
        ("525512345678", Some("5215512345678")),
        ("521551234567", None), // too short to have the 1
        ("5491123456789", Some("541123456789")),
        ("541123456789", Some("5491123456789")),
        ("543511234567", Some("5493511234567")),
        ("548001234567", None), // a service number
        ("12025550143", None),
        ("351912345678", None),
        ("55999", None),
    ];
    for (number, other) in rows {
        let number: PhoneNumber = number.parse().unwrap();
        let spellings: Vec<_> = number.spellings().collect();
        assert_eq!(spellings[0], number, "itself comes first");
        assert_eq!(spellings.get(1).map(PhoneNumber::as_str), other, "{number}");
        assert_eq!(number.is_ambiguous(), other.is_some(), "{number}");
    }
}

#[test]
fn debug_hides_the_number() {
    let number: PhoneNumber = "5511999912345".parse().unwrap();
    assert_eq!(format!("{number:?}"), "PhoneNumber(…45)");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = text.parse::<PhoneNumber>();
    }

    #[test]
    fn nearly_a_number_is_a_number_or_refused(text in "[-+0-9 ().\u{a0}\u{200b}/@x０]{0,40}") {
        if let Ok(number) = text.parse::<PhoneNumber>() {
            let digits = number.as_str();
            prop_assert!((5..=15).contains(&digits.len()) && !digits.starts_with('0'));
            prop_assert!(digits.bytes().all(|b| b.is_ascii_digit()));
            for spelling in number.spellings() {
                prop_assert_eq!(spelling.as_str().parse(), Ok(spelling));
            }
        }
    }

    #[test]
    fn numbers_order_as_their_digits(a in "[1-9][0-9]{4,14}", b in "[1-9][0-9]{4,14}") {
        let (x, y) = (a.parse::<PhoneNumber>().unwrap(), b.parse::<PhoneNumber>().unwrap());
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
    }
}
