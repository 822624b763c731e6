//! From a client's stanza to what it asks.

use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::{Jid, Server};

use crate::world::{Address, Asked, CompanionFinish, Request, State, UsyncUser};

/// How many users one usync query may ask about.
const MAX_USERS: usize = 1000;

pub(super) fn request(stanza: &NodeRef<'_>) -> Request {
    match &*stanza.tag {
        "chatstate" => chat_state(stanza),
        "presence" => presence(stanza),
        "iq" => query(stanza),
        "message" | "receipt" => acknowledged(stanza),
        _ => Request::Other,
    }
}

fn chat_state(stanza: &NodeRef<'_>) -> Request {
    let (id, to, jid) = (attr(stanza, "id"), address(stanza), attr(stanza, "to"));
    match stanza.children().and_then(|children| children.first()) {
        Some(child) if child.tag == "paused" => Request::ChatState {
            id,
            to,
            jid,
            state: None,
        },
        Some(child) if child.tag == "composing" => {
            let audio = attr(child, "media").is_some_and(|media| media == "audio");
            Request::ChatState {
                id,
                to,
                jid,
                state: Some(if audio { State::Recording } else { State::Typing }),
            }
        }
        _ => Request::Other,
    }
}

fn presence(stanza: &NodeRef<'_>) -> Request {
    match (attr(stanza, "type").as_deref(), stanza.get_attr("to")) {
        (None | Some("available"), None) => Request::Presence { available: true },
        (Some("unavailable"), None) => Request::Presence { available: false },
        _ => Request::Other,
    }
}

fn acknowledged(stanza: &NodeRef<'_>) -> Request {
    match attr(stanza, "id") {
        Some(id) => Request::Acknowledged {
            class: stanza.tag.to_string(),
            id,
            to: attr(stanza, "to"),
        },
        None => Request::Other,
    }
}

fn query(stanza: &NodeRef<'_>) -> Request {
    let Some(id) = attr(stanza, "id") else {
        return Request::Other;
    };
    match attr(stanza, "type").as_deref() {
        Some("get" | "set") => Request::Ask {
            id,
            asked: asked(stanza),
        },
        Some("result") if stanza.get_optional_child("pair-device-sign").is_some() => Request::PairSigned,
        Some("error") => Request::PairRefused(refusal(stanza)),
        _ => Request::Other,
    }
}

fn asked(iq: &NodeRef<'_>) -> Asked {
    let child = |tag| iq.get_optional_child(tag);
    match attr(iq, "xmlns").unwrap_or_default().as_str() {
        "w:p" | "urn:xmpp:ping" => Asked::Ping,
        "passive" => Asked::Passive {
            active: child("active").is_some(),
        },
        "encrypt" if child("digest").is_some() => Asked::Digest,
        "encrypt" if child("count").is_some() => Asked::PreKeyCount,
        "encrypt" if child("registration").is_some() || child("rotate").is_some() => Asked::PreKeys,
        "abt" => Asked::Props,
        "blocklist" => Asked::Blocklist,
        "privacy" if child("privacy").is_some() => Asked::Privacy,
        "usync" => child("usync").map_or(Asked::Other, usync),
        "w:sync:app:state" => child("sync").map_or(Asked::Other, app_state),
        "md" if child("remove-companion-device").is_some() => Asked::Logout,
        "md" => child("link_code_companion_reg")
            .and_then(link_code)
            .unwrap_or(Asked::Other),
        _ => Asked::Other,
    }
}

fn usync(usync: &NodeRef<'_>) -> Asked {
    let asks = |protocol| usync.get_optional_child_by_tag(&["query", protocol]).is_some();
    let list = usync
        .get_optional_child("list")
        .and_then(NodeRef::children)
        .unwrap_or_default();
    let users = list.iter().take(MAX_USERS).filter_map(usync_user).collect();
    Asked::Usync {
        users,
        contact: asks("contact"),
        lid: asks("lid"),
        devices: asks("devices"),
    }
}

fn usync_user(user: &NodeRef<'_>) -> Option<UsyncUser> {
    if let Some(contact) = user
        .get_optional_child("contact")
        .and_then(NodeRef::content_as_string)
    {
        return contact
            .trim_start_matches('+')
            .parse()
            .ok()
            .map(UsyncUser::Number);
    }
    let jid: Jid = user.get_attr("jid")?.to_jid()?;
    match jid.server {
        Server::Lid => jid.user.parse().ok().map(UsyncUser::Lid),
        Server::Pn => jid.user.parse().ok().map(UsyncUser::Number),
        _ => None,
    }
}

fn app_state(sync: &NodeRef<'_>) -> Asked {
    let names = sync
        .get_children_by_tag("collection")
        .filter_map(|collection| attr(collection, "name"));
    Asked::AppState {
        collections: names.take(16).collect(),
    }
}

fn link_code(registration: &NodeRef<'_>) -> Option<Asked> {
    let bytes = |tag| {
        registration
            .get_optional_child(tag)
            .and_then(NodeRef::content_bytes)
    };
    match attr(registration, "stage").as_deref() {
        Some("companion_hello") => {
            let number = registration.get_attr("jid")?.to_jid()?.user.parse().ok()?;
            let wrapped = bytes("link_code_pairing_wrapped_companion_ephemeral_pub")?
                .try_into()
                .ok()?;
            Some(Asked::LinkCode {
                number,
                wrapped_ephemeral: Box::new(wrapped),
            })
        }
        Some("companion_finish") => Some(Asked::LinkFinish(CompanionFinish {
            reference: bytes("link_code_pairing_ref")?.to_vec(),
            wrapped_bundle: bytes("link_code_pairing_wrapped_key_bundle")?.to_vec(),
            identity: bytes("companion_identity_public")?.try_into().ok()?,
        })),
        _ => None,
    }
}

fn refusal(iq: &NodeRef<'_>) -> String {
    let error = iq.get_optional_child("error");
    error
        .and_then(|error| attr(error, "text"))
        .unwrap_or_else(|| "error".to_owned())
}

fn address(stanza: &NodeRef<'_>) -> Address {
    let Some(jid) = stanza.get_attr("to").and_then(|to| to.to_jid()) else {
        return Address::Nowhere;
    };
    match jid.server {
        Server::Pn => jid.user.parse().map_or(Address::Nowhere, Address::Number),
        Server::Lid => jid.user.parse().map_or(Address::Nowhere, Address::Lid),
        Server::Group => jid.user.parse().map_or(Address::Nowhere, Address::Group),
        _ => Address::Nowhere,
    }
}

fn attr(node: &NodeRef<'_>, key: &str) -> Option<String> {
    node.get_attr(key).map(|value| value.as_str().into_owned())
}
