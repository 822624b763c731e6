//! Power cuts at random moments: the server's data lies on a disk that forgets what was not synced.
//!
//! Owners create, pair, log out and delete instances, and others receive messages, until a server is killed and its disk
//! loses what a real one might. What was answered before the cut holds after it, and so does a link that the phone
//! believes in; both databases are whole. At the end every message can be read, and the sandbox has seen no key twice.

mod cached;
mod content;
mod databases;
mod disk;
mod instance;
mod mount;
mod namespace;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::messages::{Messages, check_refused};
use super::town::SETTINGS;
use crate::api::Api;
use crate::service::{Programs, Sandbox, Server, say};
use content::Cut;
use instance::{Instance, Powered, Standing, Step};
use mount::Mounted;

/// How many instances stay linked, and receive messages.
const STEADY: usize = 4;
/// How many change all the time.
const CHANGING: usize = 6;
/// How long an instance may take to be connected.
const ONLINE: Duration = Duration::from_secs(60);
/// How long a cut waits for the step that it is to come into.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the sandbox may take to list a device whose confirmation it has read.
const REGISTERED: Duration = Duration::from_millis(500);
/// About how long it is from one cut to the next.
const ROUND: Duration = Duration::from_secs(1);
/// How often the server is asked what has become of its instances.
const LOOK: Duration = Duration::from_millis(50);
/// What the sandbox may refuse: a connection that a killed server left behind is replaced by the next login, and a
/// device that was unlinked before the cut may learn it after.
const EXPECTED: [&str; 3] = ["replaced", "not_linked", "not_registered"];

/// Cuts the power `count` times; `build` makes the programs. Where nothing can be mounted, it says so.
pub(super) fn run(
    build: impl FnOnce() -> anyhow::Result<Programs>,
    count: usize,
    seed: u64,
) -> anyhow::Result<()> {
    if !namespace::is_entered() {
        return match namespace::check() {
            Ok(()) => Err(namespace::enter()),
            Err(reason) => {
                say(format_args!(
                    "Power cuts are left out, for want of FUSE: {reason:#}."
                ));
                Ok(())
            }
        };
    }
    say(format_args!("Cutting the power {count} times, seed {seed}."));
    let cut = cut_often(&build()?, count, &mut StdRng::seed_from_u64(seed));
    cut.with_context(|| format!("a power cut did harm; `--seed {seed}` repeats the cuts"))
}

fn cut_often(programs: &Programs, count: usize, rng: &mut StdRng) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut disk = Mounted::empty(dir.path())?;
    let sandbox = programs.sandbox_with(&["--lids", "--register-after-ms", "100"])?;
    let token = programs.new_account("cuts", disk.path())?;
    // Its token is printed, so it is there whatever happens.
    disk.cut(Cut::draw(rng), rng)?;
    let mut trial = Trial {
        server: programs.server(&sandbox, disk.path(), &SETTINGS)?,
        instances: (0..STEADY + CHANGING)
            .map(|number| Instance::new(number, number < STEADY))
            .collect(),
        programs,
        sandbox: &sandbox,
        token,
        disk,
        unsynced: 0,
        interrupted: BTreeMap::new(),
    };
    trial.link_steady()?;
    let steady = trial.instances.iter().filter(|instance| instance.is_steady());
    let messages = Messages::new(&sandbox, steady.map(Instance::phone), ROUND * count as u32);
    let began = Instant::now();
    messages.written_during(|| {
        (1..=count).try_for_each(|nth| trial.round(rng).with_context(|| format!("cut {nth} of {count}")))
    })?;
    let (messages, repeated) = messages.check_read()?;
    check_refused(&sandbox, &EXPECTED)?;
    ensure!(trial.unsynced > 0, "every change was synced at every cut");
    say(format_args!(
        "{count} power cuts in {:.0} s, with {} changes of files not synced; in the middle of {}. What was answered held, \
         {messages} messages were read, {repeated} of them after they were repeated, and no key was used twice.",
        began.elapsed().as_secs_f32(),
        trial.unsynced,
        trial.interruptions()
    ));
    trial.server.stop()
}

struct Trial<'a> {
    /// Before the disk, so that it ends before that is gone.
    server: Server,
    disk: Mounted,
    programs: &'a Programs,
    sandbox: &'a Sandbox,
    token: String,
    instances: Vec<Instance>,
    /// How many changes were not on the disk when its power was cut, of all cuts together.
    unsynced: usize,
    /// How many steps of each kind were not answered for a cut.
    interrupted: BTreeMap<Step, usize>,
}

impl<'a> Trial<'a> {
    fn link_steady(&mut self) -> anyhow::Result<()> {
        let (powered, _) = self.powered();
        for instance in self.instances.iter_mut().filter(|instance| instance.is_steady()) {
            instance.take(Step::Create, &powered)?;
            instance.take(Step::Pair, &powered)?;
        }
        Ok(())
    }

    /// The service as it runs now, and what tells of the steps that begin.
    fn powered(&self) -> (Powered<'a>, Receiver<Step>) {
        let (begun, steps) = channel();
        let powered = Powered {
            api: Api::new(self.server.url.clone(), self.token.clone()),
            sandbox: self.sandbox,
            cut: AtomicBool::new(false),
            begun,
        };
        (powered, steps)
    }

    /// Lets the instances live, cuts the power, and starts on what is left.
    fn round(&mut self, rng: &mut StdRng) -> anyhow::Result<()> {
        self.live_until_cut(rng)?;
        for step in self.instances.iter().filter_map(Instance::doing) {
            *self.interrupted.entry(step).or_default() += 1;
        }
        self.unsynced += self.disk.look(disk::Disk::unsynced);
        let cut = Cut::draw(rng);
        self.disk.cut(cut, rng)?;
        databases::check(&self.disk)?;
        std::thread::sleep(REGISTERED);
        let possible: Vec<_> = self
            .instances
            .iter()
            .map(|instance| instance.possible(self.sandbox))
            .collect::<Result<_, _>>()?;
        self.server = self
            .programs
            .server(self.sandbox, self.disk.path(), &SETTINGS)
            .context("no server starts on what is left")?;
        self.settle(&possible).with_context(|| format!("{cut:?}"))
    }

    /// Kills the server some time after a step of a random kind has begun.
    fn live_until_cut(&mut self, rng: &mut StdRng) -> anyhow::Result<()> {
        let (powered, steps) = self.powered();
        let awaited = Step::ALL[rng.random_range(0..Step::ALL.len())];
        let after = Duration::from_millis(rng.random_range(0..awaited.takes_ms()));
        let seeds: Vec<u64> = self.instances.iter().map(|_| rng.random()).collect();
        let (server, powered) = (&mut self.server, &powered);
        std::thread::scope(|scope| {
            let owners: Vec<_> = (self.instances.iter_mut().zip(seeds))
                .map(|(instance, seed)| {
                    scope.spawn(move || instance.live(powered, StdRng::seed_from_u64(seed)))
                })
                .collect();
            let began = Instant::now();
            while let Ok(step) = steps.recv_timeout(PATIENCE.saturating_sub(began.elapsed()))
                && step != awaited
            {}
            std::thread::sleep(after);
            powered.cut.store(true, Ordering::Relaxed);
            server.end(true)?;
            owners
                .into_iter()
                .try_for_each(|owner| owner.join().expect("an owner reports its failures"))
        })
    }

    /// Waits until it is clear what each instance is; that must be one of those that are `possible` for it.
    fn settle(&mut self, possible: &[Vec<Standing>]) -> anyhow::Result<()> {
        let (powered, _) = self.powered();
        let began = Instant::now();
        loop {
            let list = powered.api.get("/api/instance/list")?;
            let list = list["instances"].as_array().context("list gave no instances")?;
            let mut undecided = Vec::new();
            for (instance, possible) in self.instances.iter_mut().zip(possible) {
                let listed = list.iter().find(|listed| listed["name"] == instance.name());
                if !instance.settle(listed, possible)? {
                    undecided.push(listed.map_or(Value::Null, |listed| listed["connection"].clone()));
                }
            }
            if undecided.is_empty() {
                return Ok(());
            }
            ensure!(
                began.elapsed() < ONLINE,
                "some instances did not come to rest: {undecided:?}"
            );
            std::thread::sleep(LOOK);
        }
    }

    /// As in `12 pairings, 5 logouts`.
    fn interruptions(&self) -> String {
        let counts = self.interrupted.iter();
        let told: Vec<_> = counts
            .map(|(step, count)| format!("{count} {}", step.plural()))
            .collect();
        told.join(", ")
    }
}
