//! What clients ask and are answered, as metrics.

use std::array;
use std::fmt;
use std::time::Duration;

use enum_map::{Enum, EnumMap};
use hyper::StatusCode;
use presence_metrics::{Counter, Histogram};

use super::exposition::Exposition;
use crate::compat::CompatApi;
use crate::connections::ConnectionCounts;
use crate::rate_limit::Bucket;
use crate::routes::ROUTES;

/// What was answered since the start.
#[derive(Debug)]
pub(crate) struct HttpCounters {
    /// By the place of the route in the table.
    routes: [RouteCounters; ROUTES.len()],
    /// What was answered to requests that named none.
    no_route: RouteCounters,
    /// Requests without a valid token.
    pub(crate) tokens_refused: Counter,
    /// Requests that were one too many.
    pub(crate) rate_limited: EnumMap<Limit, Counter>,
}

#[derive(Debug)]
struct RouteCounters {
    /// By the first digit of the status: 2xx to 5xx.
    by_class: [Counter; CLASSES.len()],
    took: Histogram,
}

/// Which limit a request was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum Limit {
    Requests,
    NewInstances,
    WrongTokens,
}

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// Upper bounds of the latency buckets. A presence takes well under a millisecond, a connect up to a minute.
const LATENCIES: [Duration; 10] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(60),
];

impl HttpCounters {
    /// Counts an answer of the route at this place in the table; `None` where the request named none.
    pub(crate) fn answered(&self, route: Option<usize>, status: StatusCode, took: Duration) {
        let counters = route.map_or(&self.no_route, |index| &self.routes[index]);
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        counters.by_class[class].inc();
        counters.took.record(took);
    }

    /// Of the routes there are, with those of the gateways in `compat`.
    pub(super) fn write(&self, exposition: &mut Exposition<'_>, compat: &[CompatApi]) -> fmt::Result {
        exposition.counter(
            "presence_tokens_refused",
            "Requests without a valid token",
            self.tokens_refused.get(),
        )?;
        exposition.counters(
            "presence_rate_limited",
            "Requests that were answered 429",
            self.rate_limited
                .iter()
                .map(|(limit, count)| ([("limit", limit.as_str())], count.get())),
        )?;
        exposition.counters(
            "presence_http_requests",
            "Requests by the route that they named, and by the class of the status that they were answered",
            self.by_label(compat).flat_map(|(route, counters)| {
                let by_class = CLASSES.into_iter().zip(&counters.by_class);
                by_class.map(move |(class, count)| ([("route", route), ("status", class)], count.get()))
            }),
        )?;
        exposition.histograms(
            "presence_http_request_duration_seconds",
            "From a request's head to its answer's, by route",
            self.by_label(compat)
                .map(|(route, counters)| ([("route", route)], &counters.took)),
        )
    }

    fn by_label(&self, compat: &[CompatApi]) -> impl Iterator<Item = (&'static str, &RouteCounters)> {
        let routes = ROUTES.iter().zip(&self.routes);
        let there = routes.filter(|(route, _)| route.compat.is_none_or(|api| compat.contains(&api)));
        std::iter::once(("none", &self.no_route))
            .chain(there.map(|(route, counters)| (route.label, counters)))
    }
}

impl Default for HttpCounters {
    fn default() -> Self {
        Self {
            routes: array::from_fn(|_| RouteCounters::default()),
            no_route: RouteCounters::default(),
            tokens_refused: Counter::default(),
            rate_limited: EnumMap::default(),
        }
    }
}

impl Default for RouteCounters {
    fn default() -> Self {
        Self {
            by_class: Default::default(),
            took: Histogram::new(&LATENCIES),
        }
    }
}

impl Limit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::NewInstances => "new_instances",
            Self::WrongTokens => "wrong_tokens",
        }
    }
}

impl From<Bucket> for Limit {
    fn from(bucket: Bucket) -> Self {
        match bucket {
            Bucket::Requests => Self::Requests,
            Bucket::NewInstances => Self::NewInstances,
        }
    }
}

/// The connections that are open, and the streams of events on them.
pub(super) fn write_connections(
    exposition: &mut Exposition<'_>,
    connections: ConnectionCounts,
    streams: usize,
) -> fmt::Result {
    exposition.gauge(
        "presence_http_connections",
        "Connections of clients that are open",
        connections.open as u64,
    )?;
    exposition.counter(
        "presence_http_connections_evicted",
        "Idle connections that were closed to make room",
        connections.evicted,
    )?;
    exposition.counter(
        "presence_http_connections_refused",
        "Connections of clients that had as many as one may have",
        connections.refused,
    )?;
    exposition.gauge(
        "presence_event_streams",
        "Clients that follow events",
        streams as u64,
    )
}
