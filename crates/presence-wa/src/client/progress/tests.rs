//! Each event, each sight, and what follows.

use ::whatsapp_rust::wacore::chrono;
use ::whatsapp_rust::wacore::types::events::{
    ClientOutdated, ConnectFailure, Connected, LoggedOut, PairError, PairSuccess, PairingQrCode,
    PairingQrCodesExhausted, StreamReplaced, TempBanReason, TemporaryBan,
};

use super::*;
use crate::session::Identity;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    login: Duration::from_secs(10),
    ready: Duration::from_secs(2),
};
const DIALLING: Sight = Sight {
    running: true,
    connected: false,
    logged_in: false,
};
const CONNECTED: Sight = Sight {
    connected: true,
    ..DIALLING
};
const LOGGED_IN: Sight = Sight {
    logged_in: true,
    ..CONNECTED
};
const OVER: Sight = Sight {
    running: false,
    ..DIALLING
};

fn me() -> Online {
    Online {
        identity: Identity {
            jid: "5511999990000@s.whatsapp.net".to_owned(),
            push_name: Some("Ana".to_owned()),
        },
        moved_to_lids: true,
        self_announced: 0,
    }
}

fn progress() -> Progress {
    Progress::new(LIMITS, false)
}

fn online(now: Instant) -> Progress {
    let mut progress = progress();
    progress.handle_sight(now, LOGGED_IN);
    progress.handle_signal(now, Signal::Ready);
    progress.handle_sight(now, LOGGED_IN);
    assert_eq!(progress.state(me), SessionState::Online(me()));
    progress
}

fn pairing(now: Instant) -> Progress {
    let mut progress = progress();
    progress.handle_sight(now, CONNECTED);
    progress.handle_signal(now, qr("2@x"));
    progress
}

fn linked(now: Instant) -> Progress {
    let mut progress = pairing(now);
    progress.handle_signal(now, Signal::Linked);
    assert_eq!((progress.end(), progress.state(me)), (None, SessionState::Linked));
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
    let logged_out = |on_connect| {
        let logout = LoggedOut::builder()
            .on_connect(on_connect)
            .reason(ConnectFailureReason::LoggedOut);
        Event::LoggedOut(logout.build())
    };
    let jid = ::whatsapp_rust::Jid::pn("5511999990000");
    let pair_error = PairError::builder()
        .id(jid.clone())
        .lid(jid)
        .business_name(String::new())
        .platform(String::new())
        .error("bad signature".to_owned())
        .build();
    let rejected = |code| End::Rejected(Some(code));
    let rows = [
        (logged_out(true), End::LoggedOut { at_login: true }),
        (logged_out(false), End::LoggedOut { at_login: false }),
        (
            Event::StreamReplaced(StreamReplaced::builder().build()),
            End::Replaced,
        ),
        (
            Event::ClientOutdated(ClientOutdated::builder().build()),
            End::Outdated,
        ),
        (
            Event::PairError(pair_error),
            End::PairingFailed("bad signature".to_owned()),
        ),
        (ban(chrono::Duration::seconds(90)), End::Banned(Some(90 * SECOND))),
        (ban(chrono::Duration::seconds(-1)), End::Banned(None)),
        (failure(ConnectFailureReason::TempBanned), End::Banned(None)),
        (failure(ConnectFailureReason::Generic), rejected(400)),
        (failure(ConnectFailureReason::BadUserAgent), rejected(409)),
        (failure(ConnectFailureReason::CatExpired), rejected(413)),
        (failure(ConnectFailureReason::CatInvalid), rejected(414)),
        (failure(ConnectFailureReason::NotFound), rejected(415)),
        (failure(ConnectFailureReason::ClientUnknown), rejected(418)),
        (failure(ConnectFailureReason::Unknown(777)), rejected(777)),
        (failure(ConnectFailureReason::Unknown(429)), rejected(429)),
        (failure(ConnectFailureReason::Unknown(0)), End::Rejected(None)),
        (failure(ConnectFailureReason::Unknown(-1)), End::Rejected(None)),
        (
            failure(ConnectFailureReason::Unknown(70_000)),
            End::Rejected(None),
        ),
        (failure(ConnectFailureReason::Experimental), rejected(501)),
        (failure(ConnectFailureReason::InternalServerError), rejected(500)),
        (failure(ConnectFailureReason::ServiceUnavailable), rejected(503)),
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
    let jid = ::whatsapp_rust::Jid::pn("5511999990000");
    let paired = PairSuccess::builder()
        .id(jid.clone())
        .lid(jid)
        .business_name(String::new())
        .platform(String::new())
        .build();
    let rows = [
        (Event::PairingQrCode(qr_code), qr("2@x")),
        (
            Event::PairingQrCodesExhausted(over),
            Signal::QrsOver { alone: true },
        ),
        (Event::Connected(Connected::builder().build()), Signal::Ready),
        (Event::PairSuccess(paired), Signal::Linked),
    ];
    for (event, signal) in rows {
        assert_eq!(Signal::of_event(&event), Some(signal), "{event:?}");
    }
}

#[test]
fn stream_errors_without_an_event_are_told_apart() {
    let rejected = |code| Some(Signal::End(End::Rejected(Some(code))));
    let rows = [
        ("515", Some(Signal::End(End::Restart))),
        ("429", rejected(429)),
        ("503", rejected(503)),
        ("500", rejected(500)),
        ("777", rejected(777)),
        // These raise events.
        ("401", None),
        ("409", None),
        ("516", None),
        // One without a code is about a stanza and not about the session.
        ("", None),
        ("x", None),
    ];
    for (code, signal) in rows {
        assert_eq!(Signal::of_stream_error(code), signal, "{code}");
    }
}

#[test]
fn a_session_is_online_when_the_client_has_done_its_part_after_the_login() {
    let now = Instant::now();
    let mut progress = progress();
    for sight in [DIALLING, CONNECTED, LOGGED_IN] {
        progress.handle_sight(now, sight);
        assert_eq!(progress.state(me), SessionState::Connecting, "{sight:?}");
        assert!(!progress.is_online(), "{sight:?}");
    }
    progress.handle_signal(now, Signal::Ready);
    assert!(progress.is_online());
    assert_eq!(progress.state(me), SessionState::Online(me()));
    assert_eq!((progress.end(), progress.poll_timeout()), (None, None));
    progress.finish(End::Replaced);
    assert!(!progress.is_online());
}

#[test]
fn a_login_whose_rest_is_withheld_is_online_after_the_limit() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_sight(now, LOGGED_IN);
    let due = progress.poll_timeout().unwrap();
    assert_eq!(due, now + LIMITS.ready);
    progress.handle_sight(due - SECOND / 1000, LOGGED_IN);
    assert!(!progress.is_online());
    progress.handle_sight(due, LOGGED_IN);
    assert_eq!(progress.state(me), SessionState::Online(me()));

    progress.handle_signal(now + 60 * SECOND, Signal::Ready);
    assert_eq!(progress.state(me), SessionState::Online(me()));
}

#[test]
fn what_the_client_announces_by_itself_is_counted() {
    let now = Instant::now();
    let mut progress = online(now);
    for self_announced in [1, 2] {
        progress.handle_signal(now, Signal::SelfAnnounced);
        let online = Online {
            self_announced,
            ..me()
        };
        assert_eq!(progress.state(me), SessionState::Online(online));
    }
}

#[test]
fn a_linked_device_waits_for_the_end_of_its_connection() {
    let now = Instant::now();
    let lost = || End::Lost("it broke".to_owned());
    let rows = [
        (lost(), End::Paired),
        (End::Restart, End::Paired),
        (End::Rejected(Some(503)), End::Paired),
        (End::Rejected(None), End::Paired),
        (
            End::LoggedOut { at_login: false },
            End::LoggedOut { at_login: false },
        ),
        (End::Replaced, End::Replaced),
        (End::Outdated, End::Outdated),
        (End::Banned(None), End::Banned(None)),
    ];
    for (end, expected) in rows {
        let mut progress = linked(now);
        progress.handle_signal(now, Signal::End(end.clone()));
        assert_eq!(progress.end(), Some(&expected), "{end:?}");
    }
    let mut over = linked(now);
    over.handle_sight(now, OVER);
    assert_eq!(over.end(), Some(&End::Paired));
}

#[test]
fn a_linked_device_waits_ten_seconds_at_most() {
    let now = Instant::now();
    let mut progress = linked(now);
    let due = progress.poll_timeout().unwrap();
    assert_eq!(due, now + 10 * SECOND);
    // QR codes of before are no news any more.
    progress.handle_signal(now, qr("2@y"));
    progress.handle_signal(now, Signal::QrsOver { alone: true });
    progress.handle_signal(now, Signal::CodeOver);
    progress.handle_sight(due - SECOND / 1000, CONNECTED);
    assert_eq!((progress.end(), progress.state(me)), (None, SessionState::Linked));
    progress.handle_sight(due, CONNECTED);
    assert_eq!(progress.end(), Some(&End::Paired));
}

#[test]
fn a_linked_device_that_is_closed_says_so() {
    let now = Instant::now();
    let mut progress = linked(now);
    progress.handle_closing();
    progress.handle_sight(now, OVER);
    assert_eq!(progress.end(), Some(&End::Closed));
}

#[test]
fn what_raises_no_event_is_seen() {
    let now = Instant::now();
    let rows = [
        ("the connection broke", DIALLING),
        ("the connection broke", OVER),
        ("WhatsApp took the login back", CONNECTED),
    ];
    for (why, sight) in rows {
        let mut progress = online(now);
        progress.handle_sight(now, sight);
        assert_eq!(progress.end(), Some(&End::Lost(why.to_owned())), "{sight:?}");
    }
    let mut never_connected = progress();
    never_connected.handle_sight(now, DIALLING);
    assert_eq!(never_connected.end(), None);
    never_connected.handle_sight(now, OVER);
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
    progress.handle_sight(now, OVER);
    assert_eq!(progress.end(), Some(&End::Lost("stream ended (EOF)".to_owned())));
}

#[test]
fn the_first_end_stands() {
    let now = Instant::now();
    let mut progress = online(now);
    progress.handle_signal(now, Signal::End(End::LoggedOut { at_login: false }));
    progress.handle_signal(now, Signal::End(End::Restart));
    progress.handle_sight(now, OVER);
    assert_eq!(progress.end(), Some(&End::LoggedOut { at_login: false }));
}

#[test]
fn a_login_that_nobody_answers_is_given_up() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_sight(now, CONNECTED);
    let due = progress.poll_timeout().unwrap();
    assert_eq!(due, now + LIMITS.login);
    progress.handle_sight(due - Duration::from_millis(1), CONNECTED);
    assert_eq!(progress.end(), None);
    progress.handle_sight(due, CONNECTED);
    assert_eq!(
        progress.end(),
        Some(&End::Lost("WhatsApp did not answer the login".to_owned()))
    );
}

#[test]
fn a_pairing_waits_longer_than_a_login_and_shows_its_last_qr_code() {
    let now = Instant::now();
    let mut progress = progress();
    progress.handle_sight(now, CONNECTED);
    progress.handle_signal(now, qr("2@first"));
    progress.handle_signal(now, qr("2@second"));
    progress.handle_sight(now + 60 * SECOND, CONNECTED);
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
    progress.handle_sight(now, CONNECTED);
    progress.handle_signal(now, qr("2@x"));
    assert_eq!(progress.end(), Some(&End::LoggedOut { at_login: false }));
}

#[test]
fn a_link_code_outlives_the_qr_codes_until_it_expires() {
    let now = Instant::now();
    let until = now + 180 * SECOND;
    let phone = "5511999990000".parse().unwrap();
    let mut progress = pairing(now);
    progress.set_code(Some(code(until)));
    assert!(matches!(
        progress.state(me),
        SessionState::Pairing(PairingUpdate::Qr { .. })
    ));
    assert_eq!(progress.code_for(&phone, now), Some(&LinkCode::new("ABCD-EFGH")));
    assert_eq!(progress.code_for(&"5511999990001".parse().unwrap(), now), None);
    assert_eq!(progress.code_for(&phone, until), None);

    progress.handle_signal(now, Signal::QrsOver { alone: false });
    progress.handle_sight(until - SECOND, CONNECTED);
    let shown = PairingUpdate::Code(LinkCode::new("ABCD-EFGH"));
    assert_eq!(
        (progress.end(), progress.state(me)),
        (None, SessionState::Pairing(shown))
    );
    assert_eq!(progress.poll_timeout(), Some(until));
    progress.handle_sight(until, CONNECTED);
    assert_eq!(progress.end(), Some(&End::PairingExpired));
}

#[test]
fn a_link_code_that_whatsapp_withdraws_is_not_given_again() {
    let now = Instant::now();
    let mut progress = pairing(now);
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
    progress.handle_signal(now, Signal::End(End::LoggedOut { at_login: false }));
    assert_eq!(progress.end(), Some(&End::Closed));
}
