//! A mount namespace of our own: anybody may mount in it, and no mount is left behind, whatever ends us.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Set for a process that runs in it.
const ENTERED: &str = "XTASK_OWN_MOUNTS";

pub(super) fn is_entered() -> bool {
    std::env::var_os(ENTERED).is_some()
}

/// Whether a FUSE file system can be mounted here.
///
/// # Errors
/// When it cannot, with the reason.
pub(super) fn check() -> anyhow::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.context("/dev/fuse cannot be opened")?;
    let tried = unshare("true").stderr(Stdio::null()).status();
    let status = tried.context("unshare cannot be run")?;
    ensure!(status.success(), "no mount namespace can be made");
    Ok(())
}

/// Goes on as this very command in a namespace of its own; returns only when that fails.
pub(super) fn enter() -> anyhow::Error {
    let again = std::env::current_exe().map(|program| {
        unshare(program)
            .args(std::env::args_os().skip(1))
            .env(ENTERED, "1")
            .exec()
    });
    let (Ok(error) | Err(error)) = again;
    anyhow::Error::new(error).context("the command cannot be run again in a mount namespace")
}

/// `program` in namespaces of its own for mounts and for users, where it is root, and may mount.
fn unshare(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "--"]).arg(program);
    command
}
