//! The keys of the Signal protocol.

use std::sync::Arc;

use ::whatsapp_rust::wacore::store::error::Result;
use ::whatsapp_rust::wacore::store::traits::SignalStore;
use async_trait::async_trait;
use bytes::Bytes;

use super::Storage;
use super::rows::{
    IDENTITY, PRE_KEY, SENDER_KEY, SESSION, SIGNED_PRE_KEY, delete, number, pre_key, put, put_pre_key,
    unreadable, value,
};

#[async_trait]
impl SignalStore for Storage {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.append(vec![put(IDENTITY, address, &key)]).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        let changes = identities
            .iter()
            .map(|(address, key)| put(IDENTITY, &**address, key));
        self.append(changes.collect()).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let key = self.get(IDENTITY, address).await?;
        key.map(|key| value(key)?.as_ref().try_into().map_err(unreadable))
            .transpose()
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.append(vec![delete(IDENTITY, address)]).await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        self.get(SESSION, address).await?.map(value).transpose()
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.append(vec![put(SESSION, address, session)]).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        let changes = sessions
            .iter()
            .map(|(address, session)| put(SESSION, &**address, session));
        self.append(changes.collect()).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.append(vec![delete(SESSION, address)]).await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        // An address is `user@server`, or `user:device@server`.
        for kind in [SESSION, IDENTITY] {
            for end in ["@", ":"] {
                let prefix = [user, end].concat();
                if !self.range(kind, prefix.as_bytes()).await?.is_empty() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        self.append(vec![put_pre_key(id, record, uploaded)]).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        let changes = keys.iter().map(|(id, record)| put_pre_key(*id, record, uploaded));
        self.append(changes.collect()).await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        let key = self.get(PRE_KEY, id).await?;
        key.map(pre_key).transpose()
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        let _turn = self.turn.lock().await;
        let mut changes = Vec::new();
        for id in ids {
            // One that was used up meanwhile stays so.
            if let Some(record) = self.load_prekey(*id).await? {
                changes.push(put_pre_key(*id, &record, true));
            }
        }
        self.append(changes).await
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.append(vec![delete(PRE_KEY, id)]).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let keys = self.range(PRE_KEY, b"").await?;
        keys.last().map_or(Ok(0), |(name, _)| number(name))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.append(vec![put(SIGNED_PRE_KEY, id, record)]).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        let key = self.get(SIGNED_PRE_KEY, id).await?;
        key.map(|key| Ok(value(key)?.into())).transpose()
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let keys = self.range(SIGNED_PRE_KEY, b"").await?;
        keys.into_iter()
            .map(|(name, key)| Ok((number(&name)?, value(key)?.into())))
            .collect()
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.append(vec![delete(SIGNED_PRE_KEY, id)]).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.append(vec![put(SENDER_KEY, address, record)]).await
    }

    async fn put_sender_keys_batch(&self, keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        let changes = keys
            .iter()
            .map(|(address, record)| put(SENDER_KEY, &**address, record));
        self.append(changes.collect()).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        let key = self.get(SENDER_KEY, address).await?;
        key.map(|key| Ok(value(key)?.into())).transpose()
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.append(vec![delete(SENDER_KEY, address)]).await
    }
}
