//! What sessions hold while nothing is shown, and how fast they are back.

use std::thread;
use std::time::Duration;

use super::figures::Figures;
use super::town::Town;
use super::{Bencher, usage};
use crate::service::say;

/// How often each session gets a message while it is idle, in seconds.
const MESSAGE_EVERY: f64 = 60.0;

pub(super) fn measure(bencher: &Bencher, figures: &mut Figures) -> anyhow::Result<()> {
    let mut town = Town::build(bencher, 0)?;
    let empty = usage::held(town.server.pid())?;
    let mut before = 0;
    for &size in &bencher.sessions {
        say(format_args!("  {size} sessions"));
        town.grow(size)?;
        town.write(before, bencher.people, bencher.people / 4)?;
        before = size;
        thread::sleep(Duration::from_secs(bencher.size(5, 0)));

        let of = format!("{size} sessions");
        let held = usage::held(town.server.pid())?;
        let memory =
            |held: usage::Held| held.memory.saturating_sub(empty.memory) as f64 / 1024.0 / size as f64;
        figures.add(&of, "KiB a session, just synced", memory(held));

        let [_, online] = town.restart(bencher)?;
        figures.add(&of, "s from exec to all online", online.as_secs_f64());
        // What the start itself needed is done with after that.
        thread::sleep(Duration::from_secs(bencher.size(10, 0)));
        let time = Duration::from_secs(bencher.size(30, 1));
        let cpu = usage::cpu(town.server.pid())?;
        town.trickle(time, size as f64 / MESSAGE_EVERY)?;
        let cpu = usage::cpu(town.server.pid())? - cpu;
        let held = usage::held(town.server.pid())?;
        figures.add(&of, "KiB a session, idle", memory(held));
        let files = held.files.saturating_sub(empty.files);
        figures.add(&of, "file handles a session", files as f64 / size as f64);
        figures.add(
            &of,
            "ms of CPU a session and minute, idle",
            cpu.as_secs_f64() * 60_000.0 / time.as_secs_f64() / size as f64,
        );
    }
    town.end()
}
