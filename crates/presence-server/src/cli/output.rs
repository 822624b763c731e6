//! How a command ends, and how it speaks: results on stdout, complaints on stderr.

use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command failed, as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// What was asked for did not happen.
    Failure = 1,
    /// The command line or the configuration is wrong (`EX_USAGE`).
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Says on stderr why a command failed, with its causes.
pub(super) fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), Exit::Failure),
    }
}

pub(super) fn complain(text: &str, exit: Exit) -> ExitCode {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(io::stderr().lock(), "presence-server: {text}");
    exit.into()
}

/// Writes a line to stdout: the command's result.
pub(super) fn say(line: impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A runtime for the commands that do one thing after the other.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}
