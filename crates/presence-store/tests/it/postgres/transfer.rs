//! A data directory moves into a database and back out.

use presence_store::{
    DataDir, Durability, Edge, Epoch, KeySource, KeyStore as _, Kind, Ledger as _, Moved, Registry as _,
    SqliteKeyStore, StoreError, TokenKey, TransferError,
};

use super::{TestDatabase, key, node, node_with_keys, registry};
use crate::key_store::{get, put};
use crate::support::{account, data_dir, id, instance, keys, now, pair, view};

fn given() -> KeySource {
    KeySource::Given(key())
}

/// Accounts and instances, of which some are gone, some paired and one paired anew.
async fn fill(dir: &DataDir) -> Vec<String> {
    let store = presence_store::Store::open(dir, given()).await.unwrap();
    let keys = keys(dir, &store).await;
    store.check_keys(&keys).await.unwrap();
    let (acme, _) = account(&store, "acme", Some(9)).await;
    let (gone, _) = account(&store, "gone", None).await;
    for name in ["one", "two", "three", "four", "five"] {
        instance(&store, &acme, name).await;
    }
    store.pin_edge(Edge::Sandbox).await.unwrap();
    store.touch(&[(id(1), now())]).await.unwrap();
    store.set_banned_until(id(2), Some(now())).await.unwrap();
    for device in [1, 2, 4] {
        pair(&keys, device).await;
    }
    store.set_logged_out(id(2), true).await.unwrap();
    store.set_logged_out(id(2), false).await.unwrap();
    for deleted in [3, 4, 5] {
        store.delete_instance(id(deleted)).await.unwrap();
    }
    store.mark_wiped(&[id(3)]).await.unwrap();
    store.delete_account(gone.id).await.unwrap();
    keys.close().await;
    view(&store)
}

#[tokio::test]
async fn a_directory_moves_into_a_database_and_back_out() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    let (_temporary, dir) = data_dir();
    let before = fill(&dir).await;
    let lock = dir.lock().unwrap();
    let mut last = Moved::default();
    let moved = postgres
        .import(&dir, &lock, given(), &mut |moved| last = moved)
        .await
        .unwrap();
    assert_eq!((moved.accounts, moved.instances, moved.keys), (1, 2, 9));
    assert_eq!(last, moved);

    let store = registry(&postgres).await;
    assert_eq!(view(&store), before);
    assert_eq!(store.deleted_unwiped(), [id(4), id(5)]);
    let (owner, keys, ledger) = node_with_keys(&postgres).await;
    assert_eq!(keys.devices().await.unwrap(), [1, 2, 4].map(id).into());
    assert_eq!(get(&keys, 1, Kind(1), "a").await.as_deref(), Some("a key"));
    let newer = keys.append(
        id(1),
        Epoch(1),
        vec![put(Kind(1), "a", "newer")],
        Durability::Durable,
    );
    newer.await.unwrap();
    keys.close().await;
    // Numbers are given on from where they were.
    let (next, _) = account(&store, "next", None).await;
    assert_eq!(next.id.to_string(), "3");
    let (six, _) = instance(&store, &next, "six").await;
    assert_eq!(six.id, id(6));
    store.delete_instance(six.id).await.unwrap();
    store.delete_account(next.id).await.unwrap();

    let (_temporary, out) = data_dir();
    let out_lock = out.lock().unwrap();
    let refused = postgres.export(&out, &out_lock, &key(), &mut |_| {}).await;
    assert!(matches!(refused, Err(TransferError::Running)), "{refused:?}");
    ledger.leave(owner).await.unwrap();
    let moved = postgres
        .export(&out, &out_lock, &key(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!((moved.accounts, moved.instances, moved.keys), (1, 2, 9));
    let names: Vec<_> = std::fs::read_dir(out.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");

    let after = presence_store::Store::open(&out, given()).await.unwrap();
    assert_eq!(view(&after), view(&store));
    assert_eq!(after.deleted_unwiped(), [id(4), id(5), id(6)]);
    let keys: SqliteKeyStore = out.open_keys(&out_lock, &after).await.unwrap();
    assert!(out.old_keys(&keys).await.unwrap().is_none());
    after.check_keys(&keys).await.expect("they are of one moment");
    assert_eq!(keys.devices().await.unwrap(), [1, 2, 4].map(id).into());
    assert_eq!(get(&keys, 1, Kind(1), "a").await.as_deref(), Some("newer"));
    // As where one node alone writes.
    let append = keys.append(id(1), Epoch::default(), Vec::new(), Durability::Durable);
    append.await.unwrap();
    let (again, _) = account(&after, "again", None).await;
    assert_eq!(again.id.to_string(), "4");
    assert_eq!(instance(&after, &again, "seven").await.0.id, id(7));
}

#[tokio::test]
async fn nothing_is_moved_to_where_something_is() {
    let database = TestDatabase::create().await;
    let postgres = database.connect().await;
    let (_temporary, dir) = data_dir();
    let lock = dir.lock().unwrap();
    let mut silent = |_| {};
    let refused = postgres.import(&dir, &lock, given(), &mut silent).await;
    assert!(matches!(refused, Err(TransferError::Missing(_))), "{refused:?}");
    drop(lock);
    fill(&dir).await;
    let lock = dir.lock().unwrap();

    let other = TokenKey::from_base64(&format!("{}A=", "A".repeat(42))).unwrap();
    let refused = postgres
        .import(&dir, &lock, KeySource::Given(other), &mut silent)
        .await;
    assert!(
        matches!(refused, Err(TransferError::Store(StoreError::WrongKey))),
        "{refused:?}"
    );
    let (me, ledger) = node(&postgres).await;
    let refused = postgres.import(&dir, &lock, given(), &mut silent).await;
    assert!(matches!(refused, Err(TransferError::Running)), "{refused:?}");
    ledger.leave(me).await.unwrap();
    postgres.import(&dir, &lock, given(), &mut silent).await.unwrap();
    let refused = postgres.import(&dir, &lock, given(), &mut silent).await;
    assert!(
        matches!(refused, Err(TransferError::DatabaseTaken)),
        "{refused:?}"
    );
    let refused = postgres.export(&dir, &lock, &key(), &mut silent).await;
    assert!(
        matches!(refused, Err(TransferError::DirectoryTaken(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn who_has_read_the_empty_database_reads_what_was_moved_into_it() {
    let database = TestDatabase::create().await;
    let early = database.registry().await;
    let (_temporary, dir) = data_dir();
    let before = fill(&dir).await;
    let lock = dir.lock().unwrap();
    database
        .connect()
        .await
        .import(&dir, &lock, given(), &mut |_| {})
        .await
        .unwrap();
    early.refresh().await.unwrap();
    assert_eq!(view(&early), before);
}
