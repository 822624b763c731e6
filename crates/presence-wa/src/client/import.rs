//! The store that the client library made itself, before this service had one: read once, and never again.
//!
//! Its schema is that of `whatsapp-rust-sqlite-storage` 0.7.0, the only version that made any. What the client
//! fetches or makes again when it is missing is left behind: groups, messages that were sent or are under way,
//! secrets of messages, and the certificate of the server.

mod wire;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use ::whatsapp_rust::ClientProfile;
use ::whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PrivateKey, PublicKey};
use ::whatsapp_rust::wacore::store::Device as DeviceData;
use ::whatsapp_rust::wacore::store::device::{DEVICE_PROPS, account_serde};
use ::whatsapp_rust::wacore::store::traits::{DeviceListRecord, TcTokenEntry};
use presence_core::InstanceId;
use presence_store::{Durability, Epoch, KeyStore, RowChange};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::storage::rows;

/// Keys of the client's own store that could not be taken over. It itself was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read, or the client library of another version made it.
    #[error("the device keys of an earlier version cannot be read")]
    Read(#[source] Box<dyn Error + Send + Sync>),
    /// A key in it is damaged.
    #[error("a device key of instance {instance} that an earlier version wrote is damaged")]
    Damaged {
        /// Whose key.
        instance: InstanceId,
        /// How that shows.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// They could not be written.
    #[error("the device keys of an earlier version cannot be kept")]
    Write(#[from] presence_store::StoreError),
}

impl From<sqlx::Error> for ImportError {
    fn from(error: sqlx::Error) -> Self {
        // Its own text repeats that of its cause.
        Self::Read(match error {
            sqlx::Error::Database(cause) => cause.into_error(),
            sqlx::Error::Io(cause) => Box::new(cause),
            error => Box::new(error),
        })
    }
}

/// Copies what is worth keeping of every device in the client's own store at `path` to `keys`, durably; how many
/// devices there were. Doing it again is no error, as long as no session was opened since.
///
/// # Errors
/// [`ImportError`]; then it has to be done again, and no session may be opened before.
pub async fn import_client_store(path: &Path, keys: &dyn KeyStore) -> Result<usize, ImportError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .disable_statement_logging();
    let mut client = options.connect().await?;
    let numbers: Vec<i64> = sqlx::query_scalar("SELECT id FROM device")
        .fetch_all(&mut client)
        .await?;
    let mut count = 0;
    for number in numbers {
        let Some(instance) = i32::try_from(number).ok().and_then(InstanceId::new) else {
            tracing::warn!(
                number,
                "device keys under a number that no instance has are left behind"
            );
            continue;
        };
        let changes = device(&mut client, instance).await?;
        keys.append(instance, Epoch::default(), changes, Durability::Durable)
            .await?;
        count += 1;
    }
    client.close().await?;
    Ok(count)
}

/// The rows that stand for those of one device.
async fn device(client: &mut SqliteConnection, instance: InstanceId) -> Result<Vec<RowChange>, ImportError> {
    let mut changes = Vec::new();
    for (query, convert) in TABLES {
        let found = sqlx::query(query)
            .bind(instance.get())
            .fetch_all(&mut *client)
            .await?;
        for row in found {
            let converted = convert(&row).map_err(|source| ImportError::Damaged { instance, source })?;
            changes.extend(converted);
        }
    }
    Ok(changes)
}

type Converted = Result<Vec<RowChange>, Box<dyn Error + Send + Sync>>;

type Convert = fn(&SqliteRow) -> Converted;

/// What is read of each table, and how a row of it is written now.
const TABLES: [(&str, Convert); 12] = [
    ("SELECT * FROM device WHERE id = ?", |row| {
        Ok(vec![rows::put_device(&device_data(row)?)?])
    }),
    ("SELECT address, key FROM identities WHERE device_id = ?", |row| {
        let key: [u8; 32] = bytes(row, 1)?.as_slice().try_into()?;
        Ok(vec![rows::put(rows::IDENTITY, text(row, 0)?, &key)])
    }),
    (
        "SELECT address, record FROM sessions WHERE device_id = ?",
        |row| Ok(vec![rows::put(rows::SESSION, text(row, 0)?, &bytes(row, 1)?)]),
    ),
    (
        "SELECT id, key, uploaded FROM prekeys WHERE device_id = ?",
        |row| {
            let id = u32::try_from(row.try_get::<i64, _>(0)?)?;
            Ok(vec![rows::put_pre_key(id, &bytes(row, 1)?, row.try_get(2)?)])
        },
    ),
    (
        "SELECT id, record FROM signed_prekeys WHERE device_id = ?",
        |row| {
            let id = u32::try_from(row.try_get::<i64, _>(0)?)?;
            Ok(vec![rows::put(rows::SIGNED_PRE_KEY, id, &bytes(row, 1)?)])
        },
    ),
    (
        "SELECT address, record FROM sender_keys WHERE device_id = ?",
        |row| Ok(vec![rows::put(rows::SENDER_KEY, text(row, 0)?, &bytes(row, 1)?)]),
    ),
    (
        "SELECT key_id, key_data FROM app_state_keys WHERE device_id = ?",
        |row| {
            // The library, too, takes one that cannot be read for missing, and asks the phone for it again.
            let Ok(key) = wire::sync_key(&bytes(row, 1)?) else {
                return Ok(Vec::new());
            };
            Ok(vec![rows::put_json(rows::SYNC_KEY, bytes(row, 0)?, &key)?])
        },
    ),
    (
        "SELECT name, state_data FROM app_state_versions WHERE device_id = ?",
        |row| {
            // One that cannot be read begins at version 0 again.
            let Ok(state) = wire::hash_state(&bytes(row, 1)?) else {
                return Ok(Vec::new());
            };
            Ok(vec![rows::put_json(rows::COLLECTION, text(row, 0)?, &state)?])
        },
    ),
    (
        "SELECT name, index_mac, value_mac FROM app_state_mutation_macs WHERE device_id = ?",
        |row| {
            let name = rows::mac_name(text(row, 0)?, &bytes(row, 1)?);
            Ok(vec![rows::put(rows::MUTATION_MAC, name, &bytes(row, 2)?)])
        },
    ),
    (
        "SELECT lid, phone_number, created_at, updated_at, learning_source FROM lid_pn_mapping WHERE device_id = ?",
        |row| {
            let (lid, number) = (text(row, 0)?, text(row, 1)?);
            let (created_at, updated_at): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
            Ok(vec![
                rows::put_json(
                    rows::LID_MAPPING,
                    lid,
                    &(number, created_at, updated_at, text(row, 4)?),
                )?,
                rows::put_at(rows::LID_OF_NUMBER, [number, lid], updated_at, b""),
            ])
        },
    ),
    (
        "SELECT user_id, devices_json, timestamp, phash, raw_id FROM device_registry WHERE device_id = ?",
        |row| {
            let record = DeviceListRecord {
                user: text(row, 0)?.to_owned(),
                devices: serde_json::from_str(text(row, 1)?)?,
                timestamp: row.try_get(2)?,
                phash: row.try_get(3)?,
                // Its 32 bits, as a signed number.
                raw_id: row.try_get::<Option<i32>, _>(4)?.map(i32::cast_unsigned),
            };
            Ok(vec![rows::put_json(rows::DEVICE_LIST, text(row, 0)?, &record)?])
        },
    ),
    (
        "SELECT jid, token, token_timestamp, sender_timestamp FROM tc_tokens WHERE device_id = ?",
        |row| {
            let entry = TcTokenEntry {
                token: bytes(row, 1)?,
                token_timestamp: row.try_get(2)?,
                sender_timestamp: row.try_get(3)?,
            };
            Ok(vec![rows::put_json(rows::TC_TOKEN, text(row, 0)?, &entry)?])
        },
    ),
];

fn device_data(row: &SqliteRow) -> Result<DeviceData, Box<dyn Error + Send + Sync>> {
    let account = row.try_get::<Option<Vec<u8>>, _>("account")?;
    let account = account
        .map(|account| account_serde::from_bytes(&account))
        .transpose()?;
    let unsigned = |column| Ok::<_, sqlx::Error>(row.try_get::<i32, _>(column)?.cast_unsigned());
    Ok(DeviceData {
        pn: jid(row, "pn")?,
        lid: jid(row, "lid")?,
        registration_id: unsigned("registration_id")?,
        noise_key: key_pair(row, "noise_key")?,
        identity_key: key_pair(row, "identity_key")?,
        signed_pre_key: key_pair(row, "signed_pre_key")?,
        signed_pre_key_id: unsigned("signed_pre_key_id")?,
        signed_pre_key_signature: array(row, "signed_pre_key_signature")?,
        adv_secret_key: array(row, "adv_secret_key")?,
        account: account.map(Arc::new),
        push_name: row.try_get("push_name")?,
        app_version_primary: unsigned("app_version_primary")?,
        app_version_secondary: unsigned("app_version_secondary")?,
        app_version_tertiary: u32::try_from(row.try_get::<i64, _>("app_version_tertiary")?)?,
        app_version_last_fetched_ms: row.try_get("app_version_last_fetched_ms")?,
        device_props: Arc::new(DEVICE_PROPS.clone()),
        client_profile: ClientProfile::web(),
        edge_routing_info: row.try_get("edge_routing_info")?,
        props_hash: row.try_get("props_hash")?,
        next_pre_key_id: unsigned("next_pre_key_id")?,
        first_unupload_pre_key_id: unsigned("first_unupload_pre_key_id")?,
        server_has_prekeys: row.try_get("server_has_prekeys")?,
        nct_salt: row.try_get("nct_salt")?,
        nct_salt_sync_seen: false,
        server_cert_chain: None,
        login_counter: row.try_get("login_counter")?,
        lid_migrated: row.try_get("lid_migrated")?,
        last_signed_pre_key_rotation_ms: row.try_get("last_signed_pre_key_rotation_ms")?,
        read_receipts_disabled: row.try_get("read_receipts_disabled")?,
    })
}

fn text(row: &SqliteRow, column: usize) -> Result<&str, sqlx::Error> {
    row.try_get(column)
}

fn bytes(row: &SqliteRow, column: usize) -> Result<Vec<u8>, sqlx::Error> {
    row.try_get(column)
}

fn array<const N: usize>(row: &SqliteRow, column: &str) -> Result<[u8; N], Box<dyn Error + Send + Sync>> {
    Ok(row.try_get::<&[u8], _>(column)?.try_into()?)
}

fn jid(row: &SqliteRow, column: &str) -> Result<Option<::whatsapp_rust::Jid>, Box<dyn Error + Send + Sync>> {
    match row.try_get(column)? {
        "" => Ok(None),
        jid => Ok(Some(jid.parse()?)),
    }
}

/// The private key, then the public one.
fn key_pair(row: &SqliteRow, column: &str) -> Result<KeyPair, Box<dyn Error + Send + Sync>> {
    let pair: [u8; 64] = array(row, column)?;
    let (private, public) = pair.split_at(32);
    Ok(KeyPair::new(
        PublicKey::from_djb_public_key_bytes(public)?,
        PrivateKey::deserialize(private)?,
    ))
}

#[cfg(test)]
mod tests;
