//! Wiping device keys, in a file of the shape that the WhatsApp client makes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use presence_store::DeviceKeysError;
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{client, data_dir, device_numbers, id, pair};

const SECRET: [u8; 32] = *b"the noise key of this one device";

async fn rows(client: &mut SqliteConnection, device: i32) -> i64 {
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM device WHERE id = ?1)
              + (SELECT count(*) FROM sessions WHERE device_id = ?1)
              + (SELECT count(*) FROM prekeys WHERE device_id = ?1)
              + (SELECT count(*) FROM lid_pn_mapping WHERE device_id = ?1)
              + (SELECT count(*) FROM \"a \"\"quoted\"\" table\" WHERE device_id = ?1)",
    )
    .bind(device)
    .fetch_one(client)
    .await
    .unwrap()
}

#[tokio::test]
async fn every_key_of_a_device_is_wiped_and_no_other() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    for device in [1, 2, 30] {
        pair(&mut client, device, b"secret").await;
    }
    assert_eq!(device_numbers(&keys).await, [1, 2, 30]);
    keys.wipe(id(2)).await.unwrap();
    keys.wipe(id(2)).await.unwrap();
    keys.wipe(id(3)).await.unwrap();
    let left = [
        rows(&mut client, 1).await,
        rows(&mut client, 2).await,
        rows(&mut client, 30).await,
    ];
    assert_eq!(left, [6, 0, 6]);
    assert_eq!(device_numbers(&keys).await, [1, 30]);
    let migrations: i64 = sqlx::query_scalar("SELECT count(*) FROM __diesel_schema_migrations")
        .fetch_one(&mut client)
        .await
        .unwrap();
    assert_eq!(migrations, 1);
}

#[tokio::test]
async fn a_device_of_which_only_scraps_are_left_is_listed_and_wiped() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    sqlx::raw_sql("INSERT INTO prekeys VALUES (1, x'00', 7)")
        .execute(&mut client)
        .await
        .unwrap();
    assert_eq!(device_numbers(&keys).await, [7]);
    keys.wipe(id(7)).await.unwrap();
    assert!(keys.devices().await.unwrap().is_empty());
}

#[tokio::test]
async fn wiped_keys_are_nowhere_on_disk() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    let on_disk = || {
        fs::read_dir(dir.path()).unwrap().any(|file| {
            let content = fs::read(file.unwrap().path()).unwrap();
            content.windows(SECRET.len()).any(|window| window == SECRET)
        })
    };
    pair(&mut client, 1, &SECRET).await;
    assert!(on_disk());
    keys.wipe(id(1)).await.unwrap();
    assert!(!on_disk());
}

#[tokio::test]
async fn a_missing_or_empty_file_holds_no_keys() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    keys.wipe(id(1)).await.unwrap();
    assert!(keys.devices().await.unwrap().is_empty());
    assert!(!keys.path().exists(), "and is not made by looking");
    keys.prepare().unwrap();
    keys.wipe(id(1)).await.unwrap();
    assert!(keys.devices().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_damaged_file_is_an_error() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    fs::write(keys.path(), "certainly not a database ".repeat(100)).unwrap();
    assert!(keys.wipe(id(1)).await.is_err());
    assert!(keys.devices().await.is_err());
}

#[tokio::test]
async fn many_wipes_at_once_all_succeed_while_the_client_writes() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    for device in 1..=20 {
        pair(&mut client, device, b"secret").await;
    }
    let wipes: tokio::task::JoinSet<_> = (1..=20)
        .map(|device| {
            let keys = keys.clone();
            async move { keys.wipe(id(device)).await }
        })
        .collect();
    pair(&mut client, 21, b"secret").await;
    for wiped in wipes.join_all().await {
        wiped.unwrap();
    }
    assert_eq!(device_numbers(&keys).await, [21]);
}

#[tokio::test]
async fn only_the_owner_may_read_the_files_that_the_client_makes() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    pair(&mut client, 1, b"secret").await;
    for name in ["devices.db", "devices.db-wal", "devices.db-shm"] {
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = dir.path().join(name);
        assert_eq!(mode(&path), 0o600, "{name}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        keys.prepare().unwrap();
        assert_eq!(mode(&path), 0o600, "{name}, given away before");
    }
}

/// Gives `device` this many more keys.
async fn add_prekeys(client: &mut SqliteConnection, device: i32, count: i32) {
    sqlx::query(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?2)
         INSERT INTO prekeys (device_id, id, key) SELECT ?1, 1000 + n, x'00' FROM n",
    )
    .bind(device)
    .bind(count)
    .execute(client)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_wipe_that_is_cut_off_goes_on_where_it_ended() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    for device in [1, 2] {
        pair(&mut client, device, b"secret").await;
        add_prekeys(&mut client, device, 2000).await;
    }
    let all = rows(&mut client, 1).await;
    let mut wipe = Box::pin(keys.wipe(id(1)));
    while rows(&mut client, 1).await == all {
        tokio::select! {
            biased;
            wiped = &mut wipe => panic!("all at once: {wiped:?}"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    drop(wipe);
    let left = rows(&mut client, 1).await;
    assert!((1..all).contains(&left), "{left} of {all}");
    let device: i64 = sqlx::query_scalar("SELECT count(*) FROM device WHERE id = 1")
        .fetch_one(&mut client)
        .await
        .unwrap();
    assert_eq!(device, 1, "the device itself goes last");
    assert_eq!(device_numbers(&keys).await, [1, 2]);
    keys.wipe(id(1)).await.unwrap();
    assert_eq!(rows(&mut client, 1).await, 0);
    assert_eq!(rows(&mut client, 2).await, all);
}

#[tokio::test]
async fn writes_of_other_devices_get_in_while_one_is_wiped() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    pair(&mut client, 1, b"secret").await;
    add_prekeys(&mut client, 1, 3000).await;
    let all = rows(&mut client, 1).await;
    let wipe = tokio::spawn({
        let keys = keys.clone();
        async move { keys.wipe(id(1)).await }
    });
    let mut between = 0;
    for number in 1.. {
        sqlx::query("INSERT INTO prekeys (device_id, id, key) VALUES (2, ?, x'00')")
            .bind(number)
            .execute(&mut client)
            .await
            .expect("nobody holds the lock for long");
        match rows(&mut client, 1).await {
            0 => break,
            left if left < all => between += 1,
            _ => {}
        }
    }
    assert!(
        between >= 3,
        "{between} writes between the first piece and the last"
    );
    wipe.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_number_that_no_instance_has_is_passed_over() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    sqlx::raw_sql(
        "INSERT INTO prekeys VALUES (1, x'00', 0);
         INSERT INTO prekeys VALUES (1, x'00', -5);
         INSERT INTO sessions VALUES ('a', x'00', 3000000000);
         INSERT INTO prekeys VALUES (1, x'00', 7)",
    )
    .execute(&mut client)
    .await
    .unwrap();
    assert_eq!(device_numbers(&keys).await, [7]);
}

#[tokio::test]
async fn a_file_that_works_is_well_and_the_client_finds_its_tables_as_they_were() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    assert!(matches!(keys.check().await, Err(DeviceKeysError::Missing)));
    assert!(!keys.path().exists());
    let mut client = client(&keys).await;
    pair(&mut client, 1, b"secret").await;
    for _ in 0..3 {
        keys.check().await.unwrap();
    }
    assert_eq!(rows(&mut client, 1).await, 6);
    assert_eq!(device_numbers(&keys).await, [1], "our tables name no device");
    keys.wipe(id(1)).await.unwrap();
    keys.check().await.unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_not_well() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    let mut client = client(&keys).await;
    keys.check().await.unwrap();
    let hold = client.begin_with("BEGIN IMMEDIATE").await.unwrap();
    assert!(matches!(keys.check().await, Err(DeviceKeysError::Busy(_))));
    assert!(keys.devices().await.unwrap().is_empty(), "it can be read");
    hold.rollback().await.unwrap();
    keys.check().await.unwrap();
}

#[test]
fn what_lies_in_the_way_of_the_file_is_an_error() {
    let (_temporary, dir) = data_dir();
    let keys = dir.device_keys();
    keys.prepare().unwrap();
    let log = dir.path().join("devices.db-wal");
    std::os::unix::fs::symlink(&log, &log).unwrap();
    assert!(keys.prepare().is_err());
}
