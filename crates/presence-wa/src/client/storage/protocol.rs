//! What the client has learnt of others: their devices, LIDs, groups and tokens.

use ::whatsapp_rust::wacore::store::error::Result;
use ::whatsapp_rust::wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};
use ::whatsapp_rust::wacore::time::now_secs;
use async_trait::async_trait;
use bytes::Bytes;

use super::Storage;
use super::rows::{
    BASE_KEY, DEVICE_LIST, GROUP, LID_MAPPING, LID_OF_NUMBER, PENDING_MESSAGE, SENDER_KEY_DEVICE,
    SENT_MESSAGE, TC_TOKEN, at, delete, json, prefix, put, put_at, put_json, rest, value,
};

/// What the row of a LID says.
type Mapping = (String, i64, i64, String);

fn mapping(lid: &str, stored: Bytes) -> Result<LidPnMappingEntry> {
    let (phone_number, created_at, updated_at, learning_source): Mapping = json(stored)?;
    Ok(LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number,
        created_at,
        updated_at,
        learning_source,
    })
}

#[async_trait]
impl ProtocolStore for Storage {
    async fn get_sender_key_devices(&self, group: &str) -> Result<Vec<(String, bool)>> {
        let prefix = prefix(group);
        let devices = self.range(SENDER_KEY_DEVICE, &prefix).await?;
        devices
            .into_iter()
            .map(|(name, has_key)| Ok((rest(&name, &prefix)?.to_owned(), value(has_key)?[..] == [1])))
            .collect()
    }

    async fn set_sender_key_status(&self, group: &str, entries: &[(&str, bool)]) -> Result<()> {
        let changes = entries
            .iter()
            .map(|(device, has_key)| put(SENDER_KEY_DEVICE, [group, device], &[u8::from(*has_key)]));
        self.append(changes.collect()).await
    }

    async fn clear_sender_key_devices(&self, group: &str) -> Result<()> {
        self.delete_range(SENDER_KEY_DEVICE, &prefix(group)).await
    }

    async fn delete_sender_key_device_rows(&self, devices: &[&str]) -> Result<()> {
        let _turn = self.turn.lock().await;
        let rows = self.range(SENDER_KEY_DEVICE, b"").await?;
        let of_them = |name: &[u8]| {
            let at = name.iter().position(|byte| *byte == 0);
            let device = at.map_or(&b""[..], |at| &name[at + 1..]);
            devices.iter().any(|named| named.as_bytes() == device)
        };
        let changes = rows
            .into_iter()
            .filter(|(name, _)| of_them(name))
            .map(|(name, _)| delete(SENDER_KEY_DEVICE, name));
        self.append(changes.collect()).await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.delete_range(SENDER_KEY_DEVICE, b"").await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        let stored = self.get(LID_MAPPING, lid).await?;
        stored.map(|stored| mapping(lid, stored)).transpose()
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let prefix = prefix(phone);
        let mut newest = None;
        for (name, told) in self.range(LID_OF_NUMBER, &prefix).await? {
            newest = newest.max(Some((at(told)?.0, name)));
        }
        let Some((_, name)) = newest else { return Ok(None) };
        let mapping = self.get_lid_mapping(rest(&name, &prefix)?).await?;
        // The LID may be another number's by now.
        Ok(mapping.filter(|mapping| mapping.phone_number == phone))
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        let _turn = self.turn.lock().await;
        let mut changes = Vec::new();
        for entry in entries {
            let known = self.get_lid_mapping(&entry.lid).await?;
            if let Some(known) = &known
                && known.phone_number != entry.phone_number
            {
                changes.push(delete(LID_OF_NUMBER, [&*known.phone_number, &*entry.lid]));
            }
            let created_at = known.map_or(entry.created_at, |known| known.created_at);
            let row = (
                &entry.phone_number,
                created_at,
                entry.updated_at,
                &entry.learning_source,
            );
            changes.push(put_json(LID_MAPPING, &*entry.lid, &row)?);
            let name = [&*entry.phone_number, &*entry.lid];
            changes.push(put_at(LID_OF_NUMBER, name, entry.updated_at, b""));
        }
        self.append(changes).await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let rows = self.range(LID_MAPPING, b"").await?;
        rows.into_iter()
            .map(|(lid, stored)| mapping(rest(&lid, b"")?, stored))
            .collect()
    }

    async fn save_base_key(&self, address: &str, message: &str, key: &[u8]) -> Result<()> {
        self.append(vec![put(BASE_KEY, [address, message], key)]).await
    }

    async fn has_same_base_key(&self, address: &str, message: &str, key: &[u8]) -> Result<bool> {
        let saved = self.get(BASE_KEY, [address, message]).await?;
        Ok(saved.map(value).transpose()?.is_some_and(|saved| saved == key))
    }

    async fn delete_base_key(&self, address: &str, message: &str) -> Result<()> {
        self.append(vec![delete(BASE_KEY, [address, message])]).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let changes = records
            .iter()
            .map(|record| put_json(DEVICE_LIST, &*record.user, record));
        self.append(changes.collect::<Result<_>>()?).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.get(DEVICE_LIST, user).await?.map(json).transpose()
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.append(vec![delete(DEVICE_LIST, user)]).await
    }

    async fn get_group_metadata(&self, group: &str) -> Result<Option<Vec<u8>>> {
        let blob = self.get(GROUP, group).await?;
        blob.map(|blob| Ok(value(blob)?.into())).transpose()
    }

    async fn put_group_metadata(&self, group: &str, blob: &[u8]) -> Result<()> {
        self.append(vec![put(GROUP, group, blob)]).await
    }

    async fn delete_group_metadata(&self, group: &str) -> Result<()> {
        self.append(vec![delete(GROUP, group)]).await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.get(TC_TOKEN, jid).await?.map(json).transpose()
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.append(vec![put_json(TC_TOKEN, jid, entry)?]).await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.append(vec![delete(TC_TOKEN, jid)]).await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        let rows = self.range(TC_TOKEN, b"").await?;
        rows.iter()
            .map(|(jid, _)| Ok(rest(jid, b"")?.to_owned()))
            .collect()
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        self.delete_where(TC_TOKEN, |stored| {
            let entry: TcTokenEntry = json(stored)?;
            let token_lives = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
            let sender_lives = entry.sender_timestamp.is_some_and(|sent| sent >= sender_cutoff);
            Ok(!token_lives && !sender_lives)
        })
        .await
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        let _turn = self.turn.lock().await;
        let entry = match self.get_tc_token(jid).await? {
            Some(known) => TcTokenEntry {
                sender_timestamp: known.sender_timestamp.max(Some(sender_timestamp)),
                ..known
            },
            None => TcTokenEntry {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: Some(sender_timestamp),
            },
        };
        self.append(vec![put_json(TC_TOKEN, jid, &entry)?]).await
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> Result<()> {
        let _turn = self.turn.lock().await;
        let known = self.get_tc_token(jid).await?;
        if let Some(known) = &known
            && !known.token.is_empty()
            && token_timestamp < known.token_timestamp
        {
            return Ok(());
        }
        let entry = TcTokenEntry {
            token: token.to_vec(),
            token_timestamp,
            sender_timestamp: known.and_then(|known| known.sender_timestamp),
        };
        self.append(vec![put_json(TC_TOKEN, jid, &entry)?]).await
    }

    async fn store_sent_message(&self, chat: &str, message: &str, payload: &[u8]) -> Result<()> {
        self.append(vec![put_at(SENT_MESSAGE, [chat, message], now_secs(), payload)])
            .await
    }

    async fn take_sent_message(&self, chat: &str, message: &str) -> Result<Option<Vec<u8>>> {
        let _turn = self.turn.lock().await;
        let Some(stored) = self.get(SENT_MESSAGE, [chat, message]).await? else {
            return Ok(None);
        };
        self.append(vec![delete(SENT_MESSAGE, [chat, message])]).await?;
        Ok(Some(at(stored)?.1.into()))
    }

    async fn delete_expired_sent_messages(&self, cutoff: i64) -> Result<u32> {
        self.delete_where(SENT_MESSAGE, |stored| Ok(at(stored)?.0 < cutoff))
            .await
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        self.append(vec![put_at(
            PENDING_MESSAGE,
            [chat, sender, id],
            now_secs(),
            message,
        )])
        .await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let stored = self.get(PENDING_MESSAGE, [chat, sender, id]).await?;
        stored.map(|stored| Ok(at(stored)?.1.into())).transpose()
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.append(vec![delete(PENDING_MESSAGE, [chat, sender, id])])
            .await
    }

    async fn delete_expired_pending_inbound(&self, cutoff: i64) -> Result<u32> {
        self.delete_where(PENDING_MESSAGE, |stored| Ok(at(stored)?.0 < cutoff))
            .await
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let now = now_secs();
        let changes = rows
            .iter()
            .map(|row| put_at(PENDING_MESSAGE, [row.chat, row.sender, row.id], now, row.message))
            .collect();
        self.append(changes).await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        let changes = keys
            .iter()
            .map(|key| delete(PENDING_MESSAGE, [key.chat, key.sender, key.id]))
            .collect();
        self.append(changes).await
    }
}
