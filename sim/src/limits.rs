//! AWS's token buckets, shared by everybody in the account and region.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::{api::Service, model::Place};

/// A bucket's size and how many tokens come back a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub bucket: f64,
    pub refill: f64,
}

/// The published rates. These are requests a second of real time: they are not scaled with AWS's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Elastic Load Balancing's changes.
    pub change: Rate,
    /// RegisterTargets and DeregisterTargets.
    pub register: Rate,
    /// Elastic Load Balancing's Describe calls. AWS's page says 40 / 10; others report 200 / 50 since March 2026.
    pub describe: Rate,
    /// All of Auto Scaling. Not published: assumed.
    pub auto_scaling: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            change: Rate { bucket: 20.0, refill: 3.0 },
            register: Rate { bucket: 20.0, refill: 4.0 },
            describe: Rate { bucket: 40.0, refill: 10.0 },
            auto_scaling: Rate { bucket: 10.0, refill: 5.0 },
        }
    }
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    seen: Instant,
}

impl Bucket {
    fn full(rate: Rate) -> Self {
        Self { rate, tokens: rate.bucket, seen: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.rate.refill).min(self.rate.bucket);
        self.seen = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// The buckets; None: no limits.
#[derive(Debug)]
pub struct Limits(Mutex<Option<Enforced>>);

#[derive(Debug)]
struct Enforced {
    rates: Rates,
    /// Full when a place is first called.
    buckets: BTreeMap<Place, Buckets>,
}

#[derive(Debug)]
struct Buckets {
    change: Bucket,
    register: Bucket,
    describe: Bucket,
    auto_scaling: Bucket,
}

impl Buckets {
    fn full(rates: Rates) -> Self {
        Self {
            change: Bucket::full(rates.change),
            register: Bucket::full(rates.register),
            describe: Bucket::full(rates.describe),
            auto_scaling: Bucket::full(rates.auto_scaling),
        }
    }
}

impl Limits {
    #[must_use]
    pub fn new(enforced: bool) -> Self {
        let limits = Self(Mutex::new(None));
        limits.set(enforced.then(Rates::default));
        limits
    }

    /// Full buckets of these rates, or none.
    pub fn set(&self, rates: Option<Rates>) {
        let enforced = rates.map(|rates| Enforced { rates, buckets: BTreeMap::new() });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = enforced;
    }

    #[must_use]
    pub fn rates(&self) -> Option<Rates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|enforced| enforced.rates)
    }

    /// Whether this call may pass; it costs a token of its account and region.
    #[must_use]
    pub fn allow(&self, place: &Place, service: Service, operation: &str, now: Instant) -> bool {
        let mut enforced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Enforced { rates, buckets }) = enforced.as_mut() else { return true };
        let buckets = buckets.entry(place.clone()).or_insert_with(|| Buckets::full(*rates));
        let bucket = match (service, operation) {
            (Service::Sts, _) => return true,
            (Service::AutoScaling, _) => &mut buckets.auto_scaling,
            (Service::Elb, "RegisterTargets" | "DeregisterTargets") => &mut buckets.register,
            (Service::Elb, read) if read.starts_with("Describe") => &mut buckets.describe,
            (Service::Elb, _) => &mut buckets.change,
        };
        bucket.take(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_up_to_the_bucket_and_then_at_its_refill() {
        let limits = Limits::new(true);
        let (now, home) = (Instant::now() + Duration::from_secs(1), Place::default());
        let passed = |at| (0..100).filter(|_| limits.allow(&home, Service::Elb, "DeleteRule", at)).count();
        assert_eq!(passed(now), 20);
        assert_eq!(passed(now + Duration::from_secs(2)), 6);
        assert!(limits.allow(&home, Service::Elb, "DescribeRules", now), "reads have a bucket of their own");
        let elsewhere = Place { region: "us-east-1".to_owned(), ..Place::default() };
        assert!(limits.allow(&elsewhere, Service::Elb, "DeleteRule", now), "and so has every region");
    }

    #[test]
    fn without_limits_everything_passes() {
        let limits = Limits::new(false);
        assert!((0..1000).all(|_| limits.allow(&Place::default(), Service::Elb, "ModifyRule", Instant::now())));
    }
}
