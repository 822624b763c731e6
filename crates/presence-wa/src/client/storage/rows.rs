//! Which rows there are of a device, and how they are written down.

use std::sync::Arc;

use ::whatsapp_rust::ClientProfile;
use ::whatsapp_rust::serde::Serialize;
use ::whatsapp_rust::serde::de::DeserializeOwned;
use ::whatsapp_rust::wacore::store::Device as DeviceData;
use ::whatsapp_rust::wacore::store::device::DEVICE_PROPS;
use ::whatsapp_rust::wacore::store::error::{Result, StoreError};
use bytes::Bytes;
use presence_store::{Kind, RowChange};

// The numbers are on disks: none is ever given a second meaning.

/// The device itself, without a name: the library's serde form of it, in which a newer library finds its way.
pub(in crate::client) const DEVICE: Kind = Kind(1);
/// By address.
pub(in crate::client) const IDENTITY: Kind = Kind(2);
/// By address, in the library's own form.
pub(in crate::client) const SESSION: Kind = Kind(3);
/// By number: whether it was uploaded, then the library's own form.
pub(in crate::client) const PRE_KEY: Kind = Kind(4);
/// By number, in the library's own form.
pub(in crate::client) const SIGNED_PRE_KEY: Kind = Kind(5);
/// By group and address, in the library's own form.
pub(in crate::client) const SENDER_KEY: Kind = Kind(6);
/// By id: data, fingerprint and time.
pub(in crate::client) const SYNC_KEY: Kind = Kind(7);
/// By collection, in the library's serde form.
pub(in crate::client) const COLLECTION: Kind = Kind(8);
/// By collection and the MAC of an index: the MAC of its value.
pub(in crate::client) const MUTATION_MAC: Kind = Kind(9);
/// By group and device: whether it has the sender key.
pub(in crate::client) const SENDER_KEY_DEVICE: Kind = Kind(10);
/// By LID: the number, when that was learnt, when it was last told, and from what.
pub(in crate::client) const LID_MAPPING: Kind = Kind(11);
/// By number and LID: when the mapping was last told. It leads from a number to its mappings.
pub(in crate::client) const LID_OF_NUMBER: Kind = Kind(12);
/// By address and message.
pub(in crate::client) const BASE_KEY: Kind = Kind(13);
/// By user, in the library's serde form.
pub(in crate::client) const DEVICE_LIST: Kind = Kind(14);
/// By group, in the library's own form.
pub(in crate::client) const GROUP: Kind = Kind(15);
/// By address: token, its time, and when ours was sent.
pub(in crate::client) const TC_TOKEN: Kind = Kind(16);
/// By chat and message: when it was kept, and the message.
pub(in crate::client) const SENT_MESSAGE: Kind = Kind(17);
/// By chat, sender and message: when it was kept, and the message.
pub(in crate::client) const PENDING_MESSAGE: Kind = Kind(18);
/// By chat, sender and message: until when it is kept, the message's time, and the secret.
pub(in crate::client) const MESSAGE_SECRET: Kind = Kind(19);

/// What is known of a peer, and is written again whenever the peer is met.
pub(in crate::client) const OF_PEERS: [Kind; 9] = [
    SESSION,
    SENDER_KEY,
    SENDER_KEY_DEVICE,
    LID_MAPPING,
    LID_OF_NUMBER,
    BASE_KEY,
    DEVICE_LIST,
    GROUP,
    SENT_MESSAGE,
];

/// What a value begins with: which of the forms above it has.
const FORMAT: u8 = 1;

pub(in crate::client) fn put(kind: Kind, name: impl Into<Name>, value: &[u8]) -> RowChange {
    RowChange {
        kind,
        name: name.into().0,
        value: Some([&[FORMAT], value].concat().into()),
    }
}

pub(in crate::client) fn delete(kind: Kind, name: impl Into<Name>) -> RowChange {
    RowChange {
        kind,
        name: name.into().0,
        value: None,
    }
}

/// A value as JSON.
pub(in crate::client) fn put_json(
    kind: Kind,
    name: impl Into<Name>,
    value: &impl Serialize,
) -> Result<RowChange> {
    Ok(put(kind, name, &serde_json::to_vec(value).map_err(unreadable)?))
}

/// What was [put](put).
pub(in crate::client) fn value(stored: Bytes) -> Result<Bytes> {
    match stored.first() {
        Some(&FORMAT) => Ok(stored.slice(1..)),
        _ => Err(StoreError::Validation(
            "a newer version wrote this device key".to_owned(),
        )),
    }
}

/// What was [put as JSON](put_json).
pub(in crate::client) fn json<T: DeserializeOwned>(stored: Bytes) -> Result<T> {
    serde_json::from_slice(&value(stored)?).map_err(unreadable)
}

/// The row of the device itself.
pub(in crate::client) fn put_device(device: &DeviceData) -> Result<RowChange> {
    put_json(DEVICE, b"", device)
}

/// The device of such a row.
pub(in crate::client) fn device(stored: Bytes) -> Result<DeviceData> {
    // What is not written down is the same for every device.
    Ok(DeviceData {
        device_props: Arc::new(DEVICE_PROPS.clone()),
        client_profile: ClientProfile::web(),
        ..json(stored)?
    })
}

/// A pre-key: whether it was uploaded, then the key.
pub(in crate::client) fn put_pre_key(id: u32, record: &[u8], uploaded: bool) -> RowChange {
    put(PRE_KEY, id, &[&[u8::from(uploaded)], record].concat())
}

/// The key of such a row.
pub(in crate::client) fn pre_key(stored: Bytes) -> Result<Bytes> {
    let value = value(stored)?;
    match value.len() {
        0 => Err(too_short()),
        _ => Ok(value.slice(1..)),
    }
}

/// The name of a mutation's MAC.
pub(in crate::client) fn mac_name(collection: &str, index_mac: &[u8]) -> Vec<u8> {
    [&prefix(collection), index_mac].concat()
}

/// The name of a row.
pub(in crate::client) struct Name(pub(in crate::client) Bytes);

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Name {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for Name {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Name {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

/// In the order of the numbers.
impl From<u32> for Name {
    fn from(number: u32) -> Self {
        number.to_be_bytes().as_slice().into()
    }
}

/// Of several parts, none of which has a NUL in it but perhaps the last.
impl<const N: usize> From<[&str; N]> for Name {
    fn from(parts: [&str; N]) -> Self {
        Self(parts.join("\0").into())
    }
}

/// What names with a first part of `part` begin with.
pub(in crate::client) fn prefix(part: &str) -> Vec<u8> {
    [part.as_bytes(), b"\0"].concat()
}

/// What follows `prefix` in `name`, as text.
pub(in crate::client) fn rest<'n>(name: &'n [u8], prefix: &[u8]) -> Result<&'n str> {
    str::from_utf8(name.get(prefix.len()..).unwrap_or_default()).map_err(unreadable)
}

pub(in crate::client) fn number(name: &[u8]) -> Result<u32> {
    name.try_into().map(u32::from_be_bytes).map_err(unreadable)
}

/// A time, and what follows it.
pub(in crate::client) fn put_at(kind: Kind, name: impl Into<Name>, time: i64, value: &[u8]) -> RowChange {
    put(kind, name, &[&time.to_be_bytes(), value].concat())
}

/// What was [put](put_at) with a time.
pub(in crate::client) fn at(stored: Bytes) -> Result<(i64, Bytes)> {
    let value = value(stored)?;
    match value.first_chunk() {
        Some(time) => Ok((i64::from_be_bytes(*time), value.slice(8..))),
        None => Err(too_short()),
    }
}

pub(in crate::client) fn too_short() -> StoreError {
    StoreError::Validation("a device key is too short".to_owned())
}

pub(in crate::client) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Serialization(Box::new(error))
}
