//! Counters for monitoring. Counting is a few atomic additions; rendering happens when somebody asks.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use presence_wa::InstanceState;

/// Every [`Route::label`](crate::routes::Route::label), and `none` for what is no route.
pub(crate) const ROUTES: [&str; 15] = [
    "none",
    "chat_presence",
    "instance_new",
    "instance_list",
    "instance_connect",
    "instance_reconnect",
    "instance_logout",
    "instance_delete",
    "instance_get_settings",
    "instance_settings",
    "health",
    "livez",
    "readyz",
    "metrics",
    "openapi",
];
/// Upper bounds of the latency buckets, in microseconds. A presence takes well under a millisecond, a
/// connect up to a minute.
const BUCKETS_US: [u64; 10] = [
    100, 250, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000, 5_000_000, 60_000_000,
];

/// What was answered since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    routes: [Counters; ROUTES.len()],
}

#[derive(Debug, Default)]
struct Counters {
    /// By the first digit of the status: 2xx to 5xx.
    by_class: [AtomicU64; 4],
    by_latency: [AtomicU64; BUCKETS_US.len()],
    total_us: AtomicU64,
}

impl Metrics {
    /// Counts an answer.
    pub(crate) fn answered(&self, route: &str, status: StatusCode, elapsed: Duration) {
        let at = ROUTES
            .iter()
            .position(|known| *known == route)
            .unwrap_or_default();
        let counters = &self.routes[at];
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        counters.by_class[class].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS_US.iter().position(|bound| us <= *bound) {
            counters.by_latency[bucket].fetch_add(1, Ordering::Relaxed);
        }
        counters.total_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Prometheus' text format.
    pub(crate) fn render(
        &self,
        uptime: Duration,
        tasks: usize,
        instances: impl IntoIterator<Item = (InstanceState, usize)>,
    ) -> String {
        let mut text = String::new();
        self.write(&mut text, uptime, tasks, instances)
            .expect("writing to a String cannot fail");
        text
    }

    fn write(
        &self,
        text: &mut String,
        uptime: Duration,
        tasks: usize,
        instances: impl IntoIterator<Item = (InstanceState, usize)>,
    ) -> fmt::Result {
        writeln!(text, "# TYPE presence_uptime_seconds gauge")?;
        writeln!(text, "presence_uptime_seconds {}", uptime.as_secs())?;
        writeln!(text, "# TYPE presence_runtime_tasks gauge")?;
        writeln!(text, "presence_runtime_tasks {tasks}")?;
        writeln!(text, "# TYPE presence_instances gauge")?;
        for (state, count) in instances {
            writeln!(text, "presence_instances{{state=\"{state}\"}} {count}")?;
        }
        writeln!(text, "# TYPE presence_http_requests_total counter")?;
        for (route, counters) in ROUTES.iter().zip(&self.routes) {
            for (class, count) in (2..).zip(&counters.by_class) {
                let count = count.load(Ordering::Relaxed);
                writeln!(
                    text,
                    "presence_http_requests_total{{route=\"{route}\",status=\"{class}xx\"}} {count}"
                )?;
            }
        }
        writeln!(text, "# TYPE presence_http_request_duration_seconds histogram")?;
        for (route, counters) in ROUTES.iter().zip(&self.routes) {
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
        metrics.answered("chat_presence", StatusCode::OK, Duration::from_micros(90));
        metrics.answered(
            "chat_presence",
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_secs(5),
        );
        metrics.answered(
            "instance_connect",
            StatusCode::GATEWAY_TIMEOUT,
            Duration::from_secs(61),
        );
        let text = metrics.render(Duration::from_secs(3), 7, [(InstanceState::Connected, 2)]);
        for line in [
            "presence_uptime_seconds 3",
            "presence_runtime_tasks 7",
            "presence_instances{state=\"connected\"} 2",
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
    }
}
