//! The ledger of nodes: who lives, and who has what.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use presence_store::{
    Epoch, InstanceId, Ledger as _, LedgerNews, LedgerVersion, NodeId, Registry as _, StoreError,
};
use tokio::time::timeout;

use super::{TestDatabase, claim_all, instances, many_instances, node};
use crate::postgres::LEASE;
use crate::support::{account, id, instance, now};

/// A lease that is over at once.
const OVER: Duration = Duration::ZERO;

/// Who has what, by number.
fn owners(news: &LedgerNews) -> Vec<(i32, Option<NodeId>, i64)> {
    let mut owners: Vec<_> = news
        .changed
        .iter()
        .map(|owned| (owned.instance.get(), owned.node, owned.epoch.0))
        .collect();
    owners.sort();
    owners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_instances_none_is_claimed_twice() {
    let database = TestDatabase::create().await;
    let (one, other) = (database.connect().await, database.connect().await);
    many_instances(&database, 1000).await;
    let (claimers, mut claimed) = ([node(&one).await, node(&other).await], BTreeSet::new());
    let claiming = claimers.clone().map(|(node, ledger)| async move {
        let mut mine = Vec::new();
        loop {
            let more = ledger.claim(node, 7).await.unwrap();
            if more.is_empty() {
                return mine;
            }
            mine.extend(more);
        }
    });
    let shares = futures_util::future::join_all(claiming.map(tokio::spawn)).await;
    for share in shares {
        let share = share.unwrap();
        assert!(!share.is_empty(), "both claim");
        for owned in share {
            assert_eq!(owned.epoch, Epoch(1));
            assert!(claimed.insert(owned.instance), "{} twice", owned.instance);
        }
    }
    assert_eq!(claimed.len(), 1000);
    let (_, ledger) = &claimers[0];
    let news = ledger.read(None).await.unwrap();
    assert!(news.is_everything && news.changed.len() == 1000);
    assert!(
        news.changed
            .iter()
            .all(|owned| owned.node.is_some() && owned.epoch == Epoch(1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_only_grow_whatever_races() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 20).await;
    let playing = futures_util::future::join_all([(); 3].map(|()| node(&postgres))).await;
    let playing = playing.into_iter().map(|(node, ledger)| {
        tokio::spawn(async move {
            let mut taken = Vec::new();
            for round in 0..20 {
                let claimed = ledger.claim(node, 5).await.unwrap().into_iter();
                let mut had: Vec<_> = claimed.map(|owned| (owned.instance, owned.epoch)).collect();
                let one = ledger.claim_one(node, id(round + 1)).await.unwrap();
                had.extend(one.map(|epoch| (id(round + 1), epoch)));
                ledger.release(node, &had).await.unwrap();
                taken.extend(had);
            }
            taken.into_iter().collect::<BTreeSet<(InstanceId, Epoch)>>()
        })
    });
    let mut all = BTreeSet::new();
    for taken in futures_util::future::join_all(playing).await {
        for (instance, epoch) in taken.unwrap() {
            assert!(
                all.insert((instance, epoch)),
                "{instance} had two owners in {epoch:?}"
            );
        }
    }
    let (_, ledger) = node(&postgres).await;
    for owned in ledger.read(None).await.unwrap().changed {
        assert_eq!(owned.node, None);
        let highest = all
            .range((owned.instance, Epoch(0))..=(owned.instance, Epoch(i64::MAX)))
            .last();
        assert_eq!(highest.map_or(0, |(_, epoch)| epoch.0), owned.epoch.0);
    }
}

#[tokio::test]
async fn what_was_used_last_is_claimed_first() {
    let database = TestDatabase::create().await;
    let store = database.registry().await;
    instances(&store, 3).await;
    store.touch(&[(id(2), now())]).await.unwrap();
    let (node, ledger) = node(&database.connect().await).await;
    let mut order = Vec::new();
    while let [owned] = ledger.claim(node, 1).await.unwrap()[..] {
        order.push(owned.instance.get());
    }
    assert_eq!(order, [2, 1, 3]);
}

#[tokio::test]
async fn one_instance_is_had_by_one_node_until_it_is_released() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 1).await;
    let ((one, ledger), (other, _)) = (node(&postgres).await, node(&postgres).await);
    assert_eq!(ledger.claim_one(one, id(1)).await.unwrap(), Some(Epoch(1)));
    assert_eq!(
        ledger.claim_one(one, id(1)).await.unwrap(),
        Some(Epoch(1)),
        "again"
    );
    assert_eq!(ledger.claim_one(other, id(1)).await.unwrap(), None);
    assert_eq!(ledger.claim_one(one, id(2)).await.unwrap(), None, "there is none");
    for (releaser, epoch) in [(other, 1), (one, 0), (one, 2)] {
        ledger.release(releaser, &[(id(1), Epoch(epoch))]).await.unwrap();
        assert_eq!(
            ledger.claim_one(other, id(1)).await.unwrap(),
            None,
            "not its own epoch"
        );
    }
    ledger.release(one, &[(id(1), Epoch(1))]).await.unwrap();
    assert_eq!(ledger.claim_one(other, id(1)).await.unwrap(), Some(Epoch(2)));
}

#[tokio::test]
async fn a_late_renewal_saves_a_node_that_nobody_struck_off() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 3).await;
    let ((lost, ledger), (by, _)) = (node(&postgres).await, node(&postgres).await);
    claim_all(&ledger, lost).await;
    assert!(ledger.strike_off(by).await.unwrap().is_empty(), "its lease runs");
    assert!(ledger.renew(lost, OVER).await.unwrap());
    assert_eq!(
        ledger.claim_one(by, id(1)).await.unwrap(),
        None,
        "a lease that is over takes nothing away"
    );
    assert!(ledger.renew(lost, LEASE).await.unwrap());
    assert!(ledger.strike_off(by).await.unwrap().is_empty(), "it was renewed");
    ledger.renew(lost, OVER).await.unwrap();
    assert_eq!(ledger.strike_off(by).await.unwrap(), [lost]);
    assert!(!ledger.renew(lost, LEASE).await.unwrap(), "it never lives again");
    for claimed in [
        ledger.claim(lost, 1).await.err(),
        ledger.claim_one(lost, id(1)).await.err(),
    ] {
        assert!(matches!(claimed, Some(StoreError::Fenced)), "{claimed:?}");
    }
    assert!(ledger.strike_off(lost).await.unwrap().is_empty());
    assert_eq!(claim_all(&ledger, by).await.len(), 3);
}

#[tokio::test]
async fn a_renewal_and_a_striking_off_wait_for_each_other() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    let ((lost, ledger), (by, _)) = (node(&postgres).await, node(&postgres).await);
    ledger.renew(lost, OVER).await.unwrap();
    // A renewal whose commit takes its time.
    let mut renewing = database.raw().await;
    let renew = "BEGIN; UPDATE node SET expires_at = clock_timestamp() + interval '9 s' WHERE expires_at < clock_timestamp()";
    sqlx::raw_sql(renew).execute(&mut renewing).await.unwrap();
    let striking = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.strike_off(by).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!striking.is_finished());
    sqlx::raw_sql("COMMIT").execute(&mut renewing).await.unwrap();
    assert!(striking.await.unwrap().unwrap().is_empty());
    assert!(ledger.renew(lost, LEASE).await.unwrap());
}

#[tokio::test]
async fn what_is_claimed_while_its_node_is_struck_off_is_left_to_nobody() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 10).await;
    let ((lost, ledger), (by, _)) = (node(&postgres).await, node(&postgres).await);
    ledger.renew(lost, OVER).await.unwrap();
    // A claim whose commit takes its time.
    let mut claiming = database.raw().await;
    let claim = sqlx::AssertSqlSafe(format!("BEGIN; SELECT * FROM claim_instances('{lost}', 5)"));
    sqlx::raw_sql(claim).execute(&mut claiming).await.unwrap();
    let striking = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.strike_off(by).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    sqlx::raw_sql("COMMIT").execute(&mut claiming).await.unwrap();
    assert_eq!(striking.await.unwrap().unwrap(), [lost]);
    assert_eq!(claim_all(&ledger, by).await.len(), 10);
}

#[tokio::test]
async fn who_leaves_has_nothing_and_may_leave_again() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 5).await;
    let ((leaver, ledger), (stayer, _)) = (node(&postgres).await, node(&postgres).await);
    claim_all(&ledger, leaver).await;
    for _ in 0..2 {
        ledger.leave(leaver).await.unwrap();
    }
    let news = ledger.read(None).await.unwrap();
    assert_eq!(
        news.nodes.iter().map(|node| node.id).collect::<Vec<_>>(),
        [stayer]
    );
    assert!(
        news.changed
            .iter()
            .all(|owned| owned.node.is_none() && owned.epoch == Epoch(1))
    );
    let epochs: BTreeSet<_> = claim_all(&ledger, stayer)
        .await
        .iter()
        .map(|owned| owned.epoch)
        .collect();
    assert_eq!(epochs, [Epoch(2)].into());
}

#[tokio::test]
async fn only_what_changed_is_read_again() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    let store = database.registry().await;
    instances(&store, 3).await;
    let (me, ledger) = node(&postgres).await;
    let first = ledger.read(None).await.unwrap();
    assert!(first.is_everything);
    assert_eq!(owners(&first), [(1, None, 0), (2, None, 0), (3, None, 0)]);
    assert_eq!(first.nodes.len(), 1);
    assert_eq!((first.nodes[0].id, &*first.nodes[0].address), (me, "http://node"));
    let again = ledger.read(Some(first.version)).await.unwrap();
    assert!(again.changed.is_empty() && !again.is_everything);
    assert_eq!(again.version, first.version);

    ledger.claim_one(me, id(2)).await.unwrap();
    let (owner, _) = account(&store, "other", None).await;
    instance(&store, &owner, "four").await;
    let news = ledger.read(Some(first.version)).await.unwrap();
    assert_eq!(owners(&news), [(2, Some(me), 1), (4, None, 0)]);
    assert!(news.version > first.version && !news.is_everything);

    store.delete_instance(id(2)).await.unwrap();
    let everything = ledger.read(None).await.unwrap();
    assert_eq!(owners(&everything), [(1, None, 0), (3, None, 0), (4, None, 0)]);
    let restored = ledger.read(Some(LedgerVersion(i64::MAX))).await.unwrap();
    assert!(restored.is_everything && restored.changed.len() == 3);
}

#[tokio::test]
async fn whatever_changes_an_owner_is_read() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 1).await;
    let ((one, ledger), (other, _)) = (node(&postgres).await, node(&postgres).await);
    let mut version = ledger.read(None).await.unwrap().version;
    let mut news = async || {
        let news = ledger.read(Some(version)).await.unwrap();
        version = news.version;
        owners(&news)
    };
    ledger.claim(one, 1).await.unwrap();
    assert_eq!(news().await, [(1, Some(one), 1)]);
    ledger.release(one, &[(id(1), Epoch(1))]).await.unwrap();
    assert_eq!(news().await, [(1, None, 1)]);
    ledger.claim_one(one, id(1)).await.unwrap();
    assert_eq!(news().await, [(1, Some(one), 2)]);
    ledger.renew(one, OVER).await.unwrap();
    ledger.strike_off(other).await.unwrap();
    assert_eq!(news().await, [(1, None, 2)]);
    ledger.claim_one(other, id(1)).await.unwrap();
    assert_eq!(news().await, [(1, Some(other), 3)]);
    ledger.leave(other).await.unwrap();
    assert_eq!(news().await, [(1, None, 3)]);
    assert_eq!(news().await, []);
}

#[tokio::test]
async fn the_others_are_told_that_something_changed() {
    let database = TestDatabase::create().await;
    let (one, other) = (database.connect().await, database.connect().await);
    let mut hints = other.ledger(super::key()).hints();
    let told = async |hints: &mut tokio::sync::watch::Receiver<u64>| {
        timeout(Duration::from_secs(20), hints.changed())
            .await
            .expect("a hint")
            .unwrap();
    };
    // It listens from here on.
    told(&mut hints).await;
    many_instances(&database, 1).await;
    told(&mut hints).await;
    let (me, ledger) = node(&one).await;
    told(&mut hints).await;
    claim_all(&ledger, me).await;
    told(&mut hints).await;
    ledger.renew(me, LEASE).await.unwrap();
    assert!(
        timeout(Duration::from_millis(200), hints.changed())
            .await
            .is_err(),
        "a renewal is none"
    );
}

#[tokio::test]
async fn what_is_shown_is_kept_sealed_for_the_taker_once() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 4).await;
    let (me, ledger) = node(&postgres).await;
    for number in [1, 2, 3] {
        ledger.claim_one(me, id(number)).await.unwrap();
    }
    let shown =
        |number, epoch, text: &'static str| (id(number), Epoch(epoch), Bytes::from_static(text.as_bytes()));
    let first = [
        shown(1, 1, "to somebody"),
        shown(2, 1, "to another"),
        shown(3, 2, "of another epoch"),
        shown(4, 1, "of nobody"),
    ];
    ledger.keep_shown(me, &first).await.unwrap();
    ledger
        .keep_shown(me, &[shown(1, 1, "changed"), shown(2, 1, "")])
        .await
        .unwrap();
    let on_disk: Vec<(i32, Vec<u8>)> = sqlx::query_as("SELECT instance_id, sealed FROM shown")
        .fetch_all(&mut database.raw().await)
        .await
        .unwrap();
    assert_eq!(on_disk.len(), 1);
    assert!(!on_disk[0].1.windows(7).any(|window| window == b"changed"));

    let all = [1, 2, 3, 4].map(id);
    let taken = ledger.take_shown(&all).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].instance, &taken[0].shown[..]), (id(1), &b"changed"[..]));
    assert!(taken[0].age < Duration::from_secs(10));
    assert!(
        ledger.take_shown(&all).await.unwrap().is_empty(),
        "it is taken once"
    );

    ledger.keep_shown(me, &[shown(1, 1, "long ago")]).await.unwrap();
    sqlx::raw_sql("UPDATE shown SET kept_at = clock_timestamp() - interval '61 s'")
        .execute(&mut database.raw().await)
        .await
        .unwrap();
    assert!(ledger.take_shown(&all).await.unwrap().is_empty(), "it is void");
}
