//! A network namespace in which there is only loopback: what runs in it reaches nothing but this machine.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::service::say;

/// Goes on in such a namespace as `cargo xtask` with these arguments, as far as the machine allows it.
///
/// # Errors
/// When it cannot; else it does not return.
pub(crate) fn enter(arguments: &[String]) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let lonely = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up"])
        .output();
    let error = if lonely.is_ok_and(|output| output.status.success()) {
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
