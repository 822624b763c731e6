//! What every store of device keys does. Each case runs in memory, in a file and in PostgreSQL; then what only a file
//! can do.

mod file;

use std::time::Duration;

use bytes::Bytes;
use presence_store::{Durability, Epoch, KeyStore, Kind, RowChange, StoreError};

use crate::support::id;

macro_rules! for_every_store {
    ($($case:ident)*) => {
        for_stores_of_one_node! { $($case)* }

        #[cfg(feature = "postgres-tests")]
        mod in_postgres {
            $(#[tokio::test]
            async fn $case() {
                let database = crate::postgres::TestDatabase::create().await;
                super::$case(&database.keys_of_everything().await).await;
            })*
        }
    };
}

macro_rules! for_stores_of_one_node {
    ($($case:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&presence_store::MemoryKeyStore::default()).await;
            })*
        }

        mod in_a_file {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(&super::file::open(&dir).await).await;
            })*
        }
    };
}

for_every_store! {
    what_was_appended_is_read_at_once
    a_row_is_of_one_device_kind_and_name
    a_range_has_the_names_with_its_prefix_in_order
    a_wiped_device_has_nothing_and_begins_anew
    the_devices_with_keys_are_listed
    one_row_of_every_device_is_read_together
    rows_are_known_by_when_they_were_written
    an_empty_value_is_a_value
}

mod of_one_node {
    use super::*;

    for_stores_of_one_node! { an_older_owner_writes_no_more }
}

const ONE: Kind = Kind(1);
const TWO: Kind = Kind(2);

pub(crate) fn put(kind: Kind, name: &str, value: &str) -> RowChange {
    RowChange {
        kind,
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn delete(kind: Kind, name: &str) -> RowChange {
    RowChange {
        value: None,
        ..put(kind, name, "")
    }
}

pub(crate) async fn append(keys: &dyn KeyStore, device: i32, changes: Vec<RowChange>) {
    let epoch = keys.epoch(id(device)).expect("this process has it");
    let appended = keys.append(id(device), epoch, changes, Durability::Behind);
    appended.await.unwrap();
}

pub(crate) async fn get(keys: &dyn KeyStore, device: i32, kind: Kind, name: &str) -> Option<String> {
    let value = keys.get(id(device), kind, name.as_bytes()).await.unwrap();
    value.map(|value| String::from_utf8(value.into()).unwrap())
}

async fn range(keys: &dyn KeyStore, device: i32, kind: Kind, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
    keys.range(id(device), kind, prefix).await.unwrap()
}

/// Waits until everything is on the disk, so that reads go there.
async fn settle(keys: &dyn KeyStore) {
    let epoch = keys.epoch(id(99)).expect("this process has it");
    let settled = keys.append(id(99), epoch, Vec::new(), Durability::Durable);
    settled.await.unwrap();
}

async fn what_was_appended_is_read_at_once(keys: &dyn KeyStore) {
    assert_eq!(get(keys, 1, ONE, "a").await, None);
    for value in ["first", "second"] {
        append(keys, 1, vec![put(ONE, "a", value)]).await;
        assert_eq!(get(keys, 1, ONE, "a").await.as_deref(), Some(value));
        settle(keys).await;
        assert_eq!(get(keys, 1, ONE, "a").await.as_deref(), Some(value));
    }
    append(keys, 1, vec![delete(ONE, "a"), delete(ONE, "never there")]).await;
    assert_eq!(get(keys, 1, ONE, "a").await, None);
    settle(keys).await;
    assert_eq!(get(keys, 1, ONE, "a").await, None);
    append(keys, 1, vec![put(ONE, "a", "x"), put(ONE, "a", "y")]).await;
    assert_eq!(
        get(keys, 1, ONE, "a").await.as_deref(),
        Some("y"),
        "the last one counts"
    );
}

async fn a_row_is_of_one_device_kind_and_name(keys: &dyn KeyStore) {
    append(
        keys,
        1,
        vec![put(ONE, "a", "1a"), put(TWO, "a", "2a"), put(ONE, "b", "1b")],
    )
    .await;
    append(keys, 2, vec![put(ONE, "a", "other")]).await;
    for _ in 0..2 {
        assert_eq!(get(keys, 1, ONE, "a").await.as_deref(), Some("1a"));
        assert_eq!(get(keys, 1, TWO, "a").await.as_deref(), Some("2a"));
        assert_eq!(get(keys, 1, ONE, "b").await.as_deref(), Some("1b"));
        assert_eq!(get(keys, 2, ONE, "a").await.as_deref(), Some("other"));
        assert_eq!(get(keys, 2, TWO, "a").await, None);
        settle(keys).await;
    }
}

async fn a_range_has_the_names_with_its_prefix_in_order(keys: &dyn KeyStore) {
    let names = ["", "a", "ab", "ab\u{7f}", "ac", "b"];
    append(
        keys,
        1,
        names.iter().rev().map(|name| put(ONE, name, name)).collect(),
    )
    .await;
    append(keys, 1, vec![put(TWO, "ab", "of another kind")]).await;
    settle(keys).await;
    // Some on the disk, some changed since.
    append(
        keys,
        1,
        vec![put(ONE, "abc", "abc"), delete(ONE, "ac"), put(ONE, "b", "new")],
    )
    .await;
    for _ in 0..2 {
        let found = range(keys, 1, ONE, b"a").await;
        let names: Vec<_> = found.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, [&b"a"[..], b"ab", b"abc", b"ab\x7f"]);
        assert!(found.iter().all(|(name, value)| name == value));
        assert_eq!(range(keys, 1, ONE, b"").await.len(), 6);
        assert_eq!(range(keys, 1, ONE, b"b").await, [("b".into(), "new".into())]);
        assert!(range(keys, 1, ONE, b"x").await.is_empty());
        assert!(range(keys, 2, ONE, b"").await.is_empty());
        settle(keys).await;
    }
}

async fn a_wiped_device_has_nothing_and_begins_anew(keys: &dyn KeyStore) {
    keys.wipe(id(1)).await.unwrap();
    append(keys, 1, vec![put(ONE, "", "old"), put(ONE, "a", "old")]).await;
    append(keys, 2, vec![put(ONE, "a", "other")]).await;
    settle(keys).await;
    append(keys, 1, vec![put(ONE, "b", "not on the disk yet")]).await;
    // Read and written while the wipe is on its way, too.
    let wiped = keys.wipe(id(1));
    tokio::pin!(wiped);
    let done = std::future::poll_fn(|cx| std::task::Poll::Ready(wiped.as_mut().poll(cx))).await;
    assert_eq!(get(keys, 1, ONE, "a").await, None);
    assert!(range(keys, 1, ONE, b"").await.is_empty());
    assert!(keys.of_all(ONE).await.unwrap().is_empty());
    append(keys, 1, vec![put(ONE, "c", "new")]).await;
    assert_eq!(range(keys, 1, ONE, b"").await, [("c".into(), "new".into())]);
    if done.is_pending() {
        wiped.await.unwrap();
    }
    settle(keys).await;
    assert_eq!(range(keys, 1, ONE, b"").await, [("c".into(), "new".into())]);
    assert_eq!(get(keys, 2, ONE, "a").await.as_deref(), Some("other"));
}

async fn the_devices_with_keys_are_listed(keys: &dyn KeyStore) {
    assert!(keys.devices().await.unwrap().is_empty());
    append(keys, 3, vec![put(ONE, "a", "x")]).await;
    append(keys, 1, vec![put(TWO, "a", "x")]).await;
    for _ in 0..2 {
        assert!(keys.devices().await.unwrap().is_superset(&[id(1), id(3)].into()));
        settle(keys).await;
    }
    keys.wipe(id(3)).await.unwrap();
    keys.wipe(id(99)).await.unwrap();
    assert_eq!(keys.devices().await.unwrap(), [id(1)].into());
}

async fn one_row_of_every_device_is_read_together(keys: &dyn KeyStore) {
    for device in [1, 2, 3] {
        let value = format!("of {device}");
        append(keys, device, vec![put(ONE, "", &value), put(ONE, "a", "x")]).await;
    }
    append(keys, 4, vec![put(TWO, "", "of another kind"), put(ONE, "a", "x")]).await;
    settle(keys).await;
    append(keys, 2, vec![put(ONE, "", "new")]).await;
    append(keys, 3, vec![delete(ONE, "")]).await;
    for _ in 0..2 {
        let found = keys.of_all(ONE).await.unwrap();
        assert_eq!(found, [(id(1), "of 1".into()), (id(2), "new".into())]);
        settle(keys).await;
    }
}

async fn an_older_owner_writes_no_more(keys: &dyn KeyStore) {
    let append = async |epoch, value| {
        let changes = vec![put(ONE, "a", value)];
        keys.append(id(1), Epoch(epoch), changes, Durability::Durable)
            .await
    };
    append(3, "third").await.unwrap();
    append(3, "still third").await.unwrap();
    assert!(matches!(append(2, "second").await, Err(StoreError::Fenced)));
    assert_eq!(get(keys, 1, ONE, "a").await.as_deref(), Some("still third"));
    append(4, "fourth").await.unwrap();
    assert!(matches!(append(3, "third").await, Err(StoreError::Fenced)));
    assert_eq!(get(keys, 1, ONE, "a").await.as_deref(), Some("fourth"));
}

async fn rows_are_known_by_when_they_were_written(keys: &dyn KeyStore) {
    append(
        keys,
        1,
        vec![put(ONE, "a", "x"), put(ONE, "b", "x"), put(TWO, "c", "x")],
    )
    .await;
    settle(keys).await;
    let unwritten = async |age| keys.unwritten_for(id(1), ONE, age).await.unwrap();
    assert_eq!(unwritten(Duration::ZERO).await, ["a", "b"]);
    assert!(unwritten(Duration::from_secs(3600)).await.is_empty());
    assert!(unwritten(Duration::MAX).await.is_empty());
    keys.wipe(id(1)).await.unwrap();
    assert!(unwritten(Duration::ZERO).await.is_empty());
}

async fn an_empty_value_is_a_value(keys: &dyn KeyStore) {
    append(keys, 1, vec![put(ONE, "a", "")]).await;
    assert_eq!(get(keys, 1, ONE, "a").await.as_deref(), Some(""));
    settle(keys).await;
    assert_eq!(get(keys, 1, ONE, "a").await.as_deref(), Some(""));
}
