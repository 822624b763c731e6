//! What nodes ask the database while nothing happens, which must not grow with sessions.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::NODES;
use super::town::Cluster;
use crate::bench::Bencher;
use crate::bench::figures::Figures;
use crate::service::say;

/// The client library looks for what has expired every four to six minutes. The first time it may have to ask the
/// database, so all have to have done it before, and each has to do it again while statements are counted.
const ROUND: Duration = Duration::from_secs(6 * 60);
/// How long no keys are written before sessions are taken to be quiet.
const QUIET: Duration = Duration::from_secs(10);
/// How long what sessions write after they were linked may take.
const QUIETED: Duration = Duration::from_secs(600);

/// What was asked by a moment, of all nodes together.
struct Asked {
    at: Instant,
    transactions: i64,
    statements: u64,
    flushes: f64,
}

/// Measures with the `linked` sessions that there are, and with more.
pub(super) fn measure(
    bencher: &Bencher,
    cluster: &Cluster<'_>,
    figures: &mut Figures,
    linked: usize,
) -> anyhow::Result<()> {
    let mut online = linked;
    for sessions in [linked].iter().chain(&bencher.cluster_sessions).copied() {
        say(format_args!("  the database, {sessions} sessions"));
        cluster.pair(online..sessions)?;
        online = sessions;
        cluster.settle(sessions, NODES)?;
        thread::sleep(bencher.size(ROUND, Duration::ZERO));
        wait_until_quiet(bencher, cluster)?;
        let before = Asked::so_far(cluster)?;
        thread::sleep(bencher.size(ROUND, Duration::from_secs(2)));
        let after = Asked::so_far(cluster)?;
        let still = cluster.online()?;
        ensure!(
            still == sessions as u64,
            "of {sessions} idle sessions {still} are online still"
        );

        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let mut add = |what, count: f64| {
            let of = format!("{sessions} idle sessions on {NODES} nodes");
            figures.add(of, what, count / seconds / NODES as f64);
        };
        let flushes = after.flushes - before.flushes;
        let transactions = (after.transactions - before.transactions) as f64;
        add(
            "transactions a second and node, but for keys",
            transactions - flushes,
        );
        add(
            "statements a second and node",
            (after.statements - before.statements) as f64,
        );
        add("commits of keys a second and node", flushes);
    }
    Ok(())
}

/// Waits until nobody writes keys: what sessions have to write once they are linked is on the disk.
fn wait_until_quiet(bencher: &Bencher, cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut flushes = cluster.flushes()?;
    loop {
        thread::sleep(bencher.size(QUIET, QUIET / 10));
        let now = cluster.flushes()?;
        if now == flushes {
            return Ok(());
        }
        ensure!(
            began.elapsed() < QUIETED,
            "idle sessions write keys after {} s still, {} commits in the last {} s",
            QUIETED.as_secs(),
            now - flushes,
            QUIET.as_secs()
        );
        flushes = now;
    }
}

impl Asked {
    fn so_far(cluster: &Cluster<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            transactions: cluster.transactions()?,
            at: Instant::now(),
            statements: cluster.statements(),
            flushes: cluster.flushes()?,
        })
    }
}
