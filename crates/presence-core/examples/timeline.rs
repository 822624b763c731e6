//! What requests would do: each stanza that they cause, and when. Nothing is sent and nothing waits.
//!
//! Every line of the input is a request body, with the second it arrives at before it when that is not 0:
//!
//! ```text
//! $ cargo run -q -p presence-core --example timeline <<'END'
//! {"number": "+55 (11) 99999-9999", "state": "typing", "duration": 12}
//! 7 {"number": "5511999999999", "state": "recording", "duration": 3}
//! 8 {"number": "soon", "state": "typing"}
//! END
//!   0.0 s  unavailable
//!   0.0 s  available
//!   0.0 s  5511999999999@s.whatsapp.net  composing
//!   5.0 s  5511999999999@s.whatsapp.net  composing
//!   7.0 s  5511999999999@s.whatsapp.net  recording
//!   8.0 s  refused: Invalid number. Use a phone number with country code, or a JID (number: the character at byte 0 does not belong in a phone number)
//!  10.0 s  5511999999999@s.whatsapp.net  paused
//!  20.0 s  unavailable
//! ```

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use presence_core::{
    Availability, ChatPresence, ChatPresenceRequest, ChatState, Indicators, Policy, Timing, Transmit,
};

fn main() -> io::Result<()> {
    let mut timeline = Timeline::start(io::stdout().lock())?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let timed = line
            .split_once(' ')
            .and_then(|(at, body)| Some((at.parse().ok()?, body)));
        let (at, body) = timed.unwrap_or((0, &line));
        timeline.wait_until(Duration::from_secs(at))?;
        timeline.request(body)?;
    }
    timeline.wait_until(Duration::MAX)
}

/// Drives the indicators through time as it would pass.
struct Timeline<W> {
    indicators: Indicators,
    start: Instant,
    now: Instant,
    out: W,
}

impl<W: Write> Timeline<W> {
    fn start(out: W) -> io::Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant does: time passes in the mind only"
        )]
        let start = Instant::now();
        let indicators = Indicators::new(Timing::default(), Policy::default());
        let mut timeline = Self {
            indicators,
            start,
            now: start,
            out,
        };
        timeline.indicators.handle_session_up(start);
        timeline.drain()?;
        Ok(timeline)
    }

    fn request(&mut self, body: &str) -> io::Result<()> {
        let decided = ChatPresenceRequest::from_json(body.as_bytes()).and_then(ChatPresence::try_from);
        match decided {
            Err(fault) => self.print(format_args!("refused: {fault} ({})", fault.detail()))?,
            Ok(presence) => {
                let (chat, command) = (presence.recipient().chat(), presence.command());
                if let Err(refused) = self.indicators.handle_command(self.now, chat, command) {
                    self.print(format_args!("refused: {refused}"))?;
                }
            }
        }
        self.drain()
    }

    /// Handles what is due until then, each at its time.
    fn wait_until(&mut self, at: Duration) -> io::Result<()> {
        while let Some(due) = self
            .indicators
            .poll_timeout()
            .filter(|due| *due - self.start <= at)
        {
            self.now = due;
            self.indicators.handle_timeout(due);
            self.drain()?;
        }
        self.now = self
            .start
            .checked_add(at)
            .map_or(self.now, |then| then.max(self.now));
        Ok(())
    }

    fn drain(&mut self) -> io::Result<()> {
        while let Some(transmit) = self.indicators.poll_transmit() {
            match transmit {
                Transmit::ChatState { chat, state, .. } => {
                    let state = match state {
                        ChatState::Composing => "composing",
                        ChatState::Recording => "recording",
                        ChatState::Paused => "paused",
                    };
                    self.print(format_args!("{chat}  {state}"))?;
                }
                Transmit::Availability(Availability::Available) => self.print(format_args!("available"))?,
                Transmit::Availability(Availability::Unavailable) => {
                    self.print(format_args!("unavailable"))?
                }
            }
        }
        Ok(())
    }

    fn print(&mut self, what: std::fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(
            self.out,
            "{:5.1} s  {what}",
            (self.now - self.start).as_secs_f64()
        )
    }
}
