//! What is known of people and groups.

use whatsapp_rust::NodeBuilder;
use whatsapp_rust::wacore_binary::Node;

use super::{group_jid, user_jid};
use crate::phone::Phone;
use crate::world::{Group, Place, User, UsyncAnswer};

/// When phones made their lists of devices, in seconds since 1970: as good as any other time.
const LISTED_AT: u64 = 1_700_000_000;

/// Which protocols a usync query asked for.
#[derive(Clone, Copy)]
pub(super) struct Protocols {
    pub(super) contact: bool,
    pub(super) lid: bool,
    pub(super) devices: bool,
}

pub(super) fn usync(answers: &[UsyncAnswer], asked: Protocols, secret: &[u8; 32]) -> Node {
    let users = answers.iter().map(|answer| user(answer, asked, secret));
    let list = NodeBuilder::new("list").children(users).build();
    NodeBuilder::new("usync").children([list]).build()
}

/// One group, or a list of them.
pub(super) fn groups(groups: &[(Place, Group)], list: bool) -> Option<Node> {
    let mut all = groups.iter().filter_map(|(place, of)| group(*place, of));
    if list {
        return Some(NodeBuilder::new("groups").children(all).build());
    }
    all.next()
}

fn group(place: Place, group: &Group) -> Option<Node> {
    let id = place.group_id()?;
    // Who comes first founded it, at a time that is as good as any.
    let founder = group
        .members
        .first()
        .map(|number| user_jid(User::Number(*number)));
    let members = group.members.iter().map(|number| {
        let jid = user_jid(User::Number(*number));
        NodeBuilder::new("participant").attr("jid", jid).build()
    });
    let mut node = NodeBuilder::new("group")
        .attr("id", id)
        .attr("subject", &group.subject)
        .attr("creation", "1700000000")
        .attr("s_t", "1700000000")
        .attr("addressing_mode", "pn")
        .attr("size", group.members.len() as u64);
    if let Some(founder) = founder {
        node = node.attr("creator", &founder).attr("s_o", &founder);
    }
    group_jid(place).map(|_| node.children(members).build())
}

fn user(answer: &UsyncAnswer, asked: Protocols, secret: &[u8; 32]) -> Node {
    let mut user = NodeBuilder::new("user").attr("jid", user_jid(answer.user));
    if let Some(number) = answer.number {
        user = user.attr("pn_jid", user_jid(User::Number(number)));
    }
    let mut children = Vec::new();
    if asked.contact {
        let kind = if answer.owner.is_some() { "in" } else { "out" };
        let mut contact = NodeBuilder::new("contact").attr("type", kind);
        if let Some(asked) = &answer.contact {
            // As bytes, which is how clients that compare it read it.
            contact = contact.bytes(asked.as_bytes());
        }
        children.push(contact.build());
    }
    if let (true, Some(lid)) = (asked.lid, answer.lid) {
        let lid = NodeBuilder::new("lid").attr("val", user_jid(User::Lid(lid)));
        children.push(lid.build());
    }
    if let (true, Some(owner)) = (asked.devices, answer.owner) {
        let phone = NodeBuilder::new("device").attr("id", "0").build();
        let linked = answer.devices.iter().map(|id| {
            NodeBuilder::new("device")
                .attr("id", *id)
                .attr("key-index", *id)
                .build()
        });
        let list = NodeBuilder::new("device-list").children([phone].into_iter().chain(linked));
        // Without the phone's word for them, clients take no device but the phone itself.
        let signed = (!answer.devices.is_empty()).then(|| {
            let list = Phone::of(owner, secret).device_list(&answer.devices, LISTED_AT);
            NodeBuilder::new("key-index-list")
                .attr("ts", LISTED_AT)
                .bytes(list)
                .build()
        });
        let devices = [list.build()].into_iter().chain(signed);
        children.push(NodeBuilder::new("devices").children(devices).build());
    }
    user.children(children).build()
}
