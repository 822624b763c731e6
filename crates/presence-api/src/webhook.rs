//! Webhooks: calls to those who want to be told how instances are, with the event `instance.state`.
//!
//! The operator has one, which is told of every instance, and each account may have one, which is told of its own.
//! For each instance that a webhook is told of there is one task, a [`Reporter`](reporter::Reporter), which follows the
//! instance's state as any other client could, and delivers what is news in order. It holds up nobody: an instance
//! publishes its state and waits for no reader, and what is still to be delivered is bounded.

mod backlog;
mod kept;
mod message;
mod reporter;
mod reporters;
mod secret;
mod target;
mod url;

use presence_wa::AllowedNetworks;

pub(crate) use self::kept::{KeptWebhookError, kept, to_secret_text};
pub(crate) use self::message::WebhookEvent;
pub(crate) use self::reporters::report;
pub use self::secret::{InvalidSecret, WebhookSecret};
pub(crate) use self::target::WebhookCounters;
pub use self::url::{InvalidWebhookUrl, WebhookUrl};

/// Whom to tell how instances are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub url: WebhookUrl,
    /// What proves that it was this service that called.
    pub secret: WebhookSecret,
}

/// Who is told, and where accounts may have their calls sent.
#[derive(Clone, Debug, Default)]
pub struct WebhookSettings {
    /// The operator's own, which is told of every instance. It may be anywhere. Default: none.
    pub operator: Option<Webhook>,
    /// Where those of accounts may be. Default: at public addresses.
    pub networks: AllowedNetworks,
}
