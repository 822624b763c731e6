//! Who is looked up, who waits, and where stanzas go.

use presence_core::Command;
use tokio::sync::oneshot;

use super::*;

const BRAZILIAN: &str = "5511999999901";
const CANONICAL: &str = "551199999901@s.whatsapp.net";
const GERMAN: &str = "4915112345601";
const LID: &str = "1234567890@lid";

fn jid(text: &str) -> ChatJid {
    text.parse().unwrap()
}

fn number(text: &str) -> Recipient {
    Recipient::Phone(text.parse().unwrap())
}

fn request(now: Instant, recipient: &Recipient) -> PresenceRequest {
    PresenceRequest {
        recipient: recipient.clone(),
        command: Command::Pause,
        deadline: now + Duration::from_secs(5),
        reply: oneshot::channel().0,
    }
}

fn numbers() -> Numbers {
    Numbers::new(NumberSettings {
        resolve: true,
        timeout: Duration::from_secs(2),
    })
}

fn contact(number: Option<&str>, lid: Option<&str>) -> Found {
    Found::Contact(Contact {
        number: number.map(jid),
        lid: lid.map(jid),
    })
}

/// What is asked of `recipient` at `now`; the request waits then.
fn asked(numbers: &mut Numbers, now: Instant, recipient: &Recipient, moved: bool) -> Option<Need> {
    match numbers.handle_request(now, request(now, recipient), moved) {
        Route::Ask(question) => {
            assert_eq!(question.person, recipient.chat());
            Some(question.need)
        }
        Route::Go(_) => None,
        Route::Waits => panic!("nobody asked before"),
    }
}

#[test]
fn only_what_is_not_known_and_matters_is_asked() {
    let now = Instant::now();
    let spelling = Some(Need::Spelling(BRAZILIAN.parse().unwrap()));
    let lid = Some(Need::Lid(GERMAN.parse().unwrap()));
    let jid_of_german = Recipient::Jid(jid(&format!("{GERMAN}@s.whatsapp.net")));
    let rows = [
        (number(BRAZILIAN), [spelling, spelling]),
        (number(GERMAN), [None, lid]),
        (jid_of_german, [None, lid]),
        (Recipient::Jid(jid(LID)), [Some(Need::Number), None]),
        (Recipient::Jid(jid("123-456@g.us")), [None, None]),
    ];
    for (recipient, expected) in rows {
        for (moved, expected) in [false, true].into_iter().zip(expected) {
            let found = asked(&mut numbers(), now, &recipient, moved);
            assert_eq!(found, expected, "{recipient:?}, moved: {moved}");
        }
    }
    let mut off = Numbers::new(NumberSettings {
        resolve: false,
        timeout: Duration::from_secs(2),
    });
    assert_eq!(asked(&mut off, now, &number(BRAZILIAN), false), None);
}

#[test]
fn stanzas_go_to_the_name_that_whatsapp_takes() {
    let now = Instant::now();
    let rows = [
        // recipient, moved, what was found → to, chat
        (
            number(GERMAN),
            true,
            contact(None, Some(LID)),
            LID,
            "4915112345601@s.whatsapp.net",
        ),
        (
            number(GERMAN),
            true,
            contact(None, None),
            "4915112345601@s.whatsapp.net",
            "4915112345601@s.whatsapp.net",
        ),
        (
            number(BRAZILIAN),
            false,
            contact(Some(CANONICAL), Some(LID)),
            CANONICAL,
            CANONICAL,
        ),
        (
            number(BRAZILIAN),
            true,
            contact(Some(CANONICAL), Some(LID)),
            LID,
            CANONICAL,
        ),
        (
            Recipient::Jid(jid(LID)),
            false,
            contact(Some(CANONICAL), Some(LID)),
            CANONICAL,
            LID,
        ),
        (Recipient::Jid(jid(LID)), false, Found::Failed, LID, LID),
    ];
    for (recipient, moved, found, to, chat) in rows {
        let mut numbers = numbers();
        asked(&mut numbers, now, &recipient, moved);
        assert_eq!(numbers.handle_found(now, &recipient.chat(), found).len(), 1);
        let address = numbers.address(&recipient, moved);
        assert_eq!(
            (address.to.as_str(), address.chat.as_str()),
            (to, chat),
            "{recipient:?}"
        );
        assert!(!address.unknown);
    }
}

#[test]
fn a_number_that_whatsapp_does_not_know_is_said_to_be() {
    let (now, mut numbers) = (Instant::now(), numbers());
    let recipient = number(BRAZILIAN);
    asked(&mut numbers, now, &recipient, false);
    numbers.handle_found(now, &recipient.chat(), Found::Unknown);
    let address = numbers.address(&recipient, false);
    assert_eq!((address.unknown, address.to), (true, recipient.chat()));
}

#[test]
fn answers_are_remembered_for_as_long_as_they_are_likely_to_hold() {
    let minute = Duration::from_secs(60);
    let rows = [
        (contact(Some(CANONICAL), Some(LID)), 24 * 60 * minute),
        // Whoever has no LID yet may get one any day.
        (contact(Some(CANONICAL), None), 10 * minute),
        (Found::Unknown, 10 * minute),
        (Found::Failed, minute / 2),
    ];
    for (found, lasts) in rows {
        let (now, mut numbers) = (Instant::now(), numbers());
        let recipient = number(BRAZILIAN);
        asked(&mut numbers, now, &recipient, true).unwrap();
        numbers.handle_found(now, &recipient.chat(), found.clone());
        let almost = now + lasts - Duration::from_millis(1);
        assert_eq!(asked(&mut numbers, almost, &recipient, true), None, "{found:?}");
        assert!(
            asked(&mut numbers, now + lasts, &recipient, true).is_some(),
            "{found:?}"
        );
    }
}

#[test]
fn a_failure_forgets_nothing_of_what_was_known() {
    let (now, mut numbers) = (Instant::now(), numbers());
    let recipient = number(BRAZILIAN);
    asked(&mut numbers, now, &recipient, true);
    numbers.handle_found(now, &recipient.chat(), contact(Some(CANONICAL), Some(LID)));
    let later = now + Duration::from_secs(25 * 60 * 60);
    asked(&mut numbers, later, &recipient, true).unwrap();
    numbers.handle_found(later, &recipient.chat(), Found::Failed);
    assert_eq!(numbers.address(&recipient, true).to, jid(LID));
    let (mut others, to) = numbers.names(&recipient.chat(), true);
    others.sort();
    assert_eq!(to, jid(LID));
    assert_eq!(others, [jid(CANONICAL), recipient.chat()]);
}

#[test]
fn requests_wait_for_one_look_up_in_their_order_and_no_longer_than_they_may() {
    let (now, mut numbers) = (Instant::now(), numbers());
    let recipient = number(BRAZILIAN);
    asked(&mut numbers, now, &recipient, false).unwrap();
    let second = now + Duration::from_secs(1);
    let mut late = request(now, &recipient);
    late.deadline = second + Duration::from_secs(77);
    assert!(matches!(
        numbers.handle_request(second, late, false),
        Route::Waits
    ));
    assert_eq!(
        (numbers.waiting(), numbers.poll_timeout()),
        (2, Some(now + Duration::from_secs(2)))
    );
    assert!(numbers.handle_timeout(second).is_empty());
    let released = numbers.handle_timeout(now + Duration::from_secs(2));
    assert_eq!(released.len(), 2);
    assert_eq!(released[1].deadline, second + Duration::from_secs(77));
    assert_eq!((numbers.waiting(), numbers.poll_timeout()), (0, None));
    // The look-up is late: whoever comes now does not wait for it, and starts no other.
    assert_eq!(
        asked(&mut numbers, now + Duration::from_secs(3), &recipient, false),
        None
    );
    assert!(
        numbers
            .handle_found(now, &recipient.chat(), Found::Unknown)
            .is_empty()
    );
}

#[test]
fn few_look_ups_are_under_way_at_a_time() {
    let (now, mut numbers) = (Instant::now(), numbers());
    let asked = (0..100)
        .filter(|n| asked(&mut numbers, now, &number(&format!("55119999999{n:02}")), false).is_some())
        .count();
    assert_eq!(asked, ASKED_AT_ONCE);
    assert_eq!(numbers.handle_session_down().len(), ASKED_AT_ONCE);
    assert_eq!(numbers.poll_timeout(), None);
}
