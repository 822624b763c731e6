//! What the answers about instances have in common.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

/// `"status": …`, beside the message or inside `instance`.
#[derive(Serialize)]
pub(super) struct Status {
    pub(super) status: &'static str,
}

/// `"instance": …`.
#[derive(Serialize)]
pub(super) struct InInstance<T> {
    pub(super) instance: T,
}

/// Times as the API writes them: RFC 3339 in UTC, with milliseconds.
pub(super) fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
