//! What the last command in each chat promised, and so what a phone must show at a moment.

use std::time::{Duration, Instant};

/// How long a phone shows what nobody renews or pauses any more, with room for the reader.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(11);
/// How far the clocks of three processes under load may be apart.
const SLACK: Duration = Duration::from_millis(1500);

/// What a phone shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    Typing,
    Recording,
    Nothing,
}

/// A chat of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Page {
    /// The last command that was taken.
    taken: Option<Promise>,
    /// When a later command was refused or not answered: whether the promise still holds is anybody's guess.
    doubted: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    screen: Screen,
    asked: Instant,
    answered: Instant,
    hold: Option<Duration>,
}

/// An instance forgot all it showed, at some moment between these two: its server was restarted, its phone was
/// unlinked, or its task panicked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forgot {
    pub(crate) after: Instant,
    pub(crate) before: Instant,
    /// Nobody knows whether it did: a task that is offline does not get to see what makes it panic.
    pub(crate) perhaps: bool,
}

impl Page {
    /// A command was answered with 200.
    pub(crate) fn took(&mut self, screen: Screen, hold: Option<Duration>, asked: Instant, answered: Instant) {
        *self = Self {
            taken: Some(Promise {
                screen,
                asked,
                answered,
                hold,
            }),
            doubted: None,
        };
    }

    /// A command was refused, or not answered.
    pub(crate) fn failed(&mut self, at: Instant) {
        self.doubted = Some(at);
    }

    /// What was taken after `since` may not have been kept by a node that was lost. What was shown before it may be
    /// shown again then, until `until` at the latest.
    pub(crate) fn doubt(&mut self, since: Instant, until: Instant) {
        if self.taken.is_some_and(|promise| promise.answered >= since) {
            self.failed(until);
        }
    }

    /// What a phone must show that was looked at some time from `asked` to `answered`; `None` when either would be
    /// right. On a busy machine a look takes longer than what ends meanwhile is given.
    pub(crate) fn expected_between(
        &self,
        asked: Instant,
        answered: Instant,
        forgot: Option<Forgot>,
    ) -> Option<Screen> {
        let expected = self.expected(asked, forgot)?;
        (self.expected(answered, forgot) == Some(expected)).then_some(expected)
    }

    /// What the phone must show at `now`; `None` when either would be right. `forgot` is when the instance did
    /// so last.
    fn expected(&self, now: Instant, forgot: Option<Forgot>) -> Option<Screen> {
        let Some(promise) = self.taken else {
            // Nothing was ever taken; what was not answered may have been shown.
            return self
                .doubted
                .is_none_or(|at| now > at + FORGOTTEN)
                .then_some(Screen::Nothing);
        };
        if let Some(forgot) = forgot.filter(|forgot| !forgot.perhaps && promise.answered <= forgot.after) {
            return (now > forgot.before + FORGOTTEN).then_some(Screen::Nothing);
        }
        // What was asked for in that very moment may have been forgotten, or not.
        let certain = self.doubted.is_none() && forgot.is_none_or(|forgot| forgot.before < promise.asked);
        let ends = promise.hold.unwrap_or(FORGOTTEN);
        let settled = self.doubted.map_or(promise.answered, |at| at + FORGOTTEN);
        if now > (promise.answered + ends + SLACK).max(settled) {
            return Some(Screen::Nothing);
        }
        match (promise.screen, promise.hold) {
            // A pause may be lost with a connection; then the phone hides the indicator by itself.
            (Screen::Nothing, _) => {
                let forgotten = self.doubted.is_none() && now > promise.answered + FORGOTTEN;
                forgotten.then_some(Screen::Nothing)
            }
            // It was written before it was answered, and is read when the phone's process has its turn.
            (shown, Some(hold)) if certain && now > promise.answered + SLACK => {
                (now + SLACK < promise.asked + hold).then_some(shown)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    //! What must be shown when, by example.

    use super::*;

    #[test]
    fn a_hold_is_shown_until_it_ends_and_doubt_ends_with_it() {
        let t0 = Instant::now();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let forgot = |after, before| {
            Some(Forgot {
                after: at(after),
                before: at(before),
                perhaps: false,
            })
        };
        let mut page = Page::default();
        assert_eq!(page.expected(t0, None), Some(Screen::Nothing));

        page.took(Screen::Typing, Some(Duration::from_secs(30)), t0, t0);
        assert_eq!(page.expected(at(1), None), None, "it may be on its way");
        assert_eq!(page.expected(at(2), None), Some(Screen::Typing));
        assert_eq!(page.expected(at(20), None), Some(Screen::Typing));
        assert_eq!(
            page.expected(at(30), None),
            None,
            "the moment of change is anybody's"
        );
        assert_eq!(page.expected(at(32), None), Some(Screen::Nothing));
        assert_eq!(
            page.expected(at(14), forgot(1, 2)),
            Some(Screen::Nothing),
            "a restart forgets it"
        );
        let perhaps = forgot(1, 2).map(|forgot| Forgot {
            perhaps: true,
            ..forgot
        });
        assert_eq!(page.expected(at(20), perhaps), None);
        assert_eq!(page.expected(at(32), perhaps), Some(Screen::Nothing));
        page.took(Screen::Typing, Some(Duration::from_secs(30)), at(1), at(1));
        assert_eq!(page.expected(at(20), forgot(0, 2)), None, "it was just then");
        assert_eq!(page.expected(at(33), forgot(0, 2)), Some(Screen::Nothing));
        page.took(Screen::Typing, Some(Duration::from_secs(30)), t0, t0);

        page.failed(at(5));
        assert_eq!(page.expected(at(20), None), None);
        assert_eq!(page.expected(at(32), None), Some(Screen::Nothing));
    }

    #[test]
    fn a_look_during_which_something_ends_may_have_seen_either() {
        let t0 = Instant::now();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let mut page = Page::default();
        page.took(Screen::Typing, Some(Duration::from_secs(30)), t0, t0);
        let rows = [
            (10, 20, Some(Screen::Typing)),
            (28, 32, None),
            (20, 40, None),
            (32, 40, Some(Screen::Nothing)),
        ];
        for (asked, answered, expected) in rows {
            assert_eq!(
                page.expected_between(at(asked), at(answered), None),
                expected,
                "{asked}"
            );
        }
    }

    #[test]
    fn a_pause_that_was_lost_with_its_node_counts_when_what_was_before_it_is_over() {
        let t0 = Instant::now();
        let (forgotten, until) = (t0 + FORGOTTEN + SLACK * 2, t0 + Duration::from_secs(31));
        let mut page = Page::default();
        page.took(Screen::Nothing, None, t0, t0);
        page.doubt(t0 + SLACK, until);
        assert_eq!(
            page.expected(forgotten, None),
            Some(Screen::Nothing),
            "it was kept"
        );
        page.doubt(t0, until);
        assert_eq!(page.expected(forgotten, None), None);
        assert_eq!(
            page.expected(until + FORGOTTEN + SLACK, None),
            Some(Screen::Nothing)
        );
    }

    #[test]
    fn a_pause_counts_at_the_latest_when_the_phone_has_forgotten() {
        let t0 = Instant::now();
        let mut page = Page::default();
        page.took(Screen::Nothing, None, t0, t0);
        assert_eq!(page.expected(t0 + Duration::from_secs(3), None), None);
        assert_eq!(
            page.expected(t0 + Duration::from_secs(13), None),
            Some(Screen::Nothing)
        );
    }
}
