//! Histograms that were counted elsewhere.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// Sum, and counts by upper bound.
type Histogram = (f64, Vec<(f64, u64)>);

/// One histogram for each set of labels.
#[derive(Debug)]
pub(super) struct Counted<L>(Vec<(L, Histogram)>);

impl<L> Default for Counted<L> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<L> Counted<L> {
    /// `at_most`: each upper bound in seconds with what is above the bound before.
    pub(super) fn push(&mut self, labels: L, sum: Duration, at_most: Vec<(f64, u64)>) {
        self.0.push((labels, (sum.as_secs_f64(), at_most)));
    }
}

impl<L: EncodeLabelSet + fmt::Debug> EncodeMetric for Counted<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, (sum, buckets))| {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_family(labels)?.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
