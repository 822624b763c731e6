//! What an event says, and how it is written.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use presence_core::{ChatJid, Hold, Indicator, PresenceState, Shown};
use presence_store::Instance;
use presence_wa::{InstanceState, InstanceStatus};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::clock::Time;
use crate::display_status::{ReasonCode, display_status, reason_code};
use crate::schema;

/// Everything there is, at one moment.
#[derive(Serialize, ToSchema)]
#[schema(as = SnapshotEvent)]
pub(crate) struct Snapshot<'a> {
    /// The service's clock, which every time here is told by.
    #[schema(format = DateTime)]
    pub(super) now: String,
    pub(super) instances: Vec<InstanceEvent<'a>>,
    pub(super) presences: Vec<PresenceEvent<'a>>,
}

/// How an instance is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceEvent<'a> {
    name: &'a str,
    /// One of the four of `list`, or `deleted`.
    #[schema(schema_with = schema::state_or_deleted)]
    state: &'static str,
    /// The state in words, with its reason. For people.
    display_status: String,
    /// The JID of the account, while a phone is linked.
    #[schema(required = true)]
    number_jid: Option<&'a str>,
    /// The name of the account; empty until WhatsApp told it.
    profile_name: &'a str,
    keep_online_status: bool,
    /// Why, in a word for programs.
    #[schema(required = true)]
    reason: Option<ReasonCode>,
    /// When the next attempt is made, where one is waited for.
    #[schema(required = true, format = DateTime)]
    retry_at: Option<String>,
    /// In a cluster, the node that has the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    node: Option<&'a str>,
}

/// What a chat shows.
#[derive(Serialize, ToSchema)]
pub(crate) struct PresenceEvent<'a> {
    pub(super) instance: &'a str,
    #[schema(value_type = ChatJid)]
    pub(super) chat_jid: &'a ChatJid,
    /// `null` when it is over.
    #[schema(value_type = Option<Indicator>, required = true)]
    pub(super) state: Option<PresenceState>,
    /// Seconds, as they were asked for; 0 without.
    #[schema(maximum = 60)]
    pub(super) duration: u8,
    /// RFC 3339; `null` when it is over.
    #[schema(required = true, format = DateTime)]
    pub(super) until: Option<String>,
    /// Milliseconds from the request to its stanza on the socket, where a request was the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) sent_ms: Option<f64>,
}

impl<'a> InstanceEvent<'a> {
    pub(crate) fn new(instance: &'a Instance, status: Option<&'a InstanceStatus>, time: Time) -> Self {
        let state = status.map_or(InstanceState::Disconnected, |status| status.state);
        let reason = status.and_then(|status| status.reason);
        let coded = reason.map(reason_code);
        Self {
            name: instance.name.as_str(),
            state: state.as_str(),
            display_status: display_status(state, reason, time.now),
            number_jid: status.and_then(|status| status.jid.as_deref()),
            profile_name: status
                .and_then(|status| status.push_name.as_deref())
                .unwrap_or_default(),
            keep_online_status: instance.keep_online,
            reason: coded.map(|(code, _)| code),
            retry_at: coded.and_then(|(_, at)| at).map(|at| written(time.wall_at(at))),
            node: None,
        }
    }

    /// The same, of an instance that this node has.
    pub(super) fn at(self, node: Option<&'a str>) -> Self {
        Self { node, ..self }
    }

    pub(crate) fn deleted(instance: &'a Instance) -> Self {
        Self {
            name: instance.name.as_str(),
            state: "deleted",
            display_status: "deleted".to_owned(),
            number_jid: None,
            profile_name: "",
            keep_online_status: instance.keep_online,
            reason: None,
            retry_at: None,
            node: None,
        }
    }
}

impl<'a> PresenceEvent<'a> {
    pub(super) fn new(instance: &'a str, chat: &'a ChatJid, shown: Option<&Shown>, time: Time) -> Self {
        Self {
            instance,
            chat_jid: chat,
            state: shown.map(|shown| shown.indicator.into()),
            duration: shown.and_then(|shown| shown.hold).map_or(0, Hold::as_secs),
            until: shown.map(|shown| written(time.wall_at(Instant::from_std(shown.until)))),
            sent_ms: None,
        }
    }
}

/// An event as it goes over the wire.
pub(super) fn frame(id: &str, name: &str, data: &impl Serialize) -> Bytes {
    let data =
        serde_json::to_string(data).expect("our own types are JSON: string keys, no failing Serialize");
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n").into()
}

/// Times as the API writes them.
pub(crate) fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
