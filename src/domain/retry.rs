//! How long to wait before trying again: exponential with full jitter, so that many deployments do not come back together.

use std::time::Duration;

/// The shortest wait that chance may shorten.
const FIRST: Duration = Duration::from_millis(100);

/// The pause after the `count`-th failure in a row: up to `FIRST` doubled each time, at most `max`, shortened by `chance`
/// (0 to 1, drawn by the caller: the domain has no chance of its own).
#[must_use]
pub fn pause(count: u32, max: Duration, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(count.saturating_sub(1).min(16)).unwrap_or(u32::MAX));
    doubled.min(max).mul_f64(if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_longer_than_the_cap_and_never_a_panic(count in any::<u32>(), ms in 0_u64..100_000, chance in any::<f64>()) {
            let max = Duration::from_millis(ms);
            prop_assert!(pause(count, max, chance) <= max);
        }
    }

    #[test]
    fn the_cap_is_reached_and_kept() {
        let max = Duration::from_secs(2);
        let pauses: Vec<_> = (1..=8).map(|count| pause(count, max, 1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    }
}
