//! How far our clock is ahead of AWS's, from the `Date` header of its answers.
//!
//! A request is signed with our time and refused by AWS's: a clock that runs ahead keeps an old write alive for longer. The
//! engine adds this lead to the quiet period.

use std::{sync::Mutex, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};

/// A measure is forgotten after one to two of these.
const WINDOW: Duration = Duration::from_secs(300);

/// The lead as measured of late.
#[derive(Debug, Default)]
pub(super) struct ClockLead(Mutex<Windows>);

/// `Date` has whole seconds and an answer takes its time: both make a single measure too large, never too small. So the
/// smallest of a window is the best one; two windows, so that there is always one that is full.
#[derive(Debug, Default)]
struct Windows {
    began: Option<Timestamp>,
    current_ms: Option<i64>,
    before_ms: Option<i64>,
}

impl ClockLead {
    /// Takes one measure; what is no date is ignored.
    pub(super) fn read(&self, date: &str, now: Timestamp) {
        let Ok(theirs) = rfc2822::DateTimeParser::new().parse_timestamp(date) else { return };
        let lead_ms = now.as_millisecond() - theirs.as_millisecond();
        let mut windows = self.lock();
        let over = windows.began.is_none_or(|began| now.duration_since(began).unsigned_abs() >= WINDOW);
        if over {
            *windows = Windows { began: Some(now), current_ms: None, before_ms: windows.current_ms };
        }
        windows.current_ms = Some(windows.current_ms.map_or(lead_ms, |smallest| smallest.min(lead_ms)));
    }

    /// The lead; zero when our clock is behind, or nothing was measured yet.
    pub(super) fn lead(&self) -> Duration {
        let windows = self.lock();
        let lead_ms = windows.current_ms.into_iter().chain(windows.before_ms).max().unwrap_or(0);
        Duration::from_millis(u64::try_from(lead_ms).unwrap_or(0))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Windows> {
        // Nothing that holds it can panic half-way through a change.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        // Sun, 06 Nov 1994 08:49:37 GMT, as in RFC 9110.
        Timestamp::from_millisecond(784_111_777_000 + millis).unwrap()
    }

    #[test]
    fn the_smallest_measure_of_a_window_counts() {
        let clock = ClockLead::default();
        assert_eq!(clock.lead(), Duration::ZERO);
        clock.read("Sun, 06 Nov 1994 08:49:37 GMT", at(4_900));
        clock.read("Sun, 06 Nov 1994 08:49:38 GMT", at(5_050));
        clock.read("no date", at(1));
        assert_eq!(clock.lead(), Duration::from_millis(4_050));
    }

    #[test]
    fn a_clock_behind_has_no_lead_and_one_set_forward_shows_in_the_next_window() {
        let clock = ClockLead::default();
        clock.read("Sun, 06 Nov 1994 08:49:37 GMT", at(-9_000));
        assert_eq!(clock.lead(), Duration::ZERO);
        clock.read("Sun, 06 Nov 1994 08:55:37 GMT", at(6 * 60_000 + 3_000));
        assert_eq!(clock.lead(), Duration::from_secs(3));
    }
}
