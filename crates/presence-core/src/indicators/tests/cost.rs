//! What operations allocate.

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
