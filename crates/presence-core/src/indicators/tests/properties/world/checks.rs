//! What must hold of the model, whatever happens.

use super::*;

impl World {
    /// Whoever heeds every change knows what is shown.
    pub(super) fn follow(&mut self) {
        while let Some(ShownChange { chat, shown }) = self.indicators.poll_change() {
            match shown {
                Some(shown) => drop(self.followed.insert(chat, shown)),
                None => drop(self.followed.remove(&chat)),
            }
        }
        assert_eq!(self.followed.len(), self.indicators.shown());
        let up = self.followed.iter().filter(|(_, shown)| shown.until > self.now);
        let now: BTreeMap<_, _> = self.indicators.shown_at(self.now).collect();
        assert_eq!(
            up.map(|(chat, shown)| (chat, *shown)).collect::<BTreeMap<_, _>>(),
            now
        );
    }

    /// What holds whenever nothing is left to poll.
    pub(super) fn check(&mut self) {
        self.follow();
        let now = self.now;
        let timeout = self.indicators.poll_timeout();
        assert!(
            timeout.is_none_or(|due| due > now),
            "a deadline lies behind the last timeout"
        );
        if !self.up {
            assert_eq!(timeout, None, "a session that is down has nothing to do");
            return;
        }
        for (number, person) in &self.persons {
            let phone = person
                .phone
                .filter(|(_, until)| *until > now)
                .map(|(indicator, _)| indicator);
            match person.wanted {
                Wanted::Held { indicator, end } => {
                    assert!(now < end, "{number}: past its end, and not paused");
                    assert!(
                        timeout.is_some_and(|due| due <= end),
                        "{number}: nobody will end it"
                    );
                    if !person.blinks {
                        assert_eq!(phone, Some(indicator), "{number}: not shown, though held");
                    }
                }
                Wanted::Nothing { owed: true } => {
                    let soon = now + TIMING.refresh;
                    assert!(
                        timeout.is_some_and(|due| due <= soon),
                        "{number}: nobody will pause it"
                    );
                }
                Wanted::Nothing { owed: false } if !person.blinks => assert_eq!(phone, None, "{number}"),
                Wanted::Nothing { .. } | Wanted::Once { .. } => {}
            }
        }
        self.check_availability();
    }

    fn check_availability(&mut self) {
        let shown = self.indicators.shown() > 0;
        match (self.busy, shown) {
            (true, false) => self.quiet_since = Some(self.now),
            (_, true) => self.quiet_since = None,
            (false, false) => {}
        }
        self.busy = shown;
        let lingers = self
            .quiet_since
            .is_some_and(|since| self.now < since + TIMING.linger);
        let available = self.availability == Some(Availability::Available);
        // While closing, it stays as it is until the last `paused` is out.
        if self.policy.keep_online {
            assert!(available || self.closing, "kept online, and not available");
        } else if self.policy.raise_availability {
            assert!(
                available || !shown,
                "something is shown, and the session is not available"
            );
            // While closing, it stays so for the sake of those that are still owed a `paused`.
            assert!(
                !available || shown || lingers || self.closing,
                "available for nothing"
            );
        } else {
            assert!(
                !available || self.closing,
                "available against the instance's will"
            );
        }
        // Nobody is woken for nothing.
        let nothing_to_lower = shown || !available || self.policy.keep_online;
        assert!(self.indicators.device_use.deadline(shown).is_none() || !nothing_to_lower);
        for name in 0..4 {
            let person = self.persons.get(&self.person(name));
            let held =
                person.is_some_and(|person| matches!(person.wanted, Wanted::Held { .. }) && !person.blinks);
            assert!(
                !held || self.indicators.is_shown(&jid(&name.to_string())),
                "{name}"
            );
        }
    }

    /// Everything ends when nothing more happens.
    pub(in crate::indicators::tests::properties) fn finish(&mut self) {
        self.fail_next = false;
        if !self.up {
            self.come_up();
            self.drain();
        }
        self.run(&Operation::Wait {
            ms: 120_000,
            late_ms: 0,
        });
        assert_eq!(self.indicators.poll_timeout(), None, "something is left to do");
        assert_eq!(self.indicators.shown(), 0);
        assert!(self.indicators.chats.is_empty(), "a chat is never forgotten");
        for (number, person) in &self.persons {
            assert!(person.is_over(), "{number}: {person:?}");
            assert!(
                person.phone.is_none_or(|(_, until)| until <= self.now),
                "{number} shows {person:?}"
            );
        }
        let resting = if self.policy.keep_online {
            Availability::Available
        } else {
            Availability::Unavailable
        };
        // Whoever is kept online is not made unavailable, or available, for the sake of leaving.
        assert!(self.availability == Some(resting) || self.closing && self.policy.keep_online);
    }
}
