//! The one piece of app state that accounts have: their name, encrypted as phones do it.

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::appstate::hash::{HashState, generate_patch_mac};
use whatsapp_rust::wacore::appstate::{encode_record, expand_app_state_keys};
use whatsapp_rust::waproto::whatsapp as wa;

use crate::phone::Phone;

/// The collection that clients fetch first, with the name in it.
pub(crate) const CRITICAL: &str = "critical_block";

/// Its only version.
pub(crate) const VERSION: u64 = 1;

/// The number of the key, the same for all accounts; the keys themselves differ.
const KEY_ID: [u8; 6] = [0, 0, 0, 0, 0, 1];

/// When it was all set, in seconds since 1970: as good as any other time.
const SET_AT: i64 = 1_700_000_000;

/// The key to an account's app state, as its phone shares it with the devices it links.
pub(crate) fn key_share(phone: &Phone) -> wa::Message {
    let key = wa::message::AppStateSyncKey {
        key_id: MessageField::some(wa::message::AppStateSyncKeyId {
            key_id: Some(KEY_ID.to_vec()),
        }),
        key_data: MessageField::some(wa::message::AppStateSyncKeyData {
            key_data: Some(phone.sync_key().to_vec()),
            fingerprint: MessageField::some(wa::message::AppStateSyncKeyFingerprint {
                raw_id: Some(1),
                current_index: Some(1),
                ..Default::default()
            }),
            timestamp: Some(SET_AT * 1000),
        }),
    };
    let share = wa::message::AppStateSyncKeyShare { keys: vec![key] };
    wa::Message {
        protocol_message: MessageField::some(wa::message::ProtocolMessage {
            r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
            app_state_sync_key_share: MessageField::some(share),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The patch (`SyncdPatch`) that sets the account's name.
pub(crate) fn name_patch(phone: &Phone, name: &str) -> Vec<u8> {
    let keys = expand_app_state_keys(&phone.sync_key());
    let value = wa::SyncActionValue {
        push_name_setting: MessageField::some(wa::sync_action_value::PushNameSetting {
            name: Some(name.to_owned()),
        }),
        timestamp: Some(SET_AT * 1000),
        ..Default::default()
    };
    let (mutation, _) = encode_record(
        wa::syncd_mutation::SyncdOperation::SET,
        b"[\"setting_pushName\"]",
        &value,
        &keys,
        &KEY_ID,
        &phone.sync_iv(),
        1,
    );
    let mut state = HashState {
        version: VERSION,
        ..Default::default()
    };
    if let Some(record) = mutation.record.as_option() {
        state.update_hash_from_records(std::slice::from_ref(record));
    }
    let mut patch = wa::SyncdPatch {
        version: MessageField::some(wa::SyncdVersion {
            version: Some(VERSION),
        }),
        mutations: vec![mutation],
        snapshot_mac: Some(state.generate_snapshot_mac(CRITICAL, &keys.snapshot_mac)),
        key_id: MessageField::some(wa::KeyId {
            id: Some(KEY_ID.to_vec()),
        }),
        ..Default::default()
    };
    patch.patch_mac = Some(generate_patch_mac(&patch, CRITICAL, &keys.patch_mac, VERSION));
    patch.encode_to_vec()
}
