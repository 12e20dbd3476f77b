//! How the pocket region is set up: its address, its clocks and its limits.

use std::{net::SocketAddr, time::Duration};

/// Settings of one region.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the AWS API answers; port 0 takes a free one.
    pub listen: SocketAddr,
    /// All of AWS's clocks are multiplied by this: 1.0 is AWS's own pace, 0.01 a hundredth of it.
    pub scale: f64,
    /// Seed of everything drawn by chance.
    pub seed: u64,
    /// Added to every API call, before it is applied.
    pub latency: Duration,
    /// Whether AWS's published token buckets are enforced.
    pub limits: bool,
    pub clocks: Clocks,
}

/// AWS's clocks, before scaling.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// From launch to a server that listens.
    pub boot: Duration,
    /// How long a rule change may take to show on a load-balancer node; each node draws its own.
    pub propagation_max: Duration,
    /// From `DeleteAutoScalingGroup` until its instances begin to go.
    pub delete_lag: Duration,
    /// How old a signed request may be.
    pub signature_life: Duration,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(40),
            propagation_max: Duration::from_secs(5),
            delete_lag: Duration::from_secs(20),
            signature_life: Duration::from_secs(300),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            scale: 1.0,
            seed: 1,
            latency: Duration::ZERO,
            limits: false,
            clocks: Clocks::default(),
        }
    }
}

impl Options {
    /// One of AWS's durations at this region's pace.
    #[must_use]
    pub fn scaled(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.scale)
    }
}
