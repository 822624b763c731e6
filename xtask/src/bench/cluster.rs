//! Many nodes: what a presence costs at a node that does not have the instance, what three nodes do that one does, what
//! the database is asked meanwhile, and how long sessions are away when a node is.

mod idle;
mod town;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use self::town::{Cluster, account, person};
use super::Bencher;
use super::figures::Figures;
use crate::service::say;

const NODES: usize = 3;
const SESSIONS: usize = 30;
/// To one node, or to three together: the machine is to be as busy in either case.
const CONNECTIONS: usize = 48;

pub(super) fn measure(bencher: &Bencher, figures: &mut Figures) -> anyhow::Result<()> {
    let sessions = bencher.size(SESSIONS, 6);
    let mut cluster = Cluster::build(&bencher.programs)?;
    cluster.start(0)?;
    cluster.pair(0..sessions)?;
    let all: Vec<usize> = (0..sessions).collect();
    let mut alone = Vec::new();
    for _ in 0..bencher.rounds {
        alone.push(cluster.load(bencher, CONNECTIONS, &[(0, all.clone())])?);
    }
    for node in 1..NODES {
        cluster.start(node)?;
    }
    cluster.settle(sessions, NODES)?;
    let own = cluster.had_by(0)?;
    let others: Vec<usize> = all
        .iter()
        .copied()
        .filter(|instance| !own.contains(instance))
        .collect();
    let everywhere: Vec<_> = (0..NODES).map(|node| (node, all.clone())).collect();
    for alone in &alone {
        let three = cluster.load(bencher, CONNECTIONS, &everywhere)?;
        let of = "3 nodes, each request at any of them ÷ 1 node";
        figures.add(of, "times its CPU a request", three.cpu_us / alone.cpu_us);
        figures.add(
            of,
            "times its requests/s on as many cores a node",
            NODES as f64 * alone.cpu_us / three.cpu_us,
        );
        figures.add(
            of,
            "of its requests/s on these two cores",
            three.rate / alone.rate,
        );
        let [near, far] =
            [&own, &others].map(|instances| cluster.load(bencher, 1, &[(0, instances.clone())]));
        let (near, far) = (near?, far?);
        for (of, cost) in [("at the instance's node", &near), ("at another node", &far)] {
            figures.add(of, "µs, p50, 1 connection", cost.p50_us);
            figures.add(of, "µs of CPU a request, all nodes", cost.cpu_us);
        }
        let of = "at another node ÷ at the instance's node";
        figures.add(of, "times its time until the answer", far.p50_us / near.p50_us);
        figures.add(of, "times its CPU a request", far.cpu_us / near.cpu_us);
    }
    failover(bencher, &mut cluster, figures, sessions)?;
    flushes(bencher, &cluster, figures, sessions)?;
    idle::measure(bencher, &cluster, figures, sessions)
}

/// How often keys are written while people write to the sessions.
fn flushes(
    bencher: &Bencher,
    cluster: &Cluster<'_>,
    figures: &mut Figures,
    sessions: usize,
) -> anyhow::Result<()> {
    let time = Duration::from_secs(bencher.size(20, 2));
    let (before, began) = (cluster.flushes()?, Instant::now());
    let mut messages = 0;
    while began.elapsed() < time {
        let to = json!({ "to": account(messages % sessions).to_string(), "text": "still there?" });
        cluster
            .sandbox
            .control
            .post(&format!("/v1/phones/{}/send", person(messages % 8)), &to)?;
        messages += 1;
        thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    let of = "sessions that are written to";
    figures.add(of, "messages a second", messages as f64 / seconds);
    let flushes = cluster.flushes()? - before;
    figures.add(
        of,
        "commits of keys a second and node",
        flushes / seconds / NODES as f64,
    );
    Ok(())
}

/// How long sessions are away.
fn failover(
    bencher: &Bencher,
    cluster: &mut Cluster<'_>,
    figures: &mut Figures,
    sessions: usize,
) -> anyhow::Result<()> {
    for round in 0..bencher.rounds.min(3) {
        say(format_args!("  failover, round {}", round + 1));
        for (node, crash, of) in [
            (1, false, "a node is told to stop"),
            (2, true, "a node is killed"),
        ] {
            let lost = cluster.had_by(node)?;
            let moment = cluster.now()?;
            let ended = Instant::now();
            let mut server = cluster.nodes[node].take().context("it runs")?;
            let ending = thread::spawn(move || server.end(crash));
            cluster.wait_until_back(&lost, moment)?;
            figures.add(
                of,
                "s until all its sessions are online elsewhere",
                ended.elapsed().as_secs_f64(),
            );
            ending.join().expect("it does not panic")?;
            cluster.start(node)?;
            cluster.settle(sessions, NODES)?;
        }
    }
    Ok(())
}
