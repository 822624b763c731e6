//! A PostgreSQL of our own, thrown away in the end; or a database of somebody's.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uzers::User;

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of our own. It ends with this value, and its data with it.
pub(super) struct Postgres {
    programs: Programs,
    data: TempDir,
    port: u16,
    process: Option<Child>,
}

/// How it ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// It ends what runs, and writes down what there is.
    Fast,
    /// As if it had crashed.
    Crash,
}

impl Postgres {
    /// Makes an empty server on a free port of loopback, and starts it.
    pub(super) fn start(log: &Path) -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let data = tempfile::Builder::new().prefix("presence-postgres-").tempdir()?;
        if let Some(user) = &programs.user {
            let (uid, gid) = (user.uid(), user.primary_group_id());
            std::os::unix::fs::chown(data.path(), Some(uid), Some(gid))?;
        }
        let made = programs
            .command("initdb")
            .args(["--username", "postgres", "--auth", "trust", "--no-sync"])
            .args(["--encoding", "UTF8", "--locale", "C", "--pgdata"])
            .arg(data.path())
            .output()
            .context("initdb cannot be run")?;
        ensure!(
            made.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        // What it logs is read when something failed. Nobody else may connect, so nobody needs a password.
        let settings = [
            "listen_addresses = '127.0.0.1'",
            "unix_socket_directories = ''",
            "fsync = off",
            "full_page_writes = off",
            "log_line_prefix = '%m %a '",
            "",
        ];
        let file = data.path().join("postgresql.auto.conf");
        fs::write(file, settings.join("\n"))?;
        let mut postgres = Self {
            programs,
            port: free_port()?,
            process: None,
            data,
        };
        postgres.begin(log)?;
        Ok(postgres)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Whether it was started, and not ended.
    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it again.
    pub(super) fn begin(&mut self, log: &Path) -> anyhow::Result<()> {
        let log = fs::File::options().create(true).append(true).open(log)?;
        let child = self
            .programs
            .command("postgres")
            .arg("-D")
            .arg(self.data.path())
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // The terminal's Ctrl-C is not for it.
            .process_group(0)
            .spawn()
            .context("postgres cannot be started")?;
        let process = self.process.insert(child);
        let asked = Instant::now();
        // It writes this line to the file when it takes connections.
        let status = self.data.path().join("postmaster.pid");
        while !fs::read_to_string(&status).is_ok_and(|text| text.lines().any(|line| line.trim() == "ready")) {
            if let Some(ended) = process.try_wait()? {
                bail!("postgres ended before it was ready ({ended})");
            }
            ensure!(asked.elapsed() < PATIENCE, "postgres was not ready in time");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it.
    pub(super) fn end(&mut self, ending: Ending) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let pid = Pid::from_raw(process.id().cast_signed()).context("a process has a number")?;
        kill_process(
            pid,
            match ending {
                Ending::Fast => Signal::INT,
                Ending::Crash => Signal::QUIT,
            },
        )?;
        let asked = Instant::now();
        while process.try_wait()?.is_none() {
            ensure!(asked.elapsed() < PATIENCE, "postgres did not end in time");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.end(Ending::Crash);
    }
}

/// PostgreSQL's programs, and who may run them.
struct Programs {
    directory: PathBuf,
    /// They refuse to run as root.
    user: Option<User>,
}

impl Programs {
    fn find() -> anyhow::Result<Self> {
        let mut directories: Vec<PathBuf> = std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).collect())
            .unwrap_or_default();
        // Debian keeps them out of the path, one directory for each version.
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
        versions.sort();
        directories.extend(versions.into_iter().rev());
        let has_both = |directory: &&PathBuf| {
            ["initdb", "postgres"]
                .iter()
                .all(|name| directory.join(name).is_file())
        };
        let directory = directories.iter().find(has_both).context(
            "there is no PostgreSQL on this machine: install Debian's `postgresql`, whose service is not needed, or \
             name a server of yours in PRESENCE_TEST_DATABASE_URL",
        )?;
        Ok(Self {
            directory: directory.clone(),
            user: if rustix::process::geteuid().is_root() {
                let users = ["postgres", "nobody"].iter();
                let user = users.filter_map(uzers::get_user_by_name).next();
                Some(user.context(
                    "PostgreSQL does not run as root, and there is neither `postgres` nor `nobody`",
                )?)
            } else {
                None
            },
        })
    }

    fn command(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(self.directory.join(name.as_ref()));
        // Another user may not enter where we are.
        command.current_dir("/");
        if let Some(user) = &self.user {
            command.uid(user.uid()).gid(user.primary_group_id());
        }
        command
    }
}

/// A port of loopback that nobody listened on just now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
