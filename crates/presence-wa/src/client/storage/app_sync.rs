//! The account's settings, as far as the client follows them.

use ::whatsapp_rust::wacore::appstate::hash::HashState;
use ::whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use ::whatsapp_rust::wacore::store::error::Result;
use ::whatsapp_rust::wacore::store::traits::{AppStateSyncKey, AppSyncStore};
use async_trait::async_trait;

use super::Storage;
use super::rows::{COLLECTION, MUTATION_MAC, SYNC_KEY, delete, json, mac_name, prefix, put, put_json, value};

#[async_trait]
impl AppSyncStore for Storage {
    async fn get_sync_key(&self, id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.get(SYNC_KEY, id).await?.map(json).transpose()
    }

    async fn set_sync_key(&self, id: &[u8], key: AppStateSyncKey) -> Result<()> {
        self.append(vec![put_json(SYNC_KEY, id, &key)?]).await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        let state = self.get(COLLECTION, name).await?;
        state.map_or_else(|| Ok(HashState::default()), json)
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.append(vec![put_json(COLLECTION, name, &state)?]).await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        let changes = mutations
            .iter()
            .map(|mac| put(MUTATION_MAC, mac_name(name, &mac.index_mac), &mac.value_mac));
        self.append(changes.collect()).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        let mac = self.get(MUTATION_MAC, mac_name(name, index_mac)).await?;
        mac.map(|mac| Ok(value(mac)?.into())).transpose()
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let changes = index_macs
            .iter()
            .map(|index_mac| delete(MUTATION_MAC, mac_name(name, index_mac)));
        self.append(changes.collect()).await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.delete_range(MUTATION_MAC, &prefix(name)).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        // Ids count up.
        let keys = self.range(SYNC_KEY, b"").await?;
        Ok(keys.into_iter().next_back().map(|(id, _)| id.into()))
    }
}
