//! Whatever happens, in whatever order: never wedged, never hammering, no key wiped that may still be good.

use proptest::prelude::*;

use super::*;

/// Something that happens to an instance.
#[derive(Clone, Debug)]
enum Happening {
    Connect,
    ConnectByCode,
    Reconnect,
    Logout,
    Remove,
    /// The session that is open says this.
    Session(SessionState),
    Faulty,
    /// The job under way ends: well, or not.
    Job(bool),
    /// Another instance has logged in.
    Reached,
    /// The task panics.
    Panic,
    /// Time passes, in milliseconds.
    Wait(u64),
    /// Time passes until the next deadline.
    Deadline,
}

fn session_state() -> impl Strategy<Value = SessionState> {
    let online = Online {
        identity: identity(),
        ..Online::default()
    };
    prop_oneof![
        3 => Just(SessionState::Online(online)),
        1 => Just(SessionState::Linked),
        6 => end().prop_map(SessionState::Ended),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::Closed),
        Just(End::Lost("reset".to_owned())),
        Just(End::Paired),
        Just(End::Restart),
        Just(End::PairingExpired),
        Just(End::PairingFailed("bad".to_owned())),
        any::<bool>().prop_map(|at_login| End::LoggedOut { at_login }),
        Just(End::Replaced),
        proptest::option::of(0_u64..100_000).prop_map(|secs| End::Banned(secs.map(Duration::from_secs))),
        Just(End::Outdated),
        proptest::option::of(0_u16..1000).prop_map(End::Rejected),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => Just(Happening::Connect),
        1 => Just(Happening::ConnectByCode),
        2 => Just(Happening::Reconnect),
        1 => Just(Happening::Logout),
        1 => prop_oneof![40 => Just(Happening::Faulty), 1 => Just(Happening::Remove)],
        8 => session_state().prop_map(Happening::Session),
        16 => proptest::bool::weighted(0.9).prop_map(Happening::Job),
        2 => Just(Happening::Reached),
        1 => Just(Happening::Panic),
        4 => (0_u64..20_000).prop_map(Happening::Wait),
        6 => Just(Happening::Deadline),
    ]
}

/// An instance, its keys and what may be done with them.
struct Model {
    driver: Driver,
    /// Whether keys that are still good are on disk.
    paired: bool,
    /// Whoever may say so has said that they are good for nothing.
    may_wipe: bool,
    opened: Vec<Instant>,
}

impl Model {
    fn new(beginning: Beginning) -> Self {
        let paired = matches!(beginning.keys, Keys::Paired(_)) && !beginning.logged_out;
        let may_wipe = beginning.logged_out;
        let mut model = Self {
            driver: Driver::new(beginning),
            paired,
            may_wipe,
            opened: Vec::new(),
        };
        model.look();
        model
    }

    fn happen(&mut self, happening: &Happening) {
        let driver = &mut self.driver;
        let now = driver.now;
        match happening {
            Happening::Connect => {
                let _ = driver.lifecycle.handle_connect(now, PairWith::Qr);
            }
            Happening::ConnectByCode => {
                let how = PairWith::LinkCode("4915112345601".parse().unwrap());
                let _ = driver.lifecycle.handle_connect(now, how);
            }
            Happening::Reconnect => driver.lifecycle.handle_reconnect(now),
            Happening::Logout => {
                self.may_wipe = true;
                driver.lifecycle.handle_logout(now);
            }
            Happening::Remove => {
                self.may_wipe = true;
                driver.lifecycle.handle_remove(now);
            }
            Happening::Session(state) => self.tell(state),
            Happening::Faulty => driver.lifecycle.handle_faulty_session(now),
            Happening::Job(well) => self.end_job(*well),
            Happening::Reached => driver.lifecycle.handle_reached(now, now, &mut driver.rng),
            Happening::Panic => {
                let logged_out = driver.lifecycle.status().0 == InstanceState::LoggedOut;
                let beginning = Beginning {
                    keys: Keys::Unknown,
                    logged_out,
                    banned_until: None,
                    resume: !logged_out,
                };
                let until = now + Duration::from_secs(5);
                driver.lifecycle = Lifecycle::after_panic(now, FleetSettings::default(), beginning, until);
                // Its memory of what it opened is gone with it.
                self.opened.clear();
            }
            Happening::Wait(ms) => driver.now += Duration::from_millis(*ms),
            Happening::Deadline => {
                if let Some(deadline) = driver.lifecycle.poll_timeout() {
                    driver.now = driver.now.max(deadline);
                }
            }
        }
        self.look();
    }

    fn tell(&mut self, state: &SessionState) {
        if self.driver.lifecycle.session.is_none() {
            return;
        }
        match state {
            SessionState::Ended(End::LoggedOut { .. } | End::PairingFailed(_)) => self.may_wipe = true,
            SessionState::Ended(End::Paired) | SessionState::Linked => {
                self.paired = true;
                // Unless its owner has asked for that meanwhile.
                self.may_wipe &= !matches!(self.driver.lifecycle.goal, Goal::Online(_));
            }
            SessionState::Online(_) if !self.paired => return,
            _ => {}
        }
        let now = self.driver.now;
        self.driver
            .lifecycle
            .handle_session(now, state, &mut self.driver.rng);
    }

    fn end_job(&mut self, well: bool) {
        let Some(job) = self.driver.job() else { return };
        let done = match job {
            _ if !well => JobDone::Failed,
            Job::LoadKeys => JobDone::Loaded(self.paired.then(identity)),
            Job::RefreshVersion => JobDone::Refreshed(true),
            Job::Open => JobDone::Opened { direct: true },
            Job::WipeKeys => {
                self.paired = false;
                JobDone::Done
            }
            _ => JobDone::Done,
        };
        let now = self.driver.now;
        self.driver.lifecycle.handle_job(now, done, &mut self.driver.rng);
    }

    /// Polls, and checks what must hold in every moment.
    fn look(&mut self) {
        let driver = &mut self.driver;
        driver.lifecycle.handle_timeout(driver.now);
        driver.poll();
        driver.answers();
        for job in driver.take_begun() {
            match job {
                Job::WipeKeys => assert!(
                    self.may_wipe || !self.paired,
                    "keys are wiped that are still good"
                ),
                Job::Open => self.opened.push(driver.now),
                _ => {}
            }
        }
        let minute_ago = driver.now.checked_sub(Duration::from_secs(60));
        let recent = self
            .opened
            .iter()
            .filter(|at| minute_ago.is_none_or(|ago| **at > ago))
            .count();
        assert!(recent <= 12, "{recent} sessions were opened within a minute");
        self.is_not_wedged();
    }

    /// It works, waits for a deadline, has a session, or says why it does nothing.
    fn is_not_wedged(&self) {
        let lifecycle = &self.driver.lifecycle;
        assert!(
            lifecycle.keys != Keys::Useless || !matches!(lifecycle.goal, Goal::Online(_)),
            "useless keys are to be used: {lifecycle:?}"
        );
        if let Some(deadline) = lifecycle.poll_timeout() {
            assert!(
                deadline > self.driver.now,
                "a deadline in the past: {lifecycle:?}"
            );
        }
        let alive =
            lifecycle.job.is_some() || lifecycle.session.is_some() || lifecycle.poll_timeout().is_some();
        if !alive {
            let (state, _) = lifecycle.status();
            let rests = matches!(state, InstanceState::Disconnected | InstanceState::LoggedOut);
            assert!(rests || lifecycle.is_over(), "wedged: {lifecycle:?}");
        }
    }

    /// From here on everything goes well: a saved session that is wanted comes online within a day.
    fn recover(&mut self) {
        let (state, reason) = self.driver.lifecycle.status();
        let stopped = state == InstanceState::LoggedOut
            || (state == InstanceState::Disconnected
                && !matches!(
                    reason,
                    Some(Reason::Banned(_) | Reason::Refused { .. } | Reason::Outdated { .. })
                ));
        let deadline = self.driver.now + Duration::from_secs(2 * 24 * 60 * 60);
        while self.driver.now < deadline && !self.driver.lifecycle.is_online() {
            if self.driver.job().is_some() {
                self.end_job(true);
            } else if self.driver.lifecycle.session.is_some() {
                let online = Online {
                    identity: identity(),
                    ..Online::default()
                };
                if !self.paired {
                    break;
                }
                self.tell(&SessionState::Online(online));
            } else {
                match self.driver.lifecycle.poll_timeout() {
                    Some(deadline) => {
                        assert!(
                            deadline > self.driver.now,
                            "a deadline in the past: {:?}",
                            self.driver.lifecycle
                        );
                        self.driver.now = deadline;
                    }
                    None => break,
                }
            }
            self.look();
        }
        assert!(
            self.driver.lifecycle.is_online() || stopped || !self.paired || self.may_wipe,
            "it never came back: {:?}",
            self.driver.lifecycle
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whatever_happens_it_is_never_wedged_never_hammers_and_wipes_no_good_key(
        paired in any::<bool>(),
        happenings in proptest::collection::vec(happening(), 1..120),
    ) {
        let beginning = if paired { super::paired() } else { unpaired() };
        let mut model = Model::new(beginning);
        for happening in &happenings {
            model.happen(happening);
        }
        model.recover();
    }
}
