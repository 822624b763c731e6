//! What only our store promises.

use std::sync::Arc;
use std::time::Duration;

use ::whatsapp_rust::wacore::store::Device as DeviceData;
use ::whatsapp_rust::wacore::store::traits::{
    DeviceStore as _, LidPnMappingEntry, ProtocolStore as _, SignalStore as _,
};
use ::whatsapp_rust::wacore::time::now_secs;
use ::whatsapp_rust::waproto::whatsapp::ADVSignedDeviceIdentity;
use presence_store::{KeyStore as _, MemoryKeyStore, RowChange};
use sqlx::{Connection as _, SqliteConnection};
use tokio::time::timeout;

use super::super::rows;
use super::{DEVICE, keys_in, storage};

fn linked() -> DeviceData {
    DeviceData {
        account: Some(Arc::new(ADVSignedDeviceIdentity::default())),
        ..DeviceData::new()
    }
}

/// A durable write must wait while the disk is held by another; one that is not returns at once.
#[tokio::test]
async fn what_whatsapp_is_about_to_believe_in_waits_for_the_disk_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys_in(&dir).await;
    let storage = storage(Arc::new(keys.clone()));
    let url = format!("sqlite://{}", dir.path().join("keys.db").display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();

    let unlinked = DeviceData::new();
    let mut device = linked();
    let saved_at_once = async |device: &DeviceData| {
        timeout(Duration::from_millis(100), storage.save(device))
            .await
            .is_ok_and(|saved| saved.is_ok())
    };
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    storage.put_session("a", b"x").await.unwrap();
    assert!(saved_at_once(&unlinked).await);
    assert!(!saved_at_once(&device).await, "a link");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    storage.save(&device).await.unwrap();

    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    device.login_counter += 1;
    assert!(saved_at_once(&device).await);
    device.next_pre_key_id += 1;
    assert!(
        !saved_at_once(&device).await,
        "numbers of pre-keys that are about to be uploaded"
    );
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    storage.save(&device).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    assert!(saved_at_once(&device).await, "that is on the disk already");
    device.first_unupload_pre_key_id += 1;
    assert!(!saved_at_once(&device).await, "which of them were uploaded");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    storage.save(&device).await.unwrap();

    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    device.signed_pre_key_id += 1;
    assert!(!saved_at_once(&device).await, "a signed pre-key");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    keys.close().await;
}

#[tokio::test]
async fn a_device_that_was_loaded_is_believed_in_as_it_is() {
    let keys = Arc::<MemoryKeyStore>::default();
    let device = linked();
    storage(keys.clone()).save(&device).await.unwrap();
    let storage = storage(keys);
    assert_eq!(storage.believed(), None);
    storage.load().await.unwrap();
    assert!(storage.believed().is_some());
}

#[tokio::test]
async fn a_value_of_a_newer_version_is_an_error() {
    let keys = Arc::<MemoryKeyStore>::default();
    let change = RowChange {
        value: Some("\u{2}new".into()),
        ..rows::put(rows::SESSION, "a", b"")
    };
    let appended = keys.append(
        DEVICE,
        Default::default(),
        vec![change],
        presence_store::Durability::Behind,
    );
    appended.await.unwrap();
    let refused = storage(keys).get_session("a").await.unwrap_err().to_string();
    assert!(refused.contains("newer version"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn peers_that_are_not_met_are_forgotten_and_others_are_not() {
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    let storage = storage(Arc::<MemoryKeyStore>::default());
    let mapping = |lid: &str, number: &str| LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: number.to_owned(),
        created_at: 1,
        updated_at: 1,
        learning_source: "usync".to_owned(),
    };
    for peer in ["old", "met"] {
        storage.put_session(peer, b"x").await.unwrap();
        storage.put_identity(peer, [1; 32]).await.unwrap();
        storage.put_sender_key(peer, b"x").await.unwrap();
        storage.put_lid_mapping(&mapping(peer, peer)).await.unwrap();
    }
    storage.store_prekey(1, b"x", true).await.unwrap();
    storage.save(&linked()).await.unwrap();
    tokio::time::sleep(MONTH).await;
    // Only the ratchet and the mapping move.
    storage.put_session("met", b"y").await.unwrap();
    storage.put_sender_key("met", b"y").await.unwrap();
    storage.put_lid_mapping(&mapping("met", "met")).await.unwrap();
    storage
        .forget_peers(MONTH + Duration::from_secs(1))
        .await
        .unwrap();
    assert!(storage.has_session("old").await.unwrap());

    storage.forget_peers(MONTH).await.unwrap();
    for (peer, known) in [("old", false), ("met", true)] {
        assert_eq!(storage.has_session(peer).await.unwrap(), known, "{peer}");
        assert_eq!(
            storage.load_identity(peer).await.unwrap().is_some(),
            known,
            "{peer}"
        );
        assert_eq!(
            storage.get_sender_key(peer).await.unwrap().is_some(),
            known,
            "{peer}"
        );
        assert_eq!(
            storage.get_lid_mapping(peer).await.unwrap().is_some(),
            known,
            "{peer}"
        );
        assert_eq!(
            storage.get_pn_mapping(peer).await.unwrap().is_some(),
            known,
            "{peer}"
        );
    }
    assert!(
        storage.load_prekey(1).await.unwrap().is_some(),
        "the device's own keys stay"
    );
    assert!(storage.believed().is_some() && storage.load().await.unwrap().unwrap().account.is_some());
}

/// Seen by what somebody else puts, which no session's rows are: it is not looked for.
#[tokio::test]
async fn a_kind_that_was_empty_is_not_read_again_until_something_is_put() {
    let keys = Arc::new(MemoryKeyStore::default());
    let (ours, other) = (storage(keys.clone()), storage(keys));
    let later = now_secs() + 60;
    assert_eq!(ours.delete_expired_sent_messages(later).await.unwrap(), 0);
    other.store_sent_message("c", "1", b"one").await.unwrap();
    ours.put_session("a", b"of another kind").await.unwrap();
    assert_eq!(ours.delete_expired_sent_messages(later).await.unwrap(), 0);

    ours.store_sent_message("c", "2", b"two").await.unwrap();
    assert_eq!(ours.delete_expired_sent_messages(0).await.unwrap(), 0);
    assert_eq!(
        ours.delete_expired_sent_messages(later).await.unwrap(),
        2,
        "what is kept is looked at again"
    );
}
