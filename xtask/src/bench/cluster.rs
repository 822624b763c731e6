//! Many nodes: what a presence costs at a node that does not have the instance, what three nodes do that one does, what
//! the database is asked meanwhile, and how long sessions are away when a node is.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Bencher;
use super::figures::Figures;
use super::load::{Load, Outcome};
use super::usage;
use crate::api::Api;
use crate::cluster::{Database, free_port};
use crate::hands::for_each;
use crate::root;
use crate::service::{Programs, Sandbox, Server, say, until};

const NODES: usize = 3;
const SESSIONS: usize = 30;
/// To one node, or to three together: the machine is to be as busy in either case.
const CONNECTIONS: usize = 48;
const CHATS: usize = 1000;
/// How long sessions may take to be shared and online.
const SETTLED: Duration = Duration::from_secs(120);
/// 32 bytes.
const TOKEN_KEY: &str = "cHJlc2VuY2UgY2x1c3RlciB0ZXN0IHRva2VuIGtleSE=";

struct Cluster<'a> {
    /// In the order in which they end.
    nodes: Vec<Option<Server>>,
    ports: Vec<u16>,
    sandbox: Sandbox,
    database: Database,
    programs: &'a Programs,
    token: String,
    secret: TempDir,
    _runtime: Runtime,
}

/// What requests cost all nodes together.
struct Cost {
    rate: f64,
    cpu_us: f64,
    p50_us: f64,
}

pub(super) fn measure(bencher: &Bencher, figures: &mut Figures) -> anyhow::Result<()> {
    let sessions = bencher.size(SESSIONS, 6);
    let mut cluster = Cluster::build(&bencher.programs)?;
    cluster.start(0)?;
    cluster.pair(0..sessions)?;
    let all: Vec<usize> = (0..sessions).collect();
    let mut alone = Vec::new();
    for _ in 0..bencher.rounds {
        alone.push(cluster.load(bencher, CONNECTIONS, &[(0, all.clone())])?);
    }
    for node in 1..NODES {
        cluster.start(node)?;
    }
    cluster.settle(sessions, NODES)?;
    let own = cluster.had_by(0)?;
    let others: Vec<usize> = all
        .iter()
        .copied()
        .filter(|instance| !own.contains(instance))
        .collect();
    let everywhere: Vec<_> = (0..NODES).map(|node| (node, all.clone())).collect();
    for alone in &alone {
        let three = cluster.load(bencher, CONNECTIONS, &everywhere)?;
        let of = "3 nodes, each request at any of them ÷ 1 node";
        figures.add(of, "times its CPU a request", three.cpu_us / alone.cpu_us);
        figures.add(
            of,
            "times its requests/s on as many cores a node",
            NODES as f64 * alone.cpu_us / three.cpu_us,
        );
        figures.add(
            of,
            "of its requests/s on these two cores",
            three.rate / alone.rate,
        );
        let [near, far] =
            [&own, &others].map(|instances| cluster.load(bencher, 1, &[(0, instances.clone())]));
        let (near, far) = (near?, far?);
        for (of, cost) in [("at the instance's node", &near), ("at another node", &far)] {
            figures.add(of, "µs, p50, 1 connection", cost.p50_us);
            figures.add(of, "µs of CPU a request, all nodes", cost.cpu_us);
        }
        let of = "at another node ÷ at the instance's node";
        figures.add(of, "times its time until the answer", far.p50_us / near.p50_us);
        figures.add(of, "times its CPU a request", far.cpu_us / near.cpu_us);
    }
    failover(bencher, &mut cluster, figures, sessions)?;
    flushes(bencher, &cluster, figures, sessions)?;
    statements(bencher, &cluster, figures, sessions)
}

/// What idle nodes ask the database, which must not grow with instances.
fn statements(
    bencher: &Bencher,
    cluster: &Cluster<'_>,
    figures: &mut Figures,
    sessions: usize,
) -> anyhow::Result<()> {
    let mut made = sessions;
    for instances in [sessions, bencher.size(1000, 20), bencher.size(10_000, 40)] {
        say(format_args!("  the database, {instances} instances"));
        cluster.name(made..instances)?;
        made = instances;
        cluster.settle(instances, NODES)?;
        let time = Duration::from_secs(bencher.size(20, 2));
        let before = cluster.transactions()?;
        thread::sleep(time);
        let asked = cluster.transactions()? - before;
        figures.add(
            format!("{instances} instances on {NODES} nodes"),
            "transactions a second and node, idle",
            asked as f64 / time.as_secs_f64() / NODES as f64,
        );
    }
    Ok(())
}

/// How often keys are written while people write to the sessions.
fn flushes(
    bencher: &Bencher,
    cluster: &Cluster<'_>,
    figures: &mut Figures,
    sessions: usize,
) -> anyhow::Result<()> {
    let time = Duration::from_secs(bencher.size(20, 2));
    let (before, began) = (cluster.flushes()?, Instant::now());
    let mut messages = 0;
    while began.elapsed() < time {
        let to = json!({ "to": account(messages % sessions).to_string(), "text": "still there?" });
        cluster
            .sandbox
            .control
            .post(&format!("/v1/phones/{}/send", person(messages % 8)), &to)?;
        messages += 1;
        thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    let of = "sessions that are written to";
    figures.add(of, "messages a second", messages as f64 / seconds);
    let flushes = cluster.flushes()? - before;
    figures.add(
        of,
        "commits of keys a second and node",
        flushes / seconds / NODES as f64,
    );
    Ok(())
}

/// How long sessions are away.
fn failover(
    bencher: &Bencher,
    cluster: &mut Cluster<'_>,
    figures: &mut Figures,
    sessions: usize,
) -> anyhow::Result<()> {
    for round in 0..bencher.rounds.min(3) {
        say(format_args!("  failover, round {}", round + 1));
        for (node, crash, of) in [
            (1, false, "a node is told to stop"),
            (2, true, "a node is killed"),
        ] {
            let lost = cluster.had_by(node)?;
            let moment = cluster.now()?;
            let ended = Instant::now();
            let mut server = cluster.nodes[node].take().context("it runs")?;
            let ending = thread::spawn(move || server.end(crash));
            cluster.wait_until_back(&lost, moment)?;
            figures.add(
                of,
                "s until all its sessions are online elsewhere",
                ended.elapsed().as_secs_f64(),
            );
            ending.join().expect("it does not panic")?;
            cluster.start(node)?;
            cluster.settle(sessions, NODES)?;
        }
    }
    Ok(())
}

impl<'a> Cluster<'a> {
    fn build(programs: &'a Programs) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let logs = root().join("target/bench");
        std::fs::create_dir_all(&logs)?;
        let database = Database::create(runtime.handle(), logs.join("postgres.log"))?;
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

    fn start(&mut self, node: usize) -> anyhow::Result<()> {
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
            .env("PRESENCE_DATABASE_URL", self.database.url(None, "bench"))
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

    /// Creates instances that are linked with nobody, at every node alike.
    fn name(&self, instances: Range<usize>) -> anyhow::Result<()> {
        let running = (0..NODES).filter(|node| self.nodes[*node].is_some());
        let apis = running
            .map(|node| self.api(node))
            .collect::<Result<Vec<_>, _>>()?;
        for_each(instances, |instance| {
            apis[instance % apis.len()]
                .post("/api/instance/new", &json!({ "name": name(instance) }))
                .map(drop)
        })
    }

    fn pair(&self, instances: Range<usize>) -> anyhow::Result<()> {
        self.name(instances.clone())?;
        let api = self.api(0)?;
        for_each(instances, |instance| {
            self.sandbox.link(&api, &name(instance), account(instance))
        })
    }

    /// Sends for a while to nodes at once, on so many connections together, to each for these instances.
    fn load(
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
    fn transactions(&self) -> anyhow::Result<i64> {
        // A process tells of its own once a second.
        thread::sleep(Duration::from_secs(2));
        let rows: Vec<(i64,)> = self.database.read(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
        )?;
        Ok(rows[0].0)
    }

    fn flushes(&self) -> anyhow::Result<f64> {
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

    /// The sandbox's clock.
    fn now(&self) -> anyhow::Result<u64> {
        let page = self.sandbox.control.get("/v1/logins")?;
        page["at_ms"].as_u64().context("the sandbox has a clock")
    }

    /// Waits until each of these has logged in after that moment.
    fn wait_until_back(&self, instances: &[usize], moment: u64) -> anyhow::Result<()> {
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

    fn list(&self) -> anyhow::Result<Vec<Value>> {
        let list = self.api(0)?.get("/api/instance/list")?;
        Ok(list["instances"]
            .as_array()
            .context("list gave no instances")?
            .clone())
    }

    /// The paired instances that a node has.
    fn had_by(&self, node: usize) -> anyhow::Result<Vec<usize>> {
        let address = self.address(node);
        let list = self.list()?;
        let theirs = list
            .iter()
            .filter(|item| item["node"] == address.as_str() && item["connection"]["state"] == "connected");
        let numbers = theirs.map(|item| item["name"].as_str()?.strip_prefix(PREFIX)?.parse().ok());
        numbers
            .collect::<Option<_>>()
            .context("the names end with numbers")
    }

    /// Waits until each node has its share of so many, and all that are paired are online.
    fn settle(&self, instances: usize, nodes: usize) -> anyhow::Result<()> {
        let fair = instances.div_ceil(nodes) as i64;
        until(SETTLED * 5, "the shares are fair", || {
            let shares: Vec<(i64,)> = self
                .database
                .read("SELECT count(*) FROM ownership WHERE node_id IS NOT NULL GROUP BY node_id")?;
            let all: i64 = shares.iter().map(|(share,)| share).sum();
            Ok(all >= instances as i64
                && shares.len() == nodes
                && shares.iter().all(|(share,)| *share <= fair))
        })?;
        until(SETTLED, "all are online", || {
            let offline = self.list()?.into_iter().filter(|item| {
                item["connection"]["numberJid"].is_string() && item["connection"]["state"] != "connected"
            });
            Ok(offline.count() == 0)
        })?;
        ensure!(!self.list()?.is_empty(), "there are no instances");
        Ok(())
    }
}

const PREFIX: &str = "bench-";

fn name(instance: usize) -> String {
    format!("{PREFIX}{instance}")
}

fn account(instance: usize) -> u64 {
    5_511_700_000_000 + instance as u64
}

fn person(nth: usize) -> u64 {
    4_915_700_000_000 + nth as u64
}
