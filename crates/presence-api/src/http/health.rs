//! `GET /health`, `/livez`, `/readyz` and `/metrics`: for probes and monitoring, without a token.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::SecondsFormat;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, Readiness};
use crate::clock::utc_now;
use crate::instances::Instances;
use crate::json::{self, Body};
use crate::metrics;
use crate::schema;

/// Whether the service does its work.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(schema_with = schema::health_status)]
    status: &'static str,
    service: &'static str,
    /// Whole seconds since the start.
    uptime: u64,
    #[schema(format = DateTime)]
    timestamp: String,
    /// `ok`, or a few words of what is wrong, by the name of the check.
    checks: BTreeMap<&'static str, String>,
    /// How many instances are in each state; absent while the service starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instances: Option<BTreeMap<&'static str, usize>>,
}

/// Whether the service does its work. A session that is not connected is no fault of the service: `instances`
/// and `list` tell.
pub(super) async fn health(app: &App) -> Response<Body> {
    let readiness = app.readiness();
    let findings = app.health.findings().await;
    let healthy = readiness == Readiness::Ready && !findings.iter().any(|(_, found)| found.is_failure());
    let mut checks: BTreeMap<_, _> = findings
        .into_iter()
        .map(|(name, found)| (name, found.as_str().to_owned()))
        .collect();
    // Whether requests are taken; not while the service starts or stops.
    checks.insert("accepting", readiness.as_str().to_owned());
    let states = |instances: &Instances| {
        let states = instances.states().into_iter();
        states.map(|(state, count)| (state.as_str(), count)).collect()
    };
    let health = Health {
        status: if healthy { "ok" } else { "degraded" },
        service: "presence",
        uptime: app.uptime().as_secs(),
        timestamp: utc_now().to_rfc3339_opts(SecondsFormat::Millis, true),
        checks,
        instances: app.instances.get().map(states),
    };
    json::respond(status(healthy), &health)
}

/// Whether the service is there, in a word.
#[derive(Serialize, ToSchema)]
pub(super) struct Probe {
    #[schema(schema_with = schema::readiness)]
    status: &'static str,
}

/// Whether the process answers at all.
pub(super) fn livez() -> Response<Body> {
    json::respond(StatusCode::OK, &Probe { status: "ok" })
}

/// Whether requests should be sent here: not while the stores are being opened, and not while it stops.
pub(super) fn readyz(app: &App) -> Response<Body> {
    let readiness = app.readiness();
    let probe = Probe {
        status: readiness.as_str(),
    };
    json::respond(status(readiness == Readiness::Ready), &probe)
}

/// What was counted, in Prometheus' text format.
pub(super) async fn metrics(app: &Arc<App>) -> Response<Body> {
    const TEXT: HeaderValue = HeaderValue::from_static(metrics::CONTENT_TYPE);
    let mut response = Response::new(Body::from(Bytes::from(metrics::render(app).await)));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
