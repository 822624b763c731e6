//! From what the server says to stanzas.

use whatsapp_rust::wacore_binary::{Node, NodeValue, SERVER_JID};
use whatsapp_rust::{Jid, NodeBuilder, Server};

use crate::app_state::{CRITICAL, VERSION, name_patch};
use crate::clock::Clock;
use crate::phone::{PairingKeys, Phone, PrimaryHello};
use crate::world::{DeviceJid, Farewell, Lid, Number, Place, Reply, ScanOffer, User};

mod keys;
mod lookup;
mod push;

pub(super) use push::push;

/// What everybody is called.
const PUSH_NAME: &str = "Sandbox";

/// The number of the A/B property `lid_one_on_one_migration_enabled`.
const LID_MIGRATED: u32 = 9435;

pub(super) fn success(unix_secs: u64, lid: Lid, device: u16) -> Node {
    NodeBuilder::new("success")
        .attr("t", unix_secs)
        .attr("lid", format!("{lid}:{device}@lid"))
        .attr("location", "sandbox")
        .build()
}

pub(super) fn pair_device(id: u64, references: &[String]) -> Node {
    let reference = |text: &String| NodeBuilder::new("ref").bytes(text.as_bytes()).build();
    let offer = NodeBuilder::new("pair-device")
        .children(references.iter().map(reference))
        .build();
    server_query(id, "md").children([offer]).build()
}

/// The phone's keys for a device that showed a QR code or a link code.
pub(crate) fn pair_success(id: u64, offer: &ScanOffer, keys: &PairingKeys) -> Node {
    let (device, lid) = (offer.device, offer.lid);
    let device_jid = NodeBuilder::new("device")
        .attr("jid", format!("{}:{}@s.whatsapp.net", device.number, device.id))
        .attr("lid", format!("{lid}:{}@lid", device.id))
        .build();
    let mut children = vec![
        NodeBuilder::new("device-identity")
            .bytes(keys.device_identity.clone())
            .build(),
        NodeBuilder::new("platform").attr("name", "android").build(),
        device_jid,
    ];
    if !offer.nameless {
        // A client takes this as the account's name, without which it can never say `available`.
        children.push(NodeBuilder::new("biz").attr("name", PUSH_NAME).build());
    }
    if offer.lid_migrated {
        children.push(
            NodeBuilder::new("client-props")
                .bytes(keys.lid_migrated.clone())
                .build(),
        );
    }
    let success = NodeBuilder::new("pair-success").children(children).build();
    server_query(id, "md").children([success]).build()
}

/// Tells a device that somebody entered its link code.
pub(crate) fn link_notification(id: u64, unix_secs: u64, hello: &PrimaryHello) -> Node {
    let part = |tag, bytes: &[u8]| NodeBuilder::new(tag).bytes(bytes).build();
    let registration = NodeBuilder::new("link_code_companion_reg")
        .attr("stage", "primary_hello")
        .children([
            part(
                "link_code_pairing_wrapped_primary_ephemeral_pub",
                &hello.wrapped_ephemeral,
            ),
            part("primary_identity_pub", &hello.identity),
            part("link_code_pairing_ref", hello.reference.as_bytes()),
        ])
        .build();
    NodeBuilder::new("notification")
        .attr("id", id)
        .attr("from", server())
        .attr("type", "link_code_companion_reg")
        .attr("t", unix_secs)
        .children([registration])
        .build()
}

/// Tells a device of `number` the account's name.
pub(crate) fn push_name(id: u64, unix_secs: u64, number: Number, name: &str) -> Node {
    NodeBuilder::new("notification")
        .attr("id", id)
        .attr("from", Jid::pn(number.to_string()))
        .attr("type", "account_sync")
        .attr("t", unix_secs)
        .attr("pushname", name)
        .build()
}

pub(super) fn reply(reply: &Reply, clock: &Clock, secret: &[u8; 32]) -> Node {
    match reply {
        Reply::Done { id } => result(id, None),
        Reply::Props { id, lid_migrated } => {
            let props = NodeBuilder::new("props").attr("protocol", "1");
            let migrated = NodeBuilder::new("prop")
                .attr("config_code", LID_MIGRATED)
                .attr("config_value", "1")
                .build();
            result(id, Some(props.children(lid_migrated.then_some(migrated)).build()))
        }
        Reply::Blocklist { id } => result(id, Some(NodeBuilder::new("list").build())),
        Reply::Privacy { id } => result(id, Some(NodeBuilder::new("privacy").build())),
        Reply::PreKeyCount { id, left } => {
            let count = NodeBuilder::new("count").attr("value", *left as u64).build();
            result(id, Some(count))
        }
        Reply::Digest { id, digest } => result(id, Some(keys::digest(digest))),
        Reply::Keys { id, keys } => result(id, Some(keys::list(keys, secret))),
        Reply::Usync {
            id,
            users,
            contact,
            lid,
            devices,
        } => {
            let asked = lookup::Protocols {
                contact: *contact,
                lid: *lid,
                devices: *devices,
            };
            result(id, Some(lookup::usync(users, asked, secret)))
        }
        Reply::Groups { id, groups, list } => result(id, lookup::groups(groups, *list)),
        Reply::AppState { id, collections, of } => {
            let collections = collections.iter().map(|(name, version)| {
                let patch = of.filter(|_| name == CRITICAL).map(|of| Phone::of(of, secret));
                let now = if patch.is_some() { VERSION } else { 0 };
                let patch = patch.filter(|_| *version < now).map(|phone| {
                    let patch = NodeBuilder::new("patch").bytes(name_patch(&phone, PUSH_NAME));
                    NodeBuilder::new("patches").children([patch.build()]).build()
                });
                NodeBuilder::new("collection")
                    .attr("name", name)
                    .attr("version", now)
                    .children(patch)
                    .build()
            });
            result(id, Some(NodeBuilder::new("sync").children(collections).build()))
        }
        Reply::LinkCode { id, reference } => {
            let reference = NodeBuilder::new("link_code_pairing_ref")
                .bytes(reference.as_bytes())
                .build();
            let registration = NodeBuilder::new("link_code_companion_reg")
                .attr("stage", "companion_hello")
                .children([reference]);
            result(id, Some(registration.build()))
        }
        Reply::Error { id, code, text } => {
            let error = NodeBuilder::new("error")
                .attr("code", *code)
                .attr("text", text)
                .build();
            NodeBuilder::new("iq")
                .attr("from", server())
                .attr("id", id)
                .attr("type", "error")
                .children([error])
                .build()
        }
        Reply::Ack { class, id, to, kind } => {
            let mut ack = NodeBuilder::new("ack").attr("class", *class).attr("id", id);
            if let Some(kind) = kind {
                ack = ack.attr("type", kind);
            }
            if let Some(to) = to {
                ack = ack.attr("from", jid(to));
            }
            ack.attr("t", clock.unix_secs(clock.now())).build()
        }
        Reply::Nack { class, id, to, code } => {
            let mut nack = NodeBuilder::new("ack").attr("class", *class).attr("error", *code);
            if let Some(id) = id {
                nack = nack.attr("id", id);
            }
            if let Some(to) = to {
                nack = nack.attr("from", jid(to));
            }
            nack.build()
        }
        Reply::Waited(waited) => push::push(waited, clock),
        Reply::Offline { count } => {
            let offline = NodeBuilder::new("offline").attr("count", *count as u64).build();
            NodeBuilder::new("ib")
                .attr("from", server())
                .children([offline])
                .build()
        }
    }
}

/// What is said before hanging up, if anything.
pub(super) fn farewell(farewell: &Farewell) -> Vec<Node> {
    let end = || NodeBuilder::new("xmlstreamend").build();
    match farewell {
        Farewell::Failure {
            reason,
            code,
            expire_secs,
            message,
        } => {
            let mut failure = NodeBuilder::new("failure").attr("location", "sandbox");
            if let Some(reason) = reason {
                failure = failure.attr("reason", *reason);
            }
            if let Some(code) = code {
                failure = failure.attr("code", *code);
            }
            if let Some(expire_secs) = expire_secs {
                failure = failure.attr("expire", *expire_secs);
            }
            if let Some(message) = message {
                failure = failure.attr("message", message);
            }
            vec![failure.build()]
        }
        Farewell::StreamError { code, hang_up } => {
            let error = NodeBuilder::new("stream:error").attr("code", *code).build();
            if *hang_up { vec![error, end()] } else { vec![error] }
        }
        Farewell::Conflict(kind) => {
            let conflict = NodeBuilder::new("conflict").attr("type", *kind).build();
            let error = NodeBuilder::new("stream:error");
            let error = if *kind == "replaced" {
                error
            } else {
                error.attr("code", "401")
            };
            vec![error.children([conflict]).build(), end()]
        }
        Farewell::StreamEnd => vec![end()],
        Farewell::Cut => Vec::new(),
    }
}

/// The server as a sender. On the wire it is a JID without a user, not a text: clients that tell the two apart
/// drop what comes from a text.
fn server() -> Jid {
    Jid::new("", Server::Pn)
}

fn user_jid(user: User) -> Jid {
    match user {
        User::Number(number) => Jid::pn(number.to_string()),
        User::Lid(lid) => Jid::lid(lid.to_string()),
    }
}

fn device_jid(device: DeviceJid) -> Jid {
    match device.user {
        User::Number(number) => Jid::pn_device(number.to_string(), device.id),
        User::Lid(lid) => Jid::lid_device(lid.to_string(), device.id),
    }
}

fn group_jid(place: Place) -> Option<Jid> {
    place.group_id().map(Jid::group)
}

/// What a client wrote as a JID, back as one.
fn jid(text: &str) -> NodeValue {
    match text.parse::<Jid>() {
        Ok(jid) => jid.into(),
        Err(_) if text == SERVER_JID => server().into(),
        Err(_) => text.into(),
    }
}

fn result(id: &str, content: Option<Node>) -> Node {
    let iq = NodeBuilder::new("iq")
        .attr("from", server())
        .attr("id", id)
        .attr("type", "result");
    match content {
        Some(content) => iq.children([content]).build(),
        None => iq.build(),
    }
}

fn server_query(id: u64, xmlns: &'static str) -> NodeBuilder {
    NodeBuilder::new("iq")
        .attr("from", server())
        .attr("type", "set")
        .attr("xmlns", xmlns)
        .attr("id", id)
}
