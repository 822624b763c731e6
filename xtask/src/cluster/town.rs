//! Three nodes and room for a fourth, their database, the sandbox, and sessions that clients reach through any node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::audit;
use super::database::Database;
use super::load::{CUSTOMERS, Requests};
use super::node::{Common, Node};
use super::pace::Pace;
use crate::api::Api;
use crate::hands;
use crate::promises::Page;
use crate::service::{Programs, Sandbox, say, until};

/// How many nodes there are, but for the scenario that adds one.
pub(super) const NODES: usize = 3;
/// How long all may take to be online and fairly shared after a failure has ended: a node hands over a few a second, and
/// those that show something last.
const SETTLED: Duration = Duration::from_secs(150);
/// The same until every node knows of a new instance. That none says there is no such instance is looked at elsewhere.
const KNOWN: Duration = Duration::from_secs(60);
/// How often what changes is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A connection that another node's replaced stays open for a minute, so that what it still says is heard.
const SANDBOX: [&str; 2] = ["--hang-up-after-ms", "60000"];
/// What the nodes know each other by.
const SECRET: &str = "the-nodes-know-it-and-nobody-else-does\n";
/// 32 bytes, the same for all nodes.
const TOKEN_KEY: &str = "cHJlc2VuY2UgY2x1c3RlciB0ZXN0IHRva2VuIGtleSE=";

pub(super) struct Town {
    /// In the order in which they end.
    pub(super) nodes: Vec<Node>,
    pub(super) sandbox: Sandbox,
    pub(super) database: Database,
    programs: Programs,
    /// The account's token.
    pub(super) token: String,
    /// Those of the instances.
    pub(super) tokens: Vec<String>,
    pub(super) chats: Vec<Mutex<[Page; CUSTOMERS]>>,
    pub(super) requests: Requests,
    pub(super) pace: Pace,
    secrets: TempDir,
    pub(super) runtime: Runtime,
}

/// What the sandbox tells of a session's device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) connected: bool,
    pub(super) logins: u64,
    pub(super) replaced: u64,
    /// On the sandbox's clock.
    pub(super) logged_in_at: Duration,
}

/// Who has an instance, as the database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Which run of which process; empty when nobody has it.
    pub(super) node: String,
    /// The address of that node.
    pub(super) address: String,
    pub(super) epoch: i64,
}

impl Town {
    /// Starts everything, and pairs `size` instances, each through nodes drawn by chance.
    pub(super) fn build(programs: Programs, size: usize, logs: PathBuf, pace: Pace) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let database = Database::create(runtime.handle(), logs.join("postgres.log"))?;
        let sandbox = programs.sandbox_with(&SANDBOX)?;
        let secrets = tempfile::tempdir()?;
        std::fs::write(secrets.path().join("secret"), SECRET)?;
        let mut town = Self {
            nodes: Vec::new(),
            token: String::new(),
            tokens: Vec::new(),
            chats: (0..size).map(|_| Mutex::default()).collect(),
            requests: Requests::default(),
            sandbox,
            database,
            programs,
            pace,
            secrets,
            runtime,
        };
        town.token = Programs::account_of(
            town.programs
                .server_command()
                .args(["account", "new", "cluster"])
                .env("PRESENCE_DATABASE_URL", town.database.url(None, "account"))
                .env("PRESENCE_TOKEN_KEY", TOKEN_KEY),
        )?;
        for nth in 0..=NODES {
            let name = format!("node-{}", nth + 1);
            let node = town.with_common(|common| Node::new(town.runtime.handle(), name, common, &logs))?;
            town.nodes.push(node);
        }
        for node in 0..NODES {
            town.start(node)?;
        }
        audit::begin(&town.database)?;
        town.pair(size)?;
        town.settle()?;
        Ok(town)
    }

    /// How many paired instances there are.
    pub(super) fn size(&self) -> usize {
        self.chats.len()
    }

    /// Starts a node.
    pub(super) fn start(&self, node: usize) -> anyhow::Result<()> {
        self.start_with(node, |_| ())
    }

    /// Starts a node, with this done to its command.
    pub(super) fn start_with(&self, node: usize, prepare: impl FnOnce(&mut Command)) -> anyhow::Result<()> {
        self.with_common(|common| self.nodes[node].start(common, prepare))
    }

    fn with_common<T>(&self, work: impl FnOnce(&Common<'_>) -> T) -> T {
        work(&Common {
            programs: &self.programs,
            database: &self.database,
            sandbox: &self.sandbox,
            token_key: TOKEN_KEY,
            secret: &self.secrets.path().join("secret"),
        })
    }

    /// Ends whatever was done to processes and connections.
    pub(super) fn heal(&self) -> anyhow::Result<()> {
        self.nodes.iter().for_each(Node::heal);
        self.database.heal()
    }

    /// A node that clients are sent to, drawn by chance.
    pub(super) fn any_node(&self) -> anyhow::Result<usize> {
        let in_rotation: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_in_rotation())
            .collect();
        ensure!(!in_rotation.is_empty(), "no node takes requests");
        Ok(in_rotation[rand::rng().random_range(0..in_rotation.len())])
    }

    /// The API of a node drawn by chance, as the account.
    pub(super) fn any_api(&self) -> anyhow::Result<Api> {
        Ok(self.nodes[self.any_node()?].api(&self.token))
    }

    fn pair(&mut self, size: usize) -> anyhow::Result<()> {
        let tokens: Vec<Mutex<String>> = (0..size).map(|_| Mutex::default()).collect();
        let pair = |instance: usize| {
            let made = self
                .any_api()?
                .post("/api/instance/new", &json!({ "name": name(instance) }))?;
            let token = made["instance"]["token"]
                .as_str()
                .context("a new instance has a token")?;
            token.clone_into(&mut tokens[instance].lock().expect("no hand panics"));
            // Whether they know of it at once is looked at elsewhere.
            self.wait_until_known(&name(instance))?;
            self.sandbox
                .link(&self.any_api()?, &name(instance), phone(instance))?;
            if (instance + 1).is_multiple_of(50) {
                say(format_args!("  {} paired", instance + 1));
            }
            anyhow::Ok(())
        };
        hands::for_each(0..size, |instance| pair(instance).with_context(|| name(instance)))?;
        let tokens = tokens
            .into_iter()
            .map(|token| token.into_inner().expect("no hand panics"));
        self.tokens = tokens.collect();
        Ok(())
    }

    /// Waits until every node knows this instance.
    fn wait_until_known(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("/api/instance/list?instanceName={name}");
        let in_rotation = self.nodes.iter().filter(|node| node.is_in_rotation());
        let apis: Vec<Api> = in_rotation.map(|node| node.api(&self.token)).collect();
        until(KNOWN, "every node knows a new instance", || {
            apis.iter().try_fold(true, |known, api| {
                Ok(known && api.call("GET", &path, None)?.status == 200)
            })
        })
    }

    /// What the sandbox tells of every session, and its clock's time.
    pub(super) fn sessions(&self) -> anyhow::Result<(Duration, Vec<Session>)> {
        let page = self.sandbox.control.get("/v1/logins")?;
        let millis = |value: &Value| Duration::from_millis(value.as_u64().unwrap_or_default());
        let devices = page["devices"].as_array().context("the sandbox lists devices")?;
        let mut sessions = BTreeMap::new();
        for device in devices {
            let number = device["number"]
                .as_str()
                .and_then(|number| number.parse::<u64>().ok());
            let session = Session {
                connected: device["connected"] == true,
                logins: device["logins"].as_u64().unwrap_or_default(),
                replaced: device["replaced"].as_u64().unwrap_or_default(),
                logged_in_at: millis(&device["logged_in_at_ms"]),
            };
            let twice = sessions.insert(number.context("a device has a number")?, session);
            ensure!(twice.is_none(), "a phone has two devices: {device}");
        }
        let sessions = (0..self.size()).map(|instance| sessions.get(&phone(instance)).copied());
        let sessions: Option<Vec<Session>> = sessions.collect();
        Ok((
            millis(&page["at_ms"]),
            sessions.context("a phone has lost its device")?,
        ))
    }

    /// Who has each session.
    pub(super) fn owners(&self) -> anyhow::Result<Vec<Owner>> {
        let rows: Vec<(String, String, String, i64)> = self.database.read(
            "SELECT i.name, coalesce(n.id::text, ''), coalesce(n.address, ''), o.epoch
             FROM instance AS i JOIN ownership AS o ON o.instance_id = i.id LEFT JOIN node AS n ON n.id = o.node_id",
        )?;
        let mut owners: BTreeMap<String, Owner> = rows
            .into_iter()
            .map(|(name, node, address, epoch)| (name, Owner { node, address, epoch }))
            .collect();
        let owners = (0..self.size()).map(|instance| owners.remove(&name(instance)));
        owners
            .collect::<Option<_>>()
            .context("the database has lost an instance")
    }

    /// The sessions that this node has.
    pub(super) fn sessions_of(&self, node: usize) -> anyhow::Result<Vec<usize>> {
        let address = self.nodes[node].address();
        let owners = self.owners()?.into_iter().enumerate();
        let its = owners.filter(|(_, owner)| owner.address == address);
        Ok(its.map(|(instance, _)| instance).collect())
    }

    /// Waits until every session is online, every node says so of each, and each has its fair share.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let unsettled = match self.unsettled() {
                Ok(None) => return Ok(()),
                Ok(Some(why)) => why,
                Err(error) => format!("{error:#}"),
            };
            ensure!(
                began.elapsed() < SETTLED,
                "not settled after {} s: {unsettled}",
                SETTLED.as_secs()
            );
            std::thread::sleep(LOOK * 4);
        }
    }

    /// Why it is not settled.
    fn unsettled(&self) -> anyhow::Result<Option<String>> {
        let (_, sessions) = self.sessions()?;
        let offline = sessions.iter().filter(|session| !session.connected).count();
        if offline > 0 {
            return Ok(Some(format!("{offline} sessions are offline")));
        }
        let started: Vec<&Node> = self.nodes.iter().filter(|node| node.is_started()).collect();
        let mut shares: BTreeMap<String, usize> = started.iter().map(|node| (node.address(), 0)).collect();
        for owner in self.owners()? {
            match shares.get_mut(&owner.address) {
                Some(share) => *share += 1,
                None => return Ok(Some(format!("`{}` has a session, and is no node", owner.address))),
            }
        }
        let fair = self.size().div_ceil(started.len());
        if shares.values().any(|share| *share > fair) {
            return Ok(Some(format!(
                "the shares are {:?}, not {fair} at most",
                shares.values()
            )));
        }
        for node in started {
            let list = node.api(&self.token).get("/api/instance/list")?;
            let instances = list["instances"].as_array().context("list gave no instances")?;
            let ours = |item: &&Value| item["name"].as_str().is_some_and(|name| name.starts_with(PREFIX));
            let ours: Vec<&Value> = instances.iter().filter(ours).collect();
            ensure!(
                ours.len() == self.size(),
                "{} lists {} instances",
                node.name,
                ours.len()
            );
            let connected = |item: &Value| item["connection"]["state"] == "connected";
            if let Some(item) = ours.iter().find(|item| !connected(item)) {
                let status = &item["connection"]["displayStatus"];
                return Ok(Some(format!(
                    "{} says that {} is {status}",
                    node.name, item["name"]
                )));
            }
            if let Some(item) = ours
                .iter()
                .find(|item| !shares.contains_key(item["node"].as_str().unwrap_or_default()))
            {
                return Ok(Some(format!(
                    "{} says that {} is at {}",
                    node.name, item["name"], item["node"]
                )));
            }
        }
        Ok(None)
    }

    /// Waits until each of these has logged in since `since`, on the sandbox's clock, and is connected; for `limit`, or
    /// longer where the machine is busy.
    pub(super) fn wait_until_back(
        &self,
        instances: &[usize],
        since: Duration,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let (_, sessions) = self.sessions()?;
            let is_back = |instance: &&usize| {
                let session = sessions[**instance];
                session.connected && session.logged_in_at >= since
            };
            let missing = instances.len() - instances.iter().filter(is_back).count();
            if missing == 0 {
                return Ok(());
            }
            let limit = limit.mul_f64(self.pace.since(began));
            ensure!(
                began.elapsed() < limit,
                "{missing} of {} sessions were not online elsewhere within {} s",
                instances.len(),
                limit.as_secs()
            );
            std::thread::sleep(LOOK);
        }
    }

    /// The number of the last stanza that the sandbox was sent.
    pub(super) fn last_stanza(&self) -> anyhow::Result<u64> {
        let page = self.sandbox.control.get("/v1/journal?limit=1")?;
        page["latest"].as_u64().context("a journal has a latest stanza")
    }

    /// What connections said after that stanza which were replaced already.
    pub(super) fn superseded_since(&self, mut after: u64) -> anyhow::Result<Vec<String>> {
        let mut superseded = Vec::new();
        loop {
            let page = self.sandbox.control.get(&format!("/v1/journal?after={after}"))?;
            let entries = page["entries"].as_array().context("a journal has entries")?;
            let late = entries.iter().filter(|entry| entry["refused"] == "superseded");
            superseded.extend(late.map(|entry| entry["stanza"].as_str().unwrap_or_default().to_owned()));
            match entries.last().and_then(|last| last["seq"].as_u64()) {
                Some(seq) => after = seq,
                None => return Ok(superseded),
            }
        }
    }

    /// Who shows something on the phone of `number`.
    pub(super) fn shown_on(&self, number: u64) -> anyhow::Result<BTreeSet<u64>> {
        let shown = self.sandbox.control.get(&format!("/v1/phones/{number}/shown"))?;
        let now = shown["now"].as_array().context("a phone shows a list")?;
        let from = now
            .iter()
            .filter_map(|shown| shown["from"].as_str()?.parse().ok());
        Ok(from.collect())
    }

    /// Stops every node, which must end well.
    pub(super) fn close(self) -> anyhow::Result<()> {
        self.nodes.iter().try_for_each(Node::stop)
    }
}

/// What the names of paired instances begin with.
const PREFIX: &str = "cluster-";

/// The name of an instance.
pub(super) fn name(instance: usize) -> String {
    format!("{PREFIX}{instance}")
}

/// The phone number of an instance's account.
pub(super) fn phone(instance: usize) -> u64 {
    5_511_400_000_000 + instance as u64
}
