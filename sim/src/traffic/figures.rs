//! What the load balancer counts, slot by slot: the figures CloudWatch shows on AWS.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::http::StatusCode;
use serde::Serialize;

/// Latency is counted in buckets of powers of two of a microsecond: the last one holds everything above a minute.
pub const BUCKETS: usize = 27;

/// A slot's counters, raised by whoever serves a request.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    target_5xx: AtomicU64,
    elb_5xx: AtomicU64,
    in_flight: AtomicU64,
    latency_us_sum: AtomicU64,
    latency_buckets: [AtomicU64; BUCKETS],
}

/// A slot's figures since the region started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SlotFigures {
    /// The target group's ARN.
    pub slot: String,
    /// Every request routed to this slot, answered or not.
    pub requests: u64,
    /// 5xx answers made by targets.
    pub target_5xx: u64,
    /// 502, 503 and 504 made by the load balancer for want of a target's answer.
    pub elb_5xx: u64,
    /// Requests whose answer is not complete.
    pub in_flight: u64,
    /// Of answers by targets: from the request's arrival to the first byte back.
    pub latency_us_sum: u64,
    /// Bucket `n` counts latencies below `2^n` microseconds and not below the bucket before.
    pub latency_buckets: Vec<u64>,
}

/// All figures of the data plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// The newest version of the region that the data plane has looked at.
    pub version: u64,
    pub slots: Vec<SlotFigures>,
    pub listeners: Vec<ListenerFigures>,
}

/// One listener's state on its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ListenerFigures {
    pub listener: String,
    /// Connections taken since it was opened.
    pub connections: u64,
    pub nodes: usize,
    /// Nodes that have not yet applied the newest rules.
    pub nodes_behind: usize,
}

impl Counters {
    /// Counts a request in; it is in flight until the returned guard is dropped.
    pub fn begin(self: &std::sync::Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Counts a target's answer.
    pub fn answered(&self, status: StatusCode, latency: Duration) {
        if status.is_server_error() {
            self.target_5xx.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us_sum.fetch_add(micros, Ordering::Relaxed);
        self.latency_buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a 5xx of the load balancer's own.
    pub fn failed(&self) {
        self.elb_5xx.fetch_add(1, Ordering::Relaxed);
    }

    /// The figures as they are now.
    #[must_use]
    pub fn read(&self, slot: &str) -> SlotFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SlotFigures {
            slot: slot.to_owned(),
            requests: read(&self.requests),
            target_5xx: read(&self.target_5xx),
            elb_5xx: read(&self.elb_5xx),
            in_flight: read(&self.in_flight),
            latency_us_sum: read(&self.latency_us_sum),
            latency_buckets: self.latency_buckets.iter().map(read).collect(),
        }
    }
}

/// A request whose answer is not complete.
#[derive(Debug)]
pub struct InFlight(std::sync::Arc<Counters>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn bucket(micros: u64) -> usize {
    let bits = (u64::BITS - micros.leading_zeros()) as usize;
    bits.min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_bounds_it() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(1), 1);
        assert_eq!(bucket(1023), 10);
        assert_eq!(bucket(1024), 11);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_goes() {
        let counters = Arc::new(Counters::default());
        let first = counters.begin();
        let second = counters.begin();
        counters.answered(StatusCode::BAD_GATEWAY, Duration::from_micros(5));
        drop(first);
        let figures = counters.read("slot");
        assert_eq!((figures.requests, figures.in_flight, figures.target_5xx, figures.elb_5xx), (2, 1, 1, 0));
        drop(second);
        assert_eq!(counters.read("slot").in_flight, 0);
    }
}
