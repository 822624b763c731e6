//! What the tests share.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use presence_store::{
    Account, DataDir, Durability, Epoch, Instance, InstanceId, KeySource, KeyStore as _, Kind, NewInstance,
    Registry, RowChange, SecretText, SqliteKeyStore, Store, Token,
};

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
        let webhook = registry.account_webhook(&account).expect("a webhook or none");
        view.push(format!(
            "{account:?} {:?}",
            webhook.as_ref().map(SecretText::expose)
        ));
        view.extend(registry.instances(account.id).iter().map(|instance| {
            let token = registry.instance_token(instance).expect("a token");
            assert!(
                registry.authenticate(token.expose()).is_some(),
                "a listed token is valid"
            );
            let proxy = registry.instance_proxy(instance).expect("a proxy or none");
            let proxy = proxy.as_ref().map(SecretText::expose);
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

/// The device keys beside `store`.
pub(crate) async fn keys(dir: &DataDir, store: &Store) -> SqliteKeyStore {
    let lock = dir.lock().expect("no server");
    dir.open_keys(&lock, store).await.expect("device keys")
}

/// Gives `device` keys.
pub(crate) async fn pair(keys: &SqliteKeyStore, device: i32) {
    let changes = ["", "a", "b"].map(|name| RowChange {
        kind: Kind(1),
        name: name.into(),
        value: Some("a key".into()),
    });
    keys.append(id(device), Epoch::default(), changes.into(), Durability::Durable)
        .await
        .expect("keys are written");
}

/// The numbers of all devices that have keys.
pub(crate) async fn device_numbers(keys: &SqliteKeyStore) -> Vec<i32> {
    let devices = keys.devices().await.expect("keys are read");
    devices.into_iter().map(InstanceId::get).collect()
}
