//! `presence-server completions` and `man`: what a package brings along for shells and readers.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::output::{print, say};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell.
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Where to: one page a command. Created when it is not there.
    dir: PathBuf,
}

/// Prints the script that completes commands and flags.
pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(&script)
}

/// Writes a manual page for the program and for each of its commands.
pub(super) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let dir = args.dir.display();
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {dir}"))?;
    clap_mangen::generate_to(Cli::command(), &args.dir).with_context(|| format!("cannot write to {dir}"))?;
    say(format_args!("the manual is in {dir}"))?;
    Ok(())
}
