//! Restored and lost files: which keys a start takes, which it wipes, and when it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use presence_store::{CheckKeysError, DataDir, DeviceKeys, Registry, Store};
use sqlx::SqliteConnection;

use crate::support::{account, client, data_dir, device_numbers, id, instance, open, pair};

/// A data directory with instances 1 and 2, both paired, and its client.
async fn two_paired(dir: &DataDir) -> (Store, SqliteConnection) {
    let store = open(dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    let mut client = client(&dir.device_keys()).await;
    for (number, name) in [(1, "one"), (2, "two")] {
        instance(&store, &acme, name).await;
        pair(&mut client, number, b"secret").await;
    }
    (store, client)
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
async fn start(dir: &DataDir) -> Result<(Store, DeviceKeys), CheckKeysError> {
    let (store, keys) = (open(dir).await, dir.device_keys());
    match store.check_keys(&keys).await {
        Ok(()) => Ok((store, keys)),
        Err(refusal) => {
            store.close().await.unwrap();
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
    let (store, mut client) = two_paired(&dir).await;
    store.close().await.unwrap();
    let backup = back_up(&dir, "presence.db");

    let store = open(&dir).await;
    let acme = store.account_named("acme").unwrap();
    for (number, name) in [(3, "three"), (4, "four")] {
        instance(&store, &acme, name).await;
        pair(&mut client, number, b"secret").await;
    }
    start(&dir).await.expect("they are of one moment");
    store.close().await.unwrap();
    restore(&dir, "presence.db", &backup);

    let path = dir.path().display();
    let expected = format!(
        "devices.db in {path} holds the WhatsApp keys of 2 devices (3, 4) of which presence.db, with 2 \
         instances, knows nothing: it is new, was restored from an older back-up, or belongs elsewhere. \
         Nothing was changed. Either restore the presence.db that these keys belong to (and remove \
         presence.db-wal and presence.db-shm beside it), or give up the keys with `presence-server devices \
         wipe-unknown --data-dir {path}`: then their phones have to be linked again"
    );
    assert_eq!(refusal(&dir).await, expected);
    assert_eq!(device_numbers(&dir.device_keys()).await, [1, 2, 3, 4]);
    assert!(
        !dir.path().join("presence.db-wal").exists(),
        "nothing lies in wait"
    );
    assert!(open(&dir).await.deleted_unwiped().is_empty());
}

#[tokio::test]
async fn a_lost_registry_refuses_to_start_until_the_keys_are_given_up() {
    let (_temporary, dir) = data_dir();
    let (store, mut client) = two_paired(&dir).await;
    store.close().await.unwrap();
    restore(&dir, "presence.db", &BTreeMap::new());

    let words = refusal(&dir).await;
    assert!(
        words.contains("2 devices (1, 2) of which presence.db, with 0 instances"),
        "{words}"
    );

    let (store, keys) = (open(&dir).await, dir.device_keys());
    let given_up = store.give_up_unknown_keys(&keys).await.unwrap();
    assert_eq!(given_up.into_iter().collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(store.deleted_unwiped(), [id(1), id(2)]);

    // Another process learns of it by the change, as by reading everything.
    let beside = open(&dir).await;
    let number = 7;
    pair(&mut client, number, b"secret").await;
    beside.give_up_unknown_keys(&keys).await.unwrap();
    store.refresh().await.unwrap();
    assert_eq!(store.deleted_unwiped(), [id(1), id(2), id(number)]);
    let (acme, _) = account(&store, "acme", None).await;
    assert_eq!(instance(&store, &acme, "new").await.0.id, id(8));
    store.close().await.unwrap();
    drop(beside);

    // Cut off here: the start goes on with them, and no new instance gets their numbers.
    let (store, _) = start(&dir).await.expect("nothing is unknown any more");
    assert_eq!(store.deleted_unwiped(), [id(1), id(2), id(7)]);
    let acme = store.account_named("acme").unwrap();
    assert_eq!(instance(&store, &acme, "newer").await.0.id, id(9));
    assert!(store.give_up_unknown_keys(&keys).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_unknown_devices_are_counted_and_a_few_named() {
    let (_temporary, dir) = data_dir();
    let mut client = client(&dir.device_keys()).await;
    for number in 1..=12 {
        pair(&mut client, number, b"secret").await;
    }
    let words = refusal(&dir).await;
    assert!(
        words.contains(" 12 devices (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …) of which"),
        "{words}"
    );
}

#[tokio::test]
async fn what_was_deleted_is_to_be_wiped_and_wiped_again_when_older_keys_come_back() {
    let (_temporary, dir) = data_dir();
    let (store, client) = two_paired(&dir).await;
    drop(client);
    let keys = dir.device_keys();
    let backup = back_up(&dir, "devices.db");
    store.delete_instance(id(2)).await.unwrap();
    assert_eq!(store.deleted_unwiped(), [id(2)]);
    store.close().await.unwrap();

    let (store, _) = start(&dir).await.unwrap();
    assert_eq!(store.deleted_unwiped(), [id(2)]);
    keys.wipe(id(2)).await.unwrap();
    store.mark_wiped(&[id(2)]).await.unwrap();
    store.close().await.unwrap();
    let (store, _) = start(&dir).await.unwrap();
    assert!(store.deleted_unwiped().is_empty());
    store.close().await.unwrap();

    restore(&dir, "devices.db", &backup);
    let (store, _) = start(&dir).await.expect("it is remembered as deleted");
    assert_eq!(store.deleted_unwiped(), [id(2)]);
}

#[tokio::test]
async fn instances_without_keys_are_no_reason_to_refuse() {
    let (_temporary, dir) = data_dir();
    let (store, client) = two_paired(&dir).await;
    drop(client);
    store.close().await.unwrap();
    restore(&dir, "devices.db", &BTreeMap::new());
    let (store, keys) = start(&dir).await.expect("they must be paired again");
    assert_eq!(store.all_instances().len(), 2);
    assert!(!logged_out(&store, 1));
    assert!(store.deleted_unwiped().is_empty());
    assert!(!Path::new(keys.path()).exists(), "looking makes no file");
}

#[tokio::test]
async fn keys_that_a_logout_left_stay_logged_out() {
    let (_temporary, dir) = data_dir();
    let (store, _client) = two_paired(&dir).await;
    store.set_logged_out(id(1), true).await.unwrap();
    store.close().await.unwrap();
    let (store, _) = start(&dir).await.unwrap();
    assert!(logged_out(&store, 1));
}

#[tokio::test]
async fn keys_that_were_paired_after_the_registry_was_backed_up_are_good() {
    let (_temporary, dir) = data_dir();
    let (store, mut client) = two_paired(&dir).await;
    let keys = dir.device_keys();
    for number in [1, 2] {
        store.set_logged_out(id(number), true).await.unwrap();
        keys.wipe(id(number)).await.unwrap();
    }
    store.close().await.unwrap();
    let backup = back_up(&dir, "presence.db");

    // Since then 1 was paired again; 2 was about to be, and left no keys.
    let store = open(&dir).await;
    for number in [1, 2] {
        store.set_logged_out(id(number), false).await.unwrap();
    }
    pair(&mut client, 1, b"secret").await;
    store.close().await.unwrap();
    restore(&dir, "presence.db", &backup);

    let (store, _) = start(&dir).await.unwrap();
    assert!(!logged_out(&store, 1));
    assert!(logged_out(&store, 2));
    // From here on both files agree again: what is logged out now stays so.
    store.set_logged_out(id(1), true).await.unwrap();
    store.close().await.unwrap();
    let (store, _) = start(&dir).await.unwrap();
    assert!(logged_out(&store, 1));
}

#[tokio::test]
async fn keys_of_a_pairing_before_the_logout_stay_logged_out() {
    let (_temporary, dir) = data_dir();
    let (store, client) = two_paired(&dir).await;
    drop(client);
    let backup = back_up(&dir, "devices.db");
    for out in [true, false, true] {
        store.set_logged_out(id(1), out).await.unwrap();
    }
    store.close().await.unwrap();
    restore(&dir, "devices.db", &backup);
    let (store, _) = start(&dir).await.unwrap();
    assert!(logged_out(&store, 1));
}

#[tokio::test]
async fn numbers_that_were_paired_are_not_given_again_by_an_older_registry() {
    let (_temporary, dir) = data_dir();
    let (store, client) = two_paired(&dir).await;
    drop(client);
    let keys = dir.device_keys();
    store.close().await.unwrap();
    let backup = back_up(&dir, "presence.db");

    // 3 was paired twice and deleted, and its keys are wiped: all that is left is its pairing number.
    let store = open(&dir).await;
    let acme = store.account_named("acme").unwrap();
    instance(&store, &acme, "three").await;
    store.set_logged_out(id(3), true).await.unwrap();
    store.set_logged_out(id(3), false).await.unwrap();
    store.delete_instance(id(3)).await.unwrap();
    keys.wipe(id(3)).await.unwrap();
    store.close().await.unwrap();
    restore(&dir, "presence.db", &backup);

    let (store, _) = start(&dir).await.unwrap();
    let acme = store.account_named("acme").unwrap();
    assert_eq!(instance(&store, &acme, "next").await.0.id, id(4));
    store.close().await.unwrap();
    assert_eq!(
        instance(&open(&dir).await, &acme, "last").await.0.id,
        id(5),
        "for good"
    );
}
