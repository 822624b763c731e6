//! One node: a server's process, with a proxy wherever it is connected with something.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::runtime::Handle;

use super::database::Database;
use super::postgres::free_port;
use super::proxy::{Network, Proxy};
use crate::api::Api;
use crate::service::{Programs, Sandbox, Server, until};

/// The longest that any request may take, those included that wait for a node that is not there any more.
pub(super) const LONGEST_REQUEST: Duration = Duration::from_secs(30);
/// How long a node may take from its start until it takes requests.
const READY: Duration = Duration::from_secs(30);
/// How long a request may be on its way to a node that is in rotation no longer.
const DRAIN: Duration = Duration::from_millis(500);
/// What the nodes log, to a file each.
const LOG: &str = "info,sqlx=warn,presence_api=debug";

pub(super) struct Node {
    pub(super) name: String,
    /// It ends before what it is connected through, or it would end as if that were lost.
    server: Mutex<Option<Server>>,
    /// Where it connects with PostgreSQL.
    pub(super) database: Proxy,
    /// Where the other nodes connect with it.
    pub(super) internal: Proxy,
    /// Where it connects with WhatsApp.
    pub(super) whatsapp: Proxy,
    /// Where clients connect with it; the same each time it is started.
    listen: u16,
    internal_listen: u16,
    /// Whether clients are sent to it.
    in_rotation: AtomicBool,
    log: PathBuf,
}

/// What all nodes are started with.
pub(super) struct Common<'a> {
    pub(super) programs: &'a Programs,
    pub(super) database: &'a Database,
    pub(super) sandbox: &'a Sandbox,
    pub(super) token_key: &'a str,
    pub(super) secret: &'a Path,
}

/// No limits, and what monitoring reads.
const SETTINGS: [&str; 8] = [
    "--metrics",
    "on",
    "--rate-limit",
    "0",
    "--rate-limit-new",
    "0",
    "--rate-limit-failures",
    "0",
];

impl Node {
    /// The proxies of a node that is not started yet.
    pub(super) fn new(
        runtime: &Handle,
        name: String,
        common: &Common<'_>,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let internal_listen = free_port()?;
        let edge = common.sandbox.control.base().trim_start_matches("http://");
        Ok(Self {
            database: Proxy::start(runtime, common.database.address()?)?,
            internal: Proxy::start(runtime, SocketAddr::from((Ipv4Addr::LOCALHOST, internal_listen)))?,
            whatsapp: Proxy::start(runtime, edge.parse().context("the sandbox has an address")?)?,
            listen: free_port()?,
            internal_listen,
            in_rotation: AtomicBool::new(false),
            log: logs.join(format!("{name}.log")),
            name,
            server: Mutex::default(),
        })
    }

    /// The URL at which other nodes reach it.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.internal.port())
    }

    /// Starts it, and sends clients to it when it is ready. `prepare` is what else is done to the command.
    pub(super) fn start(
        &self,
        common: &Common<'_>,
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<()> {
        let url = common.database.url(Some(&self.database), &self.address());
        let edge = common.sandbox.edge_url.replace(
            common.sandbox.control.base().trim_start_matches("http://"),
            &format!("127.0.0.1:{}", self.whatsapp.port()),
        );
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = common.programs.server_command();
        command
            .arg("serve")
            .args(SETTINGS)
            .args(["--listen", &format!("127.0.0.1:{}", self.listen)])
            .args([
                "--internal-listen",
                &format!("127.0.0.1:{}", self.internal_listen),
            ])
            .args(["--advertise-url", &self.address()])
            .args(["--edge-url", &edge, "--edge-key", &common.sandbox.edge_key])
            .arg("--cluster-secret-file")
            .arg(common.secret)
            .env("PRESENCE_DATABASE_URL", &url)
            .env("PRESENCE_DATABASE_LISTEN_URL", &url)
            .env("PRESENCE_TOKEN_KEY", common.token_key)
            .env("PRESENCE_LOG", LOG)
            .stderr(log);
        prepare(&mut command);
        *self.lock() = Some(Server::start(&mut command).with_context(|| self.name.clone())?);
        let api = self.api("");
        until(READY, &format!("{} is ready", self.name), || {
            Ok(api
                .call("GET", "/readyz", None)
                .is_ok_and(|answer| answer.status == 200))
        })?;
        self.rotate(true);
        Ok(())
    }

    /// Whether clients are sent to it from now on, as a load balancer decides.
    pub(super) fn rotate(&self, in_rotation: bool) {
        self.in_rotation.store(in_rotation, Ordering::Relaxed);
    }

    pub(super) fn is_in_rotation(&self) -> bool {
        self.in_rotation.load(Ordering::Relaxed)
    }

    /// Sends no more clients to it, and waits until those are answered that were on their way.
    pub(super) fn drain(&self) {
        if self.in_rotation.swap(false, Ordering::Relaxed) {
            std::thread::sleep(DRAIN);
        }
    }

    /// Asks it to stop, as who takes it out of a load balancer's rotation first, and waits until it has, which must be
    /// in order.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        self.drain();
        let server = self.lock().take();
        server.map_or(Ok(()), Server::stop)
    }

    /// Ends it without a word.
    pub(super) fn kill(&self) -> anyhow::Result<()> {
        self.rotate(false);
        let server = self.lock().take();
        server.map_or(Ok(()), |mut server| server.end(true))
    }

    /// Ends whatever was done to its process and its connections.
    pub(super) fn heal(&self) {
        for proxy in [&self.database, &self.internal, &self.whatsapp] {
            proxy.set(Network::Works);
        }
        // It may not run at all.
        let _ = self.thaw();
    }

    /// Stops its process, which is not told.
    pub(super) fn freeze(&self) -> anyhow::Result<()> {
        self.rotate(false);
        self.signal(Signal::STOP)
    }

    /// Lets its process go on.
    pub(super) fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    pub(super) fn is_started(&self) -> bool {
        self.lock().is_some()
    }

    /// Its API, as a client of this token.
    pub(super) fn api(&self, token: &str) -> Api {
        Api::with_timeout(
            format!("http://127.0.0.1:{}", self.listen),
            token,
            LONGEST_REQUEST,
        )
    }

    /// What it counts under this name, all labels together; 0 when it does not count that.
    pub(super) fn counted(&self, metric: &str) -> anyhow::Result<f64> {
        let text = self.api("").call("GET", "/metrics", None)?.text;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let value = rest.rsplit_once(' ')?.1;
            (rest.starts_with(' ') || rest.starts_with('{')).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.lock().as_ref().context("it does not run")?.signal(signal)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that is frozen would not end.
        if self.is_started() {
            let _ = self.thaw();
        }
    }
}
