//! What the system says of the process, under the names that all exporters use.

use std::fmt;

use super::exposition::Exposition;

/// What the process takes of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessFigures {
    cpu_seconds: f64,
    resident_bytes: u64,
    open_handles: u64,
    most_handles: f64,
    /// Unix seconds.
    started: f64,
}

impl ProcessFigures {
    /// Reads them from `/proc`; `None` where there is none, or no file handle left to read it with.
    #[cfg(target_os = "linux")]
    pub(super) fn read() -> Option<Self> {
        use procfs::WithCurrentSystemInfo as _;
        use procfs::process::{LimitValue, Process};

        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: seconds(stat.utime + stat.stime),
            resident_bytes: stat.rss_bytes().get(),
            open_handles: process.fd_count().ok()? as u64,
            most_handles: match process.limits().ok()?.max_open_files.soft_limit {
                LimitValue::Value(most) => most as f64,
                LimitValue::Unlimited => f64::INFINITY,
            },
            started: procfs::boot_time_secs().ok()? as f64 + seconds(stat.starttime),
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn read() -> Option<Self> {
        None
    }

    pub(super) fn write(&self, exposition: &mut Exposition<'_>) -> fmt::Result {
        exposition.seconds(
            "process_cpu_seconds",
            "Time of processors that the process has used",
            self.cpu_seconds,
        )?;
        exposition.gauge(
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM",
            self.resident_bytes,
        )?;
        exposition.gauge(
            "process_open_fds",
            "File handles that are open",
            self.open_handles,
        )?;
        exposition.gauge(
            "process_max_fds",
            "File handles that the process may have",
            self.most_handles,
        )?;
        exposition.gauge(
            "process_start_time_seconds",
            "When the process started, in Unix time",
            self.started,
        )
    }
}
