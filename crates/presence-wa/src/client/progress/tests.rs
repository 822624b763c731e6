//! Each event, each look, and what follows.

use ::whatsapp_rust::wacore::chrono;
use ::whatsapp_rust::wacore::types::events::{
    ClientOutdated, ConnectFailure, Connected, LoggedOut, PairError, PairSuccess, PairingQrCode,
    PairingQrCodesExhausted, SelfPushNameUpdated, StreamReplaced, TempBanReason, TemporaryBan,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    login: Duration::from_secs(10),
    ready: Duration::from_secs(2),
};
const DIALLING: Look = Look {
    running: true,
    connected: false,
    logged_in: false,
    named: true,
};
const CONNECTED: Look = Look {
    connected: true,
    ..DIALLING
};
const LOGGED_IN: Look = Look {
    logged_in: true,
    ..CONNECTED
};
const OVER: Look = Look {
    running: false,
    ..DIALLING
};

fn me() -> Identity {
    Identity {
        jid: "5511999990000@s.whatsapp.net".to_owned(),
        push_name: Some("Ana".to_owned()),
    }
}

fn progress() -> Progress {
    Progress::new(LIMITS, false)
}

fn online(now: Instant) -> Progress {
    let mut progress = progress();
    progress.handle_look(now, LOGGED_IN);
    progress.handle_signal(now, Signal::Ready);
    progress.handle_look(now, LOGGED_IN);
    assert_eq!(progress.state(me), SessionState::Online(me()));
    progress
}

fn qr(code: &str) -> Signal {
    Signal::Qr {
        code: code.to_owned(),
        valid_for: 20 * SECOND,
    }
}

fn code(until: Instant) -> OutstandingCode {
    let phone = "5511999990000".parse().unwrap();
    OutstandingCode {
        code: LinkCode::new("ABCDEFGH"),
        phone,
        until,
    }
}

fn failure(reason: ConnectFailureReason) -> Event {
    Event::ConnectFailure(ConnectFailure::builder().reason(reason).build())
}

fn ban(expire: chrono::Duration) -> Event {
    Event::TemporaryBan(
        TemporaryBan::builder()
            .code(TempBanReason::BlockedByUsers)
            .expire(expire)
            .build(),
    )
}

#[test]
fn each_event_that_ends_a_session_says_why() {
    let logged_out = LoggedOut::builder()
        .on_connect(false)
        .reason(ConnectFailureReason::LoggedOut)
        .build();
    let jid = ::whatsapp_rust::Jid::pn("5511999990000");
    let pair_error = PairError::builder()
        .id(jid.clone())
        .lid(jid.clone())
        .business_name(String::new())
        .platform(String::new())
        .error("bad signature".to_owned())
        .build();
    let paired = PairSuccess::builder()
        .id(jid.clone())
        .lid(jid)
        .business_name(String::new())
        .platform(String::new())
        .build();
    let lost = |code| End::Lost(format!("WhatsApp refused the login with {code}"));
    let rows = [
        (Event::LoggedOut(logged_out), End::LoggedOut),
        (
            Event::StreamReplaced(StreamReplaced::builder().build()),
            End::Replaced,
        ),
        (
            Event::ClientOutdated(ClientOutdated::builder().build()),
            End::Outdated,
        ),
        (Event::PairSuccess(paired), End::Paired),
        (
            Event::PairError(pair_error),
            End::PairingFailed("bad signature".to_owned()),
        ),
        (ban(chrono::Duration::seconds(90)), End::Banned(Some(90 * SECOND))),
        (ban(chrono::Duration::seconds(-1)), End::Banned(None)),
        (failure(ConnectFailureReason::TempBanned), End::Banned(None)),
        (failure(ConnectFailureReason::Generic), End::Refused(400)),
        (failure(ConnectFailureReason::BadUserAgent), End::Refused(409)),
        (failure(ConnectFailureReason::CatExpired), End::Refused(413)),
        (failure(ConnectFailureReason::CatInvalid), End::Refused(414)),
        (failure(ConnectFailureReason::NotFound), End::Refused(415)),
        (failure(ConnectFailureReason::ClientUnknown), End::Refused(418)),
        (failure(ConnectFailureReason::Unknown(777)), End::Refused(777)),
        (failure(ConnectFailureReason::Unknown(-1)), End::Refused(0)),
        (failure(ConnectFailureReason::InternalServerError), lost(500)),
        (failure(ConnectFailureReason::ServiceUnavailable), lost(503)),
    ];
    for (event, end) in rows {
        assert_eq!(Signal::of_event(&event), Some(Signal::End(end)), "{event:?}");
    }
}

#[test]
fn each_event_of_a_session_that_goes_on_is_understood() {
    let qr_code = PairingQrCode::builder()
        .code("2@x".to_owned())
        .timeout(20 * SECOND)
        .build();
    let over = PairingQrCodesExhausted::builder().disconnected(true).build();
    let named = SelfPushNameUpdated::builder()
        .from_server(true)
        .old_name(String::new())
        .new_name("Ana".to_owned())
        .build();
    let rows = [
        (Event::PairingQrCode(qr_code), qr("2@x")),
        (
            Event::PairingQrCodesExhausted(over),
            Signal::QrsOver { alone: true },
        ),
        (Event::Connected(Connected::builder().build()), Signal::Ready),
        (Event::SelfPushNameUpdated(named), Signal::Named),
    ];
    for (event, signal) in rows {
        assert_eq!(Signal::of_event(&event), Some(signal), "{event:?}");
    }
}

#[test]
fn stream_errors_without_an_event_are_told_apart() {
    let lost = |code| {
        Some(Signal::End(End::Lost(format!(
            "WhatsApp sent stream error {code}"
        ))))
    };
    assert_eq!(Signal::of_stream_error("515"), Some(Signal::End(End::Restart)));
    assert_eq!(Signal::of_stream_error("429"), lost(429));
    assert_eq!(Signal::of_stream_error("503"), lost(503));
    // These raise events, and one without a code is about a stanza and not about the session.
    for other in ["", "401", "409", "516"] {
        assert_eq!(Signal::of_stream_error(other), None, "{other}");
    }
}

#[test]
fn a_session_is_online_when_the_client_has_done_its_part_after_the_login() {
    let now = Instant::now();
    let mut progress = progress();
    for look in [DIALLING, CONNECTED, LOGGED_IN] {
        progress.handle_look(now, look);
        assert_eq!(progress.state(me), SessionState::Connecting, "{look:?}");
    }
    progress.handle_signal(now, Signal::Ready);
    progress.handle_look(now, LOGGED_IN);
    assert_eq!(progress.state(me), SessionState::Online(me()));
    assert_eq!((progress.end(), progress.poll_timeout()), (None, None));
    assert!(
        !progress.poll_restate(now),
        "our availability comes after the client's own anyway"
    );
}

#[test]
fn a_login_whose_rest_is_withheld_is_online_after_the_limit_and_restated_when_the_rest_comes() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_look(now, LOGGED_IN);
    let due = progress.poll_timeout().unwrap();
    assert_eq!(due, now + LIMITS.ready);
    progress.handle_look(due, LOGGED_IN);
    assert_eq!(progress.state(me), SessionState::Online(me()));
    assert!(!progress.poll_restate(due));

    let late = now + 60 * SECOND;
    progress.handle_signal(late, Signal::Ready);
    assert!(progress.poll_restate(late));
    assert!(!progress.poll_restate(late), "once is enough");
}

#[test]
fn without_a_push_name_a_login_is_online_at_once_and_restated_after_the_name() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_look(
        now,
        Look {
            named: false,
            ..LOGGED_IN
        },
    );
    assert_eq!(progress.state(me), SessionState::Online(me()));

    progress.handle_signal(now, Signal::Named);
    assert!(!progress.poll_restate(now), "the client has not told its own yet");
    let due = progress.poll_timeout().unwrap();
    assert!(progress.poll_restate(due));
}

#[test]
fn a_name_that_comes_right_before_the_session_is_online_is_restated_after_it() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_look(now, LOGGED_IN);
    let online = now + LIMITS.ready;
    let named = online - SECOND / 10;
    progress.handle_signal(named, Signal::Named);
    progress.handle_look(online, LOGGED_IN);
    assert_eq!(progress.state(me), SessionState::Online(me()));
    // Ours may go out now, and the client's own after it.
    assert!(!progress.poll_restate(online));
    assert!(progress.poll_restate(named + NAMED_TO_AVAILABLE));
}

#[test]
fn what_raises_no_event_is_seen() {
    let now = Instant::now();
    let rows = [
        ("the connection broke", DIALLING),
        ("the connection broke", OVER),
        ("WhatsApp took the login back", CONNECTED),
    ];
    for (why, look) in rows {
        let mut progress = online(now);
        progress.handle_look(now, look);
        assert_eq!(progress.end(), Some(&End::Lost(why.to_owned())), "{look:?}");
    }
    let mut never_connected = progress();
    never_connected.handle_look(now, DIALLING);
    assert_eq!(never_connected.end(), None);
    never_connected.handle_look(now, OVER);
    assert_eq!(
        never_connected.end(),
        Some(&End::Lost(
            "the Noise handshake failed; is it the edge with the configured key?".to_owned()
        ))
    );
}

#[test]
fn the_clients_reason_for_a_drop_is_kept() {
    let now = Instant::now();
    let mut progress = online(now);
    progress.handle_signal(now, Signal::Dropped("stream ended (EOF)".to_owned()));
    progress.handle_look(now, OVER);
    assert_eq!(progress.end(), Some(&End::Lost("stream ended (EOF)".to_owned())));
}

#[test]
fn the_first_end_stands() {
    let now = Instant::now();
    let mut progress = online(now);
    progress.handle_signal(now, Signal::End(End::LoggedOut));
    progress.handle_signal(now, Signal::End(End::Restart));
    progress.handle_look(now, OVER);
    assert_eq!(progress.end(), Some(&End::LoggedOut));
}

#[test]
fn a_login_that_nobody_answers_is_given_up() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_look(now, CONNECTED);
    let due = progress.poll_timeout().unwrap();
    assert_eq!(due, now + LIMITS.login);
    progress.handle_look(due - Duration::from_millis(1), CONNECTED);
    assert_eq!(progress.end(), None);
    progress.handle_look(due, CONNECTED);
    assert_eq!(
        progress.end(),
        Some(&End::Lost("WhatsApp did not answer the login".to_owned()))
    );
}

#[test]
fn a_pairing_waits_longer_than_a_login_and_shows_its_last_qr_code() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_look(now, CONNECTED);
    progress.handle_signal(now, qr("2@first"));
    progress.handle_signal(now, qr("2@second"));
    progress.handle_look(now + 60 * SECOND, CONNECTED);
    assert_eq!(progress.end(), None);
    let shown = PairingUpdate::Qr {
        code: "2@second".to_owned(),
        valid_for: 20 * SECOND,
    };
    assert_eq!(progress.state(me), SessionState::Pairing(shown));

    progress.handle_signal(now, Signal::QrsOver { alone: true });
    assert_eq!(progress.end(), Some(&End::PairingExpired));
}

#[test]
fn a_linked_device_that_is_offered_a_pairing_is_logged_out() {
    let now = Instant::now();
    let mut progress = Progress::new(LIMITS, true);
    progress.handle_look(now, CONNECTED);
    progress.handle_signal(now, qr("2@x"));
    assert_eq!(progress.end(), Some(&End::LoggedOut));
}

#[test]
fn a_link_code_outlives_the_qr_codes_until_it_expires() {
    let now = Instant::now();
    let until = now + 180 * SECOND;
    let phone = "5511999990000".parse().unwrap();
    let mut progress = progress();
    progress.handle_look(now, CONNECTED);
    progress.handle_signal(now, qr("2@x"));
    progress.set_code(Some(code(until)));
    assert!(matches!(
        progress.state(me),
        SessionState::Pairing(PairingUpdate::Qr { .. })
    ));
    assert_eq!(progress.code_for(&phone, now), Some(&LinkCode::new("ABCD-EFGH")));
    assert_eq!(progress.code_for(&"5511999990001".parse().unwrap(), now), None);
    assert_eq!(progress.code_for(&phone, until), None);

    progress.handle_signal(now, Signal::QrsOver { alone: false });
    progress.handle_look(until - SECOND, CONNECTED);
    let shown = PairingUpdate::Code(LinkCode::new("ABCD-EFGH"));
    assert_eq!(
        (progress.end(), progress.state(me)),
        (None, SessionState::Pairing(shown))
    );
    assert_eq!(progress.poll_timeout(), Some(until));
    progress.handle_look(until, CONNECTED);
    assert_eq!(progress.end(), Some(&End::PairingExpired));
}

#[test]
fn a_link_code_that_whatsapp_withdraws_is_not_given_again() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_signal(now, qr("2@x"));
    progress.set_code(Some(code(now + 180 * SECOND)));
    progress.handle_signal(now, Signal::CodeOver);
    assert_eq!(progress.code_for(&"5511999990000".parse().unwrap(), now), None);
}

#[test]
fn whatever_ends_a_session_that_is_being_closed_it_was_closed() {
    let now = Instant::now();
    let mut progress = online(now);
    progress.handle_closing();
    assert_eq!(progress.end(), None);
    progress.handle_signal(now, Signal::End(End::LoggedOut));
    assert_eq!(progress.end(), Some(&End::Closed));
}
