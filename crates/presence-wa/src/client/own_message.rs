//! Which stanzas say that a device of the account has sent a message.
//!
//! A message that another device of the account sends is passed to this one as well, encrypted like any other.
//! What its stanza says of it is enough here: nothing is decrypted for this, and what cannot be counts too.

use ::whatsapp_rust::Jid;
use ::whatsapp_rust::wacore_binary::{JidExt as _, NodeRef};

use super::jid::chat;
use crate::session::OwnMessage;

/// What `stanza` tells of a message that one of the account's devices has sent, the account being known as
/// `own`; `None` when it is no such stanza.
///
/// A reaction, an edit, a vote in a poll or the deletion of a message is a message too in the protocol, but no
/// answer to anybody: whoever was typing goes on. Their stanzas ask that their readers be not told when they
/// cannot be decrypted, which only what shows nothing new does.
pub(super) fn own_message(stanza: &NodeRef<'_>, own: [Option<&Jid>; 2]) -> Option<OwnMessage> {
    if stanza.tag.as_ref() != "message" {
        return None;
    }
    let is_own = |jid: &Jid| own.into_iter().flatten().any(|own| jid.is_same_user_as(own));
    let mut attributes = stanza.attrs();
    let from = attributes.optional_jid("from")?;
    let sender = if from.is_group() {
        attributes.optional_jid("participant")?
    } else {
        from.clone()
    };
    if !is_own(&sender) {
        return None;
    }
    let text = |name: &str| stanza.get_attr(name).map(|value| value.as_str());
    let is_for_devices_only = text("category").as_deref() == Some("peer");
    let is_about_another = text("type").as_deref() == Some("reaction")
        || text("edit").is_some_and(|edit| !matches!(&*edit, "" | "0"))
        || stanza.get_children_by_tag("enc").any(|enc| {
            enc.get_attr("decrypt-fail")
                .is_some_and(|then| then.as_str() == "hide")
        });
    if is_for_devices_only || is_about_another {
        return None;
    }
    if from.is_group() {
        return Some(OwnMessage {
            chat: chat(&from)?,
            other_name: None,
        });
    }
    // Without a recipient it is a note to oneself.
    let recipient = attributes.optional_jid("recipient").unwrap_or(from);
    let other_name = match recipient.is_lid() {
        true => attributes.optional_jid("peer_recipient_pn"),
        false => attributes.optional_jid("peer_recipient_lid"),
    };
    Some(OwnMessage {
        chat: chat(&recipient)?,
        other_name: other_name.as_ref().and_then(chat),
    })
}

#[cfg(test)]
mod tests {
    use ::whatsapp_rust::NodeBuilder;

    use super::*;

    const ANA: &str = "5511988887777@s.whatsapp.net";
    const ANAS_LID: &str = "111@lid";
    const BIA: &str = "5511977776666@s.whatsapp.net";

    type Attributes<'a> = &'a [(&'static str, &'static str)];

    /// A message with these attributes and one encrypted content with those.
    fn told_of(attributes: Attributes, enc: Attributes) -> Option<OwnMessage> {
        let jids = [
            "from",
            "participant",
            "recipient",
            "peer_recipient_pn",
            "peer_recipient_lid",
        ];
        let mut stanza = NodeBuilder::new("message").attr("id", "1");
        for (name, value) in attributes {
            stanza = if jids.contains(name) {
                stanza.attr(name, value.parse::<Jid>().unwrap())
            } else {
                stanza.attr(name, *value)
            };
        }
        let enc = enc.iter().fold(NodeBuilder::new("enc"), |node, (name, value)| {
            node.attr(name, *value)
        });
        let stanza = stanza.children([enc.build()]).build();
        let (ana, lid) = (ANA.parse().unwrap(), ANAS_LID.parse().unwrap());
        own_message(&stanza.as_node_ref(), [Some(&ana), Some(&lid)])
    }

    fn chats(told: Option<OwnMessage>) -> Option<(String, Option<String>)> {
        told.map(|told| {
            (
                told.chat.to_string(),
                told.other_name.map(|name| name.to_string()),
            )
        })
    }

    #[test]
    fn what_a_device_of_the_account_sends_is_told_with_its_chat() {
        let device = "5511988887777:3@s.whatsapp.net";
        let group = "120363041234567890@g.us";
        let rows: [(Attributes, &str, Option<&str>); 8] = [
            (&[("from", ANA), ("recipient", BIA)], BIA, None),
            (&[("from", device), ("recipient", BIA)], BIA, None),
            (
                &[
                    ("from", ANA),
                    ("recipient", BIA),
                    ("peer_recipient_lid", "222@lid"),
                ],
                BIA,
                Some("222@lid"),
            ),
            (
                &[
                    ("from", ANAS_LID),
                    ("recipient", "222@lid"),
                    ("peer_recipient_pn", BIA),
                ],
                "222@lid",
                Some(BIA),
            ),
            (
                &[("from", "111:7@lid"), ("recipient", "222@lid")],
                "222@lid",
                None,
            ),
            (&[("from", group), ("participant", device)], group, None),
            (&[("from", group), ("participant", ANAS_LID)], group, None),
            (&[("from", ANA)], ANA, None),
        ];
        for (attributes, chat, other_name) in rows {
            let expected = Some((chat.to_owned(), other_name.map(str::to_owned)));
            assert_eq!(
                chats(told_of(attributes, &[("type", "msg")])),
                expected,
                "{attributes:?}"
            );
        }
    }

    #[test]
    fn what_others_send_and_what_is_no_answer_is_not() {
        let group = "120363041234567890@g.us";
        let own = [("from", ANA), ("recipient", BIA)];
        let with = |name, value| [own[0], own[1], (name, value)];
        let msg: Attributes = &[("type", "msg")];
        let rows: [(Attributes, Attributes); 10] = [
            (&[("from", BIA)], msg),
            (&[("from", BIA), ("recipient", ANA)], msg),
            (&[("from", group), ("participant", BIA)], msg),
            (&[("from", group)], msg),
            (&[("from", "status@broadcast"), ("participant", ANA)], msg),
            (&[("from", ANA), ("recipient", "1@newsletter")], msg),
            (&with("category", "peer"), msg),
            (&with("type", "reaction"), msg),
            (&with("edit", "1"), msg),
            (&own, &[("type", "msg"), ("decrypt-fail", "hide")]),
        ];
        for (attributes, enc) in rows {
            assert_eq!(told_of(attributes, enc), None, "{attributes:?}");
        }
    }
}
