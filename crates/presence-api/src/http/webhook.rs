//! `GET /api/events/webhook` and `POST /api/events/webhook`.

use hyper::{Response, StatusCode};
use presence_store::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};
use crate::webhook::{InvalidSecret, InvalidWebhookUrl, KeptWebhookError, Webhook, WebhookSecret};

/// A webhook as clients send it. There is no `Debug` for it.
#[derive(Deserialize, ToSchema)]
#[schema(as = WebhookChange)]
pub(in crate::http) struct SentWebhook {
    /// `true` needs a `url`. `false` removes the webhook, and nothing else counts.
    #[schema(required = true, nullable = false)]
    enabled: Option<bool>,
    /// Where to call: an `http` or `https` URL.
    #[schema(nullable = false)]
    url: Option<String>,
    /// What calls are signed with. Left out, it is the one that was there, or a new one.
    #[schema(
        write_only,
        nullable = false,
        examples("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    )]
    secret: Option<String>,
}

/// A webhook as clients read it.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
struct ShownWebhook {
    enabled: bool,
    #[schema(required = true)]
    url: Option<String>,
    /// What calls are signed with; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
}

/// The webhook of an account. `url` is `null` when it has none.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WebhookReply {
    webhook: ShownWebhook,
}

/// Shows the webhook of an account, or that it has none.
pub(super) fn get(instances: &Instances, account: AccountId) -> Result<Response<Body>, ApiError> {
    let webhook = instances.webhook_of(account)?;
    Ok(reply("Webhook retrieved", webhook.as_ref(), None))
}

/// Gives an account another webhook, or none. It is durable before this is answered.
pub(super) async fn change(
    instances: &Instances,
    account: AccountId,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let sent: SentWebhook = json::parse(body)?;
    let Some(enabled) = sent.enabled else {
        let detail = "enabled: true or false is needed";
        return Err(ApiError::InvalidBody(detail.into()));
    };
    let webhook = if enabled {
        // One that cannot be read any more is replaced like any other.
        let before = instances.webhook_of(account).ok().flatten();
        Some(sent.read(before)?)
    } else {
        None
    };
    if !instances.set_webhook(account, webhook.as_ref()).await? {
        return Err(ApiError::InvalidToken);
    }
    let secret = webhook
        .as_ref()
        .map(|webhook| webhook.secret.expose().to_string());
    Ok(reply("Webhook updated", webhook.as_ref(), secret))
}

fn reply(message: &str, webhook: Option<&Webhook>, secret: Option<String>) -> Response<Body> {
    let webhook = ShownWebhook {
        enabled: webhook.is_some(),
        url: webhook.map(|webhook| webhook.url.to_string()),
        secret,
    };
    json::succeed(StatusCode::OK, message, WebhookReply { webhook })
}

impl SentWebhook {
    /// # Errors
    /// The first of what is wrong with it, in the order of its fields.
    fn read(self, before: Option<Webhook>) -> Result<Webhook, ApiError> {
        let url = self.url.as_deref().map(str::trim).unwrap_or_default();
        if url.is_empty() {
            return Err(URL_REQUIRED);
        }
        let url = url.parse().map_err(|InvalidWebhookUrl| INVALID_URL)?;
        let secret = match self.secret {
            Some(secret) => secret.parse().map_err(|InvalidSecret| INVALID_SECRET)?,
            None => before.map_or_else(WebhookSecret::generate, |webhook| webhook.secret),
        };
        Ok(Webhook { url, secret })
    }
}

impl From<KeptWebhookError> for ApiError {
    fn from(error: KeptWebhookError) -> Self {
        Self::internal("the webhook of an account cannot be read", Some(error.into()))
    }
}

/// What may be wrong with a webhook, in the order in which it is looked at.
pub(in crate::http) const FAULTS: [ApiError; 3] = [URL_REQUIRED, INVALID_URL, INVALID_SECRET];

const URL_REQUIRED: ApiError = ApiError::Invalid {
    text: "Webhook url is required",
    detail: "url: it is missing or blank",
};
const INVALID_URL: ApiError = ApiError::Invalid {
    text: "Invalid webhook url. Use an http or https URL",
    detail: "url: an http or https URL is needed, without a name, a password or a fragment",
};
const INVALID_SECRET: ApiError = ApiError::Invalid {
    text: "Invalid webhook secret. Use 'whsec_' and 24 to 64 bytes in base64",
    detail: "secret: 'whsec_' and 24 to 64 bytes in base64 are needed",
};
