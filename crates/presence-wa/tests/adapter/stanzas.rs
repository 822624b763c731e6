//! What a session that is online sends.

use std::sync::Arc;

use presence_core::{Availability, ChatJid, ChatState};
use presence_sandbox::{Answer, Fault, FaultKind, Lid, Number, Sandbox};
use presence_wa::{Connector, Contact, SendError, SessionState};

use crate::support::{ME, ana, online, online_session, pair, sent, until, whatsapp};

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
async fn a_number_is_looked_up_under_all_its_names() {
    let (sandbox, _whatsapp, session) = online_session().await;
    let lid: Lid = "99887766554433".parse().unwrap();
    sandbox
        .set_number(number("5511977776666"), Some(number("551177776666")), Some(lid))
        .unwrap();
    sandbox.set_number(number("5511900000000"), None, None).unwrap();
    let query = async |digits: &str| session.query_contact(&digits.parse().unwrap()).await.unwrap();
    let found = Contact {
        number: Some(chat("551177776666@s.whatsapp.net")),
        lid: Some(chat("99887766554433@lid")),
    };
    assert_eq!(query("5511977776666").await, Some(found.clone()));
    assert_eq!(
        query("5511955554444").await.unwrap().number,
        Some(chat("5511955554444@s.whatsapp.net"))
    );
    assert_eq!(query("5511900000000").await, None);

    // What was learnt is known without asking again, under both names; what was not, is not.
    for name in ["551177776666@s.whatsapp.net", "99887766554433@lid"] {
        assert_eq!(session.local_contact(&chat(name)).await.unwrap(), found, "{name}");
    }
    for name in [
        "5511900000000@s.whatsapp.net",
        "11@lid",
        "120363041234567890@g.us",
    ] {
        let nothing = session.local_contact(&chat(name)).await.unwrap();
        assert_eq!(nothing, Contact::default(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_whatsapp_refuses_is_no_answer() {
    let (sandbox, _whatsapp, session) = online_session().await;
    let rejected = FaultKind::Reject {
        answers: vec![Answer::Usync],
        code: 429,
        text: String::new(),
    };
    sandbox.fault(Fault::new(rejected)).unwrap();
    let refused = session
        .query_contact(&"5511977776666".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(refused, SendError::Client(_)), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_tells_whether_its_account_has_moved_to_lids() {
    for moved in [true, false] {
        let sandbox = Arc::new(Sandbox::builder().lid_migrated(moved).detached());
        let whatsapp = whatsapp(&sandbox);
        pair(&whatsapp, &sandbox).await;
        let session = whatsapp.open(ME).await.unwrap();
        assert_eq!(online(&*session).await.moved_to_lids, moved);
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_moves_while_its_session_is_online_is_seen_to_have_moved() {
    let (sandbox, whatsapp, session) = online_session().await;
    assert!(!online(&*session).await.moved_to_lids);
    session.close().await;
    sandbox.set_lid_migrated(ana(), true).unwrap();
    let session = whatsapp.open(ME).await.unwrap();
    until(
        &*session,
        |state| matches!(state, SessionState::Online(online) if online.moved_to_lids),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_by_a_session_that_is_not_online() {
    let (sandbox, whatsapp, session) = online_session().await;
    session.close().await;
    let unpaired = whatsapp.open(crate::support::instance(8)).await.unwrap();
    crate::support::qr(&*unpaired).await;
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
            .query_contact(&"5511977776666".parse().unwrap())
            .await
            .unwrap_err();
        assert!(matches!(refused, SendError::Offline), "{refused:?}");
    }
    assert_eq!(sent(&sandbox, "chatstate", 0).await, [""; 0]);
}
