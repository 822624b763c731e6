//! Random commands and random faults: whatever happens, phones show what was last promised.

use super::*;
use crate::backoff::Backoff;
use crate::fake::Script;
use crate::session::End;
use crate::settings::RetrySettings;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;

const CHATS: u32 = 10;

/// What a client was last promised about a chat.
#[derive(Clone, Copy, Debug)]
enum Promise {
    Shown {
        until: Instant,
    },
    Paused,
    /// The last command failed; what was there before it may still be held.
    Nothing,
}

struct Chaos {
    fleet: Fleet,
    world: Arc<World>,
    rng: StdRng,
    promises: HashMap<u32, Promise>,
}

impl Chaos {
    async fn new(seed: u64) -> Self {
        let world = World::new();
        // Without a back-off there is no chance but the seed's.
        let backoff = Backoff {
            base: Duration::ZERO,
            cap: Duration::ZERO,
        };
        let fleet = fleet_with(
            &world,
            FleetSettings {
                retry: RetrySettings {
                    backoff,
                    opens_a_minute: 1000,
                    ..RetrySettings::default()
                },
                ..FleetSettings::default()
            },
            false,
        );
        resume(&fleet, &world, DEVICE);
        until(&fleet, DEVICE, InstanceState::Connected).await;
        Self {
            fleet,
            world,
            rng: StdRng::seed_from_u64(seed),
            promises: HashMap::new(),
        }
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0..14 => self.command().await,
            14 => {
                let ends = [
                    End::Lost("reset".into()),
                    End::Restart,
                    End::Banned(Some(Duration::from_secs(3))),
                ];
                let end = ends.choose(&mut self.rng).unwrap().clone();
                self.world.session(DEVICE).end(end);
            }
            15 => self.world.lock().stalled.push(DEVICE),
            16 => self.world.lock().stalled.clear(),
            17 => self
                .world
                .script(DEVICE, [Script::Hangs, Script::Ends(End::Lost("refused".into()))]),
            18 => drop(self.fleet.reconnect(DEVICE).await),
            _ => sleep(Duration::from_millis(self.rng.random_range(0..20_000))).await,
        }
        if self.rng.random_bool(0.5) {
            sleep(Duration::from_millis(self.rng.random_range(0..3000))).await;
        }
    }

    async fn command(&mut self) {
        let chat = self.rng.random_range(0..CHATS);
        let seconds = self.rng.random_range(1..=60);
        let pause = self.rng.random_bool(0.3);
        let word = if pause { "pause" } else { "typing" };
        let body = presence(&format!("49151123456{chat:02}"), word, seconds);
        let given = self.fleet.show(DEVICE, &body).await;
        let until = Instant::now() + Duration::from_secs(seconds);
        let promise = match given {
            Ok(_) if pause => Promise::Paused,
            Ok(_) => Promise::Shown { until },
            Err(_) => Promise::Nothing,
        };
        self.promises.insert(chat, promise);
    }

    /// The last stanza of `chat`, and its age.
    fn last(&self, chat: u32) -> Option<(String, Duration)> {
        let state = self.world.lock();
        let last = state
            .written
            .iter()
            .rfind(|line| line.what.ends_with(&format!(" {chat:02}")))?;
        Some((last.what.clone(), last.at.elapsed()))
    }

    fn check(&self, seed: u64) {
        for (&chat, &promise) in &self.promises {
            let last = self.last(chat);
            let shown = last
                .as_ref()
                .is_some_and(|(what, age)| what.starts_with("composing") && *age < Duration::from_secs(10));
            match promise {
                // In its last second an indicator is not brought up again after a reconnect.
                Promise::Shown { until } if Instant::now() + Duration::from_secs(1) < until => {
                    assert!(shown, "seed {seed}: chat {chat} is not shown: {last:?}");
                }
                Promise::Shown { until } if Instant::now() < until + Duration::from_millis(50) => {}
                Promise::Nothing => {}
                Promise::Shown { .. } | Promise::Paused => {
                    assert!(!shown, "seed {seed}: chat {chat} is still shown: {last:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_any_faults_every_phone_shows_what_was_last_promised() {
    for seed in 0..100 {
        let mut chaos = Chaos::new(seed).await;
        for _ in 0..60 {
            chaos.step().await;
        }
        chaos.world.lock().stalled.clear();
        chaos.world.lock().scripts.clear();
        // A stall may still have to be noticed.
        sleep(Duration::from_secs(45)).await;
        until(&chaos.fleet, DEVICE, InstanceState::Connected).await;
        for _ in 0..CHATS {
            chaos.command().await;
        }
        for _ in 0..70 {
            chaos.check(seed);
            sleep(Duration::from_millis(950)).await;
        }
        sleep(Duration::from_secs(10)).await;
        for chat in 0..CHATS {
            let last = chaos.last(chat);
            assert!(
                last.as_ref().is_none_or(|(what, _)| what.starts_with("paused")),
                "seed {seed}: chat {chat} was never ended: {last:?}"
            );
        }
        chaos.fleet.shutdown(GRACE).await;
        assert_eq!(tasks(&chaos.fleet), 0, "seed {seed}");
    }
}
