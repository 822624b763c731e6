//! What WhatsApp is told of a device being in use: what was asked for, and nothing else.

use std::sync::Arc;

use presence_core::Availability;
use presence_sandbox::Sandbox;
use presence_store::MemoryKeyStore;
use presence_wa::{Connector, Identity, SendError, Session, SessionState};

use crate::support::{
    ME, MINUTE, ana, online, online_session, pair, sandbox, sent, until, until_available, whatsapp,
    whatsapp_with,
};

fn presence(availability: &str, name: &str) -> String {
    format!(r#"<presence type="{availability}" name="{name}"/>"#)
}

async fn named(session: &dyn Session, name: &str) {
    let is_named = |state: &SessionState| matches!(state, SessionState::Online(online) if online.identity.push_name.as_deref() == Some(name));
    until(session, is_named).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_is_told() {
    let (sandbox, _whatsapp, session) = online_session().await;
    session.set_availability(Availability::Available).await.unwrap();
    until_available(&sandbox, true).await;
    session.set_availability(Availability::Unavailable).await.unwrap();
    until_available(&sandbox, false).await;
    tokio::time::sleep(2 * MINUTE).await;
    let told = [
        presence("available", "Sandbox"),
        presence("unavailable", "Sandbox"),
    ];
    assert_eq!(sent(&sandbox, "presence", 2).await, told);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_by_a_login() {
    let (sandbox, whatsapp, mut session) = online_session().await;
    for _ in 0..3 {
        tokio::time::sleep(2 * MINUTE).await;
        assert_eq!(online(&*session).await.self_announced, 0);
        session.close().await;
        session = whatsapp.open(ME).await.unwrap();
        online(&*session).await;
    }
    assert_eq!(sent(&sandbox, "presence", 0).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_when_the_account_gets_another_name() {
    let keys = Arc::<MemoryKeyStore>::default();
    let sandbox = sandbox();
    let whatsapp = whatsapp_with(&sandbox, keys.clone());
    pair(&whatsapp, &sandbox).await;
    let session = whatsapp.open(ME).await.unwrap();
    online(&*session).await;
    for name in ["Ana", "Ana", "Bia"] {
        assert_eq!(sandbox.rename(ana(), name), 1);
        named(&*session, name).await;
        tokio::time::sleep(2 * MINUTE).await;
    }
    assert_eq!(online(&*session).await.self_announced, 0);
    assert_eq!(sent(&sandbox, "presence", 0).await, [""; 0]);

    session.set_availability(Availability::Available).await.unwrap();
    assert_eq!(
        sent(&sandbox, "presence", 1).await,
        [presence("available", "Bia")]
    );
    let me = Some(Identity {
        jid: format!("{}@s.whatsapp.net", ana()),
        push_name: Some("Bia".to_owned()),
    });
    // What a crash now would leave.
    let crashed = whatsapp_with(&sandbox, keys.clone());
    assert_eq!(crashed.saved(ME).await.unwrap(), me);
    session.close().await;
    let restarted = whatsapp_with(&sandbox, keys);
    assert_eq!(restarted.saved(ME).await.unwrap(), me);
    let session = restarted.open(ME).await.unwrap();
    assert_eq!(Some(online(&*session).await.identity), me);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_by_a_first_login_nor_when_the_name_is_learnt() {
    let sandbox = Arc::new(Sandbox::builder().nameless(true).detached());
    let whatsapp = whatsapp(&sandbox);
    pair(&whatsapp, &sandbox).await;
    let session = whatsapp.open(ME).await.unwrap();
    assert_eq!(online(&*session).await.identity.push_name, None);
    for availability in [Availability::Available, Availability::Unavailable] {
        let refused = session.set_availability(availability).await.unwrap_err();
        assert!(matches!(refused, SendError::NoPushName), "{refused:?}");
    }
    tokio::time::sleep(MINUTE).await;
    sandbox.rename(ana(), "Ana");
    named(&*session, "Ana").await;
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(online(&*session).await.self_announced, 0);
    assert_eq!(sent(&sandbox, "presence", 0).await, [""; 0]);
    session.set_availability(Availability::Available).await.unwrap();
    assert_eq!(
        sent(&sandbox, "presence", 1).await,
        [presence("available", "Ana")]
    );

    session.close().await;
    let session = whatsapp.open(ME).await.unwrap();
    online(&*session).await;
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(sent(&sandbox, "presence", 0).await.len(), 1);
}
