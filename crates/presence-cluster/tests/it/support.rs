//! A cluster in one runtime: nodes that can be killed, stopped and cut off, and sessions that are written down.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use presence_cluster::{Activity, Cluster, ClusterSettings, Sessions, Standing};
use presence_store::{Epoch, FaultyLedger, InstanceId, LedgerFault, MemoryLedger, NodeId, Ownership};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn instance(number: i32) -> InstanceId {
    InstanceId::new(number).unwrap()
}

/// The ledger, and every node that there ever was.
pub(crate) struct World {
    pub(crate) ledger: MemoryLedger,
    pub(crate) nodes: Vec<TestNode>,
    instances: Arc<Mutex<BTreeSet<InstanceId>>>,
    settings: ClusterSettings,
}

/// One process.
pub(crate) struct TestNode {
    pub(crate) cluster: Cluster,
    pub(crate) way: FaultyLedger,
    pub(crate) sessions: Arc<FakeSessions>,
    gate: Arc<Gate>,
    driver: JoinHandle<()>,
    is_killed: AtomicBool,
    is_leaving: AtomicBool,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Stopped,
    Gone,
}

impl World {
    /// One with so many instances, and no node.
    pub(crate) fn new(instances: i32) -> Self {
        let world = Self {
            ledger: MemoryLedger::default(),
            nodes: Vec::new(),
            instances: Arc::default(),
            settings: ClusterSettings::new("http://10.0.0.5:7070"),
        };
        for number in 1..=instances {
            world.create(instance(number));
        }
        world
    }

    /// One with so many instances and nodes, after it has come to rest. What happened until then is forgotten.
    pub(crate) async fn at_rest(instances: i32, nodes: usize) -> Self {
        let mut world = Self::new(instances);
        for _ in 0..nodes {
            world.start();
        }
        sleep(secs(20)).await;
        world.assert_at_rest();
        for node in &world.nodes {
            node.sessions.events.lock().unwrap().clear();
        }
        world
    }

    pub(crate) fn create(&self, instance: InstanceId) {
        self.instances.lock().unwrap().insert(instance);
        self.ledger.add_instance(instance);
    }

    pub(crate) fn delete(&self, instance: InstanceId) {
        // A number is never given again, so nobody is told of one that was not given yet.
        if !self.instances.lock().unwrap().remove(&instance) {
            return;
        }
        self.ledger.remove_instance(instance);
        for node in &self.nodes {
            let cluster = node.cluster.clone();
            tokio::spawn(async move { cluster.forget(instance).await });
        }
    }

    /// Starts another node. Its number is its place among the nodes.
    pub(crate) fn start(&mut self) -> usize {
        let way = FaultyLedger::new(self.ledger.clone());
        // Ids decide who comes first, so they are the same whenever a test is run.
        let mut run = 0;
        let number = u8::try_from(self.nodes.len()).unwrap();
        let ids = move || {
            run += 1;
            Ok(NodeId::from_bytes([
                number, run, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ]))
        };
        let (cluster, driver) = Cluster::with_ids(Arc::new(way.clone()), self.settings.clone(), ids);
        let gate = Arc::new(Gate::default());
        let sessions = Arc::new(FakeSessions {
            cluster: cluster.clone(),
            instances: Arc::clone(&self.instances),
            open: Mutex::default(),
            busy: Mutex::default(),
            events: Mutex::default(),
            close_takes: AtomicU64::new(200),
            slow: Mutex::default(),
        });
        let driver = driver.run(Arc::clone(&sessions) as Arc<dyn Sessions>);
        let driver = tokio::spawn(Arc::clone(&gate).hold(driver));
        self.nodes.push(TestNode {
            cluster,
            way,
            sessions,
            gate,
            driver,
            is_killed: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
        });
        self.nodes.len() - 1
    }

    /// How many sessions each node runs.
    pub(crate) fn shares(&self) -> Vec<usize> {
        let nodes = self.nodes.iter();
        nodes.map(|node| node.sessions.open().len()).collect()
    }

    /// What is wrong with every node's way to the ledger from now on.
    pub(crate) fn set_way(&self, fault: LedgerFault) {
        for node in &self.nodes {
            node.set_way(fault);
        }
    }

    /// Those that are to stay.
    pub(crate) fn running(&self) -> impl Iterator<Item = &TestNode> {
        let stays = |node: &&TestNode| node.state() != State::Gone && !node.is_leaving();
        self.nodes.iter().filter(stays)
    }

    /// Which instances nobody has who lives, if that node does not.
    pub(crate) fn unowned_but_for(&self, dead: usize) -> Vec<InstanceId> {
        let alive = self.nodes.iter().enumerate().filter(|(at, _)| *at != dead);
        let alive: BTreeSet<NodeId> = alive.filter_map(|(_, node)| node.cluster.me()).collect();
        let owners = self.ledger.owners().into_iter();
        let unowned = owners.filter(|owner| owner.node.is_none_or(|node| !alive.contains(&node)));
        unowned.map(|owner| owner.instance).collect()
    }

    /// Every instance is run by exactly the node that has it, in its epoch.
    pub(crate) fn assert_at_rest(&self) {
        let mut running: BTreeMap<InstanceId, (NodeId, Epoch)> = BTreeMap::new();
        for node in &self.nodes {
            for (instance, epoch) in node.sessions.open().iter() {
                let me = node.cluster.me().expect("whoever runs something is a node");
                assert_eq!(
                    running.insert(*instance, (me, *epoch)),
                    None,
                    "{instance} runs twice"
                );
            }
        }
        let owners = self.ledger.owners();
        let owned = owners.iter().map(|owner| {
            let node = owner
                .node
                .unwrap_or_else(|| panic!("nobody has {}", owner.instance));
            (owner.instance, (node, owner.epoch))
        });
        assert_eq!(running, owned.collect());
    }

    /// How often sessions were opened since the world came to rest, all nodes together.
    pub(crate) fn opened(&self) -> usize {
        self.count(|event| matches!(event, SessionEvent::Taken(..)))
    }

    /// How often they were ended.
    pub(crate) fn ended(&self) -> usize {
        self.count(|event| !matches!(event, SessionEvent::Taken(..)))
    }

    fn count(&self, which: impl Fn(&SessionEvent) -> bool) -> usize {
        let nodes = self.nodes.iter();
        nodes.map(|node| node.sessions.count(&which)).sum()
    }
}

impl TestNode {
    /// As kill -9 does: nothing of it runs from now on.
    pub(crate) fn kill(&self) {
        self.driver.abort();
        self.is_killed.store(true, Ordering::SeqCst);
        self.way.set(LedgerFault::Refused);
        self.sessions.open().clear();
    }

    /// As SIGTERM does.
    pub(crate) fn drain(&self, grace: Duration) {
        let cluster = self.cluster.clone();
        self.is_leaving.store(true, Ordering::SeqCst);
        tokio::spawn(async move { cluster.leave(grace).await });
    }

    /// As SIGSTOP and SIGCONT do.
    pub(crate) fn stop(&self) {
        self.gate.is_shut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.gate.is_shut.store(false, Ordering::SeqCst);
        self.gate.opened.notify_one();
    }

    /// What is wrong with its way to the ledger from now on.
    pub(crate) fn set_way(&self, fault: LedgerFault) {
        self.way.set(fault);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.driver.is_finished()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::SeqCst)
    }

    pub(crate) fn state(&self) -> State {
        if self.is_killed.load(Ordering::SeqCst) || self.is_over() {
            State::Gone
        } else if self.gate.is_shut.load(Ordering::SeqCst) {
            State::Stopped
        } else {
            State::Running
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.cluster.standing().borrow()
    }
}

/// What a task is held by while its process is stopped.
#[derive(Default)]
struct Gate {
    is_shut: AtomicBool,
    opened: Notify,
}

impl Gate {
    async fn hold(self: Arc<Self>, task: impl Future<Output = ()>) {
        let mut task = pin!(task);
        let mut opened = pin!(self.opened.notified());
        poll_fn(|context| {
            while opened.as_mut().poll(context).is_ready() {
                opened.set(self.opened.notified());
            }
            match self.is_shut.load(Ordering::SeqCst) {
                true => Poll::Pending,
                false => task.as_mut().poll(context),
            }
        })
        .await;
    }
}

/// What happened to the sessions of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionEvent {
    Taken(InstanceId, Epoch),
    HandedOver(InstanceId),
    GivenUp(InstanceId),
}

/// Sessions that are only written down.
pub(crate) struct FakeSessions {
    cluster: Cluster,
    instances: Arc<Mutex<BTreeSet<InstanceId>>>,
    open: Mutex<BTreeMap<InstanceId, Epoch>>,
    busy: Mutex<BTreeMap<InstanceId, Activity>>,
    events: Mutex<Vec<(Instant, SessionEvent)>>,
    /// How many milliseconds it takes to close one.
    close_takes: AtomicU64,
    slow: Mutex<BTreeMap<InstanceId, Duration>>,
}

impl FakeSessions {
    pub(crate) fn open(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Epoch>> {
        self.open.lock().unwrap()
    }

    pub(crate) fn set_busy(&self, instances: impl IntoIterator<Item = InstanceId>, with: Activity) {
        let busy = instances.into_iter().map(|instance| (instance, with));
        self.busy.lock().unwrap().extend(busy);
    }

    pub(crate) fn close_takes(&self, long: Duration) {
        let long = u64::try_from(long.as_millis()).unwrap();
        self.close_takes.store(long, Ordering::SeqCst);
    }

    pub(crate) fn closes_slowly(&self, instance: InstanceId, long: Duration) {
        self.slow.lock().unwrap().insert(instance, long);
    }

    pub(crate) fn instances(&self) -> Vec<InstanceId> {
        self.open().keys().copied().collect()
    }

    pub(crate) fn count(&self, which: impl Fn(&SessionEvent) -> bool) -> usize {
        let events = self.events.lock().unwrap();
        events.iter().filter(|(_, event)| which(event)).count()
    }

    fn note(&self, event: SessionEvent) {
        self.events.lock().unwrap().push((Instant::now(), event));
    }
}

#[async_trait]
impl Sessions for FakeSessions {
    fn take(&self, taken: &[Ownership]) {
        assert!(self.cluster.may_act(), "it takes what may be another's");
        for Ownership { instance, epoch, .. } in taken {
            let before = self.open().insert(*instance, *epoch);
            assert_eq!(
                before, None,
                "{instance} was not closed before it was taken again"
            );
            self.note(SessionEvent::Taken(*instance, *epoch));
        }
    }

    async fn hand_over(&self, instance: InstanceId) {
        let usual = millis(self.close_takes.load(Ordering::SeqCst));
        let slow = self.slow.lock().unwrap().get(&instance).copied();
        sleep(slow.unwrap_or(usual)).await;
        if self.open().remove(&instance).is_some() {
            self.note(SessionEvent::HandedOver(instance));
        }
    }

    async fn give_up(&self, lost: &[InstanceId]) {
        for instance in lost {
            if self.open().remove(instance).is_some() {
                self.note(SessionEvent::GivenUp(*instance));
            }
        }
    }

    fn activity(&self, instance: InstanceId) -> Activity {
        let busy = self.busy.lock().unwrap();
        busy.get(&instance).copied().unwrap_or(Activity::Idle)
    }

    fn wanted(&self) -> usize {
        self.instances.lock().unwrap().len()
    }
}
