//! Asking before something is gone for good.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::bail;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    /// Do not ask. Without a terminal nobody is asked.
    #[arg(long, short)]
    yes: bool,
}

impl ConfirmArgs {
    /// Asks, if somebody is there to answer, whether to do what cannot be undone.
    ///
    /// # Errors
    /// When the answer is not yes.
    pub(super) fn confirm(&self, question: &str) -> anyhow::Result<()> {
        if self.yes || !io::stdin().is_terminal() {
            return Ok(());
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if is_yes(&answer) {
            return Ok(());
        }
        bail!("nothing was done")
    }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"]
        .iter()
        .any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [
            ("y\n", true),
            (" YES\r\n", true),
            ("\n", false),
            ("", false),
            ("no\n", false),
            ("yess\n", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
