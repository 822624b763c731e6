//! What the tests share.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use presence_store::{
    Account, DataDir, DeviceKeys, Instance, InstanceId, KeySource, NewInstance, ProxySecret, Registry, Store,
    Token,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

/// A moment with a fraction of a millisecond, which no store keeps.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(1_790_000_000_123_456_789)
}

pub(crate) fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a valid value")
}

pub(crate) fn id(number: i32) -> InstanceId {
    InstanceId::new(number).expect("a positive number")
}

pub(crate) fn new_instance(name: &str) -> NewInstance {
    NewInstance {
        name: parsed(name),
        token: None,
        keep_online: false,
        proxy: None,
        now: now(),
    }
}

pub(crate) async fn account(
    registry: &dyn Registry,
    name: &str,
    quota: Option<u32>,
) -> (Arc<Account>, Token) {
    registry
        .create_account(parsed(name), quota, now())
        .await
        .expect("an account")
}

pub(crate) async fn instance(registry: &dyn Registry, owner: &Account, name: &str) -> (Arc<Instance>, Token) {
    registry
        .create_instance(owner.id, new_instance(name))
        .await
        .expect("an instance")
}

pub(crate) async fn open(dir: &DataDir) -> Store {
    Store::open(dir, KeySource::File).await.expect("a store")
}

/// A new data directory, gone when dropped.
pub(crate) fn data_dir() -> (tempfile::TempDir, DataDir) {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = DataDir::open(temporary.path().join("data")).expect("a data directory");
    (temporary, dir)
}

/// Everything that a registry shows, tokens included.
pub(crate) fn view(registry: &dyn Registry) -> Vec<String> {
    let mut view = vec![format!("{:?} {:?}", registry.edge(), registry.deleted_unwiped())];
    for account in registry.accounts() {
        view.push(format!("{account:?}"));
        view.extend(registry.instances(account.id).iter().map(|instance| {
            let token = registry.instance_token(instance).expect("a token");
            assert!(
                registry.authenticate(token.expose()).is_some(),
                "a listed token is valid"
            );
            let proxy = registry.instance_proxy(instance).expect("a proxy or none");
            let proxy = proxy.as_ref().map(ProxySecret::expose);
            format!("{instance:?} {} {proxy:?}", token.expose())
        }));
    }
    let listed: usize = registry
        .accounts()
        .iter()
        .map(|account| registry.instances(account.id).len())
        .sum();
    assert_eq!(registry.all_instances().len(), listed);
    view
}

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

/// Opens the file as the client does, and keeps it open.
pub(crate) async fn client(keys: &DeviceKeys) -> SqliteConnection {
    keys.prepare().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(keys.path())
        .journal_mode(SqliteJournalMode::Wal);
    let mut client = options.connect().await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut client).await.unwrap();
    client
}

pub(crate) async fn pair(client: &mut SqliteConnection, device: i32, secret: &[u8]) {
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
pub(crate) async fn device_numbers(keys: &DeviceKeys) -> Vec<i32> {
    let devices = keys.devices().await.unwrap();
    devices.into_iter().map(InstanceId::get).collect()
}
