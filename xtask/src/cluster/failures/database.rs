//! The database is away, full or slow, for everybody.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::LOST;
use super::partitions::all_is_shown;
use crate::cluster::measure::Outcome;
use crate::cluster::postgres::Ending;
use crate::cluster::proxy::Network;
use crate::cluster::town::{NODES, Town};
use crate::service::say;

/// How many statements a second an idle node may send: each is a transaction of three, and there are renewals, a look
/// for what changed in the ledger and one in the registry.
const IDLE_STATEMENTS: f64 = 20.0;
/// What needs the database says 503 while it is away, whatever it says besides.
const AWAY: u16 = 503;

/// Nothing moves, and what the nodes ask of the database does not depend on how many sessions there are.
pub(super) fn idle(town: &Town) -> anyhow::Result<Outcome> {
    const TIME: Duration = Duration::from_secs(20);
    let statements = || -> u64 { town.nodes.iter().map(|node| node.database.statements()).sum() };
    // What the last logins left to be written is.
    std::thread::sleep(LOST);
    let (before, counted) = (town.moment()?, statements());
    std::thread::sleep(TIME);
    let a_second = (statements() - counted) as f64 / TIME.as_secs_f64() / NODES as f64;
    town.ensure_none_reconnected(&before)?;
    let outcome = town.since(&before)?;
    ensure!(outcome.moved == 0, "{} sessions moved", outcome.moved);
    say(format_args!(
        "  {a_second:.1} statements a second and node, with {} sessions",
        town.size()
    ));
    ensure!(
        a_second < IDLE_STATEMENTS,
        "an idle node sends {a_second:.1} statements a second, not {IDLE_STATEMENTS} at most"
    );
    Ok(outcome)
}

pub(super) fn restart(town: &Town) -> anyhow::Result<Outcome> {
    without(town, || {
        town.database.end(Ending::Fast)?;
        std::thread::sleep(Duration::from_secs(2));
        let refused = ensure_creation_refused(town);
        std::thread::sleep(Duration::from_secs(8));
        town.database.begin()?;
        refused
    })
}

pub(super) fn failover(town: &Town) -> anyhow::Result<Outcome> {
    without(town, || {
        town.database.end(Ending::Crash)?;
        town.database.begin()
    })
}

pub(super) fn full(town: &Town) -> anyhow::Result<Outcome> {
    without(town, || {
        town.database.limit_connections(Some(0))?;
        std::thread::sleep(Duration::from_secs(2));
        let refused = ensure_creation_refused(town);
        std::thread::sleep(Duration::from_secs(13));
        town.database.limit_connections(None)?;
        refused
    })
}

pub(super) fn slow(town: &Town) -> anyhow::Result<Outcome> {
    let set = |network| town.nodes.iter().for_each(|node| node.database.set(network));
    let outcome = without(town, || {
        set(Network::Slow(Duration::from_secs(2)));
        std::thread::sleep(Duration::from_secs(30));
        set(Network::Works);
        Ok(())
    });
    set(Network::Works);
    outcome
}

/// Sessions go on, and presences are shown, as if nothing were wrong.
fn without(town: &Town, failure: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Outcome> {
    let outcome = town.under_load(|| {
        let before = town.moment()?;
        failure()?;
        // Whoever were struck off would be by now.
        std::thread::sleep(LOST);
        town.ensure_none_reconnected(&before)?;
        town.since(&before)
    })?;
    ensure!(outcome.moved == 0, "{} sessions moved", outcome.moved);
    outcome.ensure_all_shown()?;
    all_is_shown(town)?;
    // It is written again.
    let made = town
        .any_api()?
        .post("/api/instance/new", &json!({ "name": "after" }))?;
    ensure!(made["success"] == true, "an instance cannot be created: {made}");
    town.any_api()?.delete("/api/instance/delete/after")?;
    Ok(outcome)
}

fn ensure_creation_refused(town: &Town) -> anyhow::Result<()> {
    for node in town.nodes.iter().filter(|node| node.is_in_rotation()) {
        let body = json!({ "name": "meanwhile" });
        let answer = node
            .api(&town.token)
            .call("POST", "/api/instance/new", Some(&body))?;
        ensure!(
            answer.status == AWAY,
            "{} answered {} to a new instance while the database was away: {}",
            node.name,
            answer.status,
            answer.text
        );
    }
    Ok(())
}
