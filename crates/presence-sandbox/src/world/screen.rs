//! What phones show: "typing…" until it is paused, replaced, or was not renewed for too long.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{InvalidNumber, Number};

/// How many past indicators one screen remembers.
const MAX_PAST: usize = 10_000;

/// How many screens there can be. When there are more, the one that first showed something is forgotten.
const MAX_SCREENS: usize = 100_000;

/// Where an indicator shows: on a phone, or in a group, for whose members the sandbox keeps one screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// On the phone with this number.
    Phone(Number),
    /// In the group `<first>@g.us`, or `<first>-<second>@g.us`.
    Group(u64, Option<u64>),
}

impl Place {
    /// The name of a group without `@g.us`; `None` for a phone.
    pub(crate) fn group_id(self) -> Option<String> {
        match self {
            Self::Phone(_) => None,
            Self::Group(first, None) => Some(first.to_string()),
            Self::Group(first, Some(second)) => Some(format!("{first}-{second}")),
        }
    }
}

impl FromStr for Place {
    type Err = InvalidNumber;

    /// The name of a group: `<digits>` or `<digits>-<digits>`, with or without `@g.us`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let user = text.strip_suffix("@g.us").unwrap_or(text);
        match user.split_once('-') {
            Some((first, second)) => Ok(Self::Group(group_part(first)?, Some(group_part(second)?))),
            None => Ok(Self::Group(group_part(user)?, None)),
        }
    }
}

fn group_part(text: &str) -> Result<u64, InvalidNumber> {
    let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(InvalidNumber::GROUP)
}

/// What an indicator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// "typing…"
    Typing,
    /// "recording audio…"
    Recording,
}

/// Why an indicator vanished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Why {
    /// The sender showed another one in its place.
    Replaced,
    /// The sender paused it.
    Paused,
    /// The sender did not renew it in time.
    Expired,
}

/// An indicator that shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Indicator {
    /// The sender's number.
    pub from: Number,
    /// What it says.
    pub state: State,
    /// Since when: milliseconds since the sandbox started.
    #[serde(rename = "shown_at_ms", serialize_with = "as_millis")]
    pub shown_at: Duration,
    /// When it vanishes unless it is renewed: milliseconds since the sandbox started.
    #[serde(rename = "expires_at_ms", serialize_with = "as_millis")]
    pub expires_at: Duration,
}

/// A time during which an indicator showed without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spell {
    /// The sender's number.
    pub from: Number,
    /// What it said.
    pub state: State,
    /// Since when: milliseconds since the sandbox started.
    #[serde(rename = "shown_at_ms", serialize_with = "as_millis")]
    pub shown_at: Duration,
    /// Until when; `None` while it shows.
    #[serde(rename = "hidden_at_ms", serialize_with = "as_opt_millis")]
    pub hidden_at: Option<Duration>,
    /// Why it vanished; `None` while it shows.
    pub why: Option<Why>,
}

/// A screen, now and before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// What shows now, by sender.
    pub now: Vec<Indicator>,
    /// Everything that ever showed, in the order in which it appeared, what shows now included.
    pub timeline: Vec<Spell>,
    /// Counts what appeared and vanished, so that a reader can wait for the next change.
    pub version: u64,
}

impl Shown {
    /// What shows now, without the times.
    #[must_use]
    pub fn states(&self) -> Vec<(Number, State)> {
        self.now
            .iter()
            .map(|indicator| (indicator.from, indicator.state))
            .collect()
    }
}

#[derive(Debug)]
pub(super) struct Screens {
    expire_after: Duration,
    screens: HashMap<Place, Screen>,
    /// In the order in which they first showed something.
    order: VecDeque<Place>,
    deadlines: BTreeSet<(Duration, Place, Number)>,
}

#[derive(Debug, Default)]
struct Screen {
    now: BTreeMap<Number, Indicator>,
    past: VecDeque<Spell>,
    version: u64,
}

impl Screens {
    pub(super) fn new(expire_after: Duration) -> Self {
        Self {
            expire_after,
            screens: HashMap::new(),
            order: VecDeque::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// `from` shows `state` in `place`, or renews it.
    pub(super) fn show(&mut self, now: Duration, place: Place, from: Number, state: State) {
        let expires_at = now + self.expire_after;
        let (mut shown_at, mut appeared) = (now, true);
        match self.screens.get(&place).and_then(|screen| screen.now.get(&from)) {
            Some(same) if same.state == state => {
                (shown_at, appeared) = (same.shown_at, false);
                self.deadlines.remove(&(same.expires_at, place, from));
            }
            Some(_) => self.hide(now, place, from, Why::Replaced),
            None => self.make_room_for(place),
        }
        let screen = self.screens.entry(place).or_default();
        screen.version += u64::from(appeared);
        screen.now.insert(
            from,
            Indicator {
                from,
                state,
                shown_at,
                expires_at,
            },
        );
        self.deadlines.insert((expires_at, place, from));
    }

    /// `from` paused what it showed in `place`, if anything.
    pub(super) fn pause(&mut self, now: Duration, place: Place, from: Number) {
        self.hide(now, place, from, Why::Paused);
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        while let Some(&(due, place, from)) = self.deadlines.first() {
            if due > now {
                break;
            }
            // Hidden when it was due, however late this call is.
            self.hide(due, place, from, Why::Expired);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.first().map(|(due, ..)| *due)
    }

    pub(super) fn shown(&self, place: Place) -> Shown {
        let Some(screen) = self.screens.get(&place) else {
            return Shown::default();
        };
        let now: Vec<_> = screen.now.values().cloned().collect();
        let open = now.iter().map(|indicator| Spell {
            from: indicator.from,
            state: indicator.state,
            shown_at: indicator.shown_at,
            hidden_at: None,
            why: None,
        });
        let mut timeline: Vec<_> = screen.past.iter().cloned().chain(open).collect();
        timeline.sort_by_key(|spell| spell.shown_at);
        Shown {
            now,
            timeline,
            version: screen.version,
        }
    }

    fn hide(&mut self, at: Duration, place: Place, from: Number, why: Why) {
        let Some(screen) = self.screens.get_mut(&place) else {
            return;
        };
        let Some(Indicator {
            from,
            state,
            shown_at,
            expires_at,
        }) = screen.now.remove(&from)
        else {
            return;
        };
        self.deadlines.remove(&(expires_at, place, from));
        screen.version += 1;
        screen.past.push_back(Spell {
            from,
            state,
            shown_at,
            hidden_at: Some(at),
            why: Some(why),
        });
        if screen.past.len() > MAX_PAST {
            screen.past.pop_front();
        }
    }

    fn make_room_for(&mut self, place: Place) {
        if self.screens.contains_key(&place) {
            return;
        }
        if self.order.len() >= MAX_SCREENS
            && let Some(oldest) = self.order.pop_front()
            && let Some(screen) = self.screens.remove(&oldest)
        {
            for indicator in screen.now.values() {
                self.deadlines
                    .remove(&(indicator.expires_at, oldest, indicator.from));
            }
        }
        self.order.push_back(place);
    }
}

pub(super) fn as_millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn as_opt_millis<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => as_millis(time, serializer),
        None => serializer.serialize_none(),
    }
}
