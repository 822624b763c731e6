//! Keys: others' bundles, and the digest of one's own.

use whatsapp_rust::NodeBuilder;
use whatsapp_rust::wacore_binary::Node;

use super::device_jid;
use crate::phone::Phone;
use crate::world::{Bundle, DeviceJid, Digest, KeysOf, SignedKey};

/// The kind of all keys: those of Curve25519.
const DJB: u8 = 5;

pub(super) fn list(keys: &[(DeviceJid, KeysOf)], secret: &[u8; 32]) -> Node {
    let user = |(jid, keys): &(DeviceJid, KeysOf)| {
        let user = NodeBuilder::new("user").attr("jid", device_jid(*jid));
        match keys {
            KeysOf::Phone { number, one_time } => {
                let bundle = Phone::of(*number, secret).bundle(*one_time);
                user.attr("type", "result")
                    .children(self::bundle(&bundle))
                    .build()
            }
            KeysOf::Device {
                bundle,
                device_identity,
            } => {
                let identity = NodeBuilder::new("device-identity").bytes(device_identity.clone());
                let children = self::bundle(bundle).into_iter().chain([identity.build()]);
                user.attr("type", "result").children(children).build()
            }
            KeysOf::Unknown => {
                let error = NodeBuilder::new("error")
                    .attr("code", "404")
                    .attr("text", "item-not-found");
                user.attr("type", "error").children([error.build()]).build()
            }
        }
    };
    NodeBuilder::new("list").children(keys.iter().map(user)).build()
}

pub(super) fn digest(digest: &Digest) -> Node {
    let ids = digest.ids.iter().map(|id| part("id", &three_bytes(*id)));
    NodeBuilder::new("digest")
        .children([
            part("registration", &digest.registration.to_be_bytes()),
            part("type", &[DJB]),
            part("identity", &digest.identity),
            signed(&digest.signed),
            NodeBuilder::new("list").children(ids).build(),
            part("hash", &digest.hash),
        ])
        .build()
}

fn bundle(bundle: &Bundle) -> Vec<Node> {
    let mut parts = vec![
        part("registration", &bundle.registration.to_be_bytes()),
        part("type", &[DJB]),
        part("identity", &bundle.identity),
        signed(&bundle.signed),
    ];
    if let Some((id, value)) = &bundle.one_time {
        let key = NodeBuilder::new("key").children([part("id", &three_bytes(*id)), part("value", value)]);
        parts.push(key.build());
    }
    parts
}

fn signed(key: &SignedKey) -> Node {
    NodeBuilder::new("skey")
        .children([
            part("id", &three_bytes(key.id)),
            part("value", &key.value),
            part("signature", &key.signature),
        ])
        .build()
}

fn part(tag: &'static str, bytes: &[u8]) -> Node {
    NodeBuilder::new(tag).bytes(bytes).build()
}

/// As ids of keys are written.
fn three_bytes(id: u32) -> [u8; 3] {
    let [_, rest @ ..] = id.to_be_bytes();
    rest
}
