//! Linking a device, by QR code and by link code.

use std::sync::Arc;

use presence_core::PhoneNumber;
use presence_sandbox::{Answer, Fault, FaultKind, Sandbox};
use presence_wa::{Connector, End, Identity, PairError, PairingUpdate, Session, SessionState, WhatsApp};
use tokio::time::Instant;

use crate::support::{ME, MINUTE, SECOND, ana, end, online, qr, sandbox, until, whatsapp};

fn phone(digits: &str) -> PhoneNumber {
    digits.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_scanned_qr_code_pairs_and_the_next_session_is_online_in_no_time() {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    assert_eq!(whatsapp.saved(ME).await.unwrap(), None);
    let session = whatsapp.open(ME).await.unwrap();
    let qr = qr(&*session).await;
    assert_eq!(
        whatsapp.saved(ME).await.unwrap(),
        None,
        "an unfinished pairing is none"
    );

    let scanned = Instant::now();
    sandbox.scan(ana(), &qr).await.unwrap();
    assert_eq!(end(&*session).await, End::Paired);
    let me = Identity {
        jid: format!("{}@s.whatsapp.net", ana()),
        push_name: Some("Sandbox".to_owned()),
    };
    assert_eq!(whatsapp.saved(ME).await.unwrap(), Some(me.clone()));

    let session = whatsapp.open(ME).await.unwrap();
    online(&*session).await;
    assert!(scanned.elapsed() < 2 * SECOND, "{:?}", scanned.elapsed());
    assert_eq!(online(&*session).await.identity, me);
}

/// Scans the QR code of a session that is opened, and tells when the phone's owner did.
async fn scan(whatsapp: &WhatsApp, sandbox: &Arc<Sandbox>) -> (Box<dyn Session>, Instant) {
    let session = whatsapp.open(ME).await.unwrap();
    let qr = qr(&*session).await;
    let scanned = Instant::now();
    let sandbox = Arc::clone(sandbox);
    tokio::spawn(async move { sandbox.scan(ana(), &qr).await });
    until(&*session, |state| *state == SessionState::Linked).await;
    (session, scanned)
}

#[tokio::test(start_paused = true)]
async fn a_linked_device_stays_until_it_is_registered_and_told_to_connect_again() {
    let slow = Sandbox::builder()
        .register_after(5 * SECOND)
        .restart_after(SECOND);
    let sandbox = Arc::new(slow.detached());
    let whatsapp = whatsapp(&sandbox);
    let (session, scanned) = scan(&whatsapp, &sandbox).await;
    assert_eq!(end(&*session).await, End::Paired);
    assert_eq!(scanned.elapsed().as_secs(), 6);
    // A login before that is refused, see the next test.
    online(&*whatsapp.open(ME).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_linked_device_waits_ten_seconds_at_most() {
    let slow = Sandbox::builder().register_after(MINUTE);
    let sandbox = Arc::new(slow.detached());
    let whatsapp = whatsapp(&sandbox);
    let (session, scanned) = scan(&whatsapp, &sandbox).await;
    assert_eq!(end(&*session).await, End::Paired);
    assert_eq!(scanned.elapsed().as_secs(), 10);
    assert!(whatsapp.saved(ME).await.unwrap().is_some());

    let too_soon = whatsapp.open(ME).await.unwrap();
    assert_eq!(end(&*too_soon).await, End::LoggedOut { at_login: true });
    tokio::time::sleep(MINUTE).await;
    online(&*whatsapp.open(ME).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn however_the_connection_of_a_linked_device_ends_it_is_paired() {
    let stream_error = |code| FaultKind::StreamError { code, hang_up: true };
    let ends = [
        FaultKind::Drop,
        FaultKind::StreamEnd,
        FaultKind::Stall,
        stream_error(503),
        stream_error(515),
    ];
    for kind in ends {
        let slow = Sandbox::builder().restart_after(MINUTE);
        let sandbox = Arc::new(slow.detached());
        let whatsapp = whatsapp(&sandbox);
        let (session, _) = scan(&whatsapp, &sandbox).await;
        sandbox.fault(Fault::new(kind.clone())).unwrap();
        assert_eq!(end(&*session).await, End::Paired, "{kind:?}");
        sandbox.clear_faults();
        online(&*whatsapp.open(ME).await.unwrap()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_linked_device_that_is_closed_is_paired_all_the_same() {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    let (session, _) = scan(&whatsapp, &sandbox).await;
    session.close().await;
    assert_eq!(end(&*session).await, End::Closed);
    assert!(whatsapp.saved(ME).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn qr_codes_are_renewed_until_there_are_no_more() {
    let sandbox = sandbox();
    let session = whatsapp(&sandbox).open(ME).await.unwrap();
    let first = qr(&*session).await;
    let second = until(&*session, |state| match state {
        SessionState::Pairing(PairingUpdate::Qr { code, .. }) => *code != first,
        _ => false,
    });
    second.await;
    assert_eq!(end(&*session).await, End::PairingExpired);
}

#[tokio::test(start_paused = true)]
async fn a_link_code_pairs() {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    let session = whatsapp.open(ME).await.unwrap();
    let code = session.request_link_code(&phone("5511988887777")).await.unwrap();
    assert_eq!(code.as_str().len(), 9, "ABCD-EFGH");
    sandbox.enter_link_code(ana(), code.as_str()).await.unwrap();
    assert_eq!(end(&*session).await, End::Paired);
    online(&*whatsapp.open(ME).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_code_is_given_again_until_another_phone_asks() {
    let sandbox = sandbox();
    let session = whatsapp(&sandbox).open(ME).await.unwrap();
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
    let session = whatsapp(&sandbox).open(ME).await.unwrap();
    qr(&*session).await;
    tokio::time::sleep(MINUTE).await;
    let asked = Instant::now();
    let code = session.request_link_code(&phone("5511988887777")).await.unwrap();
    let shown = SessionState::Pairing(PairingUpdate::Code(code));
    until(&*session, |state| *state == shown).await;
    assert_eq!(end(&*session).await, End::PairingExpired);
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
    let session = whatsapp(&sandbox).open(ME).await.unwrap();
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
    whatsapp.wipe(ME).await.unwrap();
    whatsapp.wipe(ME).await.unwrap();
    assert_eq!(whatsapp.saved(ME).await.unwrap(), None);
    crate::support::pair(&whatsapp, &sandbox).await;
    assert_eq!(sandbox.look(|world| world.linked_devices(ana())), 2);
}
