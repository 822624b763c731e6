//! Whether the dashboard would show the soak: every series that it draws is told by the server, and those that a soak
//! must move have moved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::town::Town;
use crate::root;

/// What has happened in any round.
const MOVED: [&str; 10] = [
    "presence_auto_pause_lateness_seconds_count",
    "presence_http_request_duration_seconds_bucket",
    "presence_http_requests_total",
    "presence_indicators_ended_early_total",
    "presence_instances",
    "presence_logins_total",
    "presence_look_ups_total",
    "presence_presences_total",
    "presence_resends_total",
    "process_cpu_seconds_total",
];

/// Fails when a panel would stay empty.
pub(super) fn check(town: &Town) -> anyhow::Result<()> {
    let sums = sums(&town.metrics()?)?;
    let drawn = drawn()?;
    for series in &drawn {
        ensure!(
            sums.contains_key(series),
            "/metrics has no {series}, which the dashboard draws"
        );
    }
    for series in MOVED {
        ensure!(drawn.contains(series), "the dashboard draws no {series}");
        ensure!(sums[series] > 0.0, "{series} has not moved in a whole round");
    }
    // All clients are told to pause before this is asked.
    let active = sums["presence_indicators_active"];
    ensure!(
        active == 0.0,
        "{active} indicators count as active when nothing is shown"
    );
    Ok(())
}

/// The sum of each series, over all its labels.
fn sums(metrics: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut sums = BTreeMap::<_, f64>::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').context("a sample has a value")?;
        let name = series.split('{').next().unwrap_or(series);
        *sums.entry(name.to_owned()).or_default() += value.parse::<f64>()?;
    }
    Ok(sums)
}

/// The series in the dashboard's queries.
fn drawn() -> anyhow::Result<BTreeSet<String>> {
    let text = fs::read_to_string(root().join("docs/deploy/presence-dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"]
        .as_array()
        .context("the dashboard has panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let queries = targets.filter_map(|target| target["expr"].as_str());
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = queries.flat_map(|query| query.split(move |c| !is_word(c)));
    let ours = words.filter(|word| word.starts_with("presence_") || word.starts_with("process_"));
    Ok(ours.map(str::to_owned).collect())
}
