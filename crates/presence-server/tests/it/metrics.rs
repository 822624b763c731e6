//! What `/metrics` tells, and that nothing speaks of a metric that is not there: the operators' table, the
//! dashboard, the alerts.

mod exposition;
mod promql;

use std::collections::BTreeSet;
use std::path::PathBuf;

use presence_sandbox::Sandbox;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use self::exposition::Exposition;
use self::promql::Query;
use crate::program::{Data, POLL, Server};
use crate::{CUSTOMER, TEST_TIMEOUT};

/// What Prometheus adds to each sample.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];
/// What Prometheus knows of a server by itself.
const OF_PROMETHEUS: &str = "up";

fn docs(path: &str) -> String {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::read_to_string(docs.join(path)).unwrap()
}

/// What a server tells that has shown "typing…" for a second.
async fn scrape() -> (Server, Exposition) {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new()
        .serve_with_shop_and(&sandbox, &["--metrics", "on"])
        .await;
    let typing = json!({"number": CUSTOMER, "state": "typing", "duration": 1});
    let (status, reply) = server.post("/api/chat/presence/shop", typing).await;
    assert_eq!(status, 200, "{reply}");
    let paused = async {
        loop {
            let exposition = Exposition::parse(&server.text("/metrics").await);
            if exposition.sum("presence_auto_pause_lateness_seconds_count") > 0.0 {
                return exposition;
            }
            sleep(POLL).await;
        }
    };
    let exposition = timeout(TEST_TIMEOUT, paused).await.unwrap();
    (server, exposition)
}

#[tokio::test]
async fn the_table_the_dashboard_and_the_alerts_name_what_there_is() {
    let (_server, exposition) = scrape().await;

    let told: BTreeSet<_> = exposition.names().collect();
    let operations = docs("operations.md");
    let rows = operations.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| row.starts_with("presence_") || row.starts_with("process_"));
    let listed: BTreeSet<_> = rows.filter_map(|row| row.split(['`', '{']).next()).collect();
    assert_eq!(listed, told, "docs/operations.md and /metrics differ");

    let queries = dashboard_queries().into_iter().chain(alert_queries());
    for query in queries {
        check(&exposition, &query);
    }

    // A second of "typing…" is a presence, an indicator that ended in time, and a session that came online.
    for (name, least) in [
        ("presence_presences_total", 1.0),
        ("presence_logins_total", 1.0),
        ("process_open_fds", 3.0),
        ("process_resident_memory_bytes", 1e6),
        ("process_start_time_seconds", 1.7e9),
    ] {
        assert!(exposition.sum(name) >= least, "{name}");
    }
    let late = exposition.sum("presence_auto_pause_lateness_seconds_sum");
    assert!((0.0..1.0).contains(&late), "{late} s late");
}

/// Every series that `query` names is told, with labels that it has and values that those can have.
fn check(exposition: &Exposition, query: &str) {
    let parsed = Query::parse(query);
    assert!(!parsed.selectors.is_empty(), "{query} names no metric");
    let mut labels: BTreeSet<&str> = BTreeSet::from(TARGET_LABELS);
    for selector in &parsed.selectors {
        let name = selector.metric.as_str();
        if name == OF_PROMETHEUS {
            continue;
        }
        let samples = exposition.samples(name);
        assert!(!samples.is_empty(), "{name} of {query} is not told");
        labels.extend(
            samples
                .iter()
                .flat_map(|sample| sample.keys().map(String::as_str)),
        );
        for (label, values) in &selector.matchers {
            if TARGET_LABELS.contains(&label.as_str()) {
                continue;
            }
            for value in values {
                let is_there = samples.iter().any(|sample| sample.get(label) == Some(value));
                assert!(is_there, "{query}: {name} has no {label}={value}");
            }
        }
    }
    for label in &parsed.grouped_by {
        assert!(
            labels.contains(label.as_str()),
            "{query}: nothing has a label {label}"
        );
    }
}

fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&docs("deploy/presence-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m"))
        .collect();
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

fn alert_queries() -> Vec<String> {
    let rules = docs("deploy/presence-alerts.yml");
    let queries: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .map(str::to_owned)
        .collect();
    assert_eq!(queries.len(), rules.matches("- alert: ").count());
    queries
}
