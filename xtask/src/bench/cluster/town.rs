//! Some nodes on one PostgreSQL, with linked instances.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::NODES;
use crate::api::Api;
use crate::bench::load::{Load, Outcome};
use crate::bench::{Bencher, usage};
use crate::cluster::{Database, Proxy, free_port};
use crate::hands::for_each;
use crate::root;
use crate::service::{Programs, Sandbox, Server, say, until};

const CHATS: usize = 1000;
/// How long sessions may take to be shared and online.
const SETTLED: Duration = Duration::from_secs(120);
/// After how many linked instances a line tells how far it is, and all of them have to be online.
const LINKED_AT_ONCE: usize = 500;
/// 32 bytes.
const TOKEN_KEY: &str = "cHJlc2VuY2UgY2x1c3RlciB0ZXN0IHRva2VuIGtleSE=";

pub(super) struct Cluster<'a> {
    /// In the order in which they end.
    pub(super) nodes: Vec<Option<Server>>,
    ports: Vec<u16>,
    /// Where they connect with PostgreSQL, and statements are counted.
    proxies: Vec<Proxy>,
    pub(super) sandbox: Sandbox,
    database: Database,
    programs: &'a Programs,
    token: String,
    secret: TempDir,
    _runtime: Runtime,
}

/// What requests cost all nodes together.
pub(super) struct Cost {
    pub(super) rate: f64,
    pub(super) cpu_us: f64,
    pub(super) p50_us: f64,
}

impl<'a> Cluster<'a> {
    pub(super) fn build(programs: &'a Programs) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let logs = root().join("target/bench");
        std::fs::create_dir_all(&logs)?;
        let database = Database::create(runtime.handle(), logs.join("postgres.log"))?;
        let target = database.address()?;
        let secret = tempfile::tempdir()?;
        std::fs::write(
            secret.path().join("secret"),
            "the-nodes-know-it-and-nobody-else-does\n",
        )?;
        let mut account = programs.server_command();
        account
            .args(["account", "new", "bench"])
            .env("PRESENCE_DATABASE_URL", database.url(None, "bench"));
        Ok(Self {
            nodes: (0..NODES).map(|_| None).collect(),
            ports: (0..NODES).map(|_| free_port()).collect::<Result<_, _>>()?,
            proxies: (0..NODES)
                .map(|_| Proxy::start(runtime.handle(), target))
                .collect::<Result<_, _>>()?,
            sandbox: programs.sandbox()?,
            token: Programs::account_of(&mut account)?,
            database,
            programs,
            secret,
            _runtime: runtime,
        })
    }

    fn address(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node])
    }

    pub(super) fn start(&mut self, node: usize) -> anyhow::Result<()> {
        let mut command = self.programs.server_command();
        command
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--metrics", "on"])
            .args(["--rate-limit", "0", "--rate-limit-new", "0"])
            .args(["--internal-listen", &format!("127.0.0.1:{}", self.ports[node])])
            .args(["--advertise-url", &self.address(node)])
            .args([
                "--edge-url",
                &self.sandbox.edge_url,
                "--edge-key",
                &self.sandbox.edge_key,
            ])
            .arg("--cluster-secret-file")
            .arg(self.secret.path().join("secret"))
            .env(
                "PRESENCE_DATABASE_URL",
                self.database.url(Some(&self.proxies[node]), "bench"),
            )
            .env("PRESENCE_TOKEN_KEY", TOKEN_KEY);
        self.nodes[node] = Some(Server::start(&mut command)?);
        let api = self.api(node)?;
        until(SETTLED, "a node is ready", || {
            Ok(api.call("GET", "/readyz", None)?.status == 200)
        })
    }

    fn api(&self, node: usize) -> anyhow::Result<Api> {
        let server = self.nodes[node].as_ref().context("the node runs")?;
        Ok(Api::new(server.url.clone(), self.token.clone()))
    }

    /// Creates instances and links them, at every node alike, and waits until they are online.
    pub(super) fn pair(&self, instances: Range<usize>) -> anyhow::Result<()> {
        let running = (0..NODES).filter(|node| self.nodes[*node].is_some());
        let apis = running
            .map(|node| self.api(node))
            .collect::<Result<Vec<_>, _>>()?;
        for from in instances.clone().step_by(LINKED_AT_ONCE) {
            let to = instances.end.min(from + LINKED_AT_ONCE);
            for_each(from..to, |instance| {
                let api = &apis[instance % apis.len()];
                api.post("/api/instance/new", &json!({ "name": name(instance) }))?;
                self.sandbox
                    .link(api, &name(instance), account(instance))
                    .with_context(|| name(instance))
            })?;
            self.wait_until_online(to)?;
            say(format_args!("  {to} sessions are online"));
        }
        Ok(())
    }

    /// Sends for a while to nodes at once, on so many connections together, to each for these instances.
    pub(super) fn load(
        &self,
        bencher: &Bencher,
        connections: usize,
        to: &[(usize, Vec<usize>)],
    ) -> anyhow::Result<Cost> {
        let servers = || self.nodes.iter().flatten();
        let cpu = || {
            servers()
                .map(|server| usage::cpu(server.pid()))
                .sum::<anyhow::Result<Duration>>()
        };
        let before = cpu()?;
        let outcomes = thread::scope(|scope| {
            let running: Vec<_> = to
                .iter()
                .map(|(node, instances)| {
                    let load = Load {
                        connections: connections / to.len(),
                        seconds: bencher.size(4, 1),
                        instances: instances.clone(),
                        chats: CHATS,
                        hold: 5,
                        count: None,
                    };
                    let server = self.nodes[*node].as_ref().expect("the node runs");
                    scope.spawn(move || load.run(&server.url, &self.token))
                })
                .collect();
            running
                .into_iter()
                .map(|run| run.join().expect("it does not panic"))
                .collect::<anyhow::Result<Vec<Outcome>>>()
        })?;
        let cpu = cpu()? - before;
        let requests: f64 = outcomes.iter().map(|outcome| outcome.requests).sum();
        Ok(Cost {
            rate: outcomes
                .iter()
                .map(|outcome| outcome.requests / outcome.seconds)
                .sum(),
            cpu_us: cpu.as_secs_f64() * 1e6 / requests,
            p50_us: outcomes[0].latency[0],
        })
    }

    /// How many transactions there have been.
    pub(super) fn transactions(&self) -> anyhow::Result<i64> {
        // A process tells of its own once a second.
        thread::sleep(Duration::from_secs(2));
        let rows: Vec<(i64,)> = self.database.read(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
        )?;
        Ok(rows[0].0)
    }

    /// How many statements the nodes have sent.
    pub(super) fn statements(&self) -> u64 {
        self.proxies.iter().map(Proxy::statements).sum()
    }

    /// How many commits of keys there have been.
    pub(super) fn flushes(&self) -> anyhow::Result<f64> {
        let counted = (0..NODES).map(|node| {
            let text = self.api(node)?.call("GET", "/metrics", None)?.text;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("presence_key_flushes_total "));
            line.context("a node counts flushes")?
                .parse::<f64>()
                .context("it is a number")
        });
        counted.sum()
    }

    /// How many sessions are online.
    pub(super) fn online(&self) -> anyhow::Result<u64> {
        let running = (0..NODES).filter(|node| self.nodes[*node].is_some());
        let counted = running.map(|node| {
            let answer = self.api(node)?.call("GET", "/health", None)?;
            let health: Value = serde_json::from_str(&answer.text)?;
            health["instances"]["connected"]
                .as_u64()
                .context("a node counts its sessions")
        });
        counted.sum()
    }

    fn wait_until_online(&self, sessions: usize) -> anyhow::Result<()> {
        until(
            SETTLED,
            "all are online",
            || Ok(self.online()? == sessions as u64),
        )
    }

    /// The sandbox's clock.
    pub(super) fn now(&self) -> anyhow::Result<u64> {
        let page = self.sandbox.control.get("/v1/logins")?;
        page["at_ms"].as_u64().context("the sandbox has a clock")
    }

    /// Waits until each of these has logged in after that moment.
    pub(super) fn wait_until_back(&self, instances: &[usize], moment: u64) -> anyhow::Result<()> {
        until(SETTLED, "sessions are online elsewhere", || {
            let page = self.sandbox.control.get("/v1/logins")?;
            let devices = page["devices"].as_array().context("the sandbox lists devices")?;
            let is_back = |instance: &&usize| {
                let number = account(**instance).to_string();
                devices.iter().any(|device| {
                    device["number"] == number.as_str()
                        && device["connected"] == true
                        && device["logged_in_at_ms"].as_u64().is_some_and(|at| at >= moment)
                })
            };
            Ok(instances.iter().filter(is_back).count() == instances.len())
        })
    }

    /// The instances that a node has.
    pub(super) fn had_by(&self, node: usize) -> anyhow::Result<Vec<usize>> {
        let address = self.address(node);
        let list = self.api(0)?.get("/api/instance/list")?;
        let list = list["instances"].as_array().context("list gave no instances")?;
        let theirs = list.iter().filter(|item| item["node"] == address.as_str());
        let numbers = theirs.map(|item| item["name"].as_str()?.strip_prefix(PREFIX)?.parse().ok());
        numbers
            .collect::<Option<_>>()
            .context("the names end with numbers")
    }

    /// Waits until each node has its share of so many, and all are online.
    pub(super) fn settle(&self, sessions: usize, nodes: usize) -> anyhow::Result<()> {
        let fair = sessions.div_ceil(nodes) as i64;
        until(SETTLED * 5, "the shares are fair", || {
            let shares: Vec<(i64,)> = self
                .database
                .read("SELECT count(*) FROM ownership WHERE node_id IS NOT NULL GROUP BY node_id")?;
            let all: i64 = shares.iter().map(|(share,)| share).sum();
            Ok(all >= sessions as i64
                && shares.len() == nodes
                && shares.iter().all(|(share,)| *share <= fair))
        })?;
        self.wait_until_online(sessions)
    }
}

const PREFIX: &str = "bench-";

fn name(instance: usize) -> String {
    format!("{PREFIX}{instance}")
}

pub(super) fn account(instance: usize) -> u64 {
    5_511_700_000_000 + instance as u64
}

pub(super) fn person(nth: usize) -> u64 {
    4_915_700_000_000 + nth as u64
}
