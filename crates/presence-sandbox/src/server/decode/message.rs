//! Messages and receipts.

use whatsapp_rust::wacore_binary::NodeRef;

use super::{address, attr, device_jid, place};
use crate::world::{Request, Retry, Sealed, Sent, SentReceipt};

/// How many devices one message can be for. The largest groups have as many members, with up to five each.
const MAX_DEVICES: usize = 5 * 1024;

/// How many messages one receipt can be about.
const MAX_ITEMS: usize = 1000;

pub(super) fn message(stanza: &NodeRef<'_>) -> Request {
    let Some(id) = attr(stanza, "id") else {
        return Request::Other;
    };
    let mut devices: Vec<_> = stanza
        .get_optional_child("participants")
        .and_then(NodeRef::children)
        .unwrap_or_default()
        .iter()
        .take(MAX_DEVICES)
        .filter_map(|to| {
            let jid = device_jid(&to.get_attr("jid")?.to_jid()?)?;
            Some((jid, sealed(to)?))
        })
        .collect();
    // Without a list of devices, the content is for the one device that is addressed, or for the group.
    let mut shared = None;
    if let Some(content) = sealed(stanza) {
        let to = stanza.get_attr("to").and_then(|to| to.to_jid());
        match to.and_then(|jid| device_jid(&jid)) {
            Some(jid) => devices.push((jid, content)),
            None => shared = Some(content),
        }
    }
    Request::Message(Sent {
        id,
        to: address(stanza),
        jid: attr(stanza, "to"),
        kind: attr(stanza, "type").unwrap_or_else(|| "text".to_owned()),
        category: attr(stanza, "category"),
        devices,
        shared,
        device_identity: stanza
            .get_optional_child("device-identity")
            .and_then(NodeRef::content_bytes)
            .map(<[u8]>::to_vec),
    })
}

pub(super) fn receipt(stanza: &NodeRef<'_>) -> Request {
    let Some(id) = attr(stanza, "id") else {
        return Request::Other;
    };
    let to = stanza.get_attr("to").and_then(|to| to.to_jid());
    let participant = stanza
        .get_attr("participant")
        .and_then(|participant| participant.to_jid());
    let group = to.as_ref().and_then(place);
    let device = participant.or(to).and_then(|jid| device_jid(&jid));
    let items = stanza.get_optional_child("list").and_then(NodeRef::children);
    let items = items.unwrap_or_default().iter().take(MAX_ITEMS);
    Request::Receipt(SentReceipt {
        id,
        to: device,
        group,
        jid: attr(stanza, "to"),
        kind: attr(stanza, "type"),
        more: items.filter_map(|item| attr(item, "id")).collect(),
        retry: stanza.get_optional_child("retry").map(|retry| Retry {
            count: attr(retry, "count")
                .and_then(|count| count.parse().ok())
                .unwrap_or(1),
            registration: stanza
                .get_optional_child("registration")
                .and_then(NodeRef::content_bytes)
                .unwrap_or_default()
                .to_vec(),
        }),
    })
}

fn sealed(parent: &NodeRef<'_>) -> Option<Sealed> {
    let enc = parent.get_optional_child("enc")?;
    Some(Sealed {
        kind: attr(enc, "type")?,
        bytes: enc.content_bytes()?.to_vec(),
    })
}
