//! What a webhook is told.

use bytes::Bytes;
use presence_store::Instance;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Time;
use crate::events::{InstanceEvent, written};

/// One event, with the id that all attempts to deliver it have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: Bytes,
}

/// An instance's state is another than before.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookEvent)]
pub(crate) struct WebhookEvent<'a> {
    /// `instance.state`. There may be others some day.
    event: &'static str,
    /// When it was noticed.
    #[schema(format = DateTime)]
    timestamp: String,
    data: InstanceEvent<'a>,
    instance_data: InstanceData<'a>,
}

/// Whose state it is.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookInstance)]
struct InstanceData<'a> {
    /// The name of its account.
    account: &'a str,
    /// Its name.
    instance: &'a str,
}

impl Message {
    pub(super) fn new(account: &str, instance: &Instance, data: InstanceEvent<'_>, time: Time) -> Self {
        let event = WebhookEvent {
            event: "instance.state",
            timestamp: written(time.wall),
            data,
            instance_data: InstanceData {
                account,
                instance: instance.name.as_str(),
            },
        };
        let body = serde_json::to_vec(&event).expect("our own types are JSON");
        Self {
            id: format!("msg_{:032x}", rand::random::<u128>()),
            body: body.into(),
        }
    }
}
