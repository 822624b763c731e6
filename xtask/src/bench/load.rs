//! Load by wrk, in a process of its own.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::root;

/// What is sent, and from how many connections.
pub(super) struct Load {
    pub(super) connections: usize,
    /// How long, in seconds, at most.
    pub(super) seconds: u64,
    /// Of which instances, by number.
    pub(super) instances: Vec<usize>,
    /// Chats of each instance.
    pub(super) chats: usize,
    /// How long each is typed in, in seconds.
    pub(super) hold: u64,
    /// Stop after so many, each connection resting so many milliseconds before each.
    pub(super) count: Option<(usize, u64)>,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) requests: f64,
    /// How long it went on.
    pub(super) seconds: f64,
    /// Until the answer, in microseconds: half of them, 99 % of them, all but one in a thousand.
    pub(super) latency: [f64; 3],
}

impl Load {
    /// Sends presences to `url` with `token`. One that is not answered with 200 is an error.
    pub(super) fn run(&self, url: &str, token: &str) -> anyhow::Result<Outcome> {
        let mut command = Command::new("wrk");
        command
            .args(["-t", "1", "-c", &self.connections.to_string()])
            .args(["-d", &format!("{}s", self.seconds), "--timeout", "10s"])
            .args(["-H", &format!("token: {token}"), "-s"])
            .arg(root().join("xtask/bench/presences.lua"))
            .args([url, "--"])
            .arg(
                self.instances
                    .iter()
                    .map(usize::to_string)
                    .collect::<Vec<_>>()
                    .join(","),
            )
            .args([self.chats.to_string(), self.hold.to_string()]);
        if let Some((count, delay)) = self.count {
            command.args([count.to_string(), delay.to_string()]);
        }
        let output = command
            .output()
            .context("wrk cannot be run; Debian has it as a package")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let told = text
            .lines()
            .find_map(|line| serde_json::from_str::<Value>(line).ok())
            .with_context(|| format!("wrk ended with {}: {text}", output.status))?;
        let number = |name: &str| told[name].as_f64().with_context(|| format!("wrk told no {name}"));
        ensure!(number("requests")? > 0.0, "nothing was answered");
        ensure!(
            number("failed")? == 0.0,
            "{} of {} requests failed",
            told["failed"],
            told["requests"]
        );
        Ok(Outcome {
            requests: number("requests")?,
            seconds: number("seconds")?,
            latency: [number("p50_us")?, number("p99_us")?, number("p999_us")?],
        })
    }
}
