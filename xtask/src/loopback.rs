//! A network namespace for code that nobody here wrote, and for browsers: in it, it reaches this machine's loopback and nothing else.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

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
