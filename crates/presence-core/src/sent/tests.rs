//! The contract's answers, written and read.

use proptest::prelude::*;

use super::*;

fn presence(state: PresenceState, secs: u64) -> ChatPresence {
    let recipient = "5511999999999".parse().unwrap();
    ChatPresence::new(recipient, Command::new(state, Hold::from_secs(secs)))
}

fn sent(state: PresenceState, secs: u64) -> PresenceSent {
    let presence = presence(state, secs);
    PresenceSent::new(presence.recipient().chat(), &presence)
}

#[test]
fn the_answer_is_the_contracts_to_the_letter() {
    let json = |sent: &PresenceSent| serde_json::to_string(sent).unwrap();
    assert_eq!(
        json(&sent(PresenceState::Typing, 5)),
        "{\"success\":true,\
         \"message\":\"Presence 'typing' sent successfully (will auto-pause after 5 seconds)\",\
         \"chat_jid\":\"5511999999999@s.whatsapp.net\",\"state\":\"typing\",\"duration\":5}"
    );
    assert_eq!(
        json(&sent(PresenceState::Recording, 0).with_unknown_number()),
        "{\"success\":true,\"message\":\"Presence 'recording' sent successfully\",\
         \"chat_jid\":\"5511999999999@s.whatsapp.net\",\"state\":\"recording\",\"duration\":0,\
         \"warning\":\"WhatsApp knows no such number\"}"
    );
    assert!(json(&sent(PresenceState::Pause, 0)).contains("\"Presence 'pause' sent successfully\""));
    assert!(json(&sent(PresenceState::Typing, 1)).contains("(will auto-pause after 1 seconds)"));
}

#[test]
fn clients_read_what_they_need_and_nothing_else_as_an_answer() {
    let read = |json: &str| serde_json::from_str::<PresenceSent>(json);
    let sent = read(
        r#"{"success":true,"message":"?","chat_jid":"77@lid","state":"typing","duration":7,"warning":"so","more":1}"#,
    )
    .unwrap();
    assert_eq!(sent.chat().as_str(), "77@lid");
    assert_eq!(
        (sent.state(), sent.hold()),
        (PresenceState::Typing, Hold::from_secs(7))
    );
    assert_eq!(sent.warning(), Some("so"));
    for other in [
        r#"{"success":false,"error":{"message":"Invalid token"}}"#,
        r#"{"success":false,"chat_jid":"77@lid","state":"typing","duration":7}"#,
        r#"{"chat_jid":"77@lid","state":"typing","duration":7}"#,
        r#"{"success":true,"chat_jid":"maria","state":"typing","duration":7}"#,
        r#"{"success":true,"chat_jid":"77@lid","state":"composing","duration":7}"#,
    ] {
        assert!(read(other).is_err(), "{other}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(
        state in prop_oneof![
            Just(PresenceState::Typing), Just(PresenceState::Recording), Just(PresenceState::Pause)
        ],
        secs in 0_u64..100,
        unknown in any::<bool>(),
    ) {
        let sent = sent(state, secs);
        let sent = if unknown { sent.with_unknown_number() } else { sent };
        let json = serde_json::to_string(&sent).unwrap();
        let read: PresenceSent = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), json);
        prop_assert_eq!(read, sent);
    }
}
