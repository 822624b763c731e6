//! Programs that nobody here wrote: installed where that is possible, and run in a network namespace of their own,
//! where they reach this machine's loopback and nothing else.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::service::say;

/// Goes on as this program with these arguments, in a namespace of its own as far as the machine allows it. It
/// comes back with an error only.
pub(crate) fn run_inside(arguments: &[String]) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let possible = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up"])
        .output();
    let error = if possible.is_ok_and(|output| output.status.success()) {
        Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
            .arg(program)
            .args(arguments)
            .exec()
    } else {
        say("No network namespace can be made here: what runs now could reach more than loopback.");
        Command::new(program).args(arguments).exec()
    };
    Err(error).context("the checks could not be started")
}

/// The arguments with which `command` goes on inside, with the one client that was asked for, if one was.
pub(crate) fn arguments_inside(command: &str, only: Option<impl ValueEnum>) -> Vec<String> {
    let mut inside = vec![command.to_owned(), "--inside".to_owned()];
    if let Some(only) = only.and_then(|only| only.to_possible_value()) {
        inside.extend(["--only".to_owned(), only.get_name().to_owned()]);
    }
    inside
}

/// Says that `name` could not be installed, and why. That is an error only in CI.
pub(crate) fn installed_or_said(name: &str, installed: anyhow::Result<()>) -> anyhow::Result<()> {
    let Err(error) = installed else {
        return Ok(());
    };
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("{name} cannot be installed: {error:#}");
    }
    say(format_args!("{name} cannot be installed: {error:#}"));
    Ok(())
}
