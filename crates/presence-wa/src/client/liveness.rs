//! Whether somebody still listens, judged by what goes out and what comes in.
//!
//! WhatsApp acknowledges no presence: a peer that has gone mute takes them all, and nobody sees them. The
//! client's own pings find that out after 35 to 50 s. So the peer is pinged when something was sent and
//! nothing came in since, and only then: a session that shows nothing sends no more than the client would.

use std::time::Duration;

use tokio::time::Instant;

/// How long the peer may be silent after a stanza of ours before it is pinged. A held indicator is sent again
/// every 5 s, so this makes for one ping between two of its stanzas, and none in a chat where people talk.
const QUIET: Duration = Duration::from_secs(3);
/// How long it may take to answer. With [`QUIET`] and the second between two looks it stays within 10 s.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What to do about a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Ping it.
    Ping,
    /// Give it up.
    Dead,
}

/// Watches for silence.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    sent: u64,
    received: u64,
    wait: Wait,
}

#[derive(Clone, Copy, Debug, Default)]
enum Wait {
    #[default]
    Nothing,
    /// Something was sent at this time, and nothing came in since.
    Sign(Instant),
    /// Nor did anything when it was pinged, at this time.
    Pong(Instant),
}

impl Liveness {
    /// Takes in how many stanzas of ours were sent until `now`, and how many frames were received.
    pub(super) fn handle_counts(&mut self, now: Instant, sent: u64, received: u64) -> Option<Silence> {
        if received != self.received {
            self.wait = Wait::Nothing;
        }
        // Of what went out and came in between two looks, either may have been the first.
        if sent != self.sent && matches!(self.wait, Wait::Nothing) {
            self.wait = Wait::Sign(now);
        }
        (self.sent, self.received) = (sent, received);
        match self.wait {
            Wait::Sign(since) if now >= since + QUIET => {
                self.wait = Wait::Pong(now);
                Some(Silence::Ping)
            }
            Wait::Pong(since) if now >= since + PING_TIMEOUT => Some(Silence::Dead),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of counts at whole seconds, each with what was sent and received until then.
    fn seen_in(counts: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, Silence)> {
        let (start, mut liveness) = (Instant::now(), Liveness::default());
        let seconds = (0..).zip(counts);
        let silences = seconds.filter_map(|(second, (sent, received))| {
            let now = start + Duration::from_secs(second);
            Some((second, liveness.handle_counts(now, sent, received)?))
        });
        silences.collect()
    }

    #[test]
    fn who_is_told_nothing_may_be_silent() {
        assert_eq!(seen_in([(0, 0); 100]), []);
        assert_eq!(seen_in([(0, 7); 100]), []);
    }

    #[test]
    fn silence_after_a_stanza_is_met_with_a_ping_and_then_taken_for_death() {
        let silences = seen_in([(1, 7); 9]);
        assert_eq!(silences, [(3, Silence::Ping), (8, Silence::Dead)]);
        // Further stanzas put nothing off.
        let silences = seen_in((1..=9).map(|sent| (sent, 7)));
        assert_eq!(silences, [(3, Silence::Ping), (8, Silence::Dead)]);
    }

    #[test]
    fn any_sign_of_life_is_enough() {
        assert_eq!(seen_in([(1, 7), (1, 7), (1, 8), (1, 8), (1, 8), (1, 8)]), []);
        let answered = (0..100).map(|second| (1, if second < 4 { 7 } else { 8 }));
        assert_eq!(seen_in(answered), [(3, Silence::Ping)]);
    }

    #[test]
    fn what_came_in_before_the_stanza_is_no_answer_to_it() {
        let silences = seen_in([(0, 7), (1, 8), (1, 8), (1, 8), (1, 8)]);
        assert_eq!(silences, [(4, Silence::Ping)]);
    }
}
