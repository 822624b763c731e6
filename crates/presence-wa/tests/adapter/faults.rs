//! Everything that WhatsApp and the network do to a session.

use std::time::Duration;

use presence_core::{ChatJid, ChatState};
use presence_sandbox::{Answer, Fault, FaultKind, When};
use presence_wa::{Connector, End, SendError};
use tokio::time::Instant;

use crate::support::{
    ME, MINUTE, SECOND, ana, end, online, online_session, pair, qr, sandbox, sent, whatsapp,
};

fn lost(end: &End) -> bool {
    matches!(end, End::Lost(_))
}

const UNLINKED: End = End::LoggedOut { at_login: false };
const REFUSED_LOGIN: End = End::LoggedOut { at_login: true };

type IsSo = fn(&End) -> bool;

/// What every way of being thrown out comes to: while online, and instead of the login.
fn dismissals() -> Vec<(FaultKind, IsSo)> {
    let stream_error = |code| FaultKind::StreamError { code, hang_up: true };
    let silent = |code| FaultKind::StreamError { code, hang_up: false };
    let failure = |reason| FaultKind::Failure {
        reason,
        message: None,
    };
    vec![
        (stream_error(515), |end| *end == End::Restart),
        (silent(515), |end| *end == End::Restart),
        (stream_error(516), |end| *end == UNLINKED),
        (stream_error(401), |end| *end == UNLINKED),
        (FaultKind::DeviceRemoved, |end| *end == UNLINKED),
        (stream_error(409), |end| *end == End::Replaced),
        (FaultKind::Replaced, |end| *end == End::Replaced),
        (stream_error(429), |end| *end == End::Rejected(Some(429))),
        (silent(429), |end| *end == End::Rejected(Some(429))),
        (stream_error(503), |end| *end == End::Rejected(Some(503))),
        (silent(503), |end| *end == End::Rejected(Some(503))),
        (stream_error(500), |end| *end == End::Rejected(Some(500))),
        (silent(500), |end| *end == End::Rejected(Some(500))),
        (silent(777), |end| *end == End::Rejected(Some(777))),
        (FaultKind::StreamEnd, lost),
        (FaultKind::Drop, lost),
        (failure(401), |end| *end == REFUSED_LOGIN),
        (failure(403), |end| *end == REFUSED_LOGIN),
        (failure(406), |end| *end == REFUSED_LOGIN),
        (failure(402), |end| *end == End::Banned(None)),
        (failure(405), |end| *end == End::Outdated),
        (failure(400), |end| *end == End::Rejected(Some(400))),
        (failure(409), |end| *end == End::Rejected(Some(409))),
        (failure(413), |end| *end == End::Rejected(Some(413))),
        (failure(414), |end| *end == End::Rejected(Some(414))),
        (failure(415), |end| *end == End::Rejected(Some(415))),
        (failure(418), |end| *end == End::Rejected(Some(418))),
        (failure(429), |end| *end == End::Rejected(Some(429))),
        (failure(500), |end| *end == End::Rejected(Some(500))),
        (failure(501), |end| *end == End::Rejected(Some(501))),
        (failure(502), |end| *end == End::Rejected(Some(502))),
        (failure(503), |end| *end == End::Rejected(Some(503))),
        (failure(504), |end| *end == End::Rejected(Some(504))),
        (failure(777), |end| *end == End::Rejected(Some(777))),
        (FaultKind::FailureWithoutReason, |end| *end == End::Rejected(None)),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_way_of_being_thrown_out_ends_the_session_and_says_why() {
    let (sandbox, whatsapp, mut session) = online_session().await;
    for (kind, is_so) in dismissals() {
        let struck = Instant::now();
        sandbox.fault(Fault::new(kind.clone())).unwrap();
        let end = end(&*session).await;
        assert!(is_so(&end), "{kind:?}: {end:?}");
        assert!(
            struck.elapsed() <= 2 * SECOND,
            "{kind:?} was noticed after {:?}",
            struck.elapsed()
        );
        session = whatsapp.open(ME).await.unwrap();
        online(&*session).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_way_of_being_refused_at_the_login_ends_the_session_and_says_why() {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    pair(&whatsapp, &sandbox).await;
    for (kind, is_so) in dismissals() {
        sandbox
            .fault(Fault::new(kind.clone()).when(When::Login).times(1))
            .unwrap();
        let opened = Instant::now();
        let session = whatsapp.open(ME).await.unwrap();
        let end = end(&*session).await;
        assert!(is_so(&end), "{kind:?}: {end:?}");
        assert!(
            opened.elapsed() <= 12 * SECOND,
            "{kind:?} was noticed after {:?}",
            opened.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_says_for_how_long() {
    let (sandbox, whatsapp, session) = online_session().await;
    sandbox.fault(Fault::ban(90 * SECOND)).unwrap();
    assert_eq!(end(&*session).await, End::Banned(Some(90 * SECOND)));
    let session = whatsapp.open(ME).await.unwrap();
    assert!(matches!(end(&*session).await, End::Banned(Some(left)) if left <= 90 * SECOND));
    tokio::time::sleep(2 * MINUTE).await;
    online(&*whatsapp.open(ME).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_hangs_up_at_once_is_a_lost_connection() {
    let sandbox = sandbox();
    sandbox.fault(Fault::refuse()).unwrap();
    let session = whatsapp(&sandbox).open(ME).await.unwrap();
    let end = end(&*session).await;
    assert!(
        matches!(&end, End::Lost(why) if why.contains("WebSocket")),
        "{end:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_not_answered_is_given_up_after_ten_seconds() {
    for answer in [Answer::Success, Answer::PairDevice] {
        let sandbox = sandbox();
        let whatsapp = whatsapp(&sandbox);
        if answer == Answer::Success {
            pair(&whatsapp, &sandbox).await;
        }
        sandbox.fault(Fault::withhold(answer)).unwrap();
        let opened = Instant::now();
        let session = whatsapp.open(ME).await.unwrap();
        assert_eq!(
            end(&*session).await,
            End::Lost("WhatsApp did not answer the login".to_owned())
        );
        assert_eq!(opened.elapsed().as_secs(), 10, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_whose_rest_is_withheld_is_online_soon_and_stays_silent() {
    for answer in [Answer::Offline, Answer::Passive] {
        let sandbox = sandbox();
        let whatsapp = whatsapp(&sandbox);
        pair(&whatsapp, &sandbox).await;
        sandbox.fault(Fault::withhold(answer)).unwrap();
        let opened = Instant::now();
        let session = whatsapp.open(ME).await.unwrap();
        online(&*session).await;
        assert!(
            opened.elapsed() <= 3 * SECOND,
            "{answer:?}: {:?}",
            opened.elapsed()
        );
        // The client gives up waiting after 60 or 75 s, and would say `available` then.
        tokio::time::sleep(2 * MINUTE).await;
        assert_eq!(online(&*session).await.self_announced, 0);
        assert_eq!(sent(&sandbox, "presence", 0).await, [""; 0], "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn withheld_background_answers_do_no_harm() {
    let (sandbox, whatsapp, session) = online_session().await;
    session.close().await;
    let answers = [
        Answer::Digest,
        Answer::Props,
        Answer::Blocklist,
        Answer::Privacy,
        Answer::PreKeys,
    ];
    for answer in answers {
        sandbox.fault(Fault::withhold(answer)).unwrap();
    }
    let opened = Instant::now();
    let session = whatsapp.open(ME).await.unwrap();
    online(&*session).await;
    assert!(opened.elapsed() < SECOND);
    tokio::time::sleep(5 * MINUTE).await;
    online(&*session).await;
}

#[tokio::test(start_paused = true)]
async fn an_unlinking_on_the_phone_logs_out() {
    let (sandbox, whatsapp, session) = online_session().await;
    assert_eq!(sandbox.unlink(ana()), 1);
    assert_eq!(end(&*session).await, UNLINKED);
    let session = whatsapp.open(ME).await.unwrap();
    assert_eq!(end(&*session).await, REFUSED_LOGIN, "the keys stay useless");
    whatsapp.wipe(ME).await.unwrap();
    qr(&*whatsapp.open(ME).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_goes_mute_is_noticed_within_ten_seconds_of_a_presence() {
    let chat: ChatJid = "5511977776666@s.whatsapp.net".parse().unwrap();
    for fault in [Fault::stall(), Fault::withhold(Answer::Ping)] {
        let (sandbox, _whatsapp, session) = online_session().await;
        sandbox.fault(fault).unwrap();
        session
            .send_chat_state(&chat, ChatState::Composing)
            .await
            .unwrap();
        let sent = Instant::now();
        assert_eq!(
            end(&*session).await,
            End::Lost("WhatsApp does not answer".to_owned())
        );
        assert!(sent.elapsed() <= 10 * SECOND, "{:?}", sent.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_is_pinged_only_while_something_is_shown() {
    let (sandbox, _whatsapp, session) = online_session().await;
    let pings = || {
        let journal = sandbox.look(|world| world.journal(0, usize::MAX));
        let entries = journal.entries.iter();
        entries
            .filter(|entry| entry.stanza.contains(r#"xmlns="w:p""#))
            .count()
    };
    let chat: ChatJid = "5511977776666@s.whatsapp.net".parse().unwrap();
    for _ in 0..12 {
        session
            .send_chat_state(&chat, ChatState::Composing)
            .await
            .unwrap();
        tokio::time::sleep(5 * SECOND).await;
    }
    let shown = pings();
    assert!((11..=16).contains(&shown), "{shown} pings in a minute");
    online(&*session).await;
    tokio::time::sleep(10 * MINUTE).await;
    online(&*session).await;
    let idle = pings() - shown;
    assert!(
        idle <= 41,
        "{idle} pings in ten minutes, more than the client's own"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stalled_socket_holds_up_neither_sending_nor_closing_for_ever() {
    let (sandbox, _whatsapp, session) = online_session().await;
    sandbox.fault(Fault::stall()).unwrap();
    let chat: ChatJid = "5511977776666@s.whatsapp.net".parse().unwrap();
    let flood = async {
        loop {
            session.send_chat_state(&chat, ChatState::Composing).await?;
        }
        #[expect(unreachable_code, reason = "it tells the type of the error")]
        Ok::<(), SendError>(())
    };
    assert!(
        tokio::time::timeout(5 * SECOND, flood).await.is_err(),
        "the pipe is full"
    );
    let closing = Instant::now();
    session.close().await;
    assert!(
        closing.elapsed() <= Duration::from_secs(2),
        "{:?}",
        closing.elapsed()
    );
    assert_eq!(end(&*session).await, End::Closed);
}
