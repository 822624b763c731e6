//! Webhooks of accounts.

use serde_json::json;

use super::description::Description;
use super::section::Section;
use crate::http::webhook::{FAULTS, SentWebhook, WebhookReply};
use crate::webhook::WebhookEvent;

pub(super) fn get() -> Description {
    described(
        "getWebhook",
        "Read the webhook",
        "Where the account is told how its instances are. With a token of the account only.",
    )
    .with_token()
    .succeeds::<WebhookReply>(200, "The webhook, or that there is none.")
}

pub(super) fn change() -> Description {
    described(
        "changeWebhook",
        "Set or remove the webhook",
        "From then on, each change of an instance's state is posted there as a `WebhookEvent`, signed as Standard Webhooks \
         has it. With a token of the account only.",
    )
    .with_token()
    .takes::<SentWebhook>(json!({ "enabled": true, "url": "https://example.com/presence" }))
    .succeeds::<WebhookReply>(200, "The webhook as it is now, with its secret.")
    .naming::<WebhookEvent<'_>>()
    .refuses(FAULTS)
}

fn described(id: &str, summary: &str, about: &str) -> Description {
    Description::new(Section::Events, id, summary, about)
}
