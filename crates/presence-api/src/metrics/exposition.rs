//! Metrics as text: each with its help, its type and its samples.

use std::fmt;

use presence_metrics::Histogram;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

/// The labels of a sample. Their values are ours: there are never more of them than the program knows.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Where metrics are written. Names of counters come without their `_total`, and those of infos without `_info`.
pub(super) struct Exposition<'a>(DescriptorEncoder<'a>);

impl<'a> Exposition<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [([], value)])
    }

    /// By labels.
    pub(super) fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |encoder, value| {
            encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
        })
    }

    /// A counter of seconds.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Counter,
            [([], value)],
            |encoder, value| encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        )
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauges(name, help, [([], value)])
    }

    /// By labels.
    pub(super) fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<N>, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |encoder, value| {
            encoder.encode_gauge(&value)
        })
    }

    /// By labels.
    pub(super) fn histograms<'h, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<N>, &'h Histogram)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Histogram,
            samples,
            |encoder, histogram| {
                let bound = |at_most: Option<std::time::Duration>| {
                    at_most.map_or(f64::INFINITY, |it| it.as_secs_f64())
                };
                // Read once: so the count is that of the buckets.
                let buckets: Vec<_> = histogram
                    .buckets()
                    .map(|bucket| (bound(bucket.at_most), bucket.count))
                    .collect();
                let count = buckets.iter().map(|(_, count)| count).sum();
                let sum = histogram.sum().as_secs_f64();
                encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
            },
        )
    }

    /// A constant 1 whose labels tell something.
    pub(super) fn info<const N: usize>(&mut self, name: &str, help: &str, labels: Labels<N>) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Info)?
            .encode_info(&labels)
    }

    fn family<const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels<N>, V)>,
        encode: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result
    where
        Labels<N>: EncodeLabelSet,
    {
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            encode(&mut encoder.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}
