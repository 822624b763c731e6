//! Uploads of keys, and questions for those of others.

use whatsapp_rust::wacore_binary::NodeRef;

use super::device_jid;
use crate::world::{Asked, DeviceJid, SignedKey, Upload};

/// How many one-time keys one upload may bring. Clients send 812 at most.
const MAX_KEYS: usize = 1000;

/// How many devices' keys one query may ask for.
const MAX_DEVICES: usize = 5 * 1024;

pub(super) fn upload(iq: &NodeRef<'_>) -> Option<Upload> {
    let keys = iq.get_optional_child("list").and_then(NodeRef::children)?;
    let one_time = keys.iter().take(MAX_KEYS).map(one_time);
    Some(Upload {
        registration: number(iq.get_optional_child("registration")?)?,
        identity: bytes(iq, "identity")?.try_into().ok()?,
        signed: signed(iq.get_optional_child("skey")?)?,
        one_time: one_time.collect::<Option<_>>()?,
    })
}

pub(super) fn rotation(iq: &NodeRef<'_>) -> Option<SignedKey> {
    signed(iq.get_optional_child_by_tag(&["rotate", "skey"])?)
}

pub(super) fn question(key: &NodeRef<'_>) -> Asked {
    let users = key.children().unwrap_or_default().iter().take(MAX_DEVICES);
    let jids = users.filter_map(|user| -> Option<DeviceJid> { device_jid(&user.get_attr("jid")?.to_jid()?) });
    Asked::KeysOf(jids.collect())
}

fn signed(skey: &NodeRef<'_>) -> Option<SignedKey> {
    Some(SignedKey {
        id: number(skey.get_optional_child("id")?)?,
        value: bytes(skey, "value")?.try_into().ok()?,
        signature: bytes(skey, "signature")?.try_into().ok()?,
    })
}

fn one_time(key: &NodeRef<'_>) -> Option<(u32, [u8; 32])> {
    Some((
        number(key.get_optional_child("id")?)?,
        bytes(key, "value")?.try_into().ok()?,
    ))
}

fn bytes<'a>(parent: &'a NodeRef<'_>, tag: &str) -> Option<&'a [u8]> {
    parent.get_optional_child(tag)?.content_bytes()
}

/// A big-endian number of one to four bytes.
fn number(node: &NodeRef<'_>) -> Option<u32> {
    let bytes = node.content_bytes()?;
    (1..=4).contains(&bytes.len()).then(|| {
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    })
}
