//! Device keys in a file: sealed, durable, and patient with a disk that refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use presence_store::{Durability, Epoch, KeyStore as _, Kind, SqliteKeyStore, StoreError, TokenKey};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{ONE, append, delete, get, put};
use crate::support::id;

fn key(byte: u8) -> TokenKey {
    let text = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    TokenKey::from_base64(&text).unwrap()
}

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("keys.db")
}

pub(super) async fn open(dir: &TempDir) -> SqliteKeyStore {
    SqliteKeyStore::open(&path(dir), Some(key(7))).await.unwrap()
}

async fn execute(path: &Path, sql: &'static str) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Keeps others from writing, until it is dropped.
async fn lock(path: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

#[tokio::test]
async fn a_check_is_no_flush_of_keys() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    let opened = keys.flushes();
    keys.check().await.unwrap();
    assert_eq!(keys.flushes(), opened);
    append(&keys, 1, vec![put(ONE, "a", "1")]).await;
    keys.check().await.unwrap();
    assert_eq!(keys.flushes(), opened + 1);
}

#[tokio::test]
async fn what_was_flushed_outlives_the_process_and_what_was_closed_does() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    append(&keys, 1, vec![put(ONE, "a", "flushed")]).await;
    keys.flush().await.unwrap();
    assert!(keys.flushes() > 0);
    // What a killed process would leave.
    let killed = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), killed.path().join(entry.file_name())).unwrap();
    }
    assert_eq!(
        get(&open(&killed).await, 1, ONE, "a").await.as_deref(),
        Some("flushed")
    );

    append(&keys, 1, vec![put(ONE, "a", "closed")]).await;
    assert!(keys.close().await);
    assert!(keys.close().await);
    assert!(
        !path(&dir).with_extension("db-wal").exists(),
        "nothing lies in wait"
    );
    assert_eq!(
        get(&open(&dir).await, 1, ONE, "a").await.as_deref(),
        Some("closed")
    );
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    let other = keys.clone();
    keys.close().await;
    let appended = other
        .append(id(1), Epoch::default(), Vec::new(), Durability::Behind)
        .await;
    assert!(matches!(appended, Err(StoreError::Closed)));
    assert!(matches!(other.check().await, Err(StoreError::Closed)));
    assert!(matches!(other.devices().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn epochs_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    let append = async |keys: &SqliteKeyStore, epoch| {
        let changes = vec![put(ONE, "a", "x")];
        keys.append(id(1), Epoch(epoch), changes, Durability::Behind)
            .await
    };
    append(&keys, 5).await.unwrap();
    keys.close().await;
    let keys = open(&dir).await;
    assert!(matches!(append(&keys, 4).await, Err(StoreError::Fenced)));
    append(&keys, 5).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_refuses_loses_nothing_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    append(&keys, 1, vec![put(ONE, "before", "x")]).await;
    keys.check().await.unwrap();

    let held = lock(&path(&dir)).await;
    let failed = keys.check().await.unwrap_err();
    assert!(failed.to_string().contains("locked"), "{failed}");
    for number in 0..100 {
        let name = number.to_string();
        append(&keys, 1, vec![put(ONE, &name, "older"), put(ONE, &name, "newer")]).await;
        assert_eq!(get(&keys, 1, ONE, &name).await.as_deref(), Some("newer"));
    }
    assert_eq!(get(&keys, 1, ONE, "before").await.as_deref(), Some("x"));
    let wiped = keys.wipe(id(2)).await;
    assert!(wiped.is_err(), "the keys of 2 may be on the disk yet");
    drop(held);
    // By itself, and for good.
    while keys.check().await.is_err() {}
    keys.close().await;
    let keys = open(&dir).await;
    assert_eq!(keys.range(id(1), ONE, b"").await.unwrap().len(), 101);
    assert_eq!(get(&keys, 1, ONE, "99").await.as_deref(), Some("newer"));
}

/// As SQLite does when a commit finds no room, and sqlx does not learn of it.
#[tokio::test]
async fn what_the_disk_rolled_back_by_itself_is_written_once_it_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    append(&keys, 1, vec![put(ONE, "before", "x")]).await;
    keys.check().await.unwrap();
    execute(
        &path(&dir),
        "CREATE TRIGGER full BEFORE INSERT ON key BEGIN SELECT RAISE(ROLLBACK, 'full'); END",
    )
    .await;
    append(&keys, 1, vec![put(ONE, "after", "x")]).await;
    for _ in 0..2 {
        let failed = keys.check().await.unwrap_err();
        assert!(format!("{failed:?}").contains("full"), "{failed:?}");
    }
    execute(&path(&dir), "DROP TRIGGER full").await;
    timeout(Duration::from_secs(30), async {
        while keys.check().await.is_err() {}
    })
    .await
    .expect("it is saved again");
    keys.close().await;
    assert_eq!(
        get(&open(&dir).await, 1, ONE, "after").await.as_deref(),
        Some("x")
    );
}

#[tokio::test]
async fn closing_does_not_wait_for_a_disk_that_refuses_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    let _held = lock(&path(&dir)).await;
    append(&keys, 1, vec![put(ONE, "a", "x")]).await;
    let is_all_written = timeout(Duration::from_secs(30), keys.close()).await.unwrap();
    assert!(!is_all_written);
}

#[tokio::test]
async fn more_than_a_disk_that_refuses_may_be_owed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    let held = lock(&path(&dir)).await;
    let mut taken = 0;
    let refused = loop {
        // Nothing has to be sealed of what is deleted.
        let mut large = delete(ONE, &"x".repeat(1 << 20));
        large.name = [&large.name[..], &[taken]].concat().into();
        let changes = vec![large];
        match keys
            .append(id(1), Epoch::default(), changes, Durability::Behind)
            .await
        {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, StoreError::Overloaded));
    assert_eq!(taken, 64);
    drop(held);
    while keys.flush().await.is_err() {}
    append(&keys, 1, vec![put(ONE, "a", "x")]).await;
}

#[tokio::test]
async fn many_devices_write_at_once_and_each_finds_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    let writers: tokio::task::JoinSet<_> = (1..=50)
        .map(|device| {
            let keys = keys.clone();
            async move {
                for round in 0..20 {
                    let value = format!("{device} {round}");
                    let durability = if round % 7 == 0 {
                        Durability::Durable
                    } else {
                        Durability::Behind
                    };
                    let changes = vec![put(ONE, "a", &value), put(ONE, &round.to_string(), &value)];
                    keys.append(id(device), Epoch::default(), changes, durability)
                        .await
                        .unwrap();
                    assert_eq!(get(&keys, device, ONE, "a").await, Some(value));
                }
                if device % 2 == 0 {
                    keys.wipe(id(device)).await.unwrap();
                }
            }
        })
        .collect();
    writers.join_all().await;
    keys.close().await;
    let keys = open(&dir).await;
    let devices = keys.devices().await.unwrap();
    assert_eq!(devices, (1..=50).step_by(2).map(id).collect());
    for device in devices {
        assert_eq!(keys.range(device, ONE, b"").await.unwrap().len(), 21);
        let value = get(&keys, device.get(), ONE, "a").await;
        assert_eq!(value, Some(format!("{device} 19")));
    }
}

/// Whether any file in `dir` has `secret` in it.
fn is_on_disk(dir: &TempDir, secret: &str) -> bool {
    fs::read_dir(dir.path()).unwrap().any(|file| {
        let content = fs::read(file.unwrap().path()).unwrap();
        content
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    })
}

#[tokio::test]
async fn values_are_sealed_each_for_its_row() {
    const SECRET: &str = "the noise key of this one device";
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    append(
        &keys,
        1,
        vec![put(ONE, "a", SECRET), put(ONE, "b", "y"), put(Kind(2), "a", "y")],
    )
    .await;
    append(&keys, 2, vec![put(ONE, "a", "y")]).await;
    keys.check().await.unwrap();
    assert!(is_on_disk(&dir, "seal_check") && !is_on_disk(&dir, SECRET));
    let others = [(1, ONE, "b"), (1, Kind(2), "a"), (2, ONE, "a")];
    for (device, kind, name) in others {
        assert_eq!(get(&keys, device, kind, name).await.as_deref(), Some("y"));
    }
    execute(
        &path(&dir),
        "UPDATE key SET value = (SELECT value FROM key WHERE device = 1 AND kind = 1 AND name = x'61')",
    )
    .await;
    assert_eq!(get(&keys, 1, ONE, "a").await.as_deref(), Some(SECRET));
    for (device, kind, name) in others {
        let swapped = keys.get(id(device), kind, name.as_bytes()).await;
        assert!(
            matches!(swapped, Err(StoreError::Corrupt { .. })),
            "{device} {name}"
        );
    }
    assert!(keys.range(id(1), ONE, b"").await.is_err());
    keys.close().await;

    let wrong = SqliteKeyStore::open(&path(&dir), Some(key(8))).await;
    assert!(matches!(wrong.err(), Some(StoreError::WrongSeal)));
}

#[tokio::test]
async fn without_a_key_devices_are_listed_and_wiped_and_nothing_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    for device in [1, 2] {
        append(&keys, device, vec![put(ONE, "a", "x")]).await;
    }
    keys.close().await;
    let keys = SqliteKeyStore::open(&path(&dir), None).await.unwrap();
    assert_eq!(keys.devices().await.unwrap(), [id(1), id(2)].into());
    assert!(matches!(keys.get(id(1), ONE, b"a").await, Err(StoreError::NoKey)));
    keys.wipe(id(1)).await.unwrap();
    assert_eq!(keys.devices().await.unwrap(), [id(2)].into());
    keys.close().await;
}

#[tokio::test]
async fn what_was_wiped_is_nowhere_on_disk() {
    const NAME: &str = "5511999990000@s.whatsapp.net";
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    append(&keys, 1, vec![put(ONE, NAME, "x")]).await;
    keys.check().await.unwrap();
    assert!(is_on_disk(&dir, NAME));
    keys.wipe(id(1)).await.unwrap();
    assert!(!is_on_disk(&dir, NAME));
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open(&dir).await;
    append(&keys, 1, vec![put(ONE, "a", "x")]).await;
    keys.check().await.unwrap();
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_file_of_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(path(&dir), "certainly not a database ".repeat(100)).unwrap();
    let refused = SqliteKeyStore::open(&path(&dir), Some(key(7))).await;
    assert!(refused.is_err());

    let dir = tempfile::tempdir().unwrap();
    open(&dir).await.close().await;
    execute(&path(&dir), "PRAGMA user_version = 99").await;
    let newer = SqliteKeyStore::open(&path(&dir), Some(key(7))).await;
    assert!(matches!(newer.err(), Some(StoreError::Newer { found: 99, .. })));
}
