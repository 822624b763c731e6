//! The packages, tried: what a stranger and what systemd would do with them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use super::{is_installed, output};
use crate::api::Api;
use crate::root;
use crate::service::{Programs, say, until};

/// The account that the stranger links, and whom the commands write to.
const SHOP: &str = "5511988887777";
const CUSTOMER: &str = "5511999999999";
/// How long a step of the stranger's may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How exposed systemd may find the service, of 10: what it finds, and a little.
const EXPOSURE: &str = "15";

/// Has systemd check the unit beside the program that it starts, and how much it lets it do.
pub(super) fn unit(deb: &Path) -> anyhow::Result<()> {
    if !is_installed("systemd-analyze") || !is_installed("dpkg-deb") {
        say("   systemd-analyze or dpkg-deb is not here: the unit was not checked");
        return Ok(());
    }
    let unpacked = tempfile::tempdir()?;
    output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(deb)
            .arg(unpacked.path()),
    )?;
    // It looks for the program where the unit says.
    let path = unpacked.path().join("presence.service");
    let text = fs::read_to_string(unpacked.path().join("usr/lib/systemd/system/presence.service"))?;
    let program = unpacked.path().join("usr/bin/presence-server");
    let moved = text.replace("/usr/bin/presence-server", &program.to_string_lossy());
    ensure!(moved != text, "the unit starts another program");
    fs::write(&path, moved)?;
    let mut verify = Command::new("systemd-analyze");
    output(
        verify
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&path),
    )?;
    let mut security = Command::new("systemd-analyze");
    security.args([
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold",
        EXPOSURE,
    ]);
    output(security.arg(&path)).map(drop)
}

/// Unpacks the tarball and types what its README says, with a phone of the sandbox's, until another phone shows
/// that somebody types.
pub(super) fn five_commands(tarball: &Path, programs: &Programs) -> anyhow::Result<()> {
    let readme = fs::read_to_string(root().join("docs/deploy/README.md"))?;
    let commands = readme
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("the README has no commands")?;
    ensure!(
        commands.lines().count() == 5,
        "there are not five commands: {commands}"
    );

    let home = tempfile::tempdir()?;
    output(
        Command::new("tar")
            .arg("xzf")
            .arg(tarball)
            .arg("-C")
            .arg(home.path()),
    )?;
    let unpacked = fs::read_dir(home.path())?
        .next()
        .context("the tarball is empty")??
        .path();
    let sandbox = programs.sandbox()?;
    // A port that is free, in the place of the one that the service has by itself.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let variables = [
        ("PATH", "/usr/bin:/bin"),
        ("PRESENCE_LISTEN", &address.to_string()),
        ("PRESENCE_EDGE_URL", &sandbox.edge_url),
        ("PRESENCE_EDGE_KEY", &sandbox.edge_key),
    ];
    let log = fs::File::create(home.path().join("terminal"))?;
    let mut terminal = Terminal(
        Command::new("sh")
            // A person types the second one when the server runs.
            .args(["-ec", &commands.replacen(" &\n", " &\nsleep 3\n", 1)])
            .current_dir(&unpacked)
            .env_clear()
            .envs(variables)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?,
    );
    let said = || fs::read_to_string(home.path().join("terminal")).unwrap_or_default();
    until(PATIENCE, "both tokens are printed", || Ok(said().contains("pi_"))).with_context(said)?;
    let token = said()
        .lines()
        .find(|line| line.starts_with("pi_"))
        .map(str::to_owned);
    let api = Api::new(format!("http://{address}"), token.context("no token")?);
    // The person with the phone.
    let connect = api.get("/api/instance/connect/shop")?;
    let scan = json!({ "qr": connect["qrCode"].as_str().context("there is no code")? });
    sandbox.control.post(&format!("/v1/phones/{SHOP}/scan"), &scan)?;
    until(PATIENCE, "the customer's phone shows typing…", || {
        let screen = sandbox.control.get(&format!("/v1/phones/{CUSTOMER}/shown"))?;
        Ok(screen["timeline"]
            .as_array()
            .is_some_and(|shown| !shown.is_empty()))
    })
    .with_context(said)?;
    let status = terminal.0.wait()?;
    ensure!(status.success(), "the commands ended with {status}: {}", said());
    Ok(())
}

/// A shell, and the server that it leaves in the background; both end with it.
struct Terminal(Child);

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.0.id().cast_signed()) {
            // They may have ended by themselves.
            let _ = kill_process_group(group, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
