//! The schema of the request. It is written by hand because its fields are read as JSON text, whose types serde does
//! not know.

use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::ChatPresenceRequest;
use crate::{Hold, PresenceState};

impl ToSchema for ChatPresenceRequest {}

impl PartialSchema for ChatPresenceRequest {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "What to show to whom, and for how long. Other fields are ignored; a field that is `null` counts as \
                 absent.",
            ))
            .property("number", number())
            .required("number")
            .property("state", state())
            .required("state")
            .property("duration", duration())
            .property("text", text())
            .property("characters", characters())
            .into()
    }
}

fn number() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
        .description(Some(
            "A phone number with country code in any human writing (`+55 (11) 99999-9999`), or a JID: \
             `…@s.whatsapp.net`, `…@c.us`, `…@lid`, `…@g.us`.",
        ))
        .examples(["5511999999999"])
        .build()
}

fn state() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(PresenceState::NAMES.map(|(name, _)| name)))
        .description(Some(
            "What to show; `pause` and `paused` end what is shown. Case, and space around it, do not matter.",
        ))
        .build()
}

fn duration() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .maximum(Some(Hold::MAX.as_secs()))
        .default(Some(0.into()))
        .description(Some(
            "For how many seconds. 0 shows it once, and the phone hides it after 5 to 10 s. More than the most counts \
             as the most, less than 0 as 0, a fraction is rounded up, and a string that is a number counts as it. \
             Ignored for `pause`.",
        ))
        .build()
}

fn text() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "Instead of a duration: the message that will be sent. The indicator is shown for as long as a person would \
             take for it. The text is neither stored nor logged.",
        ))
        .build()
}

fn characters() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .description(Some(
            "Instead of `text`: how many characters (Unicode scalar values) the message will have.",
        ))
        .build()
}
