//! Webhooks of accounts.

use serde_json::json;
use utoipa::ToSchema as _;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{Content, Ref, Required, ResponseBuilder};

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

/// What webhooks are told.
pub(super) fn told() -> Paths {
    let event = Content::new(Some(Ref::from_schema_name(WebhookEvent::name())));
    let body = RequestBodyBuilder::new()
        .required(Some(Required::True))
        .content("application/json", event);
    let taken = ResponseBuilder::new().description("It was taken.");
    let refused = ResponseBuilder::new().description("It is sent again, later.");
    let operation = OperationBuilder::new()
        .operation_id(Some("instanceStateChanged"))
        .tag(Section::Events.name())
        .summary(Some("An instance's state is another than before"))
        .description(Some("Signed as Standard Webhooks has it."))
        .securities(Some([]))
        .request_body(Some(body.build()))
        .response("2XX", taken.build())
        .response("4XX", refused.build());
    let mut paths = Paths::new();
    paths.add_path_operation("instance.state", vec![HttpMethod::Post], operation.build());
    paths
}

fn described(id: &str, summary: &str, about: &str) -> Description {
    Description::new(Section::Events, id, summary, about)
}
