//! Of many measurements: their percentiles, and the ratio to what was measured beside them.

use std::time::Duration;

use serde_json::{Value, json};

/// Measurements of one kind, in milliseconds.
#[derive(Debug, Default, Clone)]
pub struct Sample(Vec<f64>);

impl Sample {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1000.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest that so many percent do not exceed; 0 of none.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0.0)
    }

    pub fn p50(&self) -> f64 {
        self.percentile(50)
    }

    pub fn p99(&self) -> f64 {
        self.percentile(99)
    }
}

/// A rollback held against the bare work, and against a handler that does one after the other.
#[derive(Debug)]
pub struct Compared {
    pub service: Sample,
    pub bare: Sample,
    pub serial: Sample,
    /// A request for nothing: what the service's own door takes.
    pub greeting: Sample,
    /// Answered before they were on record.
    pub without_record: u32,
}

impl Compared {
    pub fn ratio(&self, of: fn(&Sample) -> f64) -> f64 {
        of(&self.service) / of(&self.bare)
    }

    pub fn line(&self, name: &str) -> String {
        let (service, bare) = (&self.service, &self.bare);
        let serial = if self.serial.len() == 0 {
            String::new()
        } else {
            format!(" · one after the other p50 {:.2} ms ({:.2} of bare)", self.serial.p50(), self.serial.p50() / bare.p50())
        };
        format!(
            "{name}: {} rollbacks, p50 {:.2} ms, p99 {:.2} ms · bare p50 {:.2} ms, p99 {:.2} ms · ratio p50 {:.3}, p99 {:.3}{serial} \
             · a request for nothing p50 {:.2} ms · {} before they were on record",
            service.len(),
            service.p50(),
            service.p99(),
            bare.p50(),
            bare.p99(),
            self.ratio(Sample::p50),
            self.ratio(Sample::p99),
            self.greeting.p50(),
            self.without_record,
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "rollbacks": self.service.len(),
            "without_record": self.without_record,
            "p50_ms": self.service.p50(),
            "p99_ms": self.service.p99(),
            "bare_p50_ms": self.bare.p50(),
            "bare_p99_ms": self.bare.p99(),
            "serial_p50_ms": self.serial.p50(),
            "greeting_p50_ms": self.greeting.p50(),
            "added_p50_ms": self.service.p50() - self.bare.p50(),
            "ratio_p50": self.ratio(Sample::p50),
            "ratio_p99": self.ratio(Sample::p99),
        })
    }
}
