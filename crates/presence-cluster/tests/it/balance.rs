//! Every node gets its share, and what moves for that is little.

use presence_cluster::{Activity, Whereabouts};
use presence_store::{InstanceId, LedgerFault};
use tokio::time::sleep;

use crate::support::{World, instance, millis, secs};

#[tokio::test(start_paused = true)]
async fn one_node_takes_everything() {
    let world = World::at_rest(120, 1).await;
    assert_eq!(world.shares(), [120]);
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn nodes_that_start_together_share_alike() {
    let world = World::at_rest(100, 3).await;
    assert_eq!(world.shares().iter().sum::<usize>(), 100);
    assert!(
        world.shares().iter().all(|share| (33..=34).contains(share)),
        "{:?}",
        world.shares()
    );
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_gets_its_share_a_few_at_a_time() {
    let mut world = World::at_rest(90, 2).await;
    let joined = world.start();
    sleep(secs(4)).await;
    let soon = world.shares()[joined];
    assert!((1..=20).contains(&soon), "{soon} moved in the first seconds");
    sleep(secs(20)).await;
    assert_eq!(world.shares(), [30, 30, 30]);
    assert_eq!(world.opened(), 30, "only what the new node gets moves");
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_a_node_was_to_take_that_has_just_died_moves_once() {
    let mut world = World::at_rest(60, 1).await;
    let joined = world.start();
    sleep(secs(1)).await;
    world.nodes[joined].kill();
    sleep(secs(60)).await;
    assert_eq!(world.shares(), [60, 0]);
    let moved = world.opened();
    assert_eq!(
        moved, 10,
        "what it hands over at once comes back, and no more follows"
    );
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_is_taken_by_the_node_that_made_it() {
    let world = World::at_rest(3, 3).await;
    let new = instance(4);
    world.create(new);
    let claimed = world.nodes[1].cluster.claim(new).await.unwrap();
    let epoch = claimed.expect("nobody else had it");
    assert_eq!(world.nodes[1].sessions.open().get(&new), Some(&epoch));
    sleep(millis(100)).await;
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn shares_differ_by_one_at_most_whatever_the_number() {
    for (instances, nodes) in [(100, 8), (7, 3), (4, 3), (2, 3), (0, 2)] {
        let mut world = World::at_rest(instances, nodes - 1).await;
        world.start();
        sleep(secs(30)).await;
        let shares = world.shares();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        assert!(
            most.unwrap() - least.unwrap() <= 1,
            "{instances} on {nodes}: {shares:?}"
        );
        let moved = world.opened();
        let due = instances as usize / nodes;
        assert!(
            moved <= due + nodes,
            "{instances} on {nodes}: {moved} moved, {due} were to"
        );
        sleep(secs(60)).await;
        assert_eq!(world.opened(), moved, "nothing moves any more");
        world.assert_at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn what_shows_something_moves_late_and_what_a_phone_is_linking_stays() {
    let mut world = World::at_rest(20, 1).await;
    let linking: Vec<InstanceId> = (1..=12).map(instance).collect();
    let showing: Vec<InstanceId> = (13..=18).map(instance).collect();
    let sessions = world.nodes[0].sessions.clone();
    sessions.set_busy(linking.iter().copied(), Activity::Linking);
    sessions.set_busy(showing.iter().copied(), Activity::Showing);
    world.start();
    sleep(secs(30)).await;
    assert_eq!(world.shares(), [18, 2]);
    sleep(secs(60)).await;
    assert_eq!(world.shares(), [12, 8]);
    assert_eq!(sessions.instances(), linking);
    sessions.set_busy(linking, Activity::Idle);
    sleep(secs(30)).await;
    assert_eq!(world.shares(), [10, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_instance_is_ended_and_counts_no_more() {
    let world = World::at_rest(20, 2).await;
    for number in 1..=10 {
        world.delete(instance(number));
    }
    sleep(secs(1)).await;
    let left: usize = world.shares().iter().sum();
    assert_eq!(left, 10);
    sleep(secs(20)).await;
    assert_eq!(world.shares(), [5, 5]);
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_asks_little_however_much_it_has() {
    let mut asked = Vec::new();
    for instances in [10, 2_000] {
        let world = World::at_rest(instances, 2).await;
        sleep(secs(60)).await;
        let before = world.nodes[0].way.statements();
        sleep(secs(60)).await;
        asked.push(world.nodes[0].way.statements() - before);
    }
    assert_eq!(asked[0], asked[1]);
    assert!(asked[0] <= 3 * 60, "{} statements in a minute", asked[0]);
}

#[tokio::test(start_paused = true)]
async fn many_who_refresh_share_a_read_that_begins_after_they_asked() {
    let world = World::at_rest(2, 2).await;
    let node = &world.nodes[0];
    // A read is under way that will not know of the new instance.
    node.way.set(LedgerFault::Slow(secs(1)));
    let early = tokio::spawn({
        let cluster = node.cluster.clone();
        async move { cluster.refresh().await }
    });
    sleep(millis(10)).await;
    let before = node.way.statements();
    let new = instance(3);
    world.create(new);
    world.nodes[1].cluster.claim(new).await.unwrap().unwrap();
    let refreshes = (0..100).map(|_| {
        let cluster = node.cluster.clone();
        tokio::spawn(async move {
            cluster.refresh().await.unwrap();
            cluster.whereabouts(new)
        })
    });
    for refresh in refreshes.collect::<Vec<_>>() {
        assert!(matches!(refresh.await.unwrap(), Whereabouts::There(..)));
    }
    early.await.unwrap().unwrap();
    let asked = node.way.statements() - before;
    assert!(asked <= 5, "{asked} statements for 100 who ask");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_fails_when_the_ledger_does() {
    let world = World::at_rest(2, 1).await;
    world.set_way(LedgerFault::Refused);
    assert!(world.nodes[0].cluster.refresh().await.is_err());
    world.set_way(LedgerFault::Nothing);
    world.nodes[0].cluster.refresh().await.unwrap();
}
