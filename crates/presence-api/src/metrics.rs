//! What the service counts, and how monitoring reads it: in Prometheus' text format, with prometheus-client.
//!
//! Counting is a few atomic additions; everything else happens when somebody asks.

mod exposition;
mod fleet;
mod http;
mod process;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;
use tokio::task::spawn_blocking;

use self::exposition::Exposition;
pub(crate) use self::http::{HttpCounters, Limit};
use self::process::ProcessFigures;
use crate::app::{App, Readiness};
use crate::health::Finding;

pub(crate) use prometheus_text::CONTENT_TYPE;

/// What is told when somebody asks, in Prometheus' text format.
pub(crate) async fn render(app: &Arc<App>) -> String {
    let scrape = Scrape {
        app: Arc::clone(app),
        findings: app.health.findings().await,
        // Counting open files takes long where there are many.
        process: spawn_blocking(ProcessFigures::read).await.ok().flatten(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("writing to a String cannot fail");
    text
}

/// All there is to tell.
struct Scrape {
    app: Arc<App>,
    findings: Vec<(&'static str, Finding)>,
    process: Option<ProcessFigures>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let exposition = &mut Exposition::new(encoder);
        let app = &self.app;
        self.write_service(exposition)?;
        // None while the service starts.
        if let Some(instances) = app.instances.get() {
            fleet::write_instances(exposition, instances.states())?;
            fleet::write(exposition, instances.counters())?;
        }
        app.metrics.write(exposition, &app.settings.compat)?;
        http::write_connections(exposition, app.connections.counts(), app.events.streams())?;
        exposition.counters(
            "presence_webhook_deliveries",
            "Attempts to call a webhook, by what became of them; and messages that were dropped",
            app.webhooks
                .iter()
                .map(|(delivery, count)| ([("outcome", delivery.as_str())], count.get())),
        )?;
        for counter in app.health.counters() {
            exposition.counter(counter.name, counter.help, counter.value)?;
        }
        self.process.map_or(Ok(()), |process| process.write(exposition))
    }
}

impl Scrape {
    fn write_service(&self, exposition: &mut Exposition<'_>) -> fmt::Result {
        exposition.info(
            "presence_build",
            "The version of the service",
            [("version", env!("CARGO_PKG_VERSION"))],
        )?;
        exposition.gauge(
            "presence_ready",
            "Whether requests are taken: 1, or 0 while the service starts or stops",
            u64::from(self.app.readiness() == Readiness::Ready),
        )?;
        exposition.gauges(
            "presence_health_check",
            "What a check of /health finds: 0 all is well, 1 a warning, 2 a failure",
            self.findings
                .iter()
                .map(|(check, found)| ([("check", *check)], severity(found))),
        )?;
        exposition.gauge(
            "presence_runtime_tasks",
            "Tasks of the runtime that have not ended",
            tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64,
        )
    }
}

fn severity(finding: &Finding) -> u64 {
    match finding {
        Finding::Ok => 0,
        Finding::Warning(_) => 1,
        Finding::Failed(_) => 2,
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}
