//! A sandbox and a Presence server as child processes.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::api::Api;
use crate::{own_package_variables, root};

/// Prints a line to the terminal; a reader that has gone away is no reason to fail.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Looks every 50 ms until `is_so`, for `limit` at most; `what` says what is waited for.
pub(crate) fn until(
    limit: Duration,
    what: &str,
    is_so: impl Fn() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let asked = Instant::now();
    while asked.elapsed() < limit {
        if is_so()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("it did not come about that {what}")
}

/// Programs of the workspace, built.
pub(crate) struct Built {
    /// What cargo told of it: it names the programs there, so that no target directory has to be guessed.
    messages: Vec<Value>,
}

impl Built {
    /// Builds the programs of these packages, with cargo's own progress on the terminal and these arguments for it.
    pub(crate) fn build(packages: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        for name in own_package_variables() {
            command.env_remove(name);
        }
        let packages = packages.iter().flat_map(|package| ["--package", package]);
        let output = command
            .args(["build", "--locked"])
            .args(packages)
            .args(["--bins", "--message-format", "json-render-diagnostics"])
            .args(arguments)
            .current_dir(root())
            .stderr(Stdio::inherit())
            .output()
            .context("cargo cannot be run")?;
        ensure!(output.status.success(), "the build failed");
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        Ok(Self {
            messages: messages.collect(),
        })
    }

    /// Where the program of this name is.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.messages
            .iter()
            .filter(|message| message["target"]["name"] == name)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .with_context(|| format!("cargo built no program {name}"))
    }

    /// Where what was built as the target of this name is.
    pub(crate) fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.artifacts()
            .filter(|message| message["target"]["name"] == name)
            .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
            .with_context(|| format!("cargo built no {name}"))
    }

    /// How many packages were compiled for it, those included that only building needs.
    pub(crate) fn packages(&self) -> usize {
        let packages = self
            .artifacts()
            .filter_map(|message| message["package_id"].as_str());
        packages.collect::<BTreeSet<_>>().len()
    }

    fn artifacts(&self) -> impl Iterator<Item = &Value> {
        let is_artifact = |message: &&Value| message["reason"] == "compiler-artifact";
        self.messages.iter().filter(is_artifact)
    }
}

/// The two programs, built.
pub(crate) struct Programs {
    /// What they log to the terminal. What a person should see there is what the commands here say.
    log: &'static str,
    server: PathBuf,
    sandbox: PathBuf,
}

impl Programs {
    /// Builds both, with cargo's own progress on the terminal. They will log what `log` lets through.
    pub(crate) fn build(log: &'static str) -> anyhow::Result<Self> {
        Self::build_with(log, &[])
    }

    /// As [`build`](Self::build), with these arguments for cargo besides.
    pub(crate) fn build_with(log: &'static str, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::of(
            &Built::build(&["presence-server", "presence-sandbox"], arguments)?,
            log,
        )
    }

    /// Those that are `built`. They will log what `log` lets through.
    pub(crate) fn of(built: &Built, log: &'static str) -> anyhow::Result<Self> {
        Ok(Self {
            log,
            server: built.program("presence-server")?,
            sandbox: built.program("presence-sandbox")?,
        })
    }

    /// The server's program.
    pub(crate) fn server_program(&self) -> &Path {
        &self.server
    }

    /// Starts a sandbox on a free port.
    pub(crate) fn sandbox(&self) -> anyhow::Result<Sandbox> {
        self.sandbox_with(&[])
    }

    /// Starts a sandbox on a free port, with these settings besides.
    pub(crate) fn sandbox_with(&self, settings: &[&str]) -> anyhow::Result<Sandbox> {
        let (process, line) = Process::start(
            "presence-sandbox",
            Command::new(&self.sandbox)
                .env("RUST_LOG", self.log)
                .args(["--listen", "127.0.0.1:0"])
                .args(settings),
        )?;
        let ready: Value = serde_json::from_str(&line)
            .with_context(|| format!("the sandbox's first line is not JSON: {line}"))?;
        let text = |key: &str| {
            ready[key]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("the sandbox's first line has no {key}"))
        };
        Ok(Sandbox {
            _process: process,
            control: Api::new(text("control_url")?, ""),
            edge_url: text("edge_url")?,
            edge_key: text("edge_key")?,
            edge_root: text("edge_root")?,
        })
    }

    /// Starts a server over `data`, connected to `sandbox`, with these settings besides.
    pub(crate) fn server(&self, sandbox: &Sandbox, data: &Path, settings: &[&str]) -> anyhow::Result<Server> {
        Server::start(
            self.server_command()
                .args([
                    "serve",
                    "--edge-url",
                    &sandbox.edge_url,
                    "--edge-key",
                    &sandbox.edge_key,
                ])
                .arg("--data-dir")
                .arg(data)
                .args(settings),
        )
    }

    /// The server's program, to be given its arguments.
    pub(crate) fn server_command(&self) -> Command {
        let mut command = Command::new(&self.server);
        command.env("PRESENCE_LOG", self.log);
        command
    }

    /// Creates an account in `data` and returns its token.
    pub(crate) fn new_account(&self, name: &str, data: &Path) -> anyhow::Result<String> {
        let mut command = self.server_command();
        Self::account_of(command.args(["account", "new", name, "--data-dir"]).arg(data))
    }

    /// The token that `command` prints, which creates an account.
    pub(crate) fn account_of(command: &mut Command) -> anyhow::Result<String> {
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .context("presence-server cannot be run")?;
        ensure!(output.status.success(), "`presence-server account new` failed");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// A running sandbox.
pub(crate) struct Sandbox {
    _process: Process,
    /// Where clients connect.
    pub(crate) edge_url: String,
    /// The key that they pin, in Base64.
    pub(crate) edge_key: String,
    /// What its certificates are signed with, in Base64.
    pub(crate) edge_root: String,
    /// Its control API.
    pub(crate) control: Api,
}

impl Sandbox {
    /// Links the instance `name` of `service` with the phone `number`.
    pub(crate) fn link(&self, service: &Api, name: &str, number: u64) -> anyhow::Result<()> {
        let connect = service.get(&format!("/api/instance/connect/{name}"))?;
        let qr = connect["qrCode"].as_str().context("connect gave no QR code")?;
        let scan = json!({ "qr": qr });
        self.control
            .post(&format!("/v1/phones/{number}/scan"), &scan)
            .map(drop)
    }
}

/// A running server.
pub(crate) struct Server {
    process: Process,
    /// Where it listens: `http://ADDR`.
    pub(crate) url: String,
}

impl Server {
    /// Starts `command`, and waits until it listens.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let (process, line) = Process::start("presence-server", command)?;
        let url = line
            .strip_prefix("listening on ")
            .with_context(|| format!("the server's first line is not `listening on …`: {line}"))?;
        Ok(Self {
            url: url.to_owned(),
            process,
        })
    }

    /// Asks it to stop, as an operator would, and checks that it ends well.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.process.stop()
    }

    /// Ends it: as an operator would, or without a word, as a crash does.
    pub(crate) fn end(&mut self, crash: bool) -> anyhow::Result<()> {
        if crash {
            self.process.child.kill()?;
            self.process.child.wait()?;
            return Ok(());
        }
        self.process.stop()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// A child process that ends with this value.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// Open as long as the process lives: one that prints more would end by it otherwise.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// How long a process may take from SIGTERM to its end.
    const STOP_TIMEOUT: Duration = Duration::from_secs(20);

    /// Starts `command` and waits for its first line, which tells that it is ready.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> anyhow::Result<(Self, String)> {
        // A group of its own keeps the terminal's Ctrl-C away from it: it is stopped in order, by us.
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        let read = stdout.read_line(&mut line);
        let mut process = Self {
            name,
            child,
            _stdout: stdout,
        };
        read?;
        if line.is_empty() {
            let status = process.child.wait()?;
            bail!("{name} ended before it was ready ({status})");
        }
        Ok((process, line.trim_end().to_owned()))
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process has a number")?;
        kill_process(pid, signal).with_context(|| format!("{} took no signal", self.name))
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        // It may have ended by itself; waiting tells.
        let _ = self.signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < Self::STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}", self.name);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!(
            "{} did not end within {} s of SIGTERM",
            self.name,
            Self::STOP_TIMEOUT.as_secs()
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
