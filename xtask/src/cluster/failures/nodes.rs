//! Processes that end, sleep, or have another time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::{DRAINED, LOST};
use crate::cluster::measure::Outcome;
use crate::cluster::proxy::Network;
use crate::cluster::town::{NODES, Town, phone};
use crate::service::say;

/// How long held indicators show: longer than sessions are offline.
const HOLD: Duration = Duration::from_secs(40);
/// The same where they are hardly offline.
const SHORT_HOLD: Duration = Duration::from_secs(20);
/// How often at most a node keeps what it shows, with room for a busy machine: what was shown since may be lost with it.
const KEPT_AFTER: Duration = Duration::from_millis(2500);
/// How long what is shown, or is shown again after a session came online, may take to be on the phone.
const SHOWN_AGAIN: Duration = Duration::from_secs(3);
/// How late the end of an indicator may be, on a machine that does nothing else.
const LATE: Duration = Duration::from_secs(3);
/// The node that most of this happens to.
const VICTIM: usize = 1;
/// Debian's library that tells a process another time.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

pub(super) fn kill(town: &Town) -> anyhow::Result<Outcome> {
    let lost = town.sessions_of(VICTIM)?;
    let held = Held::show(town, &lost, 4_915_770_000_001, HOLD)?;
    let outcome = town.under_load(|| {
        std::thread::sleep(KEPT_AFTER);
        let before = town.moment()?;
        town.nodes[VICTIM].kill()?;
        town.doubt(&lost, before.at - KEPT_AFTER);
        town.wait_until_back(&lost, before.on_sandbox, LOST * 2)?;
        let outcome = town.since(&before)?;
        held.ensure_shown_again(town)?;
        Ok(outcome)
    })?;
    outcome.ensure_back_within(LOST)?;
    outcome.ensure_no_overlap()?;
    outcome.ensure_nothing_lost()?;
    outcome.ensure_calm(1)?;
    town.check_screens()?;
    held.ensure_ended(town)?;
    town.start(VICTIM)?;
    Ok(outcome)
}

pub(super) fn stop(town: &Town) -> anyhow::Result<Outcome> {
    let its = town.sessions_of(VICTIM)?;
    let held = Held::show(town, &its, 4_915_770_000_002, SHORT_HOLD)?;
    let outcome = town.under_load(|| {
        std::thread::sleep(KEPT_AFTER);
        town.nodes[VICTIM].drain();
        let before = town.moment()?;
        let stopped = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| town.nodes[VICTIM].stop());
            town.wait_until_back(&its, before.on_sandbox, LOST)?;
            stopping
                .join()
                .expect("a thread that stops a node does not panic")
        });
        let outcome = town.since(&before)?;
        stopped?;
        held.ensure_shown_again(town)?;
        Ok(outcome)
    })?;
    outcome.ensure_all_shown()?;
    outcome.ensure_no_overlap()?;
    outcome.ensure_calm(1)?;
    outcome.ensure_back_within(DRAINED)?;
    town.check_screens()?;
    held.ensure_ended(town)?;
    town.start(VICTIM)?;
    Ok(outcome)
}

pub(super) fn freeze(town: &Town) -> anyhow::Result<Outcome> {
    const FROZEN: Duration = Duration::from_secs(30);
    let lost = town.sessions_of(VICTIM)?;
    let held = Held::show(town, &lost, 4_915_770_000_003, HOLD)?;
    let outcome = town.under_load(|| {
        std::thread::sleep(KEPT_AFTER);
        let before = town.moment()?;
        town.nodes[VICTIM].freeze()?;
        // What it said before arrives; that WhatsApp has ended its sessions, it does not hear when it wakes.
        std::thread::sleep(Duration::from_millis(300));
        town.nodes[VICTIM].whatsapp.set(Network::Silent);
        town.doubt(&lost, before.at - KEPT_AFTER);
        town.wait_until_back(&lost, before.on_sandbox, LOST * 2)?;
        let outcome = town.since(&before)?;
        held.ensure_shown_again(town)?;
        std::thread::sleep((before.at + FROZEN).saturating_duration_since(Instant::now()));
        let (asleep, last_stanza) = (town.moment()?, town.last_stanza()?);
        town.nodes[VICTIM].thaw()?;
        // It wakes with leases, sessions and deadlines that are half a minute old. The sessions that were taken from
        // it stay where they are, but for the share that it is handed later, in order.
        std::thread::sleep(Duration::from_secs(5));
        town.nodes[VICTIM].whatsapp.set(Network::Works);
        std::thread::sleep(Duration::from_secs(2));
        ensure_silent(&town.superseded_since(last_stanza)?)?;
        let woken = town.since(&asleep)?;
        woken.ensure_no_overlap()?;
        woken.ensure_calm(1)?;
        town.nodes[VICTIM].rotate(true);
        Ok(outcome)
    })?;
    outcome.ensure_back_within(LOST)?;
    outcome.ensure_nothing_lost()?;
    outcome.ensure_calm(1)?;
    held.ensure_ended(town)?;
    town.settle()?;
    town.check_screens()?;
    Ok(outcome)
}

/// Fails when a session that was lost said anything that is meant for people.
fn ensure_silent(superseded: &[String]) -> anyhow::Result<()> {
    if !superseded.is_empty() {
        say(format_args!(
            "  the woken node wrote {} stanzas for what it had lost",
            superseded.len()
        ));
    }
    let for_people = |stanza: &&String| !stanza.starts_with("<iq");
    match superseded.iter().find(for_people) {
        Some(stanza) => bail!("the woken node wrote for what it had lost: {stanza}"),
        None => Ok(()),
    }
}

/// Nothing moves. A session whose stanza was not written meanwhile connects again, as it would without a cluster.
pub(super) fn freeze_shortly(town: &Town) -> anyhow::Result<Outcome> {
    let outcome = town.under_load(|| {
        let before = town.moment()?;
        town.nodes[VICTIM].freeze()?;
        std::thread::sleep(Duration::from_secs(5));
        town.nodes[VICTIM].thaw()?;
        town.nodes[VICTIM].rotate(true);
        std::thread::sleep(LOST);
        town.since(&before)
    })?;
    ensure!(outcome.moved == 0, "{} sessions moved", outcome.moved);
    outcome.ensure_calm(1)?;
    outcome.ensure_nothing_lost()?;
    town.check_screens()?;
    Ok(outcome)
}

pub(super) fn rolling_restart(town: &Town) -> anyhow::Result<Outcome> {
    let outcome = town.under_load(|| {
        let before = town.moment()?;
        for node in 0..NODES {
            town.nodes[node].stop()?;
            town.start(node)?;
            // As an orchestrator does that waits for the next one.
            std::thread::sleep(Duration::from_secs(5));
        }
        town.since(&before)
    })?;
    outcome.ensure_all_shown()?;
    outcome.ensure_no_overlap()?;
    town.check_screens()?;
    Ok(outcome)
}

pub(super) fn clock(town: &Town) -> anyhow::Result<Outcome> {
    let library = faketime().context("libfaketime is gone")?;
    let mut sum = Outcome::default();
    for offset in ["+60s", "-60s"] {
        town.nodes[VICTIM].stop()?;
        town.start_with(VICTIM, |command| {
            command
                .env("LD_PRELOAD", &library)
                .env("FAKETIME", offset)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        })?;
        town.settle()?;
        let outcome = town.under_load(|| {
            let before = town.moment()?;
            std::thread::sleep(LOST * 2);
            town.ensure_none_reconnected(&before)?;
            town.since(&before)
        })?;
        ensure!(outcome.moved == 0, "{} sessions moved at {offset}", outcome.moved);
        outcome.ensure_all_shown()?;
        town.check_screens()?;
        sum.answers.shown += outcome.answers.shown;
        sum.answers.longest = sum.answers.longest.max(outcome.answers.longest);
    }
    town.nodes[VICTIM].stop()?;
    town.start(VICTIM)?;
    Ok(sum)
}

/// Where the library that tells a process another time is, if it is installed.
pub(in crate::cluster) fn faketime() -> Option<PathBuf> {
    let mut directories = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library =
        directories.find_map(|entry| Some(entry.path().join(FAKETIME)).filter(|path| path.is_file()));
    library.or_else(|| Some(Path::new("/usr/lib").join(FAKETIME)).filter(|path| path.is_file()))
}

/// Indicators that sessions hold on a phone of their own.
struct Held {
    on: u64,
    senders: Vec<u64>,
    until: Instant,
}

impl Held {
    /// Every other one of these shows something for so long.
    fn show(town: &Town, instances: &[usize], on: u64, time: Duration) -> anyhow::Result<Self> {
        let held: Vec<usize> = instances.iter().copied().step_by(2).collect();
        ensure!(!held.is_empty(), "the node has no session");
        town.hold(&held, on, time)?;
        let held = Self {
            on,
            senders: held.into_iter().map(phone).collect(),
            until: Instant::now() + time,
        };
        held.ensure_shown(town, Instant::now())?;
        Ok(held)
    }

    /// Fails unless every one of them shows, in a moment from now: when what the phone was told before is forgotten.
    fn ensure_shown_again(&self, town: &Town) -> anyhow::Result<()> {
        let began = Instant::now();
        std::thread::sleep(SHOWN_AGAIN);
        self.ensure_shown(town, began)
    }

    /// Waits until every one of them shows; since `began` no longer than that may take.
    fn ensure_shown(&self, town: &Town, began: Instant) -> anyhow::Result<()> {
        loop {
            let missing = self.missing(town)?;
            ensure!(
                Instant::now() < self.until,
                "it took so long that the indicators have ended"
            );
            if missing.is_empty() {
                return Ok(());
            }
            ensure!(
                began.elapsed() < SHOWN_AGAIN.mul_f64(town.pace.since(began)),
                "{} of {} held indicators are not shown",
                missing.len(),
                self.senders.len()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails when one of them shows any longer than it was asked for.
    fn ensure_ended(&self, town: &Town) -> anyhow::Result<()> {
        std::thread::sleep((self.until + LATE).saturating_duration_since(Instant::now()));
        loop {
            let shown = town.shown_on(self.on)?;
            if shown.is_empty() {
                return Ok(());
            }
            ensure!(
                self.until.elapsed() < LATE.mul_f64(town.pace.since(self.until)),
                "{} indicators show longer than they were asked for",
                shown.len()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn missing(&self, town: &Town) -> anyhow::Result<Vec<u64>> {
        let shown = town.shown_on(self.on)?;
        let missing = self.senders.iter().filter(|sender| !shown.contains(sender));
        Ok(missing.copied().collect())
    }
}
