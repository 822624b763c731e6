//! The webhook of an account as the registry keeps it.

use presence_store::{Account, Registry, SecretText, StoreError};
use serde::{Deserialize, Serialize};

use super::{InvalidSecret, InvalidWebhookUrl, Webhook};

/// The webhook that `registry` keeps for `account`.
pub(crate) fn kept(registry: &dyn Registry, account: &Account) -> Result<Option<Webhook>, KeptWebhookError> {
    let Some(text) = registry.account_webhook(account)? else {
        return Ok(None);
    };
    let kept: Kept = serde_json::from_str(text.expose()).map_err(|_| KeptWebhookError::Unknown)?;
    Ok(Some(Webhook {
        url: kept.url.parse()?,
        secret: kept.secret.parse()?,
    }))
}

/// `webhook` as the registry keeps it.
pub(crate) fn to_secret_text(webhook: &Webhook) -> SecretText {
    let kept = Kept {
        url: webhook.url.to_string(),
        secret: webhook.secret.expose().to_string(),
    };
    SecretText::new(serde_json::to_string(&kept).expect("texts are JSON"))
}

/// What is kept is no webhook. Nothing of it is repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptWebhookError {
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not of this service's form.
    #[error("the webhook that is kept is of an unknown form")]
    Unknown,
    #[error("the URL that is kept is none")]
    Url(#[from] InvalidWebhookUrl),
    #[error("the secret that is kept is none")]
    Secret(#[from] InvalidSecret),
}

/// The form in which webhooks are kept. A field that is added must be optional.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    secret: String,
}
