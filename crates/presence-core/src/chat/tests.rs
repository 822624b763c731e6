//! Which JIDs are chats, by table and by property.

use proptest::prelude::*;

use super::*;

#[test]
fn chats_are_named_by_numbers_and_jids() {
    use ChatKind::{Group, Lid, User};
    let rows = [
        ("+55 (11) 99999-9999", "5511999999999@s.whatsapp.net", User),
        (
            "5511999999999@s.whatsapp.net",
            "5511999999999@s.whatsapp.net",
            User,
        ),
        (" 5511999999999@c.us\n", "5511999999999@s.whatsapp.net", User),
        (
            "5511999999999:0@s.whatsapp.net",
            "5511999999999@s.whatsapp.net",
            User,
        ),
        ("5511999999999:65535@c.us", "5511999999999@s.whatsapp.net", User),
        ("236395184570386@lid", "236395184570386@lid", Lid),
        ("236395184570386:12@lid", "236395184570386@lid", Lid),
        ("120363025246125486@g.us", "120363025246125486@g.us", Group),
        (
            "5511999999999-1396118440@g.us",
            "5511999999999-1396118440@g.us",
            Group,
        ),
        // Length never turns a number into a group.
        ("123456789012345", "123456789012345@s.whatsapp.net", User),
    ];
    for (text, expected, kind) in rows {
        let chat: ChatJid = text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!((chat.as_str(), chat.kind()), (expected, kind), "{text:?}");
        assert_eq!(format!("{}@{}", chat.user(), chat.server()), expected);
        assert_eq!(chat.as_str().parse(), Ok(chat.clone()), "{text:?}: canonical");
        let recipient: Recipient = text.parse().unwrap();
        assert_eq!(recipient.chat(), chat);
        assert_eq!(matches!(recipient, Recipient::Phone(_)), kind == User, "{text:?}");
    }
}

#[test]
fn everything_else_is_refused() {
    use InvalidChat::{Id, Server};
    let twenty_one = "1".repeat(21);
    let rows = [
        ("@", Server),
        ("5511999999999@", Server),
        ("@s.whatsapp.net", Id),
        ("5511999999999@S.WhatsApp.net", Server),
        ("5511999999999@s.whatsapp.net.evil.example", Server),
        ("5511999999999@c.us@c.us", Server),
        ("120363025246125486@newsletter", Server),
        ("status@broadcast", Server),
        ("1234@broadcast", Server),
        ("5511999999999@hosted", Server),
        ("+5511999999999@s.whatsapp.net", Id),
        ("55 11 99999-9999@s.whatsapp.net", Id),
        ("maria@s.whatsapp.net", Id),
        ("5511999999999:@s.whatsapp.net", Id),
        ("5511999999999:x@s.whatsapp.net", Id),
        ("5511999999999:123456@s.whatsapp.net", Id),
        ("5511999999999:1:2@s.whatsapp.net", Id),
        // Agents (`_n`, `.n`) name a device of a business, not a chat.
        ("5511999999999_1:2@s.whatsapp.net", Id),
        ("5511999999999.0:12@s.whatsapp.net", Id),
        ("1234@s.whatsapp.net", InvalidChat::Phone(InvalidPhone::Length(4))),
        ("011999999999@c.us", InvalidChat::Phone(InvalidPhone::LeadingZero)),
        (
            "005511999999999@c.us",
            InvalidChat::Phone(InvalidPhone::LeadingZero),
        ),
        ("x@lid", Id),
        ("１２３@lid", Id),
        ("-1@g.us", Id),
        ("1-@g.us", Id),
        ("1-2-3@g.us", Id),
        ("120363025246125486:1@g.us", Id),
        ("1203 63025246125486@g.us", Id),
        ("120363025246125486", InvalidChat::Phone(InvalidPhone::Length(18))),
        ("", InvalidChat::Phone(InvalidPhone::Length(0))),
        (&format!("{twenty_one}@lid"), Id),
        (&format!("{twenty_one}@g.us"), Id),
        (&format!("1-{twenty_one}@g.us"), Id),
        (&format!("{}@lid", "1".repeat(MAX_WRITTEN - 4)), Id),
        (
            &format!("{}@lid", "1".repeat(MAX_WRITTEN - 3)),
            InvalidChat::TooLong(MAX_WRITTEN + 1),
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(text.parse::<ChatJid>(), Err(expected), "{text:?}");
    }
}

#[test]
fn debug_hides_the_number() {
    let recipient: Recipient = "5511999912345".parse().unwrap();
    assert_eq!(format!("{recipient:?}"), "Phone(PhoneNumber(…45))");
    assert_eq!(format!("{:?}", recipient.chat()), "ChatJid(…45@s.whatsapp.net)");
    assert_eq!(
        format!("{:?}", "7@lid".parse::<ChatJid>().unwrap()),
        "ChatJid(…7@lid)"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = text.parse::<ChatJid>();
    }

    #[test]
    fn whatever_is_accepted_is_canonical_and_bounded(
        text in "[0-9]{0,22}([:_.-][0-9]{0,12}){0,2}@{0,2}(s\\.whatsapp\\.net|c\\.us|lid|g\\.us|x)?",
    ) {
        if let Ok(chat) = text.parse::<ChatJid>() {
            prop_assert!(chat.as_str().len() <= 46);
            prop_assert_eq!(chat.as_str().parse(), Ok(chat.clone()));
        }
    }
}
