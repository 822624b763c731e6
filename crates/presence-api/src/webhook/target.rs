//! One webhook, and how messages are delivered to it: signed, one attempt after the other until it takes them.

mod http;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use enum_map::{Enum, EnumMap};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode};
use presence_metrics::Counter;
use presence_wa::{AllowedNetworks, Backoff, ForbiddenAddress};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use self::http::HttpPost;
use super::Webhook;
use super::message::Message;
use crate::clock::utc_now;

/// What became of deliveries since the start.
pub(crate) type WebhookCounters = EnumMap<Delivery, Counter>;

/// What became of an attempt to deliver a message, or of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum Delivery {
    /// It was answered with 2xx.
    Delivered,
    /// It was answered with something else; a redirect, which is not followed, among it.
    Refused,
    /// It was not answered in time.
    TimedOut,
    /// No connection came about, or it broke.
    Unreachable,
    /// The address is not public, and not allowed.
    Forbidden,
    /// The message was given up: it was too old, or had to go for a newer one.
    Dropped,
}

impl Delivery {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
            Self::Dropped => "dropped",
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a call; answers its status.
#[async_trait::async_trait]
pub(super) trait Post: Send + Sync {
    async fn post(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, BoxError>;
}

/// A webhook that is told of instances.
pub(super) struct Target {
    webhook: Webhook,
    /// Whose it is, for the log.
    owner: String,
    http: Box<dyn Post>,
    /// So that a receiver is not overrun when all instances change at once.
    turns: Semaphore,
    /// The last attempt failed, and the log says so.
    is_failing: AtomicBool,
    counters: Arc<WebhookCounters>,
}

/// How many calls of one webhook are under way at the same time.
const AT_A_TIME: usize = 8;
/// The longest an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait between attempts.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(2),
    cap: Duration::from_secs(600),
};
/// For how long a message is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

impl Target {
    /// A webhook of `owner`, which may be in `networks`.
    pub(super) fn new(
        webhook: Webhook,
        owner: String,
        networks: AllowedNetworks,
        counters: Arc<WebhookCounters>,
    ) -> Self {
        Self::over(webhook, owner, Box::new(HttpPost::new(networks)), counters)
    }

    pub(super) fn over(
        webhook: Webhook,
        owner: String,
        http: Box<dyn Post>,
        counters: Arc<WebhookCounters>,
    ) -> Self {
        Self {
            webhook,
            owner,
            http,
            turns: Semaphore::new(AT_A_TIME),
            is_failing: AtomicBool::new(false),
            counters,
        }
    }

    pub(super) fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// Delivers `message`, or gives it up after a day.
    pub(super) async fn deliver(&self, message: Message) {
        let begun = Instant::now();
        for failures in 0.. {
            let delivery = self.attempt(&message).await;
            self.counters[delivery].inc();
            self.note(delivery);
            if delivery == Delivery::Delivered {
                return;
            }
            // Half of it in any case: a random part alone may be nothing.
            let least = BACKOFF
                .base
                .saturating_mul(1 << failures.min(16))
                .min(BACKOFF.cap)
                / 2;
            let wait = least + BACKOFF.delay(failures, &mut rand::rng()) / 2;
            if begun.elapsed() + wait > GIVE_UP_AFTER {
                break;
            }
            sleep(wait).await;
        }
        self.drop_message();
    }

    /// Counts a message that is not delivered.
    pub(super) fn drop_message(&self) {
        self.counters[Delivery::Dropped].inc();
    }

    async fn attempt(&self, message: &Message) -> Delivery {
        let _turn = self.turns.acquire().await;
        match timeout(TIMEOUT, self.http.post(self.request(message))).await {
            Ok(Ok(status)) if status.is_success() => Delivery::Delivered,
            Ok(Ok(_)) => Delivery::Refused,
            Ok(Err(error)) if ForbiddenAddress::is_cause_of(&*error) => Delivery::Forbidden,
            Ok(Err(error)) => {
                tracing::debug!(
                    webhook = self.owner,
                    error = &*error as &dyn std::error::Error,
                    "no answer"
                );
                Delivery::Unreachable
            }
            Err(_) => Delivery::TimedOut,
        }
    }

    fn request(&self, Message { id, body }: &Message) -> Request<Full<Bytes>> {
        let timestamp = utc_now().timestamp();
        Request::post(self.webhook.url.as_uri().clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("presence/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.webhook.secret.sign(id, timestamp, body))
            .body(Full::new(body.clone()))
            .expect("all of it is header text")
    }

    /// Tells the log when deliveries begin to fail, and when they succeed again.
    fn note(&self, delivery: Delivery) {
        let fails = delivery != Delivery::Delivered;
        if self.is_failing.swap(fails, Ordering::Relaxed) == fails {
            return;
        }
        if fails {
            let reason = delivery.as_str();
            tracing::warn!(
                webhook = self.owner,
                reason,
                "the webhook cannot be called; it is tried again"
            );
        } else {
            tracing::info!(webhook = self.owner, "the webhook is called again");
        }
    }
}

#[cfg(test)]
mod tests;
