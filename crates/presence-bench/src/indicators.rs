//! What the indicators cost without a session or a server around them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use presence_core::{ChatJid, Command, Hold, Indicator, MAX_CHATS, Policy, Timing};
use serde::Serialize;

/// Many sessions with many chats each.
#[derive(Args)]
pub(crate) struct Indicators {
    /// How many sessions.
    #[arg(long)]
    sessions: usize,
    /// In how many chats each shows something.
    #[arg(long)]
    chats: usize,
}

/// Nanoseconds an operation, and bytes a chat.
#[derive(Serialize)]
pub(crate) struct Costs {
    command_ns: f64,
    resend_ns: f64,
    expiry_ns: f64,
    bytes: f64,
}

/// One session's machine with its chats.
struct Session {
    indicators: presence_core::Indicators,
    chats: Vec<ChatJid>,
}

impl Indicators {
    /// Shows something in every chat, sends it again nine times, and lets it expire.
    pub(crate) fn measure(&self) -> anyhow::Result<Costs> {
        ensure!(
            (1..=MAX_CHATS).contains(&self.chats) && self.sessions > 0,
            "a session has 1 to {MAX_CHATS} chats"
        );
        let start = clock();
        let mut sessions: Vec<_> = (0..self.sessions)
            .map(|_| Session::new(start, self.chats))
            .collect();
        // The chats begin one after another within five seconds, as real ones do.
        let spread = Duration::from_secs(5) / u32::try_from(self.chats)?;
        let show = Command::Show(Indicator::Typing, Some(Hold::MAX));
        let total = self.sessions * self.chats;
        let before = resident()?;
        let command_ns = measure(total, || {
            let mut begin = start;
            for chat in 0..self.chats {
                begin += spread;
                for session in &mut sessions {
                    let chat = session.chats[chat].clone();
                    session.indicators.handle_command(begin, chat, show)?;
                    session.drain();
                }
            }
            anyhow::Ok(total)
        })?;
        let bytes = (resident()? - before) as f64 / total as f64;
        let last_resend = start + Hold::MAX.duration() - Duration::from_secs(2);
        let resend_ns = measure(total * 9, || Ok(advance(&mut sessions, last_resend)))?;
        let over = start + Hold::MAX.duration() + Duration::from_secs(6);
        let expiry_ns = measure(total, || Ok(advance(&mut sessions, over)))?;
        Ok(Costs {
            command_ns,
            resend_ns,
            expiry_ns,
            bytes,
        })
    }
}

impl Session {
    fn new(start: Instant, chats: usize) -> Self {
        let mut indicators = presence_core::Indicators::new(Timing::default(), Policy::default());
        indicators.handle_session_up(start);
        let chat = |n| format!("{}@lid", 1_000_000 + n).parse().expect("it is a LID");
        let mut session = Self {
            indicators,
            chats: (0..chats).map(chat).collect(),
        };
        session.drain();
        session
    }

    /// Sends what there is to send; returns how much that was.
    fn drain(&mut self) -> usize {
        let mut sent = 0;
        while let Some(transmit) = self.indicators.poll_transmit() {
            black_box(transmit);
            sent += 1;
        }
        sent
    }
}

/// Lets time pass until `until`, for one session after another; returns how much was sent.
fn advance(sessions: &mut [Session], until: Instant) -> usize {
    let mut sent = 0;
    for session in sessions {
        while let Some(due) = session.indicators.poll_timeout().filter(|due| *due <= until) {
            session.indicators.handle_timeout(due);
            sent += session.drain();
        }
    }
    sent
}

/// Nanoseconds an operation; `work` returns how many there were, which must be about as many as `expected`.
fn measure(expected: usize, work: impl FnOnce() -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    let start = clock();
    let operations = work()?;
    let took = clock() - start;
    ensure!(
        operations >= expected / 2 && operations <= expected * 2,
        "{operations} operations, {expected} were expected"
    );
    Ok(took.as_nanos() as f64 / operations as f64)
}

/// Resident bytes of this process.
fn resident() -> anyhow::Result<u64> {
    let process = procfs::process::Process::myself().context("the benchmark needs Linux's /proc")?;
    Ok(process.statm()?.resident * procfs::page_size())
}

#[expect(clippy::disallowed_methods, reason = "this measures how long it takes")]
fn clock() -> Instant {
    Instant::now()
}
