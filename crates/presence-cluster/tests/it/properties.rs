//! Whatever fails, in whatever order: one owner an epoch, nobody acts for what is another's, nothing is forgotten,
//! and all comes to rest.

mod watch;

use std::time::Duration;

use presence_store::LedgerFault;
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use self::watch::Watch;
use crate::support::{World, instance, millis, secs};

/// Something that happens to the cluster. Nodes are counted round.
#[derive(Clone, Debug)]
enum Happening {
    Start,
    Kill(usize),
    Drain(usize),
    Stop(usize),
    GoOn(usize),
    Fault(usize, LedgerFault),
    FaultOfAll(LedgerFault),
    Create,
    /// A new instance is claimed by the node that made it.
    CreateAt(usize),
    Delete(i32),
    Wait(Duration),
}

fn fault() -> impl Strategy<Value = LedgerFault> {
    prop_oneof![
        3 => Just(LedgerFault::Nothing),
        1 => Just(LedgerFault::Refused),
        1 => Just(LedgerFault::Stuck),
        1 => Just(LedgerFault::AnswersLost),
        1 => (0_u64..7_000).prop_map(|ms| LedgerFault::Slow(millis(ms))),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let node = 0_usize..6;
    prop_oneof![
        2 => Just(Happening::Start),
        1 => node.clone().prop_map(Happening::Kill),
        1 => node.clone().prop_map(Happening::Drain),
        2 => node.clone().prop_map(Happening::Stop),
        3 => node.clone().prop_map(Happening::GoOn),
        4 => (node.clone(), fault()).prop_map(|(node, fault)| Happening::Fault(node, fault)),
        1 => fault().prop_map(Happening::FaultOfAll),
        1 => Just(Happening::Create),
        2 => node.prop_map(Happening::CreateAt),
        1 => (1_i32..30).prop_map(Happening::Delete),
        6 => (0_u64..3_000).prop_map(|ms| Happening::Wait(millis(ms))),
        4 => (0_u64..40).prop_map(|s| Happening::Wait(secs(s))),
    ]
}

/// A cluster to which things happen.
struct Model {
    world: World,
    watch: Watch,
    created: i32,
}

impl Model {
    fn new(instances: i32, nodes: usize) -> Self {
        let mut model = Self {
            world: World::new(instances),
            watch: Watch::default(),
            created: instances,
        };
        for _ in 0..nodes {
            model.world.start();
        }
        model
    }

    async fn happen(&mut self, happening: Happening) {
        let count = self.world.nodes.len();
        match happening {
            Happening::Start if self.world.running().count() < 5 => drop(self.world.start()),
            Happening::Start => {}
            Happening::Kill(node) => self.world.nodes[node % count].kill(),
            Happening::Drain(node) => self.world.nodes[node % count].drain(secs(5)),
            Happening::Stop(node) => self.world.nodes[node % count].stop(),
            Happening::GoOn(node) => self.world.nodes[node % count].go_on(),
            Happening::Fault(node, fault) => self.world.nodes[node % count].set_way(fault),
            Happening::FaultOfAll(fault) => self.world.set_way(fault),
            Happening::Create => {
                self.created += 1;
                self.world.create(instance(self.created));
            }
            Happening::CreateAt(node) => {
                self.created += 1;
                let new = instance(self.created);
                self.world.create(new);
                let cluster = self.world.nodes[node % count].cluster.clone();
                tokio::spawn(async move { cluster.claim(new).await });
            }
            Happening::Delete(number) => self.world.delete(instance(number)),
            Happening::Wait(long) => self.pass(long).await,
        }
    }

    /// Time passes, and what must hold is looked at all the while.
    async fn pass(&mut self, long: Duration) {
        let mut left = long;
        while !left.is_zero() {
            let step = left.min(millis(100));
            sleep(step).await;
            left -= step;
            self.watch.look(&self.world);
        }
    }

    /// All faults end, a node is there, and it comes to rest: alike on all nodes, and with as few moves as that
    /// takes.
    async fn come_to_rest(&mut self) {
        for node in &self.world.nodes {
            node.go_on();
            node.set_way(LedgerFault::Nothing);
        }
        if self.world.running().count() == 0 {
            self.world.start();
        }
        let before = self.world.opened();
        self.pass(secs(60)).await;
        let moved = self.world.opened() - before;
        // Nodes that are gone are still counted on for a while: what moves for them moves once more.
        let most = 3 * self.created as usize + self.world.nodes.len();
        assert!(moved <= most, "{moved} moves of {}", self.created);
        self.world.assert_at_rest();
        let shares: Vec<usize> = self
            .world
            .running()
            .map(|node| node.sessions.instances().len())
            .collect();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{shares:?}");
        let before = self.world.opened();
        self.pass(secs(60)).await;
        assert_eq!(self.world.opened(), before, "it never comes to rest");
    }
}

fn paused() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// An outage as one node sees it: when it begins and ends, and how.
fn outage() -> impl Strategy<Value = (u64, u64, LedgerFault)> {
    let faults = prop_oneof![
        Just(LedgerFault::Refused),
        Just(LedgerFault::Stuck),
        Just(LedgerFault::AnswersLost)
    ];
    (0_u64..1_000, 0_u64..1_000, faults)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_it_holds_and_heals(
        instances in 0_i32..25,
        nodes in 1_usize..4,
        happenings in proptest::collection::vec(happening(), 1..40),
    ) {
        paused().block_on(async {
            let mut model = Model::new(instances, nodes);
            for happening in happenings {
                model.happen(happening).await;
            }
            model.come_to_rest().await;
        });
    }

    #[test]
    fn an_outage_of_less_than_a_minute_moves_nothing(
        nodes in proptest::collection::vec(outage(), 1..5),
        lasts in 0_u64..45_000,
    ) {
        paused().block_on(async {
            let world = World::at_rest(30, nodes.len()).await;
            for (node, (begins, ends, fault)) in world.nodes.iter().zip(nodes) {
                let way = node.way.clone();
                tokio::spawn(async move {
                    sleep(millis(begins)).await;
                    way.set(fault);
                    sleep(millis(lasts + ends)).await;
                    way.set(LedgerFault::Nothing);
                });
            }
            sleep(secs(100)).await;
            assert_eq!((world.opened(), world.ended()), (0, 0));
            world.assert_at_rest();
        });
    }
}
