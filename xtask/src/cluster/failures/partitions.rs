//! Networks that are cut, or silent, between one node and something.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::LOST;
use crate::cluster::measure::Outcome;
use crate::cluster::proxy::Network;
use crate::cluster::town::{Town, phone};

/// The node that is cut off.
const VICTIM: usize = 2;

pub(super) fn database_cut(town: &Town) -> anyhow::Result<Outcome> {
    without_database(town, Network::Cut)
}

pub(super) fn database_silent(town: &Town) -> anyhow::Result<Outcome> {
    without_database(town, Network::Silent)
}

/// The others take what the node has when its lease is over. It goes on until then, and finds out by itself, or by
/// WhatsApp's word, that it has nothing any more. It comes back as another node.
fn without_database(town: &Town, network: Network) -> anyhow::Result<Outcome> {
    let lost = town.sessions_of(VICTIM)?;
    let outcome = town.under_load(|| {
        let before = town.moment()?;
        town.nodes[VICTIM].database.set(network);
        town.doubt(&lost, before.at);
        town.wait_until_back(&lost, before.on_sandbox, LOST * 2)?;
        let moved = town.since(&before)?;
        std::thread::sleep(Duration::from_secs(40).saturating_sub(before.at.elapsed()));
        // A quarrel would be one login after another.
        town.since(&before)?.ensure_calm(1)?;
        town.nodes[VICTIM].database.set(Network::Works);
        std::thread::sleep(LOST);
        Ok(moved)
    });
    town.nodes[VICTIM].database.set(Network::Works);
    let outcome = outcome?;
    outcome.ensure_back_within(LOST)?;
    outcome.ensure_nothing_lost()?;
    town.settle()?;
    Ok(outcome)
}

/// What the node has is reached through it alone. Nothing moves, for it lives.
pub(super) fn node_cut(town: &Town) -> anyhow::Result<Outcome> {
    apart(town, &[VICTIM], Network::Cut)
}

/// Each node answers for what it has.
pub(super) fn nodes_silent(town: &Town) -> anyhow::Result<Outcome> {
    apart(town, &[0, 1, 2], Network::Silent)
}

fn apart(town: &Town, nodes: &[usize], network: Network) -> anyhow::Result<Outcome> {
    let set = |network| {
        nodes
            .iter()
            .for_each(|node| town.nodes[*node].internal.set(network))
    };
    let outcome = town.under_load(|| {
        let before = town.moment()?;
        set(network);
        std::thread::sleep(Duration::from_secs(20));
        set(Network::Works);
        std::thread::sleep(Duration::from_secs(5));
        town.ensure_none_reconnected(&before)?;
        town.since(&before)
    });
    set(Network::Works);
    let outcome = outcome?;
    ensure!(outcome.moved == 0, "{} sessions moved", outcome.moved);
    ensure!(outcome.answers.not_now > 0, "nobody noticed");
    outcome.ensure_nothing_lost()?;
    // What was refused while they were apart is shown now.
    all_is_shown(town)?;
    Ok(outcome)
}

/// The node keeps its sessions, which are offline meanwhile: it cannot know whether the others fare better.
pub(super) fn whatsapp_cut(town: &Town) -> anyhow::Result<Outcome> {
    let its = town.sessions_of(VICTIM)?;
    let outcome = town.under_load(|| {
        let before = town.moment()?;
        town.nodes[VICTIM].whatsapp.set(Network::Cut);
        std::thread::sleep(Duration::from_secs(30));
        town.nodes[VICTIM].whatsapp.set(Network::Works);
        let healed = town.moment()?;
        town.wait_until_back(&its, before.on_sandbox, Duration::from_secs(60))?;
        let mut outcome = town.since(&healed)?;
        let whole = town.since(&before)?;
        whole.ensure_calm(2)?;
        outcome.answers = whole.answers;
        outcome.moved = whole.moved;
        Ok(outcome)
    });
    town.nodes[VICTIM].whatsapp.set(Network::Works);
    let outcome = outcome?;
    ensure!(outcome.moved == 0, "{} sessions moved", outcome.moved);
    outcome.ensure_nothing_lost()?;
    all_is_shown(town)?;
    Ok(outcome)
}

/// Somebody who copied the keys, or an older process that nobody ended, logs in as the device: WhatsApp ends the
/// session. It is still its owner's, who tries once more after a while, and does not begin a quarrel.
pub(super) fn outsider(town: &Town) -> anyhow::Result<Outcome> {
    let victim = town.sessions_of(VICTIM)?.into_iter().take(1).collect::<Vec<_>>();
    ensure!(!victim.is_empty(), "the node has no session");
    let before = town.moment()?;
    let replaced = json!({ "kind": "replaced", "account": phone(victim[0]).to_string() });
    town.sandbox.control.post("/v1/faults", &replaced)?;
    town.wait_until_back(&victim, before.on_sandbox, Duration::from_secs(60))?;
    let outcome = town.since(&before)?;
    ensure!(outcome.moved == 0, "{} sessions moved", outcome.moved);
    outcome.ensure_calm(1)?;
    ensure!(
        outcome.worst() >= Some(Duration::from_secs(10)),
        "it was back so soon that it would have begun a quarrel"
    );
    Ok(outcome)
}

/// Fails when a presence is refused now.
pub(super) fn all_is_shown(town: &Town) -> anyhow::Result<()> {
    town.settle()?;
    let outcome = town.under_load(|| {
        let before = town.moment()?;
        std::thread::sleep(Duration::from_secs(3));
        Ok(before)
    });
    town.since(&outcome?)?.ensure_all_shown()?;
    town.check_screens()
}
