//! Presences, and the events that tell of them.

use presence_core::{ChatPresence, ChatPresenceRequest, PresenceSent};
use serde_json::json;
use utoipa::openapi::Ref;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};

use super::description::Description;
use super::section::Section;
use crate::error::ApiError;
use crate::events::{InstanceEvent, PresenceEvent, Snapshot};
use crate::http::presence::ShownPresences;

pub(super) fn show() -> Description {
    Description::new(
        Section::Presences,
        "showPresence",
        "Show or end an indicator",
        "Shows “typing…” or “recording audio…” in a chat, or ends it. Answered at once, as soon as the stanza is on the \
         socket. With a duration the indicator is shown that long, without a gap, and then ended; a newer presence \
         replaces the one before in that chat; a message that the account sends there ends it.",
    )
    .of_instance()
    .takes::<ChatPresenceRequest>(json!({ "number": "5511999999999", "state": "typing", "duration": 5 }))
    .answers::<PresenceSent>(200, "The stanza is on the socket to WhatsApp.")
    .refuses(WRONG.map(refused_as))
    .refuses([ApiError::NotConnected])
}

pub(super) fn list_shown() -> Description {
    Description::new(
        Section::Presences,
        "listShownPresences",
        "List what is shown now",
        "What the instance shows now, what ends first at the front.",
    )
    .of_instance()
    .succeeds::<ShownPresences>(200, "What is shown.")
}

pub(super) fn follow() -> Description {
    let event = |name| Ref::from_schema_name(name);
    let events = OneOfBuilder::new()
        .item(event("SnapshotEvent"))
        .item(event("InstanceEvent"))
        .item(event("PresenceEvent"));
    let stream = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "`data` of a `snapshot` is a SnapshotEvent, of an `instance` an InstanceEvent, of a `presence` a \
             PresenceEvent.",
        ))
        .content_media_type("text/event-stream")
        .content_schema(Some(events));
    let content = ContentBuilder::new().schema(Some(stream)).example(Some(
        "id: 1767323045123-17\nevent: presence\ndata: {\"instance\":\"shop\",\
         \"chat_jid\":\"5511999999999@s.whatsapp.net\",\"state\":null,\"duration\":0,\"until\":null}\n\n"
            .into(),
    ));
    Description::new(
        Section::Events,
        "followEvents",
        "Follow what happens",
        "A stream of server-sent events: first a `snapshot` of everything, then an `instance` when one is another than \
         before, and a `presence` when a chat shows something else than before. A comment comes every 15 s. A client \
         that is too slow is cut, and comes back.",
    )
    .with_token()
    .reads(
        ParameterIn::Query,
        "instanceName",
        "Names of instances, separated by commas; without it, all that the token reaches.",
    )
    .reads(
        ParameterIn::Header,
        "Last-Event-ID",
        "The last event that the client has: what it missed comes instead of a snapshot, if it is still known.",
    )
    .answers_content(
        200,
        "Events, until the client hangs up.",
        "text/event-stream",
        content.build(),
    )
    .naming::<Snapshot<'_>>()
    .naming::<InstanceEvent<'_>>()
    .naming::<PresenceEvent<'_>>()
    .refuses([ApiError::NoSuchInstance, ApiError::TooManyStreams])
}

/// Bodies with each of the faults that a presence can have, in the order of the contract.
const WRONG: [&str; 4] = [
    "{}",
    r#"{"number":"nobody"}"#,
    r#"{"number":"5511999999999"}"#,
    r#"{"number":"5511999999999","state":"singing"}"#,
];

fn refused_as(body: &str) -> ApiError {
    let read = ChatPresenceRequest::from_json(body.as_bytes()).and_then(ChatPresence::try_from);
    read.expect_err("each of these is wrong").into()
}
