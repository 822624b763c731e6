//! What it costs, at most.

use super::*;

/// An allocation of the machine's own shows in what it has allocated, since it keeps nothing but `chats`.
#[test]
fn a_renewal_allocates_nothing() {
    let mut session = Session::new();
    for chat in 0..1_000 {
        session.show(0.0, &chat.to_string(), TYPING, 60);
    }
    let (allocated, chat) = (session.indicators.chats.allocated(), jid("7"));
    session.wait_until(54.0);
    assert_eq!(
        session
            .sent
            .iter()
            .filter(|line| line.contains("Composing"))
            .count(),
        11_000
    );
    assert_eq!(session.indicators.chats.allocated(), allocated);

    // Nor does it copy the JID: what is polled shares the one that is kept.
    let (kept, _) = session.indicators.chats.first().unwrap();
    let kept = kept.as_str().as_ptr();
    session
        .indicators
        .handle_timeout(session.start + Duration::from_secs(55));
    let Some(Transmit::ChatState { chat: polled, .. }) = session.indicators.poll_transmit() else {
        panic!("a renewal is due");
    };
    assert_eq!(polled.as_str().as_ptr(), kept);
    assert_ne!(chat.as_str().as_ptr(), kept);
}

#[test]
fn there_is_a_limit_to_the_chats_of_a_session() {
    let mut session = Session::new();
    let show = Command::Show(TYPING, None);
    for chat in 0..MAX_CHATS {
        session
            .indicators
            .handle_command(session.now, jid(&chat.to_string()), show)
            .unwrap();
    }
    let one_more = jid("99999999");
    let refused = session
        .indicators
        .handle_command(session.now, one_more.clone(), show);
    assert_eq!(refused, Err(Refused::TooManyChats));
    assert_eq!(
        session
            .indicators
            .handle_command(session.now, jid("0"), Command::Pause),
        Ok(())
    );
    session.drain();
    assert_eq!(session.indicators.shown(), MAX_CHATS - 1);
    assert_eq!(
        session.indicators.handle_command(session.now, one_more, show),
        Ok(())
    );
    // A failure that comes too late finds no room for a `paused` that is owed.
    session.drain();
    session
        .indicators
        .handle_failure(session.now, &jid("0"), Cause::Shutdown);
    assert_eq!(session.indicators.chats.len(), MAX_CHATS);
    assert_eq!(session.indicators.shown(), MAX_CHATS);
}

#[test]
fn no_timing_makes_it_panic_or_send_for_ever() {
    for extreme in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let mut session = Session::new();
        let timing = Timing {
            refresh: extreme,
            display: extreme,
            linger: extreme,
        };
        session.indicators = Indicators::new(timing, Policy::default());
        session.up(0.0);
        session.show(0.0, "7", TYPING, 60);
        session.show(0.0, "8", TYPING, 0);
        session.suspend_until(session.start + Duration::from_secs(90 * 24 * 60 * 60));
        assert!(session.sent.len() < 70, "{:?}", session.sent);
    }
}

#[test]
fn without_a_refresh_nothing_is_sent_again() {
    let mut session = Session::new();
    let timing = Timing {
        refresh: Duration::ZERO,
        ..Timing::default()
    };
    session.indicators = Indicators::new(timing, Policy::default());
    session.up(0.0);
    session.show(0.0, "7", TYPING, 60);
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "60 7 Paused"]);
}
