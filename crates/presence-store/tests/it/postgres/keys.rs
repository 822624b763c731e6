//! Device keys of several nodes: nobody writes to what another has.

use std::time::Duration;

use presence_store::{
    Durability, Epoch, KeyStore as _, Kind, Ledger as _, PostgresKeyStore, Registry as _, StoreError,
};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::{Instant, timeout};

use super::{TestDatabase, claim_all, instances, key, many_instances, node, node_with_keys};
use crate::key_store::{append, get, put};
use crate::support::id;

const ONE: Kind = Kind(1);

async fn durably(keys: &PostgresKeyStore, device: i32, value: &str) -> Result<(), StoreError> {
    let epoch = keys.epoch(id(device)).ok_or(StoreError::Fenced)?;
    keys.append(id(device), epoch, vec![put(ONE, "a", value)], Durability::Durable)
        .await
}

/// What the database has, whatever a store has pending.
async fn written(database: &TestDatabase, device: i32) -> Option<String> {
    let reader = database.connect().await.open_keys(key());
    get(&reader, device, ONE, "a").await
}

#[tokio::test]
async fn a_node_that_slept_through_its_lease_writes_no_more() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 3).await;
    let (sleeper, old, ledger) = node_with_keys(&postgres).await;
    durably(&old, 1, "old").await.unwrap();
    let mut fenced = old.fenced();

    let (taker, _) = node(&postgres).await;
    ledger.renew(sleeper, Duration::ZERO).await.unwrap();
    assert_eq!(ledger.strike_off(taker).await.unwrap(), [sleeper]);
    let new = postgres.open_keys(key());
    new.begin(taker).unwrap();
    new.own(&claim_all(&ledger, taker).await).unwrap();
    durably(&new, 1, "new").await.unwrap();

    // It knows nothing of that yet.
    append(&old, 2, vec![put(ONE, "a", "too late")]).await;
    assert!(matches!(
        durably(&old, 1, "too late").await,
        Err(StoreError::Fenced)
    ));
    assert_eq!(written(&database, 1).await.as_deref(), Some("new"));
    assert_eq!(written(&database, 2).await, None);
    let mut told = vec![fenced.recv().await.unwrap(), fenced.recv().await.unwrap()];
    told.sort();
    assert_eq!(told, [(id(1), Epoch(1)), (id(2), Epoch(1))]);
    assert_eq!((old.epoch(id(1)), old.epoch(id(3))), (None, Some(Epoch(1))));

    // It is not tried again.
    assert_eq!(get(&old, 1, ONE, "a").await.as_deref(), Some("new"));
    old.flush().await.unwrap();
    assert!(matches!(fenced.try_recv(), Err(TryRecvError::Empty)));
    let refused = old.append(id(1), Epoch(1), vec![put(ONE, "a", "x")], Durability::Behind);
    assert!(matches!(refused.await, Err(StoreError::Fenced)));
}

#[tokio::test]
async fn a_node_that_has_a_device_again_writes_nothing_of_before() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 1).await;
    let (me, keys, ledger) = node_with_keys(&postgres).await;
    ledger.release(me, &[(id(1), Epoch(1))]).await.unwrap();
    assert_eq!(ledger.claim_one(me, id(1)).await.unwrap(), Some(Epoch(2)));
    assert!(matches!(
        durably(&keys, 1, "of before").await,
        Err(StoreError::Fenced)
    ));
    assert_eq!(written(&database, 1).await, None);
}

#[tokio::test]
async fn a_commit_that_waits_for_a_claim_is_fenced_by_it() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 1).await;
    let (loser, keys, _) = node_with_keys(&postgres).await;
    let (taker, _) = node(&postgres).await;
    // Another's claim, whose commit takes its time.
    let mut claiming = database.raw().await;
    let claim = sqlx::AssertSqlSafe(format!(
        "BEGIN; SELECT remove_node('{loser}'); SELECT * FROM claim_instances('{taker}', 1)"
    ));
    sqlx::raw_sql(claim).execute(&mut claiming).await.unwrap();
    let writing = tokio::spawn({
        let keys = keys.clone();
        async move { durably(&keys, 1, "too late").await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!writing.is_finished());
    sqlx::raw_sql("COMMIT").execute(&mut claiming).await.unwrap();
    assert!(matches!(writing.await.unwrap(), Err(StoreError::Fenced)));
    assert_eq!(written(&database, 1).await, None);
}

#[tokio::test]
async fn what_is_handed_over_is_read_by_the_next() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 1).await;
    let (one, old, ledger) = node_with_keys(&postgres).await;
    append(&old, 1, vec![put(ONE, "a", "newest")]).await;
    old.flush().await.unwrap();
    old.disown(&[id(1)]).unwrap();
    ledger.release(one, &[(id(1), Epoch(1))]).await.unwrap();
    assert!(matches!(durably(&old, 1, "late").await, Err(StoreError::Fenced)));

    let (_, new, _) = node_with_keys(&postgres).await;
    assert_eq!(new.epoch(id(1)), Some(Epoch(2)));
    assert_eq!(get(&new, 1, ONE, "a").await.as_deref(), Some("newest"));
    durably(&new, 1, "newer").await.unwrap();
}

#[tokio::test]
async fn what_waits_of_an_epoch_before_is_forgotten() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 2).await;
    let (me, keys, ledger) = node_with_keys(&postgres).await;
    durably(&keys, 1, "kept").await.unwrap();
    durably(&keys, 2, "kept").await.unwrap();
    database.set_reachable(false).await;
    for device in [1, 2] {
        append(&keys, device, vec![put(ONE, "a", "of the epoch before")]).await;
    }
    keys.disown(&[id(1)]).unwrap();
    database.set_reachable(true).await;
    ledger.release(me, &[(id(1), Epoch(1))]).await.unwrap();
    keys.own(&claim_all(&ledger, me).await).unwrap();
    assert_eq!(keys.epoch(id(1)), Some(Epoch(2)));
    keys.flush().await.unwrap();
    assert_eq!(written(&database, 1).await.as_deref(), Some("kept"));
    assert_eq!(
        written(&database, 2).await.as_deref(),
        Some("of the epoch before")
    );

    // As another run, it has nothing.
    let (again, _) = node(&postgres).await;
    append(&keys, 1, vec![put(ONE, "a", "of the run before")]).await;
    keys.begin(again).unwrap();
    keys.flush().await.unwrap();
    assert_eq!(keys.epoch(id(1)), None);
    assert_eq!(get(&keys, 1, ONE, "b").await, None);
}

#[tokio::test]
async fn keys_wait_in_memory_while_the_database_is_away() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 1).await;
    let (_, keys, _) = node_with_keys(&postgres).await;
    durably(&keys, 1, "before").await.unwrap();
    database.set_reachable(false).await;
    append(&keys, 1, vec![put(ONE, "a", "while it is away")]).await;
    assert_eq!(get(&keys, 1, ONE, "a").await.as_deref(), Some("while it is away"));
    let before = Instant::now();
    let refused = durably(&keys, 1, "and durably").await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Shared(cause) if matches!(**cause, StoreError::Away { .. })),
        "{refused:?}"
    );
    assert!(before.elapsed() < Duration::from_secs(25));
    let unread = keys.get(id(1), ONE, b"b").await;
    assert!(matches!(unread, Err(StoreError::Away { .. })), "{unread:?}");
    database.set_reachable(true).await;
    timeout(Duration::from_secs(5), keys.flush())
        .await
        .expect("it is tried again")
        .ok();
    keys.flush().await.unwrap();
    assert_eq!(written(&database, 1).await.as_deref(), Some("and durably"));
}

#[tokio::test]
async fn many_devices_share_a_commit_and_nobody_waits_for_a_timer() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 1000).await;
    let (_, keys, _) = node_with_keys(&postgres).await;
    keys.flush().await.unwrap();
    let (flushes, before) = (keys.flushes(), Instant::now());
    for device in 1..=1000 {
        append(&keys, device, vec![put(ONE, "a", "x")]).await;
    }
    let reader = postgres.open_keys(key());
    while reader.devices().await.unwrap().len() < 1000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (commits, fifths) = (keys.flushes() - flushes, before.elapsed().as_millis() / 200);
    assert!(
        u128::from(commits) <= fifths + 2,
        "{commits} commits in {fifths} fifths of a second"
    );

    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        append(&keys, 1, vec![put(ONE, "a", "y")]).await;
        let before = Instant::now();
        durably(&keys, 2, "y").await.unwrap();
        fastest = fastest.min(before.elapsed());
    }
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
    assert_eq!(
        written(&database, 1).await.as_deref(),
        Some("y"),
        "all before it are there too"
    );
}

#[tokio::test]
async fn only_the_owner_wipes_and_anybody_what_was_deleted() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    let store = database.registry().await;
    instances(&store, 2).await;
    let (_, owner, _) = node_with_keys(&postgres).await;
    let (_, other, _) = node_with_keys(&postgres).await;
    for device in [1, 2] {
        durably(&owner, device, "x").await.unwrap();
    }
    assert!(matches!(other.wipe(id(1)).await, Err(StoreError::Fenced)));
    assert_eq!(written(&database, 1).await.as_deref(), Some("x"));
    assert_eq!(
        get(&other, 1, ONE, "a").await.as_deref(),
        Some("x"),
        "nor does it seem so"
    );
    owner.wipe(id(1)).await.unwrap();
    durably(&owner, 1, "anew").await.unwrap();

    store.delete_instance(id(2)).await.unwrap();
    assert!(matches!(
        durably(&owner, 2, "late").await,
        Err(StoreError::Fenced)
    ));
    other.wipe(id(2)).await.unwrap();
    assert_eq!(other.devices().await.unwrap(), [id(1)].into());
}

#[tokio::test]
async fn values_are_sealed_and_open_with_their_key_alone() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    many_instances(&database, 1).await;
    let (_, keys, _) = node_with_keys(&postgres).await;
    durably(&keys, 1, "a very secret value").await.unwrap();
    let on_disk: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT value FROM key")
        .fetch_all(&mut database.raw().await)
        .await
        .unwrap();
    assert_eq!(on_disk.len(), 1);
    assert!(!on_disk[0].0.windows(6).any(|window| window == b"secret"));
    sqlx::raw_sql("UPDATE key SET name = 'b'")
        .execute(&mut database.raw().await)
        .await
        .unwrap();
    let moved = keys.get(id(1), ONE, b"b").await;
    assert!(matches!(moved, Err(StoreError::Corrupt { .. })), "{moved:?}");
    keys.close().await;
    assert!(matches!(keys.flush().await, Err(StoreError::Closed)));
}
