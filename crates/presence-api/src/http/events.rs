//! `GET /api/events`.

use std::collections::HashSet;
use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use presence_store::Caller;

use super::instance::names_in;
use crate::app::App;
use crate::auth;
use crate::body::Body;
use crate::connection::RequestGuard;
use crate::error::ApiError;
use crate::events::{EventStream, NoPlace, Wanted};
use crate::scope::Scope;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx would keep events until it has a buffer full of them.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers a stream of what happens to the caller's instances, or to those that it names. One name that is absent
/// is an error, as in `list`; an instance follows itself.
pub(super) async fn events(
    app: &Arc<App>,
    caller: &Caller,
    parts: &Parts,
    guard: &RequestGuard,
) -> Result<Response<Body>, ApiError> {
    let instances = app.instances()?;
    let names = match caller {
        Caller::Account(_) => names_in(parts.uri.query()),
        Caller::Instance(_) => HashSet::new(),
    };
    if names.len() == 1 {
        for name in &names {
            instances.find_soon(caller, name).await?;
        }
    }
    let scope = Scope::from(caller);
    let place = app.events.place(scope)?;
    let after = parts.headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let wanted = Wanted {
        scope,
        names,
        after: after.map(str::to_owned),
    };
    let subscription = app.events.subscribe(instances, wanted).await;
    let subscription = subscription.ok_or(ApiError::Stopping)?;
    // It is the one that has just been found valid.
    let token = auth::presented(&parts.headers, None)
        .unwrap_or_default()
        .to_owned();
    let stream = EventStream::new(
        subscription,
        (token, scope),
        instances.clone(),
        app.stopping.clone(),
        (place, guard.begin_stream()),
    );
    let mut response = Response::new(stream.into_body());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

impl From<NoPlace> for ApiError {
    fn from(_: NoPlace) -> Self {
        Self::TooManyStreams
    }
}
