//! Instances: creating, linking, settings.

use presence_wa::InstanceState;
use serde_json::json;
use utoipa::ToSchema as _;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Content, Ref};

use super::description::Description;
use super::headers;
use super::section::Section;
use crate::error::ApiError;
use crate::http::instance::{
    Changes, CodeReply, Created, INVALID_NAME, INVALID_NUMBER, INVALID_TOKEN, List, NAME_REQUIRED,
    NewRequest, PROXY_FAULTS, ProxyReply, QrReply, SentProxy, SettingsReply,
};
use crate::http::pair::{LinkReply, NO_HOST};
use crate::json::Success;
use crate::schema::{in_instance, status, success_with};

pub(super) fn create() -> Description {
    let created = in_instance(Ref::from_schema_name(Created::name()));
    described(
        "createInstance",
        "Create an instance",
        "With a token of an account only.",
    )
    .with_token()
    .takes::<NewRequest>(json!({ "name": "shop" }))
    .naming::<Created<'_>>()
    .succeeds_as(
        201,
        "It is created, and disconnected until a phone links it.",
        "InstanceCreated",
        created,
    )
    .refuses([NAME_REQUIRED, INVALID_NAME, INVALID_TOKEN])
    .refuses(PROXY_FAULTS)
    .refuses([ApiError::QuotaExceeded, ApiError::NameTaken])
}

pub(super) fn list() -> Description {
    described(
        "listInstances",
        "List instances",
        "Those of the account, oldest first; with an instance's token that one alone.",
    )
    .with_token()
    .reads(
        ParameterIn::Query,
        "instanceName",
        "Names of instances, separated by commas. One that does not exist is 404; of several, those are left out.",
    )
    .succeeds::<List>(200, "The instances.")
    .refuses([ApiError::NoSuchInstance])
}

pub(super) fn connect() -> Description {
    let linked = success_with(status(InstanceState::Connected.as_str()).into());
    let answers = OneOfBuilder::new()
        .item(Ref::from_schema_name(QrReply::name()))
        .item(Ref::from_schema_name(CodeReply::name()))
        .item(Ref::from_schema_name("AlreadyConnected"));
    described(
        "connectInstance",
        "Link a phone",
        "Answers the current QR code, or with `number` a code for the phone's owner to type. Call it again for the next \
         QR code, until it is connected. A saved session is opened again instead. Waits for WhatsApp, 60 s at most.",
    )
    .of_instance()
    .reads(
        ParameterIn::Query,
        "number",
        "The phone number, with country code, whose owner will type the code. Without it, a QR code is meant.",
    )
    .naming::<Success<'_, QrReply>>()
    .naming::<Success<'_, CodeReply<'_>>>()
    .naming_as("AlreadyConnected", linked)
    .answers_content(
        200,
        "What the phone needs, or that it is connected: `status` tells.",
        "application/json",
        Content::new(Some(answers)),
    )
    .with_header(&headers::QR_VALID_FOR)
    .refuses([
        INVALID_NUMBER,
        ApiError::LinkCodeSuperseded,
        ApiError::NotConnected,
        ApiError::SessionRefused("…".to_owned()),
        ApiError::LinkCodeRefused,
        ApiError::NoAnswer,
    ])
}

pub(super) fn reconnect() -> Description {
    described(
        "reconnectInstance",
        "Open the saved session again",
        "Answered when that has begun; once in 10 s at most. While the service connects by itself, or waits out a ban, it \
         changes nothing.",
    )
    .of_instance()
    .succeeds_as(
        200,
        "It has begun.",
        "ReconnectStarted",
        status(InstanceState::Connecting.as_str()),
    )
    .refuses([ApiError::NoSavedSession])
}

pub(super) fn logout() -> Description {
    let logged_out = in_instance(status(InstanceState::LoggedOut.as_str()));
    described(
        "logoutInstance",
        "Unlink the phone",
        "Unlinks the phone and wipes the session's keys; the instance and its token stay. Again, it is no error.",
    )
    .of_instance()
    .succeeds_as(200, "It is logged out.", "InstanceLoggedOut", logged_out)
}

pub(super) fn delete() -> Description {
    described(
        "deleteInstance",
        "Delete an instance",
        "With its keys and its token. With a token of the account only.",
    )
    .with_token()
    .named_instance()
    .succeeds_as(
        200,
        "It is deleted.",
        "InstanceDeleted",
        in_instance(status("deleted")),
    )
    .refuses([ApiError::NoSuchInstance])
}

pub(super) fn get_settings() -> Description {
    described(
        "getInstanceSettings",
        "Read the settings",
        "`keepOnlineStatus` is yours to set. The others describe what this service never does.",
    )
    .of_instance()
    .succeeds::<SettingsReply>(200, "The settings.")
}

pub(super) fn change_settings() -> Description {
    described(
        "changeInstanceSettings",
        "Change the settings",
        "What is left out or `null` stays. It applies at once.",
    )
    .of_instance()
    .takes::<Changes>(json!({ "keepOnlineStatus": true }))
    .succeeds::<SettingsReply>(200, "The settings as they are now.")
}

pub(super) fn get_proxy() -> Description {
    described(
        "getInstanceProxy",
        "Read the proxy",
        "The proxy through which the instance connects to WhatsApp.",
    )
    .of_instance()
    .succeeds::<ProxyReply>(200, "The proxy, or that there is none.")
}

pub(super) fn change_proxy() -> Description {
    described(
        "changeInstanceProxy",
        "Set or remove the proxy",
        "Replaces everything that was said of it before. The next connection is made through it.",
    )
    .of_instance()
    .takes::<SentProxy>(json!({
        "enabled": true,
        "host": "proxy.example.com",
        "port": "1080",
        "protocol": "socks5"
    }))
    .succeeds::<ProxyReply>(200, "The proxy as it is now.")
    .refuses(PROXY_FAULTS)
}

pub(super) fn create_pairing_link() -> Description {
    described(
        "createPairingLink",
        "Make a link to send to the phone's owner",
        "Whoever opens it within 15 minutes sees the QR code, or gets a code to type, and links the phone; it shows nothing \
         else. It is void when a phone was linked, when another one is made, and when the service restarts.",
    )
    .of_instance()
    .succeeds::<LinkReply>(200, "The link.")
    .refuses([NO_HOST])
}

pub(super) fn revoke_pairing_link() -> Description {
    described(
        "revokePairingLink",
        "Make the link void",
        "Where there is none, it is no error.",
    )
    .of_instance()
    .succeeds_as(
        200,
        "There is no valid link.",
        "PairingLinkRevoked",
        ObjectBuilder::new().schema_type(Type::Object),
    )
}

fn described(id: &str, summary: &str, about: &str) -> Description {
    Description::new(Section::Instances, id, summary, about)
}
