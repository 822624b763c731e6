//! What a failure did: how many sessions moved and how fast, and what clients noticed.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::load::Answers;
use super::town::{Owner, Session, Town, name};

/// What the store counts when it refuses to write keys for a node that has no right to.
const FENCED: &str = "presence_key_writes_fenced_total";

/// How things stood when a failure began.
pub(super) struct Moment {
    /// On the sandbox's clock.
    pub(super) on_sandbox: Duration,
    pub(super) at: Instant,
    sessions: Vec<Session>,
    owners: Vec<Owner>,
    fenced: Vec<f64>,
}

/// A row of the table.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Sessions that another run of a process had afterwards.
    pub(super) moved: usize,
    /// From the failure to the last login, of those that logged in.
    pub(super) back: Vec<Duration>,
    /// The most logins of one session.
    pub(super) most_logins: u64,
    /// Logins while the session's older connection still stood.
    pub(super) overlaps: u64,
    pub(super) fenced: f64,
    pub(super) answers: Answers,
    /// How many times as long as alone work took meanwhile.
    pub(super) slowness: f64,
}

impl Town {
    /// How things stand.
    pub(super) fn moment(&self) -> anyhow::Result<Moment> {
        let owners = self.owners()?;
        let (on_sandbox, sessions) = self.sessions()?;
        Ok(Moment {
            on_sandbox,
            at: Instant::now(),
            sessions,
            owners,
            fenced: self.fenced(),
        })
    }

    /// What happened since.
    pub(super) fn since(&self, before: &Moment) -> anyhow::Result<Outcome> {
        let owners = self.owners()?;
        let (_, sessions) = self.sessions()?;
        let pairs = || before.sessions.iter().zip(&sessions);
        let logged_in = pairs().filter(|(before, now)| now.logins > before.logins);
        let fenced = before.fenced.iter().zip(self.fenced());
        Ok(Outcome {
            moved: before
                .owners
                .iter()
                .zip(&owners)
                .filter(|(before, now)| before.node != now.node)
                .count(),
            back: logged_in
                .map(|(_, now)| now.logged_in_at.saturating_sub(before.on_sandbox))
                .collect(),
            most_logins: pairs()
                .map(|(before, now)| now.logins - before.logins)
                .max()
                .unwrap_or_default(),
            overlaps: pairs().map(|(before, now)| now.replaced - before.replaced).sum(),
            // A node that was started again counts from nothing.
            fenced: fenced
                .map(|(before, now)| if now < *before { now } else { now - before })
                .sum(),
            answers: self.requests.since(before.at),
            slowness: self.pace.since(before.at),
        })
    }

    fn fenced(&self) -> Vec<f64> {
        let count = |node: &super::node::Node| node.counted(FENCED).unwrap_or_default();
        let reachable = |node: &super::node::Node| node.is_in_rotation();
        self.nodes
            .iter()
            .map(|node| if reachable(node) { count(node) } else { 0.0 })
            .collect()
    }

    /// Fails when a session has logged in since `before`.
    pub(super) fn ensure_none_reconnected(&self, before: &Moment) -> anyhow::Result<()> {
        let (_, sessions) = self.sessions()?;
        let logged_in = before.sessions.iter().zip(&sessions).enumerate();
        let logged_in: Vec<usize> = logged_in
            .filter(|(_, (before, now))| now.logins > before.logins || !now.connected)
            .map(|(instance, _)| instance)
            .collect();
        ensure!(
            logged_in.is_empty(),
            "{} sessions did not stay connected, {} first",
            logged_in.len(),
            name(logged_in[0])
        );
        Ok(())
    }
}

impl Outcome {
    pub(super) fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.back.len()).ok().filter(|count| *count > 0)?;
        Some(self.back.iter().sum::<Duration>() / count)
    }

    pub(super) fn worst(&self) -> Option<Duration> {
        self.back.iter().max().copied()
    }

    /// Fails when a client got what the contract does not have, but for requests that were lost with a process.
    pub(super) fn ensure_nothing_lost(&self) -> anyhow::Result<()> {
        ensure!(
            self.answers.lost == 0,
            "{} requests were lost: {:?}",
            self.answers.lost,
            self.answers.wrong
        );
        Ok(())
    }

    /// Fails when a client was told to come again.
    pub(super) fn ensure_all_shown(&self) -> anyhow::Result<()> {
        self.ensure_nothing_lost()?;
        ensure!(
            self.answers.not_now == 0 && self.answers.in_flight == 0,
            "{} presences were refused, and {} not answered: {}",
            self.answers.not_now,
            self.answers.in_flight,
            self.answers.first_not_now.join("; ")
        );
        Ok(())
    }

    /// Fails when a session logged in more often than that.
    pub(super) fn ensure_calm(&self, logins: u64) -> anyhow::Result<()> {
        ensure!(
            self.most_logins <= logins,
            "a session logged in {} times, not {logins} at most",
            self.most_logins
        );
        Ok(())
    }

    /// Fails when the slowest was slower than that, as the machine was.
    pub(super) fn ensure_back_within(&self, limit: Duration) -> anyhow::Result<()> {
        let worst = self.worst().unwrap_or_default();
        let limit = limit.mul_f64(self.slowness.max(1.0));
        ensure!(
            worst < limit,
            "the last session was back after {:.1} s, not within {:.1} s",
            worst.as_secs_f32(),
            limit.as_secs_f32()
        );
        Ok(())
    }

    /// Fails when two connections of one device stood at the same time.
    pub(super) fn ensure_no_overlap(&self) -> anyhow::Result<()> {
        ensure!(
            self.overlaps == 0,
            "{} logins met an older connection of the same session",
            self.overlaps
        );
        Ok(())
    }
}

/// The heads of the table's columns.
pub(super) const COLUMNS: &str = "moved | online, mean | worst | most logins | shown | 503 | in flight | lost | longest | \
                                  overlaps | fenced";

/// The columns of a row, in the order of [`COLUMNS`].
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Option<Duration>| {
            time.map_or_else(|| "–".to_owned(), |time| format!("{:.1} s", time.as_secs_f32()))
        };
        let answers = &self.answers;
        write!(
            f,
            "{} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {}",
            self.moved,
            seconds(self.mean()),
            seconds(self.worst()),
            self.most_logins,
            answers.shown,
            answers.not_now,
            answers.in_flight,
            answers.lost,
            seconds(Some(answers.longest)),
            self.overlaps,
            self.fenced
        )
    }
}
