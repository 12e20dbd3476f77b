//! How long things took: sums and counts by upper bound, for the metrics.

use std::time::Duration;

/// Counts of what took at most so many seconds, with their sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    bounds: &'static [f64],
    counts: Vec<u64>,
    took: Duration,
}

impl Spread {
    /// `bounds`: seconds, ascending, the last one infinite.
    #[must_use]
    pub fn over(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], took: Duration::ZERO }
    }

    pub fn add(&mut self, took: Duration) {
        self.took += took;
        let seconds = took.as_secs_f64();
        if let Some((_, count)) = self.bounds.iter().zip(&mut self.counts).find(|(bound, _)| seconds <= **bound) {
            *count += 1;
        }
    }

    /// All of it together.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Each bound with how many took at most that and more than the bound before.
    #[must_use]
    pub fn at_most(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().zip(self.counts.iter().copied()).collect()
    }
}
