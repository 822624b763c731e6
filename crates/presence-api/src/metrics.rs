//! Counters for monitoring. Counting is a few atomic additions; rendering happens when somebody asks.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use presence_wa::InstanceState;

use crate::compat::CompatApi;
use crate::connections::ConnectionCounts;
use crate::routes::ROUTES;

/// Upper bounds of the latency buckets, in microseconds. A presence takes well under a millisecond, a
/// connect up to a minute.
const BUCKETS_US: [u64; 10] = [
    100, 250, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000, 5_000_000, 60_000_000,
];

/// What was answered since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By the place of the route in the table.
    routes: [Counters; ROUTES.len()],
    /// What was answered to requests that named none.
    no_route: Counters,
    failed_authentications: AtomicU64,
}

/// What is measured, or set, when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) uptime: Duration,
    /// Tasks of the runtime.
    pub(crate) tasks: usize,
    /// `None` while the service starts.
    pub(crate) instances: Option<[(InstanceState, usize); 4]>,
    pub(crate) connections: ConnectionCounts,
    /// Other gateways whose routes there are.
    pub(crate) compat: Vec<CompatApi>,
    /// Of the health checks.
    pub(crate) counters: Vec<(&'static str, u64)>,
}

#[derive(Debug, Default)]
struct Counters {
    /// By the first digit of the status: 2xx to 5xx.
    by_class: [AtomicU64; 4],
    by_latency: [AtomicU64; BUCKETS_US.len()],
    total_us: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            routes: std::array::from_fn(|_| Counters::default()),
            no_route: Counters::default(),
            failed_authentications: AtomicU64::default(),
        }
    }
}

impl Metrics {
    /// Counts an answer of the route at this place in the table; `None` where the request named none.
    pub(crate) fn answered(&self, route: Option<usize>, status: StatusCode, elapsed: Duration) {
        let counters = route.map_or(&self.no_route, |index| &self.routes[index]);
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        counters.by_class[class].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS_US.iter().position(|bound| us <= *bound) {
            counters.by_latency[bucket].fetch_add(1, Ordering::Relaxed);
        }
        counters.total_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Counts a request without a valid token.
    pub(crate) fn failed_authentication(&self) {
        self.failed_authentications.fetch_add(1, Ordering::Relaxed);
    }

    /// Prometheus' text format.
    pub(crate) fn render(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        gauges
            .write(&mut text)
            .and_then(|()| self.write(&mut text, &gauges.compat))
            .expect("writing to a String cannot fail");
        text
    }

    fn write(&self, text: &mut String, compat: &[CompatApi]) -> fmt::Result {
        let failed = self.failed_authentications.load(Ordering::Relaxed);
        write_one(
            text,
            "presence_http_failed_authentications_total",
            "counter",
            failed,
        )?;
        writeln!(text, "# TYPE presence_http_requests_total counter")?;
        for (route, counters) in self.by_label(compat) {
            for (class, count) in (2..).zip(&counters.by_class) {
                let count = count.load(Ordering::Relaxed);
                writeln!(
                    text,
                    "presence_http_requests_total{{route=\"{route}\",status=\"{class}xx\"}} {count}"
                )?;
            }
        }
        writeln!(text, "# TYPE presence_http_request_duration_seconds histogram")?;
        for (route, counters) in self.by_label(compat) {
            let name = "presence_http_request_duration_seconds";
            let mut below = 0;
            for (bound, count) in BUCKETS_US.iter().zip(&counters.by_latency) {
                below += count.load(Ordering::Relaxed);
                writeln!(
                    text,
                    "{name}_bucket{{route=\"{route}\",le=\"{}\"}} {below}",
                    Seconds(*bound)
                )?;
            }
            let all: u64 = counters
                .by_class
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .sum();
            let sum = Seconds(counters.total_us.load(Ordering::Relaxed));
            writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {all}")?;
            writeln!(text, "{name}_sum{{route=\"{route}\"}} {sum}")?;
            writeln!(text, "{name}_count{{route=\"{route}\"}} {all}")?;
        }
        Ok(())
    }

    /// Of the routes there are, with those of the gateways in `compat`.
    fn by_label(&self, compat: &[CompatApi]) -> impl Iterator<Item = (&'static str, &Counters)> {
        let routes = ROUTES.iter().zip(&self.routes);
        let there = routes.filter(|(route, _)| route.compat.is_none_or(|api| compat.contains(&api)));
        std::iter::once(("none", &self.no_route))
            .chain(there.map(|(route, counters)| (route.label, counters)))
    }
}

impl Gauges {
    fn write(&self, text: &mut String) -> fmt::Result {
        write_one(text, "presence_uptime_seconds", "gauge", self.uptime.as_secs())?;
        write_one(text, "presence_runtime_tasks", "gauge", self.tasks)?;
        if let Some(states) = self.instances {
            writeln!(text, "# TYPE presence_instances gauge")?;
            for (state, count) in states {
                writeln!(text, "presence_instances{{state=\"{state}\"}} {count}")?;
            }
        }
        let connections = self.connections;
        write_one(text, "presence_http_connections", "gauge", connections.open)?;
        write_one(
            text,
            "presence_http_connections_evicted_total",
            "counter",
            connections.evicted,
        )?;
        write_one(
            text,
            "presence_http_connections_refused_total",
            "counter",
            connections.refused,
        )?;
        for (name, count) in &self.counters {
            write_one(text, name, "counter", count)?;
        }
        Ok(())
    }
}

fn write_one(text: &mut String, name: &str, kind: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(text, "# TYPE {name} {kind}\n{name} {value}")
}

/// Microseconds, written as decimal seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    //! What a scraper reads.

    use super::*;

    #[test]
    fn answers_are_counted_by_route_status_and_latency() {
        let metrics = Metrics::default();
        let at = |label| ROUTES.iter().position(|route| route.label == label);
        let (presence, connect) = (at("chat_presence"), at("instance_connect"));
        metrics.answered(presence, StatusCode::OK, Duration::from_micros(90));
        metrics.answered(presence, StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(5));
        metrics.answered(connect, StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(61));
        metrics.answered(None, StatusCode::NOT_FOUND, Duration::from_micros(9));
        metrics.failed_authentication();
        let text = metrics.render(&Gauges {
            uptime: Duration::from_secs(3),
            tasks: 7,
            instances: Some([(InstanceState::Connected, 2); 4]),
            connections: ConnectionCounts {
                open: 5,
                evicted: 6,
                refused: 8,
            },
            compat: vec![CompatApi::Waha],
            counters: vec![("presence_log_lines_dropped_total", 9)],
        });
        for line in [
            "presence_uptime_seconds 3",
            "presence_runtime_tasks 7",
            "presence_runtime_tasks 7",
            "presence_instances{state=\"connected\"} 2",
            "presence_http_connections 5",
            "presence_http_connections_evicted_total 6",
            "presence_http_connections_refused_total 8",
            "presence_http_failed_authentications_total 1",
            "presence_log_lines_dropped_total 9",
            "presence_http_requests_total{route=\"none\",status=\"4xx\"} 1",
            "presence_http_requests_total{route=\"chat_presence\",status=\"2xx\"} 1",
            "presence_http_requests_total{route=\"chat_presence\",status=\"5xx\"} 1",
            "presence_http_request_duration_seconds_bucket{route=\"chat_presence\",le=\"0.000100\"} 1",
            "presence_http_request_duration_seconds_bucket{route=\"chat_presence\",le=\"5.000000\"} 2",
            "presence_http_request_duration_seconds_sum{route=\"chat_presence\"} 5.000090",
            "presence_http_request_duration_seconds_bucket{route=\"instance_connect\",le=\"60.000000\"} 0",
            "presence_http_request_duration_seconds_count{route=\"instance_connect\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(
            text.contains("waha_presence") && !text.contains("evolution"),
            "{text}"
        );
    }
}
