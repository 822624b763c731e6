//! From a client's stanza to what it asks.

use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::{Jid, Server};

use crate::world::{Address, Asked, CompanionFinish, DeviceJid, Place, Request, State, User, UsyncQuestion};

mod keys;
mod message;

/// How many users one usync query may ask about.
const MAX_USERS: usize = 1000;

pub(super) fn request(stanza: &NodeRef<'_>) -> Request {
    match &*stanza.tag {
        "chatstate" => chat_state(stanza),
        "presence" => presence(stanza),
        "iq" => query(stanza),
        "message" => message::message(stanza),
        "receipt" => message::receipt(stanza),
        "ack" => attr(stanza, "id").map_or(Request::Other, |id| Request::Taken { id }),
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
        (Some("subscribe"), Some(_)) => Request::Subscribe {
            to: address(stanza),
            on: true,
        },
        (Some("unsubscribe"), Some(_)) => Request::Subscribe {
            to: address(stanza),
            on: false,
        },
        _ => Request::Other,
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
        Some("result") => {
            let path = &["pair-device-sign", "device-identity"];
            let signed = stanza.get_optional_child_by_tag(path);
            signed
                .and_then(NodeRef::content_bytes)
                .map_or(Request::Other, |device_identity| Request::PairSigned {
                    device_identity: device_identity.to_vec(),
                })
        }
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
        "encrypt" if child("registration").is_some() => Asked::PreKeys(keys::upload(iq)),
        "encrypt" if child("rotate").is_some() => Asked::Rotate(keys::rotation(iq)),
        "encrypt" => child("key").map_or(Asked::Other, keys::question),
        "abt" => Asked::Props,
        "blocklist" => Asked::Blocklist,
        "privacy" if child("privacy").is_some() => Asked::Privacy,
        "usync" => child("usync").map_or(Asked::Other, usync),
        "w:g2" => groups(iq),
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
    if list.len() > MAX_USERS {
        return Asked::TooMany;
    }
    let users = list.iter().filter_map(usync_user).collect();
    Asked::Usync {
        users,
        contact: asks("contact"),
        lid: asks("lid"),
        devices: asks("devices"),
    }
}

/// Clients ask for `+5511988887777`, for `5511988887777`, for either with `@c.us`, or for a JID.
fn usync_user(user: &NodeRef<'_>) -> Option<UsyncQuestion> {
    let contact = user.get_optional_child("contact");
    if let Some(contact) = contact.and_then(NodeRef::content_as_string) {
        let number = contact.trim_start_matches('+');
        let number = number.split_once('@').map_or(number, |(number, _)| number);
        return Some(UsyncQuestion {
            user: User::Number(number.parse().ok()?),
            contact: Some(contact.to_string()),
        });
    }
    let jid: Jid = user.get_attr("jid")?.to_jid()?;
    Some(UsyncQuestion {
        user: device_jid(&jid)?.user,
        contact: None,
    })
}

/// One group, or, asked of the server of groups, all that the account is in.
fn groups(iq: &NodeRef<'_>) -> Asked {
    match iq.get_attr("to").and_then(|to| to.to_jid()) {
        Some(jid) if !jid.user.is_empty() && iq.get_optional_child("query").is_some() => {
            place(&jid).map_or(Asked::Other, |place| Asked::Groups(Some(place)))
        }
        _ if iq.get_optional_child("participating").is_some() => Asked::Groups(None),
        _ => Asked::Other,
    }
}

fn app_state(sync: &NodeRef<'_>) -> Asked {
    let names = sync.get_children_by_tag("collection").filter_map(|collection| {
        let version = attr(collection, "version").and_then(|version| version.parse().ok());
        Some((attr(collection, "name")?, version.unwrap_or_default()))
    });
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
    if let Some(place) = place(&jid) {
        return Address::Group(place);
    }
    match device_jid(&jid).map(|jid| jid.user) {
        Some(User::Number(number)) => Address::Number(number),
        Some(User::Lid(lid)) => Address::Lid(lid),
        None => Address::Nowhere,
    }
}

fn place(jid: &Jid) -> Option<Place> {
    (jid.server == Server::Group)
        .then(|| jid.user.parse().ok())
        .flatten()
}

fn device_jid(jid: &Jid) -> Option<DeviceJid> {
    let user = match jid.server {
        Server::Pn | Server::Legacy => User::Number(jid.user.parse().ok()?),
        Server::Lid => User::Lid(jid.user.parse().ok()?),
        _ => return None,
    };
    Some(DeviceJid { user, id: jid.device })
}

fn attr(node: &NodeRef<'_>, key: &str) -> Option<String> {
    node.get_attr(key).map(|value| value.as_str().into_owned())
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::NodeBuilder;
    use whatsapp_rust::wacore_binary::Node;

    use super::*;

    fn look_up(user: Node) -> Asked {
        let list = NodeBuilder::new("list").children([user]).build();
        let query = NodeBuilder::new("query").children([
            NodeBuilder::new("contact").build(),
            NodeBuilder::new("devices").attr("version", "2").build(),
        ]);
        let usync = NodeBuilder::new("usync").children([query.build(), list]).build();
        let iq = NodeBuilder::new("iq").attr("xmlns", "usync").children([usync]);
        asked(&iq.build().as_node_ref())
    }

    #[test]
    fn people_are_looked_up_in_every_form_that_clients_write() {
        let contact = |text: &str| {
            let contact = NodeBuilder::new("contact").bytes(text.as_bytes()).build();
            NodeBuilder::new("user").children([contact]).build()
        };
        let jid = |text: &str| {
            let jid: Jid = text.parse().unwrap();
            NodeBuilder::new("user").attr("jid", jid).build()
        };
        let (number, lid) = (
            User::Number("5511988887777".parse().unwrap()),
            User::Lid("123456789012345".parse().unwrap()),
        );
        let cases = [
            (contact("+5511988887777"), number, Some("+5511988887777")),
            (contact("5511988887777"), number, Some("5511988887777")),
            (
                contact("+5511988887777@c.us"),
                number,
                Some("+5511988887777@c.us"),
            ),
            (
                contact("5511988887777@s.whatsapp.net"),
                number,
                Some("5511988887777@s.whatsapp.net"),
            ),
            (jid("5511988887777@s.whatsapp.net"), number, None),
            (jid("5511988887777@c.us"), number, None),
            (jid("5511988887777:3@s.whatsapp.net"), number, None),
            (jid("123456789012345@lid"), lid, None),
        ];
        for (user, expected, repeated) in cases {
            let question = UsyncQuestion {
                user: expected,
                contact: repeated.map(str::to_owned),
            };
            let expected = Asked::Usync {
                users: vec![question],
                contact: true,
                lid: false,
                devices: true,
            };
            assert_eq!(look_up(user), expected);
        }
    }

    #[test]
    fn more_people_than_one_query_may_ask_for_are_too_many() {
        let user = || {
            let contact = NodeBuilder::new("contact")
                .bytes(b"5511988887777".to_vec())
                .build();
            NodeBuilder::new("user").children([contact]).build()
        };
        for (count, too_many) in [(MAX_USERS, false), (MAX_USERS + 1, true)] {
            let list = NodeBuilder::new("list")
                .children((0..count).map(|_| user()))
                .build();
            let node = NodeBuilder::new("usync").children([list]).build();
            assert_eq!(usync(&node.as_node_ref()) == Asked::TooMany, too_many, "{count}");
        }
    }
}
