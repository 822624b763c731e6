//! How late indicators end, as the phones see it.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Bencher;
use super::figures::Figures;
use super::load::Load;
use super::town::Town;
use crate::service::say;

/// How long each is shown, in seconds.
const HOLD: u64 = 20;
/// A connection rests so long before each presence, in milliseconds: so they end within ten seconds.
const DELAY_MS: u64 = 2;
const CONNECTIONS: usize = 64;
/// How long that takes with room to spare; wrk goes on to its end when there is nothing left to send.
const SENDING: u64 = 14;

pub(super) fn measure(bencher: &Bencher, figures: &mut Figures) -> anyhow::Result<()> {
    let (instances, chats) = bencher.size((1_000, 100), (4, 25));
    let town = Town::build(bencher, instances)?;
    say(format_args!("  {instances} instances are online"));
    let total = instances * chats;
    let load = Load {
        connections: CONNECTIONS,
        seconds: SENDING,
        instances: (0..instances).collect(),
        chats,
        hold: HOLD,
        count: Some((total, DELAY_MS)),
    };
    load.run(&town.server.url, &town.token)?;
    thread::sleep(Duration::from_secs(HOLD + 3));
    let mut late = Vec::with_capacity(total);
    let (mut first, mut last) = (f64::INFINITY, 0.0_f64);
    for chat in 0..chats {
        let shown = town.shown(chat)?;
        for spell in shown["timeline"].as_array().context("a phone has a timeline")? {
            let [shown, hidden] = times_ms(spell)?;
            late.push(hidden - shown - (HOLD * 1_000) as f64);
            first = first.min(hidden);
            last = last.max(hidden);
        }
    }
    // wrk stops at a count with what is under way.
    ensure!(
        late.len() + CONNECTIONS >= total,
        "{} of {total} were shown",
        late.len()
    );
    late.sort_by(f64::total_cmp);
    let of = format!("{} holds over {instances} sessions", late.len());
    figures.add(&of, "s in which they ended", (last - first) / 1_000.0);
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    for (what, share) in [
        ("ms late, p50", 0.5),
        ("ms late, p99", 0.99),
        ("ms late, at most", 1.0),
    ] {
        figures.add(&of, what, at(share));
    }
    town.end()
}

/// From when until when a phone showed something, as the phone saw it.
fn times_ms(spell: &Value) -> anyhow::Result<[f64; 2]> {
    ensure!(spell["why"] == "paused", "it did not end by a pause: {spell}");
    let at = |name: &str| spell[name].as_f64().context("a spell has its times");
    Ok([at("shown_at_ms")?, at("hidden_at_ms")?])
}
