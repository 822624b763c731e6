//! Copies that are made while somebody writes, and what a copy lacks of a directory.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, Ordering};

use presence_store::{
    DataDir, KeyStore as _, Lost, Registry, Snapshot, SnapshotError, SqliteKeyStore, Store,
};

use crate::support::{account, data_dir, id, instance, keys, open, pair};

/// How many copies are made while phones are linked.
const COPIES: usize = 12;

async fn copy(dir: &DataDir) -> Snapshot {
    dir.snapshot(dir.path(), None).await.unwrap()
}

fn numbers(devices: impl IntoIterator<Item = presence_store::InstanceId>) -> Vec<i32> {
    devices.into_iter().map(presence_store::InstanceId::get).collect()
}

/// What a copy lacks, where every device that is in force is linked.
fn lost(copy: &Snapshot, there: &Snapshot) -> Vec<String> {
    let lost = copy.lacks(&copy.devices_in_force(), there, &there.devices_in_force());
    lost.iter().map(Lost::to_string).collect()
}

async fn link_again(store: &Store, keys: &SqliteKeyStore, number: i32) {
    store.set_logged_out(id(number), true).await.unwrap();
    keys.wipe(id(number)).await.unwrap();
    store.set_logged_out(id(number), false).await.unwrap();
    pair(keys, number).await;
}

#[tokio::test]
async fn a_copy_has_all_that_was_linked_before_it_and_belongs_together() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    let keys = keys(&dir, &store).await;
    store.check_keys(&keys).await.unwrap();
    let linked = AtomicI32::new(0);
    let linking = async {
        for number in 1.. {
            instance(&store, &acme, &format!("i{number}")).await;
            pair(&keys, number).await;
            linked.store(number, Ordering::SeqCst);
            // And others come and go.
            link_again(&store, &keys, 1.max(number / 2)).await;
            if number % 5 == 0 {
                let gone = instance(&store, &acme, &format!("gone{number}")).await.0.id;
                store.delete_instance(gone).await.unwrap();
            }
        }
    };
    let copying = async {
        for _ in 0..COPIES {
            let before = linked.load(Ordering::SeqCst);
            let copy = copy(&dir).await;
            copy.must_belong_together().unwrap();
            assert_eq!(copy.unreadable(), 0);
            let instances = copy.registry().all_instances().len();
            assert!(
                instances >= usize::try_from(before).unwrap(),
                "{instances} of {before}"
            );
        }
    };
    tokio::select! {
        () = linking => unreachable!("it goes on"),
        () = copying => {}
    }
    assert!(linked.into_inner() > 1, "something was linked meanwhile");
}

#[tokio::test]
async fn what_a_copy_lacks_is_named() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    let keys = keys(&dir, &store).await;
    store.check_keys(&keys).await.unwrap();
    for (number, name) in [(1, "one"), (2, "two"), (3, "three")] {
        instance(&store, &acme, name).await;
        pair(&keys, number).await;
    }
    store.set_logged_out(id(3), true).await.unwrap();
    let older = copy(&dir).await;
    assert_eq!(numbers(older.devices_in_force()), [1, 2]);
    assert_eq!(lost(&older, &copy(&dir).await), [""; 0]);

    // What goes is not lost; what comes is.
    store.delete_instance(id(1)).await.unwrap();
    assert_eq!(lost(&older, &copy(&dir).await), [""; 0]);
    link_again(&store, &keys, 2).await;
    pair(&keys, 3).await;
    store.set_logged_out(id(3), false).await.unwrap();
    instance(&store, &acme, "one").await;
    let (globex, _) = account(&store, "globex", None).await;
    instance(&store, &globex, "five").await;
    pair(&keys, 5).await;
    let newer = copy(&dir).await;
    assert_eq!(
        lost(&older, &newer),
        [
            "the link of acme/two, which was made since",
            "the link of acme/three, which was made since",
            "instance acme/one",
            "account globex, with 1 instances",
        ]
    );
    assert_eq!(lost(&newer, &older), ["instance acme/one, which is linked"]);
    // No phone is linked to what has shown a code alone.
    let nothing = BTreeSet::new();
    let unlinked = older.lacks(&nothing, &newer, &nothing);
    assert_eq!(unlinked.len(), 2, "the instance and the account: {unlinked:?}");
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_no_back_up() {
    let (temporary, dir) = data_dir();
    let store = open(&dir).await;
    let keys = keys(&dir, &store).await;
    pair(&keys, 7).await;
    keys.flush().await.unwrap();
    let there = copy(&dir).await;
    let refused = there.must_belong_together().unwrap_err().to_string();
    assert!(refused.contains("do not belong together"), "{refused}");
    // Of what they hold, another copy can lack the device all the same.
    let other = DataDir::open(temporary.path().join("other")).unwrap();
    open(&other).await.close().await.unwrap();
    let empty = copy(&other).await;
    assert_eq!(
        lost(&empty, &there),
        ["the link of device 7, which presence.db does not name"]
    );

    keys.close().await;
    store.close().await.unwrap();
    let refused = other.read_backup(dir.path(), None).await.err().unwrap();
    assert!(matches!(refused, SnapshotError::Unknown(_)), "{refused}");
}

#[tokio::test]
async fn a_directory_that_was_copied_with_its_log_is_a_back_up() {
    let (temporary, dir) = data_dir();
    let store = open(&dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    let keys = keys(&dir, &store).await;
    instance(&store, &acme, "one").await;
    pair(&keys, 1).await;
    // Nothing is written while it is copied.
    let by_hand = temporary.path().join("by-hand");
    std::fs::create_dir(&by_hand).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), by_hand.join(entry.file_name())).unwrap();
    }
    assert!(by_hand.join("keys.db-wal").metadata().unwrap().len() > 0);
    let other = DataDir::open(temporary.path().join("other")).unwrap();
    let copy = other.read_backup(&by_hand, None).await.unwrap();
    assert_eq!(numbers(copy.devices_in_force()), [1]);
    // Nothing of it was touched.
    assert!(by_hand.join("keys.db-wal").metadata().unwrap().len() > 0);

    let lock = other.lock().unwrap();
    let now = crate::support::now();
    assert_eq!(copy.put_in_place(&other, &lock, now).await.unwrap(), None);
    let restored = open(&other).await;
    assert_eq!(restored.all_instances().len(), 1);
}
