//! `cargo xtask soak`: two hundred sessions through random commands, faults of every kind and restarts.
//!
//! It runs in rounds. In each, workers send random presences while faults strike; then the faults end, every
//! instance is brought back, and what every phone shows is compared with what the last commands promised. A
//! round ends with a restart, by SIGTERM or by a crash in turn, and each server's life is searched for leaks.
//! At last a server is killed while it pairs, and started over an older registry.

mod chaos;
mod dashboard;
mod file_lock;
mod kills;
mod leaks;
mod messages;
mod pairings;
mod power_cuts;
mod restarts;
mod town;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::promises::FORGOTTEN;
use crate::service::{Programs, say};
use chaos::Chaos;
use leaks::Figures;
use town::Town;

/// How long the instances of a round may take to be connected again after the faults have ended.
const RECOVERY: Duration = Duration::from_secs(60);
/// How long faults strike in a round, at most.
const STORM: Duration = Duration::from_secs(30);
/// How long the device keys and the registry are locked in a storm, at most: longer than a stanza may take to be
/// sent, and than the registry waits before a write fails.
const LOCKED: Duration = Duration::from_secs(7);
/// What is locked in a storm.
const DATABASES: [&str; 2] = ["keys.db", "presence.db"];
/// How many threads send presences. Each has its own instances, so that the last command is known.
const WORKERS: usize = 4;

#[derive(Args)]
pub(crate) struct Soak {
    /// How long to run, in seconds, set-up not counted; the round that has begun is finished.
    #[arg(long, value_name = "S", default_value_t = 600)]
    seconds: u64,
    /// How many instances.
    #[arg(long, value_name = "N", default_value_t = 200)]
    instances: usize,
    /// Repeats the commands and faults of an earlier run; drawn by chance otherwise.
    #[arg(long)]
    seed: Option<u64>,
    /// Instead of that, pairs N new instances, eight at a time, and deletes each when it is online; none may be
    /// lost. 1000 take about two minutes.
    #[arg(long, value_name = "N", conflicts_with_all = ["seconds", "instances", "seed"])]
    pairings: Option<usize>,
    /// Instead of that, kills a server N times at random moments while its sessions receive messages. 100 take about
    /// two minutes.
    #[arg(long, value_name = "N", conflicts_with_all = ["seconds", "instances", "pairings"])]
    kills: Option<usize>,
    /// Instead of that, cuts the power N times at random moments: the server's data lies on a disk that forgets what
    /// was not synced. Needs FUSE. 40 take about a minute.
    #[arg(long, value_name = "N", conflicts_with_all = ["seconds", "instances", "pairings", "kills"])]
    power_cuts: Option<usize>,
    /// Builds the programs optimised: more happens in the same time.
    #[arg(long)]
    release: bool,
}

impl Soak {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if let Some(count) = self.pairings {
            return pairings::run(&self.programs(&[])?, count);
        }
        let seed = self.seed.unwrap_or_else(|| rand::rng().random());
        if let Some(count) = self.kills {
            let killed = kills::run(&self.programs(&[])?, count, &mut StdRng::seed_from_u64(seed));
            return killed.with_context(|| format!("a kill did harm; `--seed {seed}` repeats the moments"));
        }
        if let Some(count) = self.power_cuts {
            return power_cuts::run(|| self.programs(&[]), count, seed);
        }
        self.soak(seed)
            .with_context(|| format!("the soak failed; `--seed {seed}` repeats it"))
    }

    fn programs(&self, arguments: &[&str]) -> anyhow::Result<Programs> {
        let profile = self.release.then_some("--release");
        Programs::build_with("off", &[arguments, profile.as_slice()].concat())
    }

    fn soak(&self, seed: u64) -> anyhow::Result<()> {
        let mut rng = StdRng::seed_from_u64(seed);
        say(format_args!("Soaking {} instances, seed {seed}.", self.instances));
        let programs = self.programs(&["--features", "presence-server/panic-hook"])?;
        let started = Instant::now();
        let mut town = Town::build(&programs, self.instances)?;
        say(format_args!(
            "{} instances paired and connected in {:.1} s.",
            self.instances,
            started.elapsed().as_secs_f32()
        ));

        let end = Instant::now() + Duration::from_secs(self.seconds);
        // A minute has to hold several rounds, a storm and a calm each.
        let storm = STORM.min(Duration::from_secs(self.seconds) / 6);
        let mut before = Figures::of(&town)?;
        for round in 1.. {
            let started = Instant::now();
            let (sent, taken) = self.round(&town, &mut rng, storm)?;
            town.silence()?;
            let after = Figures::of(&town)?;
            say(format_args!(
                "Round {round}: {taken} of {sent} presences taken, every phone as promised, {after}, {:.0} s.",
                started.elapsed().as_secs_f32()
            ));
            before.check_growth(&after)?;
            dashboard::check(&town).context("the dashboard would not show this round")?;
            if Instant::now() >= end {
                break;
            }
            // A server lives for two rounds, so that what only faults create is there before it is compared.
            if round % 2 == 0 {
                let crash = round % 4 == 0;
                say(if crash {
                    "Killing the server."
                } else {
                    "Restarting the server."
                });
                town.restart(&programs, crash)?;
                town.recover(&[], RECOVERY)?;
                before = Figures::of(&town)?;
            } else {
                before = before.warmed_by(after);
            }
        }
        town.close()?;
        restarts::run(&programs, &mut rng)?;
        say("No phone was wrong, and nothing leaked.");
        Ok(())
    }

    /// A storm and a calm, with presences all the time; returns how many were sent and taken.
    fn round(&self, town: &Town, rng: &mut StdRng, storm: Duration) -> anyhow::Result<(u64, u64)> {
        let stop = AtomicBool::new(false);
        let seeds: Vec<u64> = (0..WORKERS).map(|_| rng.random()).collect();
        let (calmed, counts) = std::thread::scope(|scope| {
            let workers: Vec<_> = seeds
                .into_iter()
                .enumerate()
                .map(|(worker, seed)| {
                    let stop = &stop;
                    scope.spawn(move || town.work(StdRng::seed_from_u64(seed), worker, WORKERS, stop))
                })
                .collect();
            let calmed = Self::storm_and_calm(town, rng, storm);
            stop.store(true, Ordering::Relaxed);
            let counts: Vec<(u64, u64)> = workers
                .into_iter()
                .map(|worker| {
                    worker
                        .join()
                        .expect("a worker reports its failures, it does not panic")
                })
                .collect();
            (calmed, counts)
        });
        calmed?;
        town.check_screens()?;
        let sum = counts
            .iter()
            .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        ensure!(sum.1 > 0, "not one presence was taken in a whole round");
        Ok(sum)
    }

    fn storm_and_calm(town: &Town, rng: &mut StdRng, storm: Duration) -> anyhow::Result<()> {
        let mut chaos = Chaos::new(town);
        std::thread::scope(|scope| {
            let locked = DATABASES
                .map(|name| scope.spawn(move || file_lock::hold(&town.data().join(name), LOCKED.min(storm))));
            let began = Instant::now();
            while began.elapsed() < storm {
                chaos.strike(rng)?;
                std::thread::sleep(Duration::from_millis(rng.random_range(20..200)));
            }
            locked.into_iter().try_for_each(|lock| {
                lock.join()
                    .expect("a lock reports its failures, it does not panic")
            })
        })?;
        let stuck = chaos.end()?;
        town.recover(&stuck, RECOVERY)?;
        // What was lost with a connection is still on the phones, until they hide it by themselves.
        std::thread::sleep(FORGOTTEN);
        Ok(())
    }
}
