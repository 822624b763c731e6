//! A file that the client library itself made, taken over.

use ::whatsapp_rust::wacore::libsignal::protocol::SessionRecord;
use ::whatsapp_rust::wacore::store::DevicePropsOverride;
use ::whatsapp_rust::wacore::store::traits::{
    AppSyncStore as _, DeviceStore as _, ProtocolStore as _, SignalStore as _,
};
use presence_store::MemoryKeyStore;
use tempfile::TempDir;

use super::super::device;
use super::super::storage::Storage;
use super::*;

/// See there what it has.
const CLIENT_STORE: &str = include_str!("../../../tests/fixtures/devices.sql");

async fn client_store(change: &'static str) -> (TempDir, SqliteConnection) {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("devices.db"))
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    for sql in [CLIENT_STORE, change] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    (dir, connection)
}

async fn import(dir: &TempDir, keys: &dyn KeyStore) -> Result<usize, ImportError> {
    import_client_store(&dir.path().join("devices.db"), keys).await
}

fn instance(number: i32) -> InstanceId {
    InstanceId::new(number).unwrap()
}

#[tokio::test]
async fn everything_worth_keeping_is_there() {
    let (dir, mut client) = client_store("").await;
    let keys = Arc::<MemoryKeyStore>::default();
    // Twice: a crash in the middle means beginning again.
    for _ in 0..2 {
        assert_eq!(import(&dir, &*keys).await.unwrap(), 3);
    }
    let devices: Vec<_> = keys.devices().await.unwrap().into_iter().collect();
    assert_eq!(devices, [1, 2, 3].map(instance));

    let storage = Storage::new(keys.clone(), instance(1), DevicePropsOverride::new());
    let data = storage.load().await.unwrap().unwrap();
    let me = device::identity(&data).unwrap();
    assert_eq!(
        (me.jid.as_str(), me.push_name.as_deref()),
        ("5511988887777@s.whatsapp.net", Some("Sandbox"))
    );
    assert_eq!(
        data.pn.as_ref().unwrap().to_string(),
        "5511988887777:1@s.whatsapp.net"
    );
    assert_eq!(data.lid.as_ref().unwrap().to_string(), "300005511988887777:1@lid");
    assert_eq!(
        (data.registration_id, data.login_counter, data.lid_migrated),
        (1_921_367_588, 1, true)
    );
    assert_eq!((data.next_pre_key_id, data.first_unupload_pre_key_id), (31, 31));
    let noise: Vec<u8> = sqlx::query_scalar("SELECT noise_key FROM device WHERE id = 1")
        .fetch_one(&mut client)
        .await
        .unwrap();
    let (private, public) = (data.noise_key.private_key.serialize(), data.noise_key.public_key);
    assert_eq!(noise, [&private[..], public.public_key_bytes()].concat());

    let peer = "300005511977776666@lid.0";
    let session = storage.get_session(peer).await.unwrap().unwrap();
    SessionRecord::deserialize(&session).expect("as the library reads it");
    assert!(storage.load_identity(peer).await.unwrap().is_some());
    assert!(storage.load_prekey(31).await.unwrap().is_none());
    assert_eq!(storage.load_signed_prekey(2).await.unwrap(), Some(vec![8, 2]));
    let sender_key = storage
        .get_sender_key(&format!("120363000000000001@g.us:{peer}"))
        .await;
    assert_eq!(sender_key.unwrap(), Some(vec![10, 1]));

    let id = storage.get_latest_sync_key_id().await.unwrap().unwrap();
    assert_eq!(id, [0, 0, 0, 0, 0, 1]);
    assert_eq!(
        storage.get_sync_key(&id).await.unwrap().unwrap().key_data.len(),
        32
    );
    assert_eq!(storage.get_version("critical_block").await.unwrap().version, 5);
    let mac = storage.get_mutation_mac("critical_block", &[0, 1]).await;
    assert_eq!(mac.unwrap(), Some(vec![2, 3]));

    let by_lid = storage
        .get_lid_mapping("300000014155550123")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (by_lid.phone_number.as_str(), by_lid.learning_source.as_str()),
        ("14155550123", "peer_lid_message")
    );
    let by_number = storage.get_pn_mapping("14155550123").await.unwrap().unwrap();
    assert_eq!(by_number.lid, by_lid.lid);
    let devices = storage.get_devices("300005511988887777").await.unwrap().unwrap();
    assert_eq!(
        (devices.raw_id, devices.phash.as_deref()),
        (Some(u32::MAX - 1), Some("2:abc"))
    );
    assert_eq!(devices.devices[0].device_id, 0);
    let token = storage
        .get_tc_token("300005511977776666@lid")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (token.token, token.token_timestamp, token.sender_timestamp),
        (vec![0xbe, 0xef], 1_790_000_000, None)
    );

    // Of another device nothing is mixed in; and one that no phone has linked is none that is paired.
    let other = Storage::new(keys.clone(), instance(2), DevicePropsOverride::new());
    assert_eq!(other.get_all_lid_mappings().await.unwrap().len(), 2);
    assert!(
        other
            .get_sender_key(&format!("120363000000000001@g.us:{peer}"))
            .await
            .unwrap()
            .is_none()
    );
    let unlinked = Storage::new(keys, instance(3), DevicePropsOverride::new());
    assert!(device::identity(&unlinked.load().await.unwrap().unwrap()).is_none());
}

#[tokio::test]
async fn the_fixture_has_a_row_for_every_table() {
    let (_dir, mut client) = client_store("").await;
    for (query, _) in TABLES {
        let (_, from) = query.split_once(" FROM ").unwrap();
        let count = format!("SELECT count(*) FROM {from}");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count))
            .bind(1)
            .fetch_one(&mut client)
            .await
            .unwrap();
        assert!(count > 0, "the fixture has nothing for {query}");
    }
}

#[tokio::test]
async fn what_whatsapp_tells_again_may_be_damaged() {
    let (dir, _client) = client_store(
        "UPDATE app_state_keys SET key_data = x'ff'; UPDATE app_state_versions SET state_data = x'ff'",
    )
    .await;
    let keys = Arc::<MemoryKeyStore>::default();
    assert_eq!(import(&dir, &*keys).await.unwrap(), 3);
    let storage = Storage::new(keys, instance(1), DevicePropsOverride::new());
    assert_eq!(storage.get_latest_sync_key_id().await.unwrap(), None);
    assert_eq!(storage.get_version("critical_block").await.unwrap().version, 0);
}

#[tokio::test]
async fn a_damaged_key_is_told_and_nothing_in_the_file_is_changed() {
    for damage in [
        "UPDATE device SET noise_key = x'00' WHERE id = 2",
        "UPDATE device SET account = x'ff' WHERE id = 2",
        "UPDATE identities SET key = x'00' WHERE device_id = 2",
        "INSERT INTO device_registry (user_id, devices_json, timestamp, device_id) VALUES ('x', '[', 1, 2)",
    ] {
        let (dir, _client) = client_store(damage).await;
        let refused = import(&dir, &MemoryKeyStore::default()).await.unwrap_err();
        assert!(
            matches!(&refused, ImportError::Damaged { instance, .. } if instance.get() == 2),
            "{damage}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_file_of_another_library_is_refused() {
    let (dir, _client) = client_store("ALTER TABLE device DROP COLUMN lid_migrated").await;
    let refused = import(&dir, &MemoryKeyStore::default()).await;
    assert!(matches!(refused, Err(ImportError::Damaged { .. })));
    let (dir, _client) = client_store("DROP TABLE tc_tokens").await;
    let refused = import(&dir, &MemoryKeyStore::default()).await;
    let Err(ImportError::Read(cause)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(cause.to_string(), "(code: 1) no such table: tc_tokens");
    assert!(cause.source().is_none(), "its text is told once");
}
