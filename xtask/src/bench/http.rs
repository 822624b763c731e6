//! Requests: the service beside servers that only parse and answer the same JSON.

use std::process::Command;

use anyhow::Context as _;

use super::figures::Figures;
use super::load::Load;
use super::town::Town;
use super::{Bencher, usage};
use crate::npm;
use crate::root;
use crate::service::{Process, say};

const CONNECTIONS: [usize; 3] = [1, 16, 128];
/// Of all sessions together.
const CHATS: usize = 20_000;
/// Stanzas of one session leave together, so many sessions cost more than one.
const MANY_SESSIONS: usize = 100;
const EXPRESS: &str = "5.2.1";

/// A server that answers presences.
struct Target {
    name: &'static str,
    url: String,
    pid: u32,
}

pub(super) fn measure(bencher: &Bencher, figures: &mut Figures) -> anyhow::Result<()> {
    let mut town = Town::build(bencher, 1)?;
    let mut targets = vec![Target {
        name: "presence",
        url: town.server.url.clone(),
        pid: town.server.pid(),
    }];
    let mut helpers = Vec::new();
    for (name, mut command) in helper_commands(bencher)? {
        let (process, line) = Process::start(name, &mut command)?;
        let url = line
            .strip_prefix("listening on ")
            .context("it tells no address")?;
        targets.push(Target {
            name,
            url: url.to_owned(),
            pid: process.pid(),
        });
        helpers.push(process);
    }
    for round in 0..bencher.rounds {
        for connections in CONNECTIONS {
            say(format_args!(
                "  round {} of {}, {connections} connections",
                round + 1,
                bencher.rounds
            ));
            let mut costs = Vec::new();
            for target in &targets {
                let cost = target.load(bencher, &town.token, connections, 1)?;
                cost.tell(figures, &format!("{}, {connections} connections", target.name));
                costs.push(cost);
            }
            let [presence, hyper, ..] = &costs[..] else {
                unreachable!("they are measured in this order")
            };
            let of = format!("presence ÷ hyper alone, {connections} connections");
            figures.add(&of, "of its requests/s", presence.rate / hyper.rate);
            figures.add(&of, "times its CPU a request", presence.cpu_us / hyper.cpu_us);
        }
    }
    let sessions = bencher.size(MANY_SESSIONS, 2);
    say(format_args!("  {sessions} sessions"));
    town.grow(sessions)?;
    for _ in 0..bencher.rounds {
        for connections in CONNECTIONS {
            let cost = targets[0].load(bencher, &town.token, connections, sessions)?;
            cost.tell(
                figures,
                &format!("{sessions} sessions, {connections} connections"),
            );
        }
    }
    town.end()
}

/// What it is compared with: the name, and how it is started.
fn helper_commands(bencher: &Bencher) -> anyhow::Result<Vec<(&'static str, Command)>> {
    let alone = |server| {
        let mut command = Command::new(&bencher.helper);
        command.arg(server);
        command
    };
    let mut commands = vec![("hyper alone", alone("hyper")), ("axum alone", alone("axum"))];
    let directory = root().join("target/bench/express");
    npm::install(&directory, &[("express", EXPRESS)])?;
    let mut express = Command::new("node");
    express
        .arg(root().join("xtask/bench/express.cjs"))
        .env("NODE_ENV", "production")
        .current_dir(directory);
    commands.push(("express alone", express));
    Ok(commands)
}

/// What requests cost.
struct Cost {
    rate: f64,
    cpu_us: f64,
    latency: [f64; 3],
}

impl Target {
    fn load(
        &self,
        bencher: &Bencher,
        token: &str,
        connections: usize,
        sessions: usize,
    ) -> anyhow::Result<Cost> {
        let load = Load {
            connections,
            seconds: bencher.size(4, 1),
            instances: (0..sessions).collect(),
            chats: CHATS / sessions,
            hold: 5,
            count: None,
        };
        let before = usage::cpu(self.pid)?;
        let outcome = load.run(&self.url, token).context(self.name)?;
        let cpu = usage::cpu(self.pid)? - before;
        Ok(Cost {
            rate: outcome.requests / outcome.seconds,
            cpu_us: cpu.as_secs_f64() * 1e6 / outcome.requests,
            latency: outcome.latency,
        })
    }
}

impl Cost {
    fn tell(&self, figures: &mut Figures, of: &str) {
        figures.add(of, "requests/s", self.rate);
        figures.add(of, "µs of CPU a request", self.cpu_us);
        for (what, latency) in ["µs, p50", "µs, p99", "µs, p99.9"].into_iter().zip(self.latency) {
            figures.add(of, what, latency);
        }
    }
}
