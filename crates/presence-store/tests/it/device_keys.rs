//! Wiping device keys, in a file of the shape that the WhatsApp client makes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use presence_store::{DeviceKeys, InstanceId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::support::{data_dir, id};

/// Tables as the client makes them: keys of a device under `device_id`, alone or as part of a key, one with a
/// reference; the device itself under `id`; its own bookkeeping without either. And one with an odd name.
const SCHEMA: &str = r#"
    CREATE TABLE device (id INTEGER PRIMARY KEY NOT NULL, noise_key BLOB NOT NULL);
    CREATE TABLE sessions (
        address TEXT NOT NULL, record BLOB NOT NULL, device_id INTEGER NOT NULL DEFAULT 1,
        PRIMARY KEY (address, device_id));
    CREATE TABLE prekeys (
        id INTEGER NOT NULL, key BLOB NOT NULL, device_id INTEGER NOT NULL, PRIMARY KEY (id, device_id));
    CREATE TABLE lid_pn_mapping (
        lid TEXT NOT NULL, device_id INTEGER NOT NULL, PRIMARY KEY (lid, device_id),
        FOREIGN KEY (device_id) REFERENCES device (id));
    CREATE TABLE "a ""quoted"" table" (device_id INTEGER);
    CREATE TABLE __diesel_schema_migrations (version TEXT PRIMARY KEY NOT NULL);
    INSERT INTO __diesel_schema_migrations VALUES ('1');
"#;

const SECRET: [u8; 32] = *b"the noise key of this one device";

/// Opens the file as the client does, and keeps it open.
async fn client(keys: &DeviceKeys) -> SqliteConnection {
    keys.prepare().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(keys.path())
        .journal_mode(SqliteJournalMode::Wal);
    let mut client = options.connect().await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut client).await.unwrap();
    client
}

async fn pair(client: &mut SqliteConnection, device: i32, secret: &[u8]) {
    let mut transaction = client.begin().await.unwrap();
    for sql in [
        "INSERT INTO device (id, noise_key) VALUES (?1, ?2)",
        "INSERT INTO sessions (device_id, address, record) VALUES (?1, 'a', ?2)",
        "INSERT INTO sessions (device_id, address, record) VALUES (?1, 'b', ?2)",
        "INSERT INTO prekeys (device_id, id, key) VALUES (?1, 1, ?2)",
        "INSERT INTO lid_pn_mapping (device_id, lid) VALUES (?1, ?2)",
        "INSERT INTO \"a \"\"quoted\"\" table\" (device_id) VALUES (?1)",
    ] {
        sqlx::query(sql)
            .bind(device)
            .bind(secret)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}

/// The numbers of all devices that have keys.
async fn devices(keys: &DeviceKeys) -> Vec<i32> {
    let devices = keys.devices().await.unwrap();
    devices.into_iter().map(InstanceId::get).collect()
}

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
    assert_eq!(devices(&keys).await, [1, 2, 30]);
    keys.wipe(id(2)).await.unwrap();
    keys.wipe(id(2)).await.unwrap();
    keys.wipe(id(3)).await.unwrap();
    let left = [
        rows(&mut client, 1).await,
        rows(&mut client, 2).await,
        rows(&mut client, 30).await,
    ];
    assert_eq!(left, [6, 0, 6]);
    assert_eq!(devices(&keys).await, [1, 30]);
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
    assert_eq!(devices(&keys).await, [7]);
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
    assert_eq!(devices(&keys).await, [21]);
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
