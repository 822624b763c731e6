//! The log, on stderr. It never blocks: lines are written by a thread of their own, and what it cannot write in
//! time, because nobody reads, is dropped and counted.

mod lines;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use presence_api::{CheckCounter, Finding, HealthCheck};
use tokio::time::interval;
use tracing_subscriber::EnvFilter;

use self::lines::Lines;
use crate::config::{Config, LogFormat};

/// The log, while it is kept. Dropped, it writes what is left, for a second at most.
pub(crate) struct Log {
    lines: Arc<Lines>,
}

/// Lines that wait for the writer; a few hundred bytes each.
const WAITING_LINES: usize = 4096;
/// How often is looked for lines that were dropped.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the end waits for somebody to read the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A pool of connections tells of each that broke, and of each wait: what comes of it is told here, once.
const QUIET_POOL: &str = "sqlx=off,sqlx_core=off,sqlx_postgres=off";

impl Log {
    /// Logs to stderr from here on. The WhatsApp client's own log, which names phone numbers and codes, stays
    /// off unless the operator's filter names its targets.
    pub(crate) fn start(config: &Config) -> Self {
        let lines = Lines::written_to(io::stderr(), WAITING_LINES);
        let filter = EnvFilter::new(format!(
            "{},{QUIET_POOL},{}",
            presence_wa::QUIET_CLIENT,
            config.log
        ));
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(colours)
            .with_writer(Arc::clone(&lines));
        match config.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
        Self { lines }
    }

    /// Its check for `/health`, and the counter of dropped lines for `/metrics`.
    pub(crate) fn check(&self) -> LogCheck {
        LogCheck(Arc::clone(&self.lines))
    }

    /// Says in the log itself, once it is read again, that lines were dropped. Does not end.
    pub(crate) async fn tell_of_losses(&self) {
        let mut losses = Losses::default();
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Some(lines) = losses.observe(self.lines.dropped()) {
                tracing::warn!(
                    lines,
                    "the log was not read in time: this many lines were dropped since the start"
                );
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.wait_until_written(LAST_LINES);
    }
}

/// Whether log lines are being dropped. The service works all the same, so it is no failure.
pub(crate) struct LogCheck(Arc<Lines>);

#[async_trait]
impl HealthCheck for LogCheck {
    fn name(&self) -> &'static str {
        "log"
    }

    async fn check(&self) -> Finding {
        match self.0.dropped() {
            0 => Finding::Ok,
            lines => Finding::Warning(format!("{lines} lines dropped since the start")),
        }
    }

    fn counters(&self) -> Vec<CheckCounter> {
        vec![CheckCounter {
            name: "presence_log_lines_dropped",
            help: "Lines of the log that nobody read in time",
            value: u64::try_from(self.0.dropped()).unwrap_or(u64::MAX),
        }]
    }
}

/// When to tell of dropped lines: as soon as none is dropped any more, and again if that line was lost too.
#[derive(Debug, Default)]
struct Losses {
    last: usize,
    told: usize,
}

impl Losses {
    /// What to tell, now that this many lines were dropped since the start.
    fn observe(&mut self, dropped: usize) -> Option<usize> {
        let is_over = dropped == self.last && dropped != self.told;
        self.last = dropped;
        if is_over {
            self.told = dropped;
        }
        is_over.then_some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_when_they_are_over_and_again_when_there_are_more() {
        let mut losses = Losses::default();
        let rows = [
            (0, None),
            (5, None),
            (9, None),
            (9, Some(9)),
            (9, None),
            // The line that told was dropped itself.
            (10, None),
            (10, Some(10)),
            (10, None),
        ];
        for (at, (dropped, expected)) in rows.into_iter().enumerate() {
            assert_eq!(losses.observe(dropped), expected, "look {at}");
        }
    }
}
