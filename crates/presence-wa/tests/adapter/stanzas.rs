//! What a session that is online sends.

use presence_core::{Availability, ChatJid, ChatState};
use presence_sandbox::{Lid, Number, Sandbox};
use presence_wa::{Connector, SendError, Session};

use crate::support::{DEVICE, ana, online, online_session, pair, sent, until_available, whatsapp};

fn chat(jid: &str) -> ChatJid {
    jid.parse().unwrap()
}

fn number(digits: &str) -> Number {
    digits.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn chat_states_go_out_as_the_protocol_has_them() {
    let (sandbox, _whatsapp, session) = online_session().await;
    let rows = [
        (
            "5511977776666@s.whatsapp.net",
            ChatState::Composing,
            "<composing/>",
        ),
        (
            "5511977776666@s.whatsapp.net",
            ChatState::Recording,
            r#"<composing media="audio"/>"#,
        ),
        ("123456789012345@lid", ChatState::Paused, "<paused/>"),
        ("120363041234567890@g.us", ChatState::Composing, "<composing/>"),
        ("5511977776666-1500000000@g.us", ChatState::Paused, "<paused/>"),
    ];
    for (to, state, _) in rows {
        session.send_chat_state(&chat(to), state).await.unwrap();
    }
    let expected = rows.map(|(to, _, child)| format!(r#"<chatstate to="{to}">{child}</chatstate>"#));
    assert_eq!(sent(&sandbox, "chatstate", rows.len()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn our_availability_has_the_last_word_after_connecting() {
    let (sandbox, _whatsapp, session) = online_session().await;
    assert!(
        sandbox.look(|world| world.is_available(ana())),
        "the client says so by itself"
    );
    session.set_availability(Availability::Unavailable).await.unwrap();
    until_available(&sandbox, false).await;
    tokio::time::sleep(crate::support::MINUTE).await;
    assert!(!sandbox.look(|world| world.is_available(ana())));
    session.set_availability(Availability::Available).await.unwrap();
    until_available(&sandbox, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_number_is_resolved_to_what_whatsapp_calls_it() {
    let (sandbox, _whatsapp, session) = online_session().await;
    let lid: Lid = "99887766554433".parse().unwrap();
    sandbox
        .set_number(number("5511977776666"), Some(number("551177776666")), Some(lid))
        .unwrap();
    sandbox.set_number(number("5511900000000"), None, None).unwrap();
    let resolve = async |digits: &str| session.resolve(&digits.parse().unwrap()).await.unwrap();
    assert_eq!(
        resolve("5511977776666").await,
        Some(chat("551177776666@s.whatsapp.net"))
    );
    assert_eq!(
        resolve("5511955554444").await,
        Some(chat("5511955554444@s.whatsapp.net"))
    );
    assert_eq!(resolve("5511900000000").await, None);
}

#[tokio::test(start_paused = true)]
async fn people_are_addressed_by_lid_once_the_account_has_moved_and_theirs_is_known() {
    let sandbox = std::sync::Arc::new(Sandbox::builder().lid_migrated(true).detached());
    let lid: Lid = "99887766554433".parse().unwrap();
    sandbox
        .set_number(number("5511977776666"), Some(number("5511977776666")), Some(lid))
        .unwrap();
    let whatsapp = whatsapp(&sandbox);
    pair(&whatsapp, &sandbox).await;
    let session = whatsapp.open(DEVICE).await.unwrap();
    online(&session).await;

    let to = chat("5511977776666@s.whatsapp.net");
    session.send_chat_state(&to, ChatState::Composing).await.unwrap();
    session.resolve(&"5511977776666".parse().unwrap()).await.unwrap();
    session.send_chat_state(&to, ChatState::Paused).await.unwrap();
    let expected = [
        r#"<chatstate to="5511977776666@s.whatsapp.net"><composing/></chatstate>"#,
        r#"<chatstate to="99887766554433@lid"><paused/></chatstate>"#,
    ];
    assert_eq!(sent(&sandbox, "chatstate", 2).await, expected);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_by_a_session_that_is_not_online() {
    let (sandbox, whatsapp, session) = online_session().await;
    session.close().await;
    let unpaired = whatsapp.open(presence_wa::DeviceId(8)).await.unwrap();
    crate::support::qr(&unpaired).await;
    for session in [&session, &unpaired] {
        let to = chat("5511977776666@s.whatsapp.net");
        let refused = session
            .send_chat_state(&to, ChatState::Composing)
            .await
            .unwrap_err();
        assert!(matches!(refused, SendError::Offline), "{refused:?}");
        let refused = session
            .set_availability(Availability::Available)
            .await
            .unwrap_err();
        assert!(matches!(refused, SendError::Offline), "{refused:?}");
        let refused = session
            .resolve(&"5511977776666".parse().unwrap())
            .await
            .unwrap_err();
        assert!(matches!(refused, SendError::Offline), "{refused:?}");
    }
    assert_eq!(sent(&sandbox, "chatstate", 0).await, [""; 0]);
}
