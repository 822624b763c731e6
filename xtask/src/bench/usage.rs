//! What a process uses, by the kernel's own accounting.

use std::time::Duration;

use anyhow::Context as _;
use procfs::process::Process;

/// Time of processors that the process of this number has used so far.
pub(super) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = process(pid)?.stat()?;
    Ok(Duration::from_secs_f64(
        (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
    ))
}

/// Time of processors that processes have used which this one has started and seen end, with those that they have.
pub(super) fn cpu_of_children() -> anyhow::Result<Duration> {
    let stat = process(std::process::id())?.stat()?;
    Ok(Duration::from_secs_f64(
        (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64,
    ))
}

/// What a process holds.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// Resident, in bytes.
    pub(super) memory: u64,
    /// File handles.
    pub(super) files: usize,
}

/// What the process of this number holds.
pub(super) fn held(pid: u32) -> anyhow::Result<Held> {
    let process = process(pid)?;
    Ok(Held {
        memory: process.statm()?.resident * procfs::page_size(),
        files: process.fd_count()?,
    })
}

fn process(pid: u32) -> anyhow::Result<Process> {
    Process::new(pid.cast_signed()).context("the benchmark needs Linux's /proc")
}
