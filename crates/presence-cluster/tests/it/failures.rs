//! Nodes that are killed, stopped, drained or cut off.

use presence_cluster::{Standing, Whereabouts};
use presence_store::{LedgerFault, NodeId};
use tokio::time::{Instant, sleep};

use crate::support::{SessionEvent, World, instance, millis, secs};

#[tokio::test(start_paused = true)]
async fn what_a_killed_node_had_is_taken_within_its_lease_and_little_more() {
    let world = World::at_rest(300, 3).await;
    let killed = Instant::now();
    world.nodes[0].kill();
    while !world.unowned_but_for(0).is_empty() {
        sleep(millis(10)).await;
        assert!(killed.elapsed() < secs(12), "{:?}", world.shares());
    }
    assert!(killed.elapsed() > secs(5), "it was still alive by its lease");
    sleep(secs(20)).await;
    assert_eq!(world.shares(), [0, 150, 150]);
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_a_drained_node_had_is_elsewhere_in_a_second() {
    let world = World::at_rest(300, 3).await;
    let drained = Instant::now();
    let [leaving, ..] = &world.nodes[..] else {
        unreachable!()
    };
    leaving.drain(secs(10));
    while world.shares()[1..] != [150, 150] {
        sleep(millis(10)).await;
        assert!(drained.elapsed() < secs(1), "{:?}", world.shares());
    }
    sleep(secs(20)).await;
    assert!(leaving.is_over());
    assert_eq!(
        leaving
            .sessions
            .count(|event| matches!(event, SessionEvent::GivenUp(_))),
        0
    );
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_ends_early_in_a_drain_does_not_wait_for_what_ends_late() {
    let world = World::at_rest(300, 3).await;
    let leaving = &world.nodes[0];
    let slow = *leaving.sessions.open().keys().next().unwrap();
    leaving.sessions.closes_slowly(slow, secs(3));
    leaving.drain(secs(10));
    sleep(secs(1)).await;
    assert_eq!(world.shares().iter().sum::<usize>(), 300);
    assert_eq!(world.shares()[0], 1, "only the slow one is still here");
    sleep(secs(3)).await;
    assert_eq!(world.shares(), [0, 150, 150]);
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_over_in_its_time_whatever_hangs() {
    let world = World::at_rest(30, 2).await;
    let leaving = &world.nodes[0];
    leaving.sessions.close_takes(secs(3600));
    let began = Instant::now();
    leaving.cluster.leave(secs(4)).await;
    assert_eq!(began.elapsed(), secs(4));
    assert_eq!(
        leaving
            .sessions
            .count(|event| matches!(event, SessionEvent::GivenUp(_))),
        15
    );
    sleep(secs(1)).await;
    assert_eq!(world.shares(), [0, 30]);
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_did_not_end_in_time_ends_none_that_is_opened_after_it() {
    let mut world = World::at_rest(10, 1).await;
    world.nodes[0].sessions.close_takes(secs(90));
    // Half of them are to be handed over to this one, which is gone before any is.
    let other = world.start();
    sleep(secs(6)).await;
    world.nodes[other].kill();
    sleep(secs(50)).await;
    assert_eq!(world.opened(), 5, "they are back");
    sleep(secs(60)).await;
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_a_database_is_over_all_the_same() {
    let world = World::at_rest(30, 2).await;
    let leaving = &world.nodes[0];
    leaving.way.set(LedgerFault::Stuck);
    let began = Instant::now();
    leaving.cluster.leave(secs(4)).await;
    assert!(began.elapsed() <= secs(9), "{:?}", began.elapsed());
    assert!(leaving.sessions.open().is_empty());
    sleep(secs(20)).await;
    assert_eq!(world.shares(), [0, 30]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_slept_past_its_lease_may_not_act_when_it_wakes() {
    let world = World::at_rest(90, 3).await;
    let sleeper = &world.nodes[0];
    let (before, epoch) = {
        let open = sleeper.sessions.open();
        open.iter()
            .map(|(instance, epoch)| (*instance, *epoch))
            .next()
            .unwrap()
    };
    sleeper.stop();
    sleep(secs(30)).await;
    assert!(!sleeper.cluster.may_act(), "before anything of it has run");
    sleeper.go_on();
    sleep(millis(100)).await;
    let now = sleeper.sessions.open().get(&before).copied();
    assert_ne!(now, Some(epoch), "it is another's, or was");
    assert!(sleeper.cluster.may_act(), "as another node");
    sleep(secs(20)).await;
    assert_eq!(world.shares(), [30, 30, 30]);
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_slept_alone_goes_on_as_soon_as_its_lease_is_confirmed() {
    let world = World::at_rest(30, 1).await;
    let sleeper = &world.nodes[0];
    sleeper.way.set(LedgerFault::Slow(millis(500)));
    sleeper.stop();
    sleep(secs(30)).await;
    sleeper.go_on();
    sleep(millis(400)).await;
    assert!(!sleeper.cluster.may_act(), "nobody has confirmed its lease yet");
    assert_eq!(sleeper.standing(), Standing::CutOff);
    sleep(millis(200)).await;
    assert!(sleeper.cluster.may_act());
    assert_eq!(world.opened(), 0, "no session was opened anew");
}

#[tokio::test(start_paused = true)]
async fn a_nap_within_the_lease_changes_nothing() {
    let world = World::at_rest(30, 3).await;
    world.nodes[0].stop();
    sleep(secs(5)).await;
    assert!(world.nodes[0].cluster.may_act(), "its lease is not over");
    world.nodes[0].go_on();
    sleep(secs(20)).await;
    assert_eq!(world.opened(), 0);
    assert_eq!(world.shares(), [10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_moves_nothing_and_ends_no_session() {
    for fault in [LedgerFault::Refused, LedgerFault::Stuck, LedgerFault::AnswersLost] {
        let world = World::at_rest(90, 3).await;
        let ids: Vec<Option<NodeId>> = world.nodes.iter().map(|node| node.cluster.me()).collect();
        world.set_way(fault);
        sleep(secs(20)).await;
        if fault != LedgerFault::AnswersLost {
            assert!(world.nodes.iter().all(|node| node.standing() == Standing::CutOff));
        }
        sleep(secs(20)).await;
        assert!(world.nodes.iter().all(|node| node.cluster.may_act()));
        world.set_way(LedgerFault::Nothing);
        sleep(secs(30)).await;
        let after: Vec<Option<NodeId>> = world.nodes.iter().map(|node| node.cluster.me()).collect();
        assert_eq!(ids, after);
        assert_eq!(world.opened(), 0);
        assert_eq!(world.ended(), 0);
        world.assert_at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_database_moves_nothing() {
    let world = World::at_rest(90, 3).await;
    world.set_way(LedgerFault::Slow(secs(2)));
    sleep(secs(120)).await;
    assert!(world.nodes.iter().all(|node| node.standing() == Standing::Member));
    assert_eq!(world.opened(), 0);
    assert_eq!(world.ended(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_long_outage_every_node_takes_back_what_it_had() {
    let world = World::at_rest(90, 3).await;
    let before: Vec<Vec<_>> = world.nodes.iter().map(|node| node.sessions.instances()).collect();
    world.set_way(LedgerFault::Refused);
    sleep(secs(55)).await;
    assert_eq!(world.ended(), 0);
    sleep(secs(10)).await;
    assert_eq!(world.shares(), [0, 0, 0]);
    assert!(world.nodes.iter().all(|node| !node.cluster.may_act()));
    sleep(secs(100)).await;
    world.set_way(LedgerFault::Nothing);
    sleep(secs(2)).await;
    let after: Vec<Vec<_>> = world.nodes.iter().map(|node| node.sessions.instances()).collect();
    assert_eq!(before, after);
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_alone_is_cut_off_is_replaced_and_comes_back_as_another_one() {
    let world = World::at_rest(90, 3).await;
    let lone = &world.nodes[0];
    let before = lone.cluster.me();
    lone.way.set(LedgerFault::Stuck);
    sleep(secs(15)).await;
    let others: usize = world.shares()[1..].iter().sum();
    assert_eq!(others, 90, "the others have taken what it had");
    lone.way.set(LedgerFault::Nothing);
    sleep(secs(1)).await;
    assert_ne!(lone.cluster.me(), before);
    sleep(secs(20)).await;
    assert_eq!(world.shares(), [30, 30, 30]);
    world.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn everybody_knows_where_an_instance_went() {
    let world = World::at_rest(9, 3).await;
    world.nodes[0].kill();
    sleep(secs(15)).await;
    for number in 1..=9 {
        let here = |at: &usize| {
            matches!(
                world.nodes[*at].cluster.whereabouts(instance(number)),
                Whereabouts::Here(_)
            )
        };
        let owner = [1, 2].into_iter().find(here).expect("one of them has it");
        let other = &world.nodes[3 - owner].cluster;
        let Whereabouts::There(node, _) = other.whereabouts(instance(number)) else {
            panic!("the other one does not know where {number} is");
        };
        assert_eq!(Some(node.id), world.nodes[owner].cluster.me());
    }
}
