//! Who gets how much: instances that nobody has, and nodes that come and go.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::DRAINED;
use crate::cluster::measure::Outcome;
use crate::cluster::town::{NODES, Town};
use crate::hands;
use crate::service::say;

/// How many instances are claimed at once.
const INSTANCES: usize = 1000;
/// How long a new node may take to have its share.
const SHARED: Duration = Duration::from_secs(90);
/// What a node says that could not look for what another one made, as on a machine that is overloaded. A client comes
/// again.
const PUT_OFF: &str = "Service is temporarily unavailable";
/// For how long it does.
const PATIENCE: Duration = Duration::from_secs(60);
/// What an instance says that nobody linked.
const OFFLINE: &str = "Instance is not connected to WhatsApp";

/// A thousand instances that nobody linked, spread over three nodes of which one is killed: the other two claim what it
/// had at the same time. The audit looks at each claim.
pub(super) fn claims(town: &Town) -> anyhow::Result<Outcome> {
    const VICTIM: usize = 0;
    hands::for_each(0..INSTANCES, |nth| {
        let body = json!({ "name": format!("claimed-{nth}") });
        town.any_api()?.post("/api/instance/new", &body).map(drop)
    })?;
    let before = town.moment()?;
    let lost = town.sessions_of(VICTIM)?;
    town.nodes[VICTIM].kill()?;
    town.wait_until_back(&lost, before.on_sandbox, super::LOST * 2)?;
    let began = Instant::now();
    loop {
        let rows: Vec<(i64, i64)> = town.database.read(
            "SELECT count(*), count(n.id) FROM ownership AS o
             LEFT JOIN node AS n ON n.id = o.node_id AND n.expires_at > clock_timestamp()",
        )?;
        let (all, owned) = rows[0];
        ensure!(all as usize >= INSTANCES, "there are only {all} instances");
        if all == owned {
            break;
        }
        ensure!(
            began.elapsed() < SHARED,
            "{} of {all} instances are not had by a living node",
            all - owned
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let outcome = town.since(&before)?;
    outcome.ensure_back_within(super::LOST)?;
    outcome.ensure_no_overlap()?;
    let doubly: Vec<(i32,)> = town
        .database
        .read("SELECT instance_id FROM audit.taken GROUP BY instance_id, epoch HAVING count(*) > 1")?;
    ensure!(
        doubly.is_empty(),
        "{} instances were taken twice in one epoch",
        doubly.len()
    );
    town.start(VICTIM)?;
    hands::for_each(0..INSTANCES, |nth| {
        town.any_api()?
            .delete(&format!("/api/instance/delete/claimed-{nth}"))
            .map(drop)
    })?;
    Ok(outcome)
}

/// A client that was told of a new instance, or of a deletion, by one node gets the same from the others.
pub(super) fn hearsay(town: &Town) -> anyhow::Result<Outcome> {
    let before = town.moment()?;
    for nth in 0..30 {
        let [here, there] = [&town.nodes[nth % NODES], &town.nodes[(nth + 1) % NODES]];
        let name = format!("hearsay-{nth}");
        let made = here
            .api(&town.token)
            .post("/api/instance/new", &json!({ "name": name }))?;
        let token = made["instance"]["token"]
            .as_str()
            .context("a new instance has a token")?;
        let path = format!("/api/chat/presence/{name}");
        let body = json!({ "number": "4915700000000", "state": "typing" });
        let asked = Instant::now();
        let answer = loop {
            let answer = there.api(token).call("POST", &path, Some(&body))?;
            let is_put_off = answer.status == 503 && answer.text.contains(PUT_OFF);
            if !is_put_off || asked.elapsed() > PATIENCE {
                break answer;
            }
            say(format_args!(
                "  {} could not look for {name}, and says so",
                there.name
            ));
            std::thread::sleep(Duration::from_secs(1));
        };
        ensure!(
            answer.status == 503 && answer.text.contains(OFFLINE),
            "{} answered {} to an instance that {} had made: {}",
            there.name,
            answer.status,
            here.name,
            answer.text
        );
        there
            .api(&town.token)
            .delete(&format!("/api/instance/delete/{name}"))?;
        let answer = here.api(token).call("POST", &path, Some(&body))?;
        ensure!(
            matches!(answer.status, 401 | 404 | 503),
            "{} answered {} to an instance that {} had deleted: {}",
            here.name,
            answer.status,
            there.name,
            answer.text
        );
    }
    town.since(&before)
}

/// A fourth node gets its fair share, a few sessions a second, and gives it back when it goes. Sessions that show
/// something stay where they are, so half of each node's are left alone.
pub(super) fn grow(town: &Town) -> anyhow::Result<Outcome> {
    let share = town.size() / (NODES + 1);
    let mut busy = Vec::new();
    for node in 0..NODES {
        let its = town.sessions_of(node)?;
        busy.extend_from_slice(&its[..its.len() / 2]);
    }
    let (outcome, drained) = town.under_load_on(&busy, || {
        let before = town.moment()?;
        town.start(NODES)?;
        let began = Instant::now();
        loop {
            let has = town.sessions_of(NODES)?.len();
            if has >= share {
                break;
            }
            ensure!(
                began.elapsed() < SHARED,
                "the new node has {has} sessions, not {share}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        std::thread::sleep(DRAINED);
        let its = town.sessions_of(NODES)?;
        let outcome = town.since(&before)?;
        town.nodes[NODES].drain();
        let before = town.moment()?;
        town.nodes[NODES].stop()?;
        town.wait_until_back(&its, before.on_sandbox, super::LOST)?;
        Ok((outcome, town.since(&before)?))
    })?;
    let most = town.size().div_ceil(NODES + 1);
    ensure!(
        outcome.moved <= most,
        "{} sessions moved for a share of {share} to {most}",
        outcome.moved
    );
    for moved in [&outcome, &drained] {
        moved.ensure_all_shown()?;
        // What several nodes hand over at once may be one too many, which is taken back.
        moved.ensure_calm(2)?;
        moved.ensure_no_overlap()?;
    }
    drained.ensure_back_within(DRAINED)?;
    town.settle()?;
    town.check_screens()?;
    Ok(outcome)
}
