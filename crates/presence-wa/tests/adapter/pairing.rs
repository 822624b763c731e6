//! Linking a device, by QR code and by link code.

use std::sync::Arc;

use presence_core::PhoneNumber;
use presence_sandbox::{Answer, Fault};
use presence_wa::{Connector, End, Identity, PairError, PairingUpdate, Session, SessionState};
use tokio::time::Instant;

use crate::support::{DEVICE, MINUTE, SECOND, ana, end, online, qr, sandbox, until, whatsapp};

fn phone(digits: &str) -> PhoneNumber {
    digits.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_scanned_qr_code_pairs_and_the_next_session_is_online_in_no_time() {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    assert_eq!(whatsapp.saved(DEVICE).await.unwrap(), None);
    let session = whatsapp.open(DEVICE).await.unwrap();
    let qr = qr(&session).await;
    assert_eq!(
        whatsapp.saved(DEVICE).await.unwrap(),
        None,
        "an unfinished pairing is none"
    );

    let scanned = Instant::now();
    sandbox.scan(ana(), &qr).await.unwrap();
    assert_eq!(end(&session).await, End::Paired);
    let me = Identity {
        jid: format!("{}@s.whatsapp.net", ana()),
        push_name: Some("Sandbox".to_owned()),
    };
    assert_eq!(whatsapp.saved(DEVICE).await.unwrap(), Some(me.clone()));

    let session = whatsapp.open(DEVICE).await.unwrap();
    online(&session).await;
    assert!(scanned.elapsed() < 2 * SECOND, "{:?}", scanned.elapsed());
    assert_eq!(*session.state().borrow(), SessionState::Online(me));
}

#[tokio::test(start_paused = true)]
async fn qr_codes_are_renewed_until_there_are_no_more() {
    let sandbox = sandbox();
    let session = whatsapp(&sandbox).open(DEVICE).await.unwrap();
    let first = qr(&session).await;
    let second = until(&session, |state| match state {
        SessionState::Pairing(PairingUpdate::Qr { code, .. }) => *code != first,
        _ => false,
    });
    second.await;
    assert_eq!(end(&session).await, End::PairingExpired);
}

#[tokio::test(start_paused = true)]
async fn a_link_code_pairs() {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    let session = whatsapp.open(DEVICE).await.unwrap();
    let code = session.request_link_code(&phone("5511988887777")).await.unwrap();
    assert_eq!(code.as_str().len(), 9, "ABCD-EFGH");
    sandbox.enter_link_code(ana(), code.as_str()).await.unwrap();
    assert_eq!(end(&session).await, End::Paired);
    online(&whatsapp.open(DEVICE).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_code_is_given_again_until_another_phone_asks() {
    let sandbox = sandbox();
    let session = whatsapp(&sandbox).open(DEVICE).await.unwrap();
    let first = session.request_link_code(&phone("5511988887777")).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(
        session.request_link_code(&phone("5511988887777")).await.unwrap(),
        first
    );

    let other = session.request_link_code(&phone("5511988886666")).await.unwrap();
    assert_ne!(other, first);
    sandbox.enter_link_code(ana(), first.as_str()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_link_code_keeps_the_session_waiting_until_it_expires() {
    let sandbox = sandbox();
    let session = whatsapp(&sandbox).open(DEVICE).await.unwrap();
    qr(&session).await;
    tokio::time::sleep(MINUTE).await;
    let asked = Instant::now();
    let code = session.request_link_code(&phone("5511988887777")).await.unwrap();
    let shown = SessionState::Pairing(PairingUpdate::Code(code));
    until(&session, |state| *state == shown).await;
    assert_eq!(end(&session).await, End::PairingExpired);
    assert_eq!(asked.elapsed().as_secs(), 180);
}

#[tokio::test(start_paused = true)]
async fn a_link_code_is_refused_by_a_session_that_is_paired() {
    let (_sandbox, _whatsapp, session) = crate::support::online_session().await;
    let refused = session
        .request_link_code(&phone("5511988887777"))
        .await
        .unwrap_err();
    assert!(matches!(refused, PairError::NotPairing), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_code_that_whatsapp_does_not_give_is_an_error() {
    let sandbox = sandbox();
    sandbox.fault(Fault::withhold(Answer::LinkCode)).unwrap();
    let session = whatsapp(&sandbox).open(DEVICE).await.unwrap();
    let refused = session
        .request_link_code(&phone("5511988887777"))
        .await
        .unwrap_err();
    assert!(matches!(refused, PairError::Refused(_)), "{refused:?}");
    sandbox.clear_faults();
    session.request_link_code(&phone("5511988887777")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_device_can_be_paired_again_after_it_was_forgotten() {
    let sandbox = sandbox();
    let whatsapp = Arc::new(whatsapp(&sandbox));
    crate::support::pair(&whatsapp, &sandbox).await;
    whatsapp.forget(DEVICE).await.unwrap();
    whatsapp.forget(DEVICE).await.unwrap();
    assert_eq!(whatsapp.saved(DEVICE).await.unwrap(), None);
    crate::support::pair(&whatsapp, &sandbox).await;
    assert_eq!(sandbox.look(|world| world.linked_devices(ana())), 2);
}
