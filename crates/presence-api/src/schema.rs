//! Schemas of what has no type of its own: words that an answer is one of, and what is around an answer's fields.

use presence_wa::{InstanceState, ProxyProtocol};
use serde_json::Value;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

/// `success` of every answer that is none of an error.
pub(crate) fn success() -> Object {
    constant(Type::Boolean, true)
}

/// `success` of an error.
pub(crate) fn failure() -> Object {
    constant(Type::Boolean, false)
}

/// `object` as a success: with `success` and `message` before its own fields.
pub(crate) fn success_with(object: RefOr<Schema>) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(mut object)) = object else {
        unreachable!("the fields of an answer are those of a struct");
    };
    let envelope = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("success", success())
        .property("message", text("What was done, in words."));
    let own = std::mem::take(&mut object.properties);
    object.properties = own
        .into_iter()
        .fold(envelope, |envelope, (name, field)| envelope.property(name, field))
        .build()
        .properties;
    object
        .required
        .splice(0..0, ["success".to_owned(), "message".to_owned()]);
    object.into()
}

/// `"status": word`.
pub(crate) fn status(word: &'static str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("status", constant(Type::String, word))
        .required("status")
}

/// `"instance": …`.
pub(crate) fn in_instance(instance: impl Into<RefOr<Schema>>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("instance", instance)
        .required("instance")
}

pub(crate) fn qr() -> Object {
    constant(Type::String, "qr")
}

pub(crate) fn pairing() -> Object {
    constant(Type::String, "pairing")
}

pub(crate) fn disconnected() -> Object {
    constant(Type::String, InstanceState::Disconnected.as_str())
}

pub(crate) fn state() -> Object {
    one_of(InstanceState::ALL.map(InstanceState::as_str))
}

pub(crate) fn state_or_deleted() -> Object {
    one_of(
        InstanceState::ALL
            .map(InstanceState::as_str)
            .into_iter()
            .chain(["deleted"]),
    )
}

pub(crate) fn availability() -> Object {
    one_of(["available", "unavailable"])
}

pub(crate) fn health_status() -> Object {
    one_of(["ok", "degraded"])
}

pub(crate) fn readiness() -> Object {
    one_of(["ok", "starting", "stopping"])
}

pub(crate) fn proxy_protocol() -> Object {
    one_of(ProxyProtocol::ALL.map(ProxyProtocol::as_str))
}

pub(crate) fn instance_name() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"))
        .description(Some("A name, unique in the account. Case matters."))
        .examples(["shop"])
        .build()
}

pub(crate) fn text(description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .build()
}

fn one_of(words: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .build()
}

fn constant(kind: Type, value: impl Into<Value>) -> Object {
    ObjectBuilder::new()
        .schema_type(kind)
        // The builder has no word of its own for a constant.
        .extensions(Some(Extensions::from_iter([("const", value)])))
        .build()
}
