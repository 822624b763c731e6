//! The operator's webhook: its URL, and the file that its secret is in.

use std::fs;

use presence_api::{AllowedNetworks, Webhook, WebhookSecret, WebhookSettings, WebhookUrl};

use super::{Reader, networks, parse, settings};

/// Reads who is told how instances are.
pub(super) fn read<F: Fn(&str) -> Option<String>>(from: &mut Reader<F>) -> WebhookSettings {
    let allowed = from.read_optional(&settings::WEBHOOK_NETWORKS, networks);
    WebhookSettings {
        operator: operator(from),
        networks: AllowedNetworks::new(&allowed.unwrap_or_default()),
    }
}

fn operator<F: Fn(&str) -> Option<String>>(from: &mut Reader<F>) -> Option<Webhook> {
    let url = from.read_optional(&settings::WEBHOOK_URL, parse::<WebhookUrl>);
    let secret = from.read_optional(&settings::WEBHOOK_SECRET_FILE, secret_in);
    let [url_set, secret_set] =
        [&settings::WEBHOOK_URL, &settings::WEBHOOK_SECRET_FILE].map(|setting| from.is_set(setting));
    if url_set && !secret_set {
        let problem = "it is needed together with --webhook-url, since unsigned calls prove nothing";
        from.mistake(&settings::WEBHOOK_SECRET_FILE, problem);
    }
    if secret_set && !url_set {
        from.mistake(
            &settings::WEBHOOK_URL,
            "it is needed together with --webhook-secret-file",
        );
    }
    Some(Webhook {
        url: url?,
        secret: secret?,
    })
}

/// The secret in the file at `path`.
fn secret_in(path: &str) -> Result<WebhookSecret, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    parse(text.trim()).map_err(|problem| format!("{path}: {problem}"))
}
