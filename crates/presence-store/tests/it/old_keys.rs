//! The key file of an earlier version, and how another takes its place.

use std::fs;
use std::path::Path;

use presence_store::{KeyStore as _, Registry, StoreError};
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{account, data_dir, device_numbers, id, instance, keys, open, pair};

/// A file as earlier versions left it: the client's tables are not read here, one of ours is.
async fn make_old(path: &Path) {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE presence_pairing (instance INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT;
         INSERT INTO presence_pairing VALUES (1, 3), (9, 1), (-1, 1)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
}

#[tokio::test]
async fn an_old_file_is_taken_over_once_and_put_aside() {
    let (_temporary, dir) = data_dir();
    let (old, aside) = (
        dir.path().join("devices.db"),
        dir.path().join("devices.db.imported"),
    );
    make_old(&old).await;
    let store = open(&dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    instance(&store, &acme, "one").await;
    let taking_over = keys(&dir, &store).await;
    let found = dir.old_keys(&taking_over).await.unwrap().expect("it is there");
    assert_eq!(found.path(), old);
    pair(&taking_over, 1).await;
    // A crash now means beginning again.
    taking_over.close().await;

    let keys = keys(&dir, &store).await;
    let found = dir.old_keys(&keys).await.unwrap().expect("it is there yet");
    pair(&keys, 1).await;
    found.retire(&keys).await.unwrap();
    assert!(aside.exists() && !old.exists());
    for log in ["devices.db-wal", "devices.db-shm"] {
        assert!(!dir.path().join(log).exists(), "{log}");
    }
    assert!(dir.old_keys(&keys).await.unwrap().is_none());
    assert_eq!(device_numbers(&keys).await, [1]);
    // Its pairing numbers count: 1 is of a later pairing than the registry knows, and 9 is taken.
    store.set_logged_out(id(1), true).await.unwrap();
    store.check_keys(&keys).await.unwrap();
    assert!(!store.instance_by_id(id(1)).unwrap().logged_out);
    assert_eq!(instance(&store, &acme, "next").await.0.id, id(10));

    fs::copy(&aside, &old).unwrap();
    let refused = dir.old_keys(&keys).await;
    assert!(matches!(refused, Err(StoreError::TwoKeyFiles)));
}

#[tokio::test]
async fn a_crash_after_the_file_was_put_aside_ends_nothing_twice() {
    let (_temporary, dir) = data_dir();
    make_old(&dir.path().join("devices.db")).await;
    let store = open(&dir).await;
    let keys = keys(&dir, &store).await;
    assert!(dir.old_keys(&keys).await.unwrap().is_some());
    pair(&keys, 1).await;
    fs::rename(
        dir.path().join("devices.db"),
        dir.path().join("devices.db.imported"),
    )
    .unwrap();
    assert!(dir.old_keys(&keys).await.unwrap().is_none());
    assert_eq!(device_numbers(&keys).await, [1]);
}

#[tokio::test]
async fn where_there_never_was_one_none_is_taken_over_later() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let keys = keys(&dir, &store).await;
    assert!(dir.old_keys(&keys).await.unwrap().is_none());
    keys.wipe(id(1)).await.unwrap();
    make_old(&dir.path().join("devices.db")).await;
    let refused = dir.old_keys(&keys).await.unwrap_err().to_string();
    assert!(refused.contains("move devices.db away"), "{refused}");
}

#[tokio::test]
async fn an_old_file_that_cannot_be_read_is_not_put_aside() {
    let (_temporary, dir) = data_dir();
    let old = dir.path().join("devices.db");
    fs::write(&old, "certainly not a database ".repeat(100)).unwrap();
    let store = open(&dir).await;
    let keys = keys(&dir, &store).await;
    let found = dir.old_keys(&keys).await.unwrap().expect("it is there");
    assert!(found.retire(&keys).await.is_err());
    assert!(old.exists());
    assert!(
        dir.old_keys(&keys).await.unwrap().is_some(),
        "the next start tries again"
    );
}
