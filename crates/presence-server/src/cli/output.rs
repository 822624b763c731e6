//! How a command ends, and how it speaks: results on stdout, complaints on stderr.

use std::io::{self, Write};
use std::process::ExitCode;

use thiserror::Error;

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

/// Says on stderr why a command failed, with its causes. That nobody reads on (`… | head`) is no complaint.
pub(super) fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Unread>() => Exit::Failure.into(),
        Err(error) => complain(&format!("{error:#}"), Exit::Failure),
    }
}

pub(super) fn complain(text: &str, exit: Exit) -> ExitCode {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(io::stderr().lock(), "presence-server: {text}");
    exit.into()
}

/// Says on stderr what may be wrong with something that was done.
pub(super) fn warn(text: &str) {
    let _ = writeln!(io::stderr().lock(), "presence-server: warning: {text}");
}

/// Whoever read stdout has gone. Connections break with the same kind of error, and that is worth a word.
#[derive(Debug, Error)]
#[error("nobody reads the result")]
struct Unread;

/// Writes a line to stdout: the command's result.
pub(super) fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// Writes a text to stdout as it is: the command's result.
pub(super) fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Unread.into(),
        _ => error.into(),
    })
}

/// A runtime for the commands that do one thing after the other.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}

/// Rows under headers, each column as wide as its widest text.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(headers: [&str; N]) -> Self {
        Self {
            rows: vec![headers.map(str::to_owned)],
        }
    }

    pub(super) fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// Prints it, or what to say where it has no row.
    pub(super) fn print(&self, nothing: &str) -> anyhow::Result<()> {
        if self.rows.len() == 1 {
            // Not among the results: a script that counts lines must not take it for one.
            let _ = writeln!(io::stderr().lock(), "{nothing}");
            return Ok(());
        }
        say(self.to_string().trim_end())
    }
}

impl<const N: usize> std::fmt::Display for Table<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths: [usize; N] = std::array::from_fn(|column| {
            let widths = self.rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default()
        });
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.push(["a".to_owned(), "connected".to_owned()]);
        table.push(["lojinha-de-são".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME            STATE\na               connected\nlojinha-de-são\n"
        );
    }
}
