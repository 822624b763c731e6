//! `GET /health`, `/livez`, `/readyz` and `/metrics`: for probes and monitoring, without a token.

use bytes::Bytes;
use chrono::SecondsFormat;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::app::App;
use crate::clock::utc_now;
use crate::error::ApiError;
use crate::json::{self, Body};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
    /// Whole seconds since the start.
    uptime: u64,
    timestamp: String,
    checks: Checks,
}

#[derive(Serialize)]
struct Checks {
    /// Whether accounts and instances can be read and written.
    store: &'static str,
    /// Whether requests are taken; not while the service stops.
    accepting: &'static str,
}

/// Whether the service does its work. A session that is not connected is no fault of the service: `list` and
/// the metrics tell.
pub(super) async fn health(app: &App) -> Response<Body> {
    let checks = Checks {
        store: word(app.store_is_healthy().await),
        accepting: word(!app.is_stopping()),
    };
    let healthy = checks.store == "ok" && checks.accepting == "ok";
    let health = Health {
        status: if healthy { "ok" } else { "degraded" },
        service: "presence",
        uptime: app.uptime().as_secs(),
        timestamp: utc_now().to_rfc3339_opts(SecondsFormat::Millis, true),
        checks,
    };
    json::respond(status(healthy), &health)
}

#[derive(Serialize)]
struct Probe {
    status: &'static str,
}

/// Whether the process answers at all.
pub(super) fn livez() -> Response<Body> {
    json::respond(StatusCode::OK, &Probe { status: "ok" })
}

/// Whether requests should be sent here. The service listens only when its store is open, so all that can be
/// in the way is that it stops.
pub(super) fn readyz(app: &App) -> Response<Body> {
    let ready = !app.is_stopping();
    json::respond(
        status(ready),
        &Probe {
            status: if ready { "ok" } else { "stopping" },
        },
    )
}

/// Counters in Prometheus' text format. No such route unless it is switched on: it needs no token, and tells
/// how busy the service is.
pub(super) fn metrics(app: &App) -> Result<Response<Body>, ApiError> {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    if !app.settings.metrics {
        return Err(ApiError::NoSuchRoute);
    }
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let text = app.metrics.render(app.uptime(), tasks, app.instance_states());
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    Ok(response)
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn word(good: bool) -> &'static str {
    if good { "ok" } else { "failed" }
}
