//! `/api/instance/…`: a WhatsApp session's record, its link to a phone, and its settings.

mod connect;
mod create;
mod lifecycle;
mod list;
mod settings;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use tracing::Instrument;

use crate::app::App;
use crate::error::ApiError;

pub(super) use connect::connect;
pub(super) use create::new;
pub(super) use lifecycle::{delete, logout, reconnect};
pub(super) use list::list;
pub(super) use settings::{change_settings, get_settings};

/// `"status": …`, beside the message or inside `instance`.
#[derive(Serialize)]
struct Status {
    status: &'static str,
}

/// `"instance": …`.
#[derive(Serialize)]
struct InInstance<T> {
    instance: T,
}

/// Times as the API writes them: RFC 3339 in UTC, with milliseconds.
fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Runs a change to its end even if the client goes away meanwhile: half a logout would be worse than one
/// that nobody waits for.
async fn to_its_end<T: Send + 'static>(
    app: &App,
    change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let task = app.tasks.spawn(change.in_current_span());
    task.await
        .unwrap_or_else(|error| Err(ApiError::internal("a change panicked", Some(error.into()))))
}

/// A store that failed, as an answer.
fn store_failed(doing: &'static str) -> impl FnOnce(presence_store::StoreError) -> ApiError {
    move |error| ApiError::internal(doing, Some(error.into()))
}
