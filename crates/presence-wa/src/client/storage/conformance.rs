//! What the client library expects of a store, against ours and against the library's own one in memory.
//!
//! Where the library's stores differ among themselves, nothing is said.

mod cases;
mod ours;

use std::sync::Arc;

use ::whatsapp_rust::store::Backend;
use ::whatsapp_rust::wacore::store::{DevicePropsOverride, InMemoryBackend};
use presence_core::InstanceId;
use presence_store::{KeyStore, MemoryKeyStore, SqliteKeyStore, TokenKey};
use tempfile::TempDir;

use super::Storage;

pub(super) const DEVICE: InstanceId = InstanceId::new(7).unwrap();

pub(super) fn storage(keys: Arc<dyn KeyStore>) -> Storage {
    Storage::new(keys, DEVICE, DevicePropsOverride::new())
}

/// Device keys in a file.
pub(super) async fn keys_in(dir: &TempDir) -> SqliteKeyStore {
    let key = TokenKey::from_base64("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    SqliteKeyStore::open(&dir.path().join("keys.db"), Some(key))
        .await
        .unwrap()
}

macro_rules! for_every_store {
    ($($case:ident)*) => {
        mod the_librarys {
            $(#[tokio::test]
            async fn $case() {
                super::cases::$case(&super::InMemoryBackend::new()).await;
            })*
        }

        mod ours_in_memory {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                cases::$case(&storage(Arc::<MemoryKeyStore>::default())).await;
            })*
        }

        mod ours_in_a_file {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                cases::$case(&storage(Arc::new(keys_in(&dir).await))).await;
            })*
        }
    };
}

for_every_store! {
    identities_are_kept_by_address
    sessions_are_kept_by_address
    a_batch_replaces_what_is_there
    a_user_has_signal_state_on_any_device
    pre_keys_are_used_once
    marking_a_pre_key_uploaded_brings_none_back
    signed_pre_keys_are_listed
    sender_keys_are_kept_by_group_and_address
    sync_keys_are_kept_and_the_latest_is_known
    a_collection_begins_at_version_0
    mutation_macs_are_kept_by_collection
    sender_key_devices_are_kept_by_group
    mappings_are_found_by_lid_and_by_number
    a_base_key_is_compared
    device_lists_are_replaced
    group_metadata_is_kept
    a_received_token_and_a_sent_one_keep_each_other
    a_token_goes_when_both_of_its_times_are_over
    a_sent_message_is_taken_once
    messages_wait_by_chat_sender_and_id
    a_secrets_deadline_never_shrinks
    secrets_that_never_expire_stay
    a_device_is_what_was_saved
}

/// A store as the client sees it.
pub(super) type Store<'s> = &'s dyn Backend;
