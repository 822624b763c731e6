//! The cases that every store must pass.

use std::sync::Arc;

use ::whatsapp_rust::wacore::appstate::hash::HashState;
use ::whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use ::whatsapp_rust::wacore::store::Device as DeviceData;
use ::whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, PendingInboundKey,
    PendingInboundRow, TcTokenEntry,
};
use ::whatsapp_rust::wacore::time::now_secs;
use bytes::Bytes;

use super::Store;

const PEER: &str = "5511977776666@s.whatsapp.net.0";
const OTHER: &str = "14155550123:2@s.whatsapp.net.0";

pub(super) async fn identities_are_kept_by_address(store: Store<'_>) {
    assert_eq!(store.load_identity(PEER).await.unwrap(), None);
    store.put_identity(PEER, [1; 32]).await.unwrap();
    store.put_identity(PEER, [2; 32]).await.unwrap();
    store
        .put_identities_batch(&[(OTHER.into(), [3; 32]), ("third".into(), [4; 32])])
        .await
        .unwrap();
    assert_eq!(store.load_identity(PEER).await.unwrap(), Some([2; 32]));
    assert_eq!(store.load_identity(OTHER).await.unwrap(), Some([3; 32]));
    store.delete_identity(PEER).await.unwrap();
    store.delete_identity(PEER).await.unwrap();
    assert_eq!(store.load_identity(PEER).await.unwrap(), None);
    assert_eq!(store.load_identity("third").await.unwrap(), Some([4; 32]));
}

pub(super) async fn sessions_are_kept_by_address(store: Store<'_>) {
    assert_eq!(store.get_session(PEER).await.unwrap(), None);
    assert!(!store.has_session(PEER).await.unwrap());
    store.put_session(PEER, b"one").await.unwrap();
    store.put_session(PEER, b"two").await.unwrap();
    assert_eq!(
        store.get_session(PEER).await.unwrap().as_deref(),
        Some(&b"two"[..])
    );
    assert!(store.has_session(PEER).await.unwrap());
    assert!(!store.has_session(OTHER).await.unwrap());
    store.delete_session(PEER).await.unwrap();
    assert!(!store.has_session(PEER).await.unwrap());
}

pub(super) async fn a_batch_replaces_what_is_there(store: Store<'_>) {
    store.put_session(PEER, b"old").await.unwrap();
    let batch = [
        (PEER.into(), Bytes::from_static(b"new")),
        (OTHER.into(), Bytes::from_static(b"first")),
    ];
    store.put_sessions_batch(&batch).await.unwrap();
    store.put_sender_keys_batch(&batch).await.unwrap();
    store.put_sessions_batch(&[]).await.unwrap();
    assert_eq!(
        store.get_session(PEER).await.unwrap().as_deref(),
        Some(&b"new"[..])
    );
    assert_eq!(
        store.get_session(OTHER).await.unwrap().as_deref(),
        Some(&b"first"[..])
    );
    assert_eq!(
        store.get_sender_key(PEER).await.unwrap().as_deref(),
        Some(&b"new"[..])
    );
}

pub(super) async fn a_user_has_signal_state_on_any_device(store: Store<'_>) {
    store.put_session("551190@lid.0", b"x").await.unwrap();
    store.put_identity("551191:12@lid.0", [1; 32]).await.unwrap();
    for (user, has) in [
        ("551190", true),
        ("551191", true),
        ("55119", false),
        ("1190", false),
        ("551192", false),
    ] {
        assert_eq!(
            store.has_signal_state_for_user(user).await.unwrap(),
            has,
            "{user}"
        );
    }
}

pub(super) async fn pre_keys_are_used_once(store: Store<'_>) {
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 0);
    let batch: Vec<_> = [3, 300, 70_000]
        .map(|id: u32| (id, Bytes::from(id.to_string())))
        .into();
    store.store_prekeys_batch(&batch, false).await.unwrap();
    store.store_prekey(5, b"5", true).await.unwrap();
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 70_000);
    assert_eq!(
        store.load_prekey(300).await.unwrap().as_deref(),
        Some(&b"300"[..])
    );
    let mut found = store.load_prekeys_batch(&[5, 4, 3]).await.unwrap();
    found.sort();
    assert_eq!(found, [(3, "3".into()), (5, "5".into())]);
    store.remove_prekey(300).await.unwrap();
    assert_eq!(store.load_prekey(300).await.unwrap(), None);
    store.remove_prekey(70_000).await.unwrap();
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 5);
}

pub(super) async fn marking_a_pre_key_uploaded_brings_none_back(store: Store<'_>) {
    store.store_prekey(1, b"1", false).await.unwrap();
    store.store_prekey(2, b"2", false).await.unwrap();
    store.remove_prekey(2).await.unwrap();
    store.mark_prekeys_uploaded(&[1, 2]).await.unwrap();
    assert_eq!(store.load_prekey(1).await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.load_prekey(2).await.unwrap(), None);
}

pub(super) async fn signed_pre_keys_are_listed(store: Store<'_>) {
    for id in [1, 2, 2_000_000] {
        store.store_signed_prekey(id, &id.to_be_bytes()).await.unwrap();
    }
    store.remove_signed_prekey(1).await.unwrap();
    let mut all = store.load_all_signed_prekeys().await.unwrap();
    all.sort();
    assert_eq!(all, [2u32, 2_000_000].map(|id| (id, id.to_be_bytes().to_vec())));
    assert_eq!(store.load_signed_prekey(1).await.unwrap(), None);
    assert_eq!(store.load_signed_prekey(2).await.unwrap(), Some(vec![0, 0, 0, 2]));
}

pub(super) async fn sender_keys_are_kept_by_group_and_address(store: Store<'_>) {
    assert_eq!(store.get_sender_key("g:a").await.unwrap(), None);
    store.put_sender_key("g:a", b"one").await.unwrap();
    store.put_sender_key("g:b", b"two").await.unwrap();
    assert_eq!(store.get_sender_key("g:a").await.unwrap(), Some(b"one".to_vec()));
    store.delete_sender_key("g:a").await.unwrap();
    assert_eq!(store.get_sender_key("g:a").await.unwrap(), None);
    assert_eq!(store.get_sender_key("g:b").await.unwrap(), Some(b"two".to_vec()));
}

pub(super) async fn sync_keys_are_kept_and_the_latest_is_known(store: Store<'_>) {
    assert_eq!(store.get_latest_sync_key_id().await.unwrap(), None);
    let key = |byte| AppStateSyncKey {
        key_data: vec![byte; 32],
        fingerprint: vec![byte, 0],
        timestamp: i64::from(byte),
    };
    for byte in [1, 2] {
        store.set_sync_key(&[0, byte], key(byte)).await.unwrap();
    }
    assert_eq!(store.get_latest_sync_key_id().await.unwrap(), Some(vec![0, 2]));
    let kept = store.get_sync_key(&[0, 1]).await.unwrap().unwrap();
    assert_eq!(
        (kept.key_data, kept.fingerprint, kept.timestamp),
        (vec![1; 32], vec![1, 0], 1)
    );
    assert!(store.get_sync_key(&[0]).await.unwrap().is_none());
}

pub(super) async fn a_collection_begins_at_version_0(store: Store<'_>) {
    let new = store.get_version("regular").await.unwrap();
    assert_eq!((new.version, new.hash), (0, [0; 128]));
    let state = HashState {
        version: u64::MAX,
        hash: [9; 128],
        mac_mismatch_fatal: true,
        ..HashState::default()
    };
    store.set_version("regular", state).await.unwrap();
    let kept = store.get_version("regular").await.unwrap();
    assert_eq!(
        (kept.version, kept.hash, kept.mac_mismatch_fatal),
        (u64::MAX, [9; 128], true)
    );
    assert_eq!(store.get_version("critical").await.unwrap().version, 0);
}

pub(super) async fn mutation_macs_are_kept_by_collection(store: Store<'_>) {
    // An index may have any bytes in it.
    let index = |byte: u8| [0, byte].repeat(16);
    let mac = |byte: u8| AppStateMutationMAC {
        index_mac: index(byte),
        value_mac: vec![byte; 32],
    };
    store
        .put_mutation_macs("a", 1, &[mac(1), mac(2), mac(3)])
        .await
        .unwrap();
    store.put_mutation_macs("ab", 1, &[mac(1)]).await.unwrap();
    assert_eq!(
        store.get_mutation_mac("a", &index(1)).await.unwrap(),
        Some(vec![1; 32])
    );
    assert_eq!(store.get_mutation_mac("a", &index(9)).await.unwrap(), None);
    let indices = [2, 9].map(|byte| index(byte).try_into().unwrap());
    let found = store.get_mutation_macs("a", &indices).await.unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(indices[0], vec![2; 32])]);
    store.delete_mutation_macs("a", &[index(1)]).await.unwrap();
    assert_eq!(store.get_mutation_mac("a", &index(1)).await.unwrap(), None);
    store.clear_mutation_macs("a").await.unwrap();
    assert_eq!(store.get_mutation_mac("a", &index(3)).await.unwrap(), None);
    assert_eq!(
        store.get_mutation_mac("ab", &index(1)).await.unwrap(),
        Some(vec![1; 32])
    );
}

pub(super) async fn sender_key_devices_are_kept_by_group(store: Store<'_>) {
    let of = async |group| {
        let mut devices = store.get_sender_key_devices(group).await.unwrap();
        devices.sort();
        devices
    };
    let device = |name: &str, has_key| (name.to_owned(), has_key);
    store
        .set_sender_key_status("g", &[("a:1", true), ("b:2", true)])
        .await
        .unwrap();
    store.set_sender_key_status("g", &[("b:2", false)]).await.unwrap();
    store
        .set_sender_key_status("gg", &[("a:1", true), ("c:3", true)])
        .await
        .unwrap();
    assert_eq!(of("g").await, [device("a:1", true), device("b:2", false)]);
    store
        .delete_sender_key_device_rows(&["a:1", "x:9"])
        .await
        .unwrap();
    store.delete_sender_key_device_rows(&[]).await.unwrap();
    assert_eq!(of("g").await, [device("b:2", false)]);
    assert_eq!(of("gg").await, [device("c:3", true)]);
    store.clear_sender_key_devices("g").await.unwrap();
    assert_eq!((of("g").await.len(), of("gg").await.len()), (0, 1));
    store.clear_all_sender_key_devices().await.unwrap();
    assert_eq!(of("gg").await, []);
}

pub(super) async fn mappings_are_found_by_lid_and_by_number(store: Store<'_>) {
    let entry = |lid: &str, number: &str, updated_at| LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: number.to_owned(),
        created_at: 1,
        updated_at,
        learning_source: "usync".to_owned(),
    };
    assert!(store.get_lid_mapping("100").await.unwrap().is_none());
    assert!(store.get_pn_mapping("55").await.unwrap().is_none());
    store.put_lid_mapping(&entry("100", "55", 1)).await.unwrap();
    store
        .put_lid_mappings(&[entry("200", "66", 1), entry("300", "55", 2)])
        .await
        .unwrap();
    let by_number = async |number| store.get_pn_mapping(number).await.unwrap().map(|entry| entry.lid);
    assert_eq!(by_number("55").await.as_deref(), Some("300"), "the newest");
    assert_eq!(by_number("5").await, None);
    assert_eq!(
        store.get_lid_mapping("100").await.unwrap().unwrap().phone_number,
        "55"
    );
    // A LID that becomes another number's.
    store.put_lid_mapping(&entry("200", "77", 3)).await.unwrap();
    assert_eq!(by_number("66").await, None);
    assert_eq!(by_number("77").await.as_deref(), Some("200"));
    let kept = store.get_lid_mapping("200").await.unwrap().unwrap();
    assert_eq!(
        (kept.created_at, kept.updated_at, kept.learning_source.as_str()),
        (1, 3, "usync")
    );
    let mut all: Vec<_> = store.get_all_lid_mappings().await.unwrap();
    all.sort_by(|one, other| one.lid.cmp(&other.lid));
    let all: Vec<_> = all
        .iter()
        .map(|entry| (&*entry.lid, &*entry.phone_number))
        .collect();
    assert_eq!(all, [("100", "55"), ("200", "77"), ("300", "55")]);
}

pub(super) async fn a_base_key_is_compared(store: Store<'_>) {
    assert!(!store.has_same_base_key(PEER, "1", b"key").await.unwrap());
    store.save_base_key(PEER, "1", b"key").await.unwrap();
    assert!(store.has_same_base_key(PEER, "1", b"key").await.unwrap());
    assert!(!store.has_same_base_key(PEER, "1", b"other").await.unwrap());
    assert!(!store.has_same_base_key(PEER, "2", b"key").await.unwrap());
    store.delete_base_key(PEER, "1").await.unwrap();
    assert!(!store.has_same_base_key(PEER, "1", b"key").await.unwrap());
}

pub(super) async fn device_lists_are_replaced(store: Store<'_>) {
    let record = |user: &str, devices: &[u32]| DeviceListRecord {
        user: user.to_owned(),
        devices: devices
            .iter()
            .map(|id| DeviceInfo::new(*id, Some(id + 1)).with_hosting(*id == 9))
            .collect(),
        timestamp: 1_790_000_000,
        phash: Some("2:abc".to_owned()),
        raw_id: Some(u32::MAX),
    };
    assert!(store.get_devices("55").await.unwrap().is_none());
    store.update_device_list(record("55", &[0])).await.unwrap();
    store
        .update_device_lists(vec![record("55", &[0, 9]), record("66", &[0])])
        .await
        .unwrap();
    let kept = store.get_devices("55").await.unwrap().unwrap();
    assert_eq!(format!("{kept:?}"), format!("{:?}", record("55", &[0, 9])));
    store.delete_devices("55").await.unwrap();
    assert!(store.get_devices("55").await.unwrap().is_none());
    assert!(store.get_devices("66").await.unwrap().is_some());
}

pub(super) async fn group_metadata_is_kept(store: Store<'_>) {
    assert_eq!(store.get_group_metadata("g").await.unwrap(), None);
    store.put_group_metadata("g", b"one").await.unwrap();
    store.put_group_metadata("g", b"two").await.unwrap();
    assert_eq!(
        store.get_group_metadata("g").await.unwrap(),
        Some(b"two".to_vec())
    );
    store.delete_group_metadata("g").await.unwrap();
    assert_eq!(store.get_group_metadata("g").await.unwrap(), None);
}

async fn token(store: Store<'_>, jid: &str) -> Option<(Vec<u8>, i64, Option<i64>)> {
    let entry = store.get_tc_token(jid).await.unwrap()?;
    Some((entry.token, entry.token_timestamp, entry.sender_timestamp))
}

pub(super) async fn a_received_token_and_a_sent_one_keep_each_other(store: Store<'_>) {
    store.touch_tc_token_sender_timestamp("a", 5).await.unwrap();
    assert_eq!(token(store, "a").await, Some((vec![], 5, Some(5))));
    // Any real one replaces a placeholder; after that only a newer one.
    for (bytes, at) in [(b"one", 3), (b"old", 2), (b"two", 4)] {
        store.store_received_tc_token("a", bytes, at).await.unwrap();
    }
    store.touch_tc_token_sender_timestamp("a", 4).await.unwrap();
    assert_eq!(token(store, "a").await, Some((b"two".to_vec(), 4, Some(5))));
    store.store_received_tc_token("b", b"one", 1).await.unwrap();
    assert_eq!(token(store, "b").await, Some((b"one".to_vec(), 1, None)));
    let mut jids = store.get_all_tc_token_jids().await.unwrap();
    jids.sort();
    assert_eq!(jids, ["a", "b"]);
    store.delete_tc_token("a").await.unwrap();
    assert_eq!(token(store, "a").await, None);
}

pub(super) async fn a_token_goes_when_both_of_its_times_are_over(store: Store<'_>) {
    let rows = [
        ("both live", "x", 10, Some(10)),
        ("token lives", "x", 10, Some(1)),
        ("sent lives", "x", 1, Some(10)),
        ("placeholder lives", "", 1, Some(10)),
        ("both over", "x", 9, Some(9)),
        ("never sent", "x", 9, None),
        ("placeholder over", "", 10, Some(9)),
    ];
    for (jid, bytes, token_timestamp, sender_timestamp) in rows {
        let entry = TcTokenEntry {
            token: bytes.into(),
            token_timestamp,
            sender_timestamp,
        };
        store.put_tc_token(jid, &entry).await.unwrap();
    }
    assert_eq!(store.delete_expired_tc_tokens(10, 10).await.unwrap(), 3);
    let mut left = store.get_all_tc_token_jids().await.unwrap();
    left.sort();
    assert_eq!(
        left,
        ["both live", "placeholder lives", "sent lives", "token lives"]
    );
}

pub(super) async fn a_sent_message_is_taken_once(store: Store<'_>) {
    store.store_sent_message("c", "1", b"one").await.unwrap();
    store.store_sent_message("c", "2", b"two").await.unwrap();
    assert_eq!(
        store.take_sent_message("c", "1").await.unwrap(),
        Some(b"one".to_vec())
    );
    assert_eq!(store.take_sent_message("c", "1").await.unwrap(), None);
    assert_eq!(
        store.delete_expired_sent_messages(now_secs() - 60).await.unwrap(),
        0
    );
    assert_eq!(
        store.delete_expired_sent_messages(now_secs() + 60).await.unwrap(),
        1
    );
    assert_eq!(store.take_sent_message("c", "2").await.unwrap(), None);
}

pub(super) async fn messages_wait_by_chat_sender_and_id(store: Store<'_>) {
    store.store_pending_inbound("c", "s", "1", b"one").await.unwrap();
    let row = |chat, message| PendingInboundRow {
        chat,
        sender: "s",
        id: "1",
        message,
    };
    store
        .store_pending_inbound_batch(&[row("d", b"two"), row("e", b"three")])
        .await
        .unwrap();
    assert_eq!(
        store.get_pending_inbound("c", "s", "1").await.unwrap(),
        Some(b"one".to_vec())
    );
    assert_eq!(
        store.get_pending_inbound("d", "s", "1").await.unwrap(),
        Some(b"two".to_vec())
    );
    assert_eq!(store.get_pending_inbound("d", "s", "2").await.unwrap(), None);
    store.delete_pending_inbound("c", "s", "1").await.unwrap();
    let key = PendingInboundKey {
        chat: "d",
        sender: "s",
        id: "1",
    };
    store.delete_pending_inbound_batch(&[key]).await.unwrap();
    assert_eq!(store.get_pending_inbound("d", "s", "1").await.unwrap(), None);
    assert_eq!(
        store
            .delete_expired_pending_inbound(now_secs() - 60)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        store
            .delete_expired_pending_inbound(now_secs() + 60)
            .await
            .unwrap(),
        1
    );
    assert_eq!(store.get_pending_inbound("e", "s", "1").await.unwrap(), None);
}

fn secret(id: &str, byte: u8, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: "c".into(),
        sender: "s".into(),
        msg_id: Arc::from(id),
        secret: [byte; 32],
        expires_at,
        message_ts,
    }
}

pub(super) async fn a_secrets_deadline_never_shrinks(store: Store<'_>) {
    let entries = vec![
        secret("1", 1, 100, 7),
        secret("1", 2, 50, 0),
        secret("2", 3, 50, 0),
    ];
    assert_eq!(store.put_msg_secrets(entries).await.unwrap(), 3);
    assert_eq!(store.put_msg_secrets(Vec::new()).await.unwrap(), 0);
    let found = store.get_msg_secret_with_ts("c", "s", "1").await.unwrap();
    assert_eq!(found, Some((vec![2; 32], 7)));
    assert_eq!(store.delete_expired_msg_secrets(50).await.unwrap(), 1);
    assert_eq!(store.get_msg_secret("c", "s", "2").await.unwrap(), None);
    assert_eq!(
        store.get_msg_secret("c", "s", "1").await.unwrap(),
        Some(vec![2; 32])
    );
    assert_eq!(store.get_msg_secret("c", "x", "1").await.unwrap(), None);
    assert_eq!(store.delete_expired_msg_secrets(100).await.unwrap(), 1);
}

pub(super) async fn secrets_that_never_expire_stay(store: Store<'_>) {
    store.put_msg_secrets(vec![secret("1", 1, 100, 0)]).await.unwrap();
    store.put_msg_secret("c", "s", "1", &[2; 32]).await.unwrap();
    store.put_msg_secrets(vec![secret("1", 3, 100, 0)]).await.unwrap();
    assert_eq!(store.delete_expired_msg_secrets(i64::MAX).await.unwrap(), 0);
    assert_eq!(
        store.get_msg_secret("c", "s", "1").await.unwrap(),
        Some(vec![3; 32])
    );
}

pub(super) async fn a_device_is_what_was_saved(store: Store<'_>) {
    let mut device = DeviceData::new();
    device.push_name = "Ana".to_owned();
    device.pn = Some("5511988887777:3@s.whatsapp.net".parse().unwrap());
    device.lid = Some("300005511988887777:3@lid".parse().unwrap());
    device.edge_routing_info = Some(vec![0, 255]);
    device.login_counter = 4;
    device.next_pre_key_id = u32::MAX;
    store.save(&device).await.unwrap();
    device.push_name = "Bia".to_owned();
    store.save(&device).await.unwrap();
    let saved = store.load().await.unwrap().unwrap();
    assert!(store.exists().await.unwrap());
    assert_eq!((saved.pn, saved.lid), (device.pn, device.lid));
    assert_eq!((saved.push_name.as_str(), saved.login_counter), ("Bia", 4));
    assert_eq!(
        (saved.edge_routing_info, saved.next_pre_key_id),
        (device.edge_routing_info, u32::MAX)
    );
    for (one, other) in [
        (&saved.noise_key, &device.noise_key),
        (&saved.identity_key, &device.identity_key),
        (&saved.signed_pre_key, &device.signed_pre_key),
    ] {
        assert_eq!(one.private_key.serialize(), other.private_key.serialize());
        assert_eq!(one.public_key, other.public_key);
    }
    assert_eq!(saved.signed_pre_key_signature, device.signed_pre_key_signature);
    assert_eq!(saved.adv_secret_key, device.adv_secret_key);
    assert_eq!(saved.registration_id, device.registration_id);
}
