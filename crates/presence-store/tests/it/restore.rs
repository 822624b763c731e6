//! Restored and lost files: which keys a start takes, which it wipes, and when it refuses.

use std::collections::BTreeMap;
use std::fs;

use presence_store::{CheckKeysError, DataDir, KeyStore as _, Registry, SqliteKeyStore, Store};

use crate::support::{account, data_dir, device_numbers, id, instance, keys, open, pair};

/// A data directory with instances 1 and 2, both paired.
async fn two_paired(dir: &DataDir) -> (Store, SqliteKeyStore) {
    let store = open(dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    let keys = keys(dir, &store).await;
    for (number, name) in [(1, "one"), (2, "two")] {
        instance(&store, &acme, name).await;
        pair(&keys, number).await;
    }
    store.check_keys(&keys).await.expect("they are of one moment");
    (store, keys)
}

async fn stop((store, keys): (Store, SqliteKeyStore)) {
    keys.close().await;
    store.close().await.unwrap();
}

/// The files whose names begin with `name`, as a back-up of a stopped server has them.
fn back_up(dir: &DataDir, name: &str) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(file, _)| file.starts_with(name))
        .map(|(file, path)| (file, fs::read(path).unwrap()))
        .collect()
}

fn restore(dir: &DataDir, name: &str, backup: &BTreeMap<String, Vec<u8>>) {
    for file in back_up(dir, name).into_keys() {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    for (file, content) in backup {
        fs::write(dir.path().join(file), content).unwrap();
    }
}

/// What a start does with the keys, but for wiping them.
async fn start(dir: &DataDir) -> Result<(Store, SqliteKeyStore), CheckKeysError> {
    let store = open(dir).await;
    let keys = keys(dir, &store).await;
    match store.check_keys(&keys).await {
        Ok(()) => Ok((store, keys)),
        Err(refusal) => {
            stop((store, keys)).await;
            Err(refusal)
        }
    }
}

/// The words of a refusal.
async fn refusal(dir: &DataDir) -> String {
    match start(dir).await {
        Err(refused @ CheckKeysError::Unknown(_)) => refused.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("a start over unknown keys"),
    }
}

fn logged_out(store: &Store, number: i32) -> bool {
    store.instance_by_id(id(number)).unwrap().logged_out
}

#[tokio::test]
async fn an_older_registry_over_fuller_keys_refuses_to_start_and_wipes_nothing() {
    let (_temporary, dir) = data_dir();
    stop(two_paired(&dir).await).await;
    let backup = back_up(&dir, "presence.db");

    let (store, keys) = start(&dir).await.unwrap();
    let acme = store.account_named("acme").unwrap();
    for (number, name) in [(3, "three"), (4, "four")] {
        instance(&store, &acme, name).await;
        pair(&keys, number).await;
    }
    store.check_keys(&keys).await.expect("they are of one moment");
    stop((store, keys)).await;
    restore(&dir, "presence.db", &backup);

    let path = dir.path().display();
    let expected = format!(
        "keys.db in {path} holds the WhatsApp keys of 2 devices (3, 4) of which presence.db, with 2 \
         instances, knows nothing: it is new, was restored from an older back-up, or belongs elsewhere. \
         Nothing was changed. Either restore the presence.db that these keys belong to (and remove \
         presence.db-wal and presence.db-shm beside it), or give up the keys with `presence-server devices \
         wipe-unknown --data-dir {path}`: then their phones have to be linked again"
    );
    assert_eq!(refusal(&dir).await, expected);
    assert!(
        !dir.path().join("presence.db-wal").exists(),
        "nothing lies in wait"
    );
    let store = open(&dir).await;
    assert!(store.deleted_unwiped().is_empty());
    assert_eq!(
        device_numbers(&crate::support::keys(&dir, &store).await).await,
        [1, 2, 3, 4]
    );
}

#[tokio::test]
async fn a_lost_registry_refuses_to_start_until_the_keys_are_given_up() {
    let (_temporary, dir) = data_dir();
    stop(two_paired(&dir).await).await;
    restore(&dir, "presence.db", &BTreeMap::new());

    let words = refusal(&dir).await;
    assert!(
        words.contains("2 devices (1, 2) of which presence.db, with 0 instances"),
        "{words}"
    );

    let store = open(&dir).await;
    let keys = keys(&dir, &store).await;
    let given_up = store.give_up_unknown_keys(&keys).await.unwrap();
    assert_eq!(given_up.into_iter().collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(store.deleted_unwiped(), [id(1), id(2)]);

    // Another process learns of it by the change, as by reading everything.
    let beside = open(&dir).await;
    let number = 7;
    pair(&keys, number).await;
    beside.give_up_unknown_keys(&keys).await.unwrap();
    store.refresh().await.unwrap();
    assert_eq!(store.deleted_unwiped(), [id(1), id(2), id(number)]);
    let (acme, _) = account(&store, "acme", None).await;
    assert_eq!(instance(&store, &acme, "new").await.0.id, id(8));
    stop((store, keys)).await;
    drop(beside);

    // Cut off here: the start goes on with them, and no new instance gets their numbers.
    let (store, keys) = start(&dir).await.expect("nothing is unknown any more");
    assert_eq!(store.deleted_unwiped(), [id(1), id(2), id(7)]);
    let acme = store.account_named("acme").unwrap();
    assert_eq!(instance(&store, &acme, "newer").await.0.id, id(9));
    assert!(store.give_up_unknown_keys(&keys).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_unknown_devices_are_counted_and_a_few_named() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let keys = keys(&dir, &store).await;
    for number in 1..=12 {
        pair(&keys, number).await;
    }
    stop((store, keys)).await;
    let words = refusal(&dir).await;
    assert!(
        words.contains(" 12 devices (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …) of which"),
        "{words}"
    );
}

#[tokio::test]
async fn what_was_deleted_is_to_be_wiped_and_wiped_again_when_older_keys_come_back() {
    let (_temporary, dir) = data_dir();
    let (store, keys) = two_paired(&dir).await;
    keys.close().await;
    let backup = back_up(&dir, "keys.db");
    store.delete_instance(id(2)).await.unwrap();
    assert_eq!(store.deleted_unwiped(), [id(2)]);
    store.close().await.unwrap();

    let (store, keys) = start(&dir).await.unwrap();
    assert_eq!(store.deleted_unwiped(), [id(2)]);
    keys.wipe(id(2)).await.unwrap();
    store.mark_wiped(&[id(2)]).await.unwrap();
    stop((store, keys)).await;
    let (store, keys) = start(&dir).await.unwrap();
    assert!(store.deleted_unwiped().is_empty());
    stop((store, keys)).await;

    restore(&dir, "keys.db", &backup);
    let (store, _) = start(&dir).await.expect("it is remembered as deleted");
    assert_eq!(store.deleted_unwiped(), [id(2)]);
}

#[tokio::test]
async fn instances_without_keys_are_no_reason_to_refuse() {
    let (_temporary, dir) = data_dir();
    stop(two_paired(&dir).await).await;
    restore(&dir, "keys.db", &BTreeMap::new());
    let (store, _) = start(&dir).await.expect("they must be paired again");
    assert_eq!(store.all_instances().len(), 2);
    assert!(!logged_out(&store, 1));
    assert!(store.deleted_unwiped().is_empty());
}

#[tokio::test]
async fn keys_that_a_logout_left_stay_logged_out() {
    let (_temporary, dir) = data_dir();
    let (store, keys) = two_paired(&dir).await;
    store.set_logged_out(id(1), true).await.unwrap();
    stop((store, keys)).await;
    let (store, _) = start(&dir).await.unwrap();
    assert!(logged_out(&store, 1));
}

#[tokio::test]
async fn keys_that_were_paired_after_the_registry_was_backed_up_are_good() {
    let (_temporary, dir) = data_dir();
    let (store, keys) = two_paired(&dir).await;
    for number in [1, 2] {
        store.set_logged_out(id(number), true).await.unwrap();
        keys.wipe(id(number)).await.unwrap();
    }
    stop((store, keys)).await;
    let backup = back_up(&dir, "presence.db");

    // Since then 1 was paired again; 2 was about to be, and left no keys.
    let (store, keys) = start(&dir).await.unwrap();
    for number in [1, 2] {
        store.set_logged_out(id(number), false).await.unwrap();
    }
    pair(&keys, 1).await;
    stop((store, keys)).await;
    restore(&dir, "presence.db", &backup);

    let (store, keys) = start(&dir).await.unwrap();
    assert!(!logged_out(&store, 1));
    assert!(logged_out(&store, 2));
    // From here on both files agree again: what is logged out now stays so.
    store.set_logged_out(id(1), true).await.unwrap();
    stop((store, keys)).await;
    let (store, _) = start(&dir).await.unwrap();
    assert!(logged_out(&store, 1));
}

#[tokio::test]
async fn keys_of_a_pairing_before_the_logout_stay_logged_out() {
    let (_temporary, dir) = data_dir();
    stop(two_paired(&dir).await).await;
    let backup = back_up(&dir, "keys.db");
    let (store, keys) = start(&dir).await.unwrap();
    for out in [true, false, true] {
        store.set_logged_out(id(1), out).await.unwrap();
    }
    stop((store, keys)).await;
    restore(&dir, "keys.db", &backup);
    let (store, _) = start(&dir).await.unwrap();
    assert!(logged_out(&store, 1));
}

#[tokio::test]
async fn numbers_that_were_paired_are_not_given_again_by_an_older_registry() {
    let (_temporary, dir) = data_dir();
    stop(two_paired(&dir).await).await;
    let backup = back_up(&dir, "presence.db");

    // 3 was paired twice and deleted, and its keys are wiped: all that is left is its pairing number.
    let (store, keys) = start(&dir).await.unwrap();
    let acme = store.account_named("acme").unwrap();
    instance(&store, &acme, "three").await;
    store.set_logged_out(id(3), true).await.unwrap();
    store.set_logged_out(id(3), false).await.unwrap();
    store.delete_instance(id(3)).await.unwrap();
    keys.wipe(id(3)).await.unwrap();
    stop((store, keys)).await;
    restore(&dir, "presence.db", &backup);

    let (store, keys) = start(&dir).await.unwrap();
    let acme = store.account_named("acme").unwrap();
    assert_eq!(instance(&store, &acme, "next").await.0.id, id(4));
    stop((store, keys)).await;
    assert_eq!(
        instance(&open(&dir).await, &acme, "last").await.0.id,
        id(5),
        "for good"
    );
}

#[tokio::test]
async fn keys_that_another_key_sealed_are_refused() {
    let (_temporary, dir) = data_dir();
    stop(two_paired(&dir).await).await;
    restore(&dir, "presence.db", &BTreeMap::new());
    fs::remove_file(dir.path().join("token.key")).unwrap();
    let store = open(&dir).await;
    let lock = dir.lock().unwrap();
    let refused = dir.open_keys(&lock, &store).await.err().unwrap().to_string();
    assert!(
        refused.contains("keys.db is sealed with another key"),
        "{refused}"
    );
}
