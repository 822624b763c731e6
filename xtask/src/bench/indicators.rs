//! The indicators by themselves: how what an operation costs grows with the number of chats.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Bencher;
use super::figures::Figures;
use crate::service::say;

/// Sessions, and chats of each. A session takes 65,536 chats at most.
const SIZES: [(usize, usize); 4] = [(1, 1_000), (1, 65_536), (15, 65_536), (10_000, 100)];
const SMOKE_SIZES: [(usize, usize); 2] = [(1, 1_000), (10, 100)];

pub(super) fn measure(bencher: &Bencher, figures: &mut Figures) -> anyhow::Result<()> {
    let sizes: &[_] = if bencher.smoke { &SMOKE_SIZES } else { &SIZES };
    for round in 0..bencher.rounds {
        say(format_args!("  round {} of {}", round + 1, bencher.rounds));
        for (sessions, chats) in sizes {
            let output = Command::new(&bencher.helper)
                .arg("indicators")
                .args(["--sessions", &sessions.to_string(), "--chats", &chats.to_string()])
                .output()?;
            ensure!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let costs: Value = serde_json::from_slice(&output.stdout)?;
            let of = format!("indicators, {sessions} × {chats} chats");
            for (name, what) in [
                ("command_ns", "ns a command"),
                ("resend_ns", "ns a re-send"),
                ("expiry_ns", "ns an expiry"),
                ("bytes", "bytes a chat"),
            ] {
                figures.add(&of, what, costs[name].as_f64().context(name)?);
            }
        }
    }
    Ok(())
}
