//! Secrets of messages, for what answers them. The service has the client keep none, see `lean_caches`.

use ::whatsapp_rust::wacore::store::error::Result;
use ::whatsapp_rust::wacore::store::traits::{
    MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};
use async_trait::async_trait;
use bytes::Bytes;

use super::Storage;
use super::rows::{MESSAGE_SECRET, at, put_at, too_short};

/// Until when it is kept, when its message was sent, and the secret.
fn secret(stored: Bytes) -> Result<(i64, i64, Bytes)> {
    let (expires_at, rest) = at(stored)?;
    match rest.first_chunk() {
        Some(message_ts) => Ok((expires_at, i64::from_be_bytes(*message_ts), rest.slice(8..))),
        None => Err(too_short()),
    }
}

#[async_trait]
impl MsgSecretStore for Storage {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let _turn = self.turn.lock().await;
        let stored = entries.len();
        for mut entry in entries {
            let name = [&*entry.chat, &*entry.sender, &*entry.msg_id];
            if let Some(known) = self.get(MESSAGE_SECRET, name).await? {
                let (expires_at, message_ts, _) = secret(known)?;
                entry.expires_at = merge_msg_secret_expiry(expires_at, entry.expires_at);
                entry.message_ts = merge_msg_secret_message_ts(message_ts, entry.message_ts);
            }
            let value = [&entry.message_ts.to_be_bytes(), &entry.secret[..]].concat();
            // One by one: a batch may name a message twice.
            self.append(vec![put_at(MESSAGE_SECRET, name, entry.expires_at, &value)])
                .await?;
        }
        Ok(stored)
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, message: &str) -> Result<Option<Vec<u8>>> {
        let found = self.get_msg_secret_with_ts(chat, sender, message).await?;
        Ok(found.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        message: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        let stored = self.get(MESSAGE_SECRET, [chat, sender, message]).await?;
        stored
            .map(|stored| {
                let (_, message_ts, secret) = secret(stored)?;
                Ok((secret.into(), message_ts))
            })
            .transpose()
    }

    async fn delete_expired_msg_secrets(&self, cutoff: i64) -> Result<u32> {
        self.delete_where(MESSAGE_SECRET, |stored| {
            let expires_at = at(stored)?.0;
            Ok(expires_at != 0 && expires_at <= cutoff)
        })
        .await
    }
}
