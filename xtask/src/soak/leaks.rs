//! What a server's process holds: memory, files, tasks.

use std::fmt;
use std::fs;

use anyhow::{Context, ensure};

use super::town::Town;

/// What is held at a moment when nothing is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// Resident memory in KiB.
    memory: u64,
    /// Open file handles.
    files: u64,
    /// Tasks of the runtime that have not ended.
    tasks: u64,
}

impl Figures {
    /// What the town's server holds now.
    pub(super) fn of(town: &Town) -> anyhow::Result<Self> {
        let pid = town.server_pid();
        let status =
            fs::read_to_string(format!("/proc/{pid}/status")).context("the soak needs Linux's /proc")?;
        let memory = status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix("kB")?
                    .trim()
                    .parse()
                    .ok()
            })
            .context("the process has no VmRSS")?;
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Self {
            memory,
            files,
            tasks: town.server_tasks()?,
        })
    }

    /// Fails when `after` holds clearly more than this.
    ///
    /// Files and tasks may differ by what connects or is asked in the background at that moment. Memory may
    /// grow by what allocators and caches keep, which is bounded, so by less the longer a server lives.
    pub(super) fn check_growth(&self, after: &Self) -> anyhow::Result<()> {
        let bounded = |what, before: u64, after: u64, slack: u64| {
            ensure!(after <= before + slack, "{what} grew from {before} to {after}");
            Ok(())
        };
        bounded("open files", self.files, after.files, 32)?;
        bounded("tasks", self.tasks, after.tasks, self.tasks / 20 + 16)?;
        bounded(
            "memory (KiB)",
            self.memory,
            after.memory,
            self.memory / 2 + 64 * 1024,
        )
    }

    /// The figures to compare the next round with: memory counts from when the faults have filled the caches.
    pub(super) fn warmed_by(self, after: Self) -> Self {
        Self {
            memory: self.memory.max(after.memory),
            ..self
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB, {} files, {} tasks",
            self.memory / 1024,
            self.files,
            self.tasks
        )
    }
}
