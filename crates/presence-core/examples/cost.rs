//! What the indicators cost, in nanoseconds an operation, for sessions with few and with many chats.
//!
//! `cargo run --release -p presence-core --example cost`

use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use presence_core::{ChatJid, Command, Hold, Indicator, Indicators, MAX_CHATS, Policy, Timing};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:>8} {:>10} {:>10} {:>10}",
        "chats", "show", "re-send", "pause"
    )?;
    for count in [1, 100, 1_000, 10_000, MAX_CHATS] {
        let chats: Vec<ChatJid> = (0..count)
            .map(|n| format!("{}@lid", 1_000_000 + n).parse().expect("a LID"))
            .collect();
        let mut indicators = Indicators::new(Timing::default(), Policy::default());
        let start = clock();
        indicators.handle_session_up(start);
        // The chats begin one after another within five seconds, as real ones do.
        let spread = Duration::from_secs(5) / u32::try_from(count).expect("chats are counted in u32");
        let begin = |chat: usize| start + spread * u32::try_from(chat).expect("chats are counted in u32");

        let show = Command::Show(Indicator::Typing, Some(Hold::MAX));
        let shown = measure(count, || {
            for (n, chat) in chats.iter().enumerate() {
                indicators
                    .handle_command(begin(n), chat.clone(), show)
                    .expect("it is up");
                drain(&mut indicators);
            }
        });
        let renewed = measure(count * 10, || {
            while let Some(due) = indicators
                .poll_timeout()
                .filter(|due| *due <= start + Duration::from_secs(54))
            {
                indicators.handle_timeout(due);
                drain(&mut indicators);
            }
        });
        let paused = measure(count, || {
            for chat in &chats {
                let now = start + Duration::from_secs(54);
                indicators
                    .handle_command(now, chat.clone(), Command::Pause)
                    .expect("it is up");
                drain(&mut indicators);
            }
        });
        writeln!(out, "{count:>8} {shown:>7} ns {renewed:>7} ns {paused:>7} ns")?;
    }
    Ok(())
}

fn drain(indicators: &mut Indicators) {
    while let Some(transmit) = indicators.poll_transmit() {
        black_box(transmit);
    }
}

fn measure(operations: usize, work: impl FnOnce()) -> u128 {
    let start = clock();
    work();
    (clock() - start).as_nanos() / operations as u128
}

#[expect(clippy::disallowed_methods, reason = "this measures how long it takes")]
fn clock() -> Instant {
    Instant::now()
}
