//! What the server sends of its own accord.

use whatsapp_rust::NodeBuilder;
use whatsapp_rust::wacore_binary::Node;

use super::{PUSH_NAME, device_jid, group_jid, server, user_jid};
use crate::clock::Clock;
use crate::world::{ChatStateOf, DeviceJid, Message, Push, Receipt, State, User};

pub(in crate::server) fn push(push: &Push, clock: &Clock) -> Node {
    match push {
        Push::ChatState(state) => chat_state(state),
        Push::Presence { of, available, last } => {
            let mut presence = NodeBuilder::new("presence").attr("from", user_jid(*of));
            if !available {
                presence = presence.attr("type", "unavailable");
                presence = match last {
                    Some(last) => presence.attr("last", clock.unix_secs(*last)),
                    None => presence.attr("last", "deny"),
                };
            }
            presence.build()
        }
        Push::Message(message) => self::message(message, clock),
        Push::Receipt(receipt) => self::receipt(receipt, clock),
        Push::OwnDevices { of, ids } => {
            let device = |id: &u16| {
                let jid = device_jid(DeviceJid { user: *of, id: *id });
                NodeBuilder::new("device").attr("jid", jid).build()
            };
            let devices = NodeBuilder::new("devices").children([0].iter().chain(ids).map(device));
            NodeBuilder::new("notification")
                .attr("from", user_jid(*of))
                .attr("type", "account_sync")
                .attr("id", clock.stanza_id())
                .attr("t", clock.unix_secs(clock.now()))
                .children([devices.build()])
                .build()
        }
        Push::FewKeys { left } => {
            let count = NodeBuilder::new("count").attr("value", *left as u64).build();
            NodeBuilder::new("notification")
                .attr("from", server())
                .attr("type", "encrypt")
                .attr("id", clock.stanza_id())
                .attr("t", clock.unix_secs(clock.now()))
                .children([count])
                .build()
        }
    }
}

fn chat_state(of: &ChatStateOf) -> Node {
    let state = match of.state {
        Some(State::Typing) => NodeBuilder::new("composing").build(),
        Some(State::Recording) => NodeBuilder::new("composing").attr("media", "audio").build(),
        None => NodeBuilder::new("paused").build(),
    };
    let chat_state = NodeBuilder::new("chatstate");
    let chat_state = match of.group.and_then(group_jid) {
        Some(group) => chat_state
            .attr("from", group)
            .attr("participant", user_jid(of.from)),
        None => chat_state.attr("from", user_jid(of.from)),
    };
    chat_state.children([state]).build()
}

fn message(message: &Message, clock: &Clock) -> Node {
    let sender = device_jid(message.from);
    let mut stanza = NodeBuilder::new("message")
        .attr("id", &message.id)
        .attr("type", &message.kind)
        .attr("t", clock.unix_secs(message.at))
        .attr("notify", PUSH_NAME);
    let group = message.group.and_then(group_jid);
    let in_group = group.is_some();
    stanza = match group {
        Some(group) => stanza.attr("from", group).attr("participant", sender),
        None => stanza.attr("from", sender),
    };
    stanza = match (message.alias, in_group) {
        (Some(alias @ User::Number(_)), true) => stanza.attr("participant_pn", user_jid(alias)),
        (Some(alias @ User::Number(_)), false) => stanza.attr("sender_pn", user_jid(alias)),
        (Some(alias @ User::Lid(_)), true) => stanza.attr("participant_lid", user_jid(alias)),
        (Some(alias @ User::Lid(_)), false) => stanza.attr("sender_lid", user_jid(alias)),
        (None, _) => stanza,
    };
    if let Some(recipient) = message.recipient {
        stanza = stanza.attr("recipient", user_jid(recipient));
    }
    stanza = match message.recipient_alias {
        Some(alias @ User::Number(_)) => stanza.attr("peer_recipient_pn", user_jid(alias)),
        Some(alias @ User::Lid(_)) => stanza.attr("peer_recipient_lid", user_jid(alias)),
        None => stanza,
    };
    if let Some(category) = &message.category {
        stanza = stanza.attr("category", category);
    }
    let mode = match message.from.user {
        User::Number(_) => "pn",
        User::Lid(_) => "lid",
    };
    stanza = stanza.attr("addressing_mode", mode);
    if message.offline {
        stanza = stanza.attr("offline", "0");
    }
    let sealed = message.sealed.iter().map(|sealed| {
        NodeBuilder::new("enc")
            .attr("v", "2")
            .attr("type", &sealed.kind)
            .bytes(sealed.bytes.clone())
            .build()
    });
    let identity = message.device_identity.as_ref().map(|identity| {
        NodeBuilder::new("device-identity")
            .bytes(identity.clone())
            .build()
    });
    stanza.children(sealed.chain(identity)).build()
}

fn receipt(receipt: &Receipt, clock: &Clock) -> Node {
    let mut stanza = NodeBuilder::new("receipt")
        .attr("id", &receipt.id)
        .attr("t", clock.unix_secs(receipt.at));
    stanza = match receipt.group.and_then(group_jid) {
        Some(group) => stanza
            .attr("from", group)
            .attr("participant", device_jid(receipt.from)),
        None => stanza.attr("from", device_jid(receipt.from)),
    };
    if let Some(kind) = &receipt.kind {
        stanza = stanza.attr("type", kind);
    }
    let mut children = Vec::new();
    if !receipt.more.is_empty() {
        let item = |id: &String| NodeBuilder::new("item").attr("id", id).build();
        let list = NodeBuilder::new("list").children(receipt.more.iter().map(item));
        children.push(list.build());
    }
    if let Some(retry) = &receipt.retry {
        let of = NodeBuilder::new("retry")
            .attr("v", "1")
            .attr("count", retry.count)
            .attr("id", &receipt.id)
            .attr("t", clock.unix_secs(receipt.at));
        children.push(of.build());
        let registration = NodeBuilder::new("registration").bytes(retry.registration.clone());
        children.push(registration.build());
    }
    stanza.children(children).build()
}
