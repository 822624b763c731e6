//! What the client keeps of one device, and where.
//!
//! The client asks a store for everything by itself. This one stands between the two for what the client's
//! own stores leave open: the row of the device, which every login reads and writes, goes through connections
//! that all devices share; everything else through one of the device's own, opened when it is first needed. A
//! name that is hidden from the client is saved all the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::whatsapp_rust::store::{Backend, SqliteStore, SqliteStoreConfig, Synchronous};
use ::whatsapp_rust::wacore::appstate::hash::HashState;
use ::whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use ::whatsapp_rust::wacore::stats::StorageResourceReport;
use ::whatsapp_rust::wacore::store::error::{Result, StoreError};
use ::whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, DeviceListRecord, DeviceStore, LidPnMappingEntry, MessageSecret,
    MsgSecretEntry, MsgSecretStore, PendingInboundKey, PendingInboundRow, ProtocolStore, SignalStore,
    TcTokenEntry,
};
use ::whatsapp_rust::wacore::store::{
    Device as DeviceData, DeviceCommand, DevicePropsOverride, InMemoryBackend, apply_command_to_device,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::push_name::PushName;

/// Of each device's connection to the key file, in KiB. A session reads a handful of rows.
const PAGE_CACHE: u32 = 128;
/// How many connections to the key file are opened at a time. Each occupies a thread for a millisecond.
const OPENINGS: usize = 8;

/// The rows of all devices in one key file.
pub(super) struct DeviceRows {
    url: String,
    /// Reading and writing have a connection each, so that no read waits behind a write.
    reader: SqliteStore,
    writer: SqliteStore,
    /// Writes what must outlive a power cut.
    durable_writer: SqliteStore,
    /// Readers wait here, and not each in a thread.
    turn: Mutex<()>,
    /// So do those who open a connection of their own: at a start, that is every device.
    openings: Semaphore,
}

impl DeviceRows {
    /// Opens the key file at `url`, and creates its tables where there are none.
    pub(super) async fn open(url: String) -> Result<Self> {
        // The number of a device is needed to open a store; these two are asked by number.
        let writer = open(&url, 0, Synchronous::Normal).await?;
        let reader = open(&url, 0, Synchronous::Normal).await?;
        let durable_writer = open(&url, 0, Synchronous::Full).await?;
        Ok(Self {
            url,
            reader,
            writer,
            durable_writer,
            turn: Mutex::default(),
            openings: Semaphore::new(OPENINGS),
        })
    }

    /// The row of `device`, if it has one.
    pub(super) async fn load(&self, device: i32) -> Result<Option<DeviceData>> {
        let _turn = self.turn.lock().await;
        self.reader.load_device_data_for_device(device).await
    }

    async fn open_own(&self, device: i32) -> Result<SqliteStore> {
        // An error means that it was closed, which it never is.
        let _turn = self.openings.acquire().await;
        open(&self.url, device, Synchronous::Normal).await
    }

    async fn save(&self, device: i32, row: &DeviceData, durable: bool) -> Result<()> {
        let writer = if durable {
            &self.durable_writer
        } else {
            &self.writer
        };
        writer.save_device_data_for_device(device, row).await
    }
}

async fn open(url: &str, device: i32, synchronous: Synchronous) -> Result<SqliteStore> {
    let config = SqliteStoreConfig {
        cache_size_kib: PAGE_CACHE,
        synchronous,
        ..SqliteStoreConfig::default()
    };
    SqliteStore::with_config_for_device(url, device, config).await
}

/// What the client keeps of one device.
pub(super) struct Storage {
    place: Place,
    /// The account's name, while it is kept from the client.
    pub(super) name: PushName,
    /// What the phone's list of linked devices shows. No store keeps it.
    props: DevicePropsOverride,
}

enum Place {
    Memory(Box<InMemoryBackend>),
    File {
        rows: Arc<DeviceRows>,
        device: i32,
        /// Whether the row says that a phone has linked the device. What makes it say so is worth waiting for
        /// the disk itself: it is saved right before WhatsApp is told that the keys are safe.
        linked: AtomicBool,
        own: OnceCell<SqliteStore>,
    },
}

impl Storage {
    /// In memory; it lasts as long as this value.
    pub(super) fn memory(props: DevicePropsOverride) -> Self {
        Self {
            place: Place::Memory(Box::default()),
            name: PushName::default(),
            props,
        }
    }

    /// In the key file of `rows`.
    pub(super) fn file(rows: Arc<DeviceRows>, device: i32, props: DevicePropsOverride) -> Self {
        Self {
            place: Place::File {
                rows,
                device,
                linked: AtomicBool::new(false),
                own: OnceCell::new(),
            },
            name: PushName::default(),
            props,
        }
    }

    /// Waits until every write that was begun is over, also of tasks that are gone. The row of the device is
    /// not among them: saving it once more waits for those before it.
    pub(super) async fn finish_writes(&self) -> Result<()> {
        if let Place::File { own, .. } = &self.place
            && let Some(own) = own.get()
        {
            // The store takes its calls one at a time, this one among them.
            own.has_session("").await?;
        }
        Ok(())
    }

    async fn keys(&self) -> Result<&dyn Backend> {
        match &self.place {
            Place::Memory(memory) => Ok(&**memory),
            Place::File {
                rows, device, own, ..
            } => {
                let own = own.get_or_try_init(|| rows.open_own(*device));
                Ok(own.await?)
            }
        }
    }
}

#[async_trait]
impl DeviceStore for Storage {
    async fn save(&self, device: &DeviceData) -> Result<()> {
        let named;
        let device = match self.name.of(device) {
            Some(push_name) if device.push_name.is_empty() => {
                named = DeviceData {
                    push_name,
                    ..device.clone()
                };
                &named
            }
            _ => device,
        };
        match &self.place {
            Place::Memory(memory) => memory.save(device).await,
            Place::File {
                rows,
                device: id,
                linked,
                ..
            } => {
                let links = device.account.is_some() && !linked.load(Ordering::Relaxed);
                rows.save(*id, device, links).await?;
                linked.store(device.account.is_some(), Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// A device that has no row yet is a new one. It is saved when something of it is worth it.
    async fn load(&self) -> Result<Option<DeviceData>> {
        let saved = match &self.place {
            Place::Memory(memory) => memory.load().await?,
            Place::File {
                rows, device, linked, ..
            } => {
                let row = rows.load(*device).await?;
                let is_linked = row.as_ref().is_some_and(|row| row.account.is_some());
                linked.store(is_linked, Ordering::Relaxed);
                row
            }
        };
        let mut device = saved.unwrap_or_else(DeviceData::new);
        apply_command_to_device(&mut device, DeviceCommand::SetDeviceProps(self.props.clone()));
        Ok(Some(device))
    }

    async fn exists(&self) -> Result<bool> {
        Ok(true)
    }

    async fn create(&self) -> Result<i32> {
        Err(StoreError::Validation(
            "no device is created before it is saved".to_owned(),
        ))
    }

    async fn snapshot_db(&self, name: &str, extra_content: Option<&[u8]>) -> Result<()> {
        self.keys().await?.snapshot_db(name, extra_content).await
    }

    async fn resource_report(&self) -> StorageResourceReport {
        match self.keys().await {
            Ok(keys) => keys.resource_report().await,
            Err(_) => StorageResourceReport::default(),
        }
    }
}

/// Passes every call on to the device's own keys.
macro_rules! pass_on {
    ($store:ident { $($call:ident($($name:ident: $type:ty),*) -> $answer:ty;)+ }) => {
        #[async_trait]
        impl $store for Storage {
            $(
                async fn $call(&self, $($name: $type),*) -> Result<$answer> {
                    self.keys().await?.$call($($name),*).await
                }
            )+
        }
    };
}

pass_on!(SignalStore {
    put_identity(address: &str, key: [u8; 32]) -> ();
    put_identities_batch(identities: &[(Arc<str>, [u8; 32])]) -> ();
    load_identity(address: &str) -> Option<[u8; 32]>;
    delete_identity(address: &str) -> ();
    get_session(address: &str) -> Option<Bytes>;
    put_session(address: &str, session: &[u8]) -> ();
    put_sessions_batch(sessions: &[(Arc<str>, Bytes)]) -> ();
    delete_session(address: &str) -> ();
    has_session(address: &str) -> bool;
    has_signal_state_for_user(user: &str) -> bool;
    store_prekey(id: u32, record: &[u8], uploaded: bool) -> ();
    store_prekeys_batch(keys: &[(u32, Bytes)], uploaded: bool) -> ();
    load_prekey(id: u32) -> Option<Bytes>;
    load_prekeys_batch(ids: &[u32]) -> Vec<(u32, Bytes)>;
    mark_prekeys_uploaded(ids: &[u32]) -> ();
    remove_prekey(id: u32) -> ();
    get_max_prekey_id() -> u32;
    store_signed_prekey(id: u32, record: &[u8]) -> ();
    load_signed_prekey(id: u32) -> Option<Vec<u8>>;
    load_all_signed_prekeys() -> Vec<(u32, Vec<u8>)>;
    remove_signed_prekey(id: u32) -> ();
    put_sender_key(address: &str, record: &[u8]) -> ();
    put_sender_keys_batch(keys: &[(Arc<str>, Bytes)]) -> ();
    get_sender_key(address: &str) -> Option<Vec<u8>>;
    delete_sender_key(address: &str) -> ();
});

pass_on!(AppSyncStore {
    get_sync_key(id: &[u8]) -> Option<AppStateSyncKey>;
    set_sync_key(id: &[u8], key: AppStateSyncKey) -> ();
    get_version(name: &str) -> HashState;
    set_version(name: &str, state: HashState) -> ();
    put_mutation_macs(name: &str, version: u64, mutations: &[AppStateMutationMAC]) -> ();
    get_mutation_mac(name: &str, index: &[u8]) -> Option<Vec<u8>>;
    get_mutation_macs(name: &str, indices: &[[u8; 32]]) -> HashMap<[u8; 32], Vec<u8>>;
    delete_mutation_macs(name: &str, indices: &[Vec<u8>]) -> ();
    clear_mutation_macs(name: &str) -> ();
    get_latest_sync_key_id() -> Option<Vec<u8>>;
});

pass_on!(ProtocolStore {
    get_sender_key_devices(group: &str) -> Vec<(String, bool)>;
    set_sender_key_status(group: &str, entries: &[(&str, bool)]) -> ();
    clear_sender_key_devices(group: &str) -> ();
    delete_sender_key_device_rows(devices: &[&str]) -> ();
    clear_all_sender_key_devices() -> ();
    get_lid_mapping(lid: &str) -> Option<LidPnMappingEntry>;
    get_pn_mapping(phone: &str) -> Option<LidPnMappingEntry>;
    put_lid_mapping(entry: &LidPnMappingEntry) -> ();
    put_lid_mappings(entries: &[LidPnMappingEntry]) -> ();
    get_all_lid_mappings() -> Vec<LidPnMappingEntry>;
    save_base_key(address: &str, message: &str, key: &[u8]) -> ();
    has_same_base_key(address: &str, message: &str, key: &[u8]) -> bool;
    delete_base_key(address: &str, message: &str) -> ();
    update_device_list(record: DeviceListRecord) -> ();
    update_device_lists(records: Vec<DeviceListRecord>) -> ();
    get_devices(user: &str) -> Option<DeviceListRecord>;
    delete_devices(user: &str) -> ();
    get_group_metadata(group: &str) -> Option<Vec<u8>>;
    put_group_metadata(group: &str, blob: &[u8]) -> ();
    delete_group_metadata(group: &str) -> ();
    get_tc_token(jid: &str) -> Option<TcTokenEntry>;
    put_tc_token(jid: &str, entry: &TcTokenEntry) -> ();
    delete_tc_token(jid: &str) -> ();
    get_all_tc_token_jids() -> Vec<String>;
    delete_expired_tc_tokens(token_cutoff: i64, sender_cutoff: i64) -> u32;
    touch_tc_token_sender_timestamp(jid: &str, sender_timestamp: i64) -> ();
    store_received_tc_token(jid: &str, token: &[u8], token_timestamp: i64) -> ();
    store_sent_message(chat: &str, message: &str, payload: &[u8]) -> ();
    take_sent_message(chat: &str, message: &str) -> Option<Vec<u8>>;
    delete_expired_sent_messages(cutoff: i64) -> u32;
    store_pending_inbound(chat: &str, sender: &str, id: &str, message: &[u8]) -> ();
    get_pending_inbound(chat: &str, sender: &str, id: &str) -> Option<Vec<u8>>;
    delete_pending_inbound(chat: &str, sender: &str, id: &str) -> ();
    delete_expired_pending_inbound(cutoff: i64) -> u32;
    store_pending_inbound_batch(rows: &[PendingInboundRow<'_>]) -> ();
    delete_pending_inbound_batch(keys: &[PendingInboundKey<'_>]) -> ();
});

pass_on!(MsgSecretStore {
    put_msg_secret(chat: &str, sender: &str, message: &str, secret: &MessageSecret) -> ();
    put_msg_secrets(entries: Vec<MsgSecretEntry>) -> usize;
    get_msg_secret(chat: &str, sender: &str, message: &str) -> Option<Vec<u8>>;
    get_msg_secret_with_ts(chat: &str, sender: &str, message: &str) -> Option<(Vec<u8>, i64)>;
    delete_expired_msg_secrets(cutoff: i64) -> u32;
});
