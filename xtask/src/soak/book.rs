//! What the last command in each chat promised, and so what a phone must show at a moment.

use std::time::{Duration, Instant};

use super::FORGOTTEN;

/// How far the clocks of three processes under load may be apart.
const SLACK: Duration = Duration::from_millis(1500);

/// What a phone shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    Typing,
    Recording,
    Nothing,
}

/// A chat of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Page {
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

impl Page {
    /// A command was answered with 200.
    pub(super) fn took(&mut self, screen: Screen, hold: Option<Duration>, asked: Instant, answered: Instant) {
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
    pub(super) fn failed(&mut self, at: Instant) {
        self.doubted = Some(at);
    }

    /// What the phone must show at `now`; `None` when either would be right. `void` is when the instance last
    /// forgot all it showed: its server was restarted, or its phone unlinked.
    pub(super) fn expected(&self, now: Instant, void: Option<Instant>) -> Option<Screen> {
        let Some(promise) = self.taken else {
            // Nothing was ever taken; what was not answered may have been shown.
            return self
                .doubted
                .is_none_or(|at| now > at + FORGOTTEN)
                .then_some(Screen::Nothing);
        };
        if let Some(void) = void.filter(|void| promise.asked <= *void) {
            return (now > void + FORGOTTEN).then_some(Screen::Nothing);
        }
        let ends = promise.hold.unwrap_or(FORGOTTEN);
        let settled = self.doubted.map_or(promise.answered, |at| at + FORGOTTEN);
        if now > (promise.answered + ends + SLACK).max(settled) {
            return Some(Screen::Nothing);
        }
        match (promise.screen, promise.hold) {
            // A pause may be lost with a connection; then the phone hides the indicator by itself.
            (Screen::Nothing, _) => (now > promise.answered + FORGOTTEN).then_some(Screen::Nothing),
            (shown, Some(hold)) if self.doubted.is_none() && now + SLACK < promise.asked + hold => {
                Some(shown)
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
        let mut page = Page::default();
        assert_eq!(page.expected(t0, None), Some(Screen::Nothing));

        page.took(Screen::Typing, Some(Duration::from_secs(30)), t0, t0);
        assert_eq!(page.expected(at(20), None), Some(Screen::Typing));
        assert_eq!(
            page.expected(at(30), None),
            None,
            "the moment of change is anybody's"
        );
        assert_eq!(page.expected(at(32), None), Some(Screen::Nothing));
        assert_eq!(
            page.expected(at(13), Some(at(1))),
            Some(Screen::Nothing),
            "a restart forgets it"
        );

        page.failed(at(5));
        assert_eq!(page.expected(at(20), None), None);
        assert_eq!(page.expected(at(32), None), Some(Screen::Nothing));
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
