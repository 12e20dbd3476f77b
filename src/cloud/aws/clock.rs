//! AWS's clock, from the `Date` header of its answers: what requests are signed by where our own is far off, and how far what we sign
//! is ahead of it.
//!
//! AWS refuses what is signed five minutes beside its own time, and a way back must not hang on this machine's clock. A clock that is only
//! a little ahead keeps an old write alive for longer by that much: the engine adds this lead to the quiet period.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use aws_smithy_async::time::TimeSource;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

/// A measure of the lead is forgotten after one to two of these.
const WINDOW: Duration = Duration::from_secs(300);
/// A clock that is off by no more is left as it is: `Date` has whole seconds, and AWS takes five minutes.
const LEFT_ALONE: SignedDuration = SignedDuration::from_secs(5);
/// An answer that is older does not put our clock right: the monotonic one that counts on from it drifts, too.
const GOOD_FOR: Duration = Duration::from_secs(3600);

/// AWS's clock as far as it is known.
#[derive(Debug, Default)]
pub(super) struct ClockLead(Mutex<Known>);

/// `Date` has whole seconds and an answer takes its time: both make a single measure of the lead too large, never too small. So the
/// smallest of a window is the best one; two windows, so that there is always one that is full.
#[derive(Debug, Default)]
struct Known {
    /// What the last answer said, and when it came.
    theirs: Option<(Timestamp, Instant)>,
    began: Option<Timestamp>,
    current_ms: Option<i64>,
    before_ms: Option<i64>,
}

/// What the SDK signs by.
#[derive(Debug)]
pub(super) struct SigningClock(pub(super) Arc<ClockLead>);

impl TimeSource for SigningClock {
    fn now(&self) -> SystemTime {
        self.0.signs_by(Timestamp::now(), Instant::now()).into()
    }
}

impl ClockLead {
    /// Takes one measure, `at` which our clock showed `now`; what is no date is ignored.
    pub(super) fn read(&self, date: &str, now: Timestamp, at: Instant) {
        let Ok(theirs) = rfc2822::DateTimeParser::new().parse_timestamp(date) else { return };
        let mut known = self.lock();
        let lead_ms = known.signs_by(now, at).as_millisecond() - theirs.as_millisecond();
        let over = known.began.is_none_or(|began| now.duration_since(began).unsigned_abs() >= WINDOW);
        if over {
            *known = Known { began: Some(now), current_ms: None, before_ms: known.current_ms, theirs: None };
        }
        known.current_ms = Some(known.current_ms.map_or(lead_ms, |smallest| smallest.min(lead_ms)));
        known.theirs = Some((theirs, at));
    }

    /// How far what is signed is ahead; zero when our clock is behind, or nothing was measured yet.
    pub(super) fn lead(&self) -> Duration {
        let known = self.lock();
        let lead_ms = known.current_ms.into_iter().chain(known.before_ms).max().unwrap_or(0);
        Duration::from_millis(u64::try_from(lead_ms).unwrap_or(0))
    }

    fn signs_by(&self, now: Timestamp, at: Instant) -> Timestamp {
        self.lock().signs_by(now, at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing that holds it can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Our own clock, or AWS's where that is far from it. Counted on by the monotonic clock, which nobody sets: a step of ours is seen at
    /// the next signature. What is late in either count only makes a signature older, and so shorter-lived.
    fn signs_by(&self, now: Timestamp, at: Instant) -> Timestamp {
        let Some((theirs, since)) = self.theirs else { return now };
        let passed = at.saturating_duration_since(since);
        let counted = SignedDuration::try_from(passed).ok().and_then(|passed| theirs.checked_add(passed).ok());
        match counted {
            Some(theirs) if passed <= GOOD_FOR && now.duration_since(theirs).abs() > LEFT_ALONE => theirs,
            Some(_) | None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        // Sun, 06 Nov 1994 08:49:37 GMT, as in RFC 9110.
        Timestamp::from_millisecond(784_111_777_000 + millis).unwrap()
    }

    /// Reads what comes so many milliseconds after the first answer, by a clock that shows `own`.
    fn read(clock: &ClockLead, first: Instant, after: u64, date: &str, own: i64) {
        clock.read(date, at(own), first + Duration::from_millis(after));
    }

    #[test]
    fn the_smallest_measure_of_a_window_counts() {
        let (clock, first) = (ClockLead::default(), Instant::now());
        assert_eq!(clock.lead(), Duration::ZERO);
        read(&clock, first, 0, "Sun, 06 Nov 1994 08:49:37 GMT", 4_900);
        read(&clock, first, 150, "Sun, 06 Nov 1994 08:49:38 GMT", 5_050);
        read(&clock, first, 150, "no date", 1);
        assert_eq!(clock.lead(), Duration::from_millis(4_050));
    }

    #[test]
    fn a_clock_behind_has_no_lead_and_one_set_forward_shows_in_the_next_window() {
        let (clock, first) = (ClockLead::default(), Instant::now());
        read(&clock, first, 0, "Sun, 06 Nov 1994 08:49:37 GMT", -9_000);
        assert_eq!(clock.lead(), Duration::ZERO);
        read(&clock, first, 360_000, "Sun, 06 Nov 1994 08:55:37 GMT", 6 * 60_000 + 3_000);
        assert_eq!(clock.lead(), Duration::from_secs(3));
    }

    #[test]
    fn where_our_clock_is_far_off_awss_is_signed_by_and_a_little_is_left_as_it_is() {
        let (clock, first) = (ClockLead::default(), Instant::now());
        let signs_by = |after: u64, own: i64| clock.signs_by(at(own), first + Duration::from_millis(after));
        assert_eq!(signs_by(0, 600_000), at(600_000), "nothing is known of AWS's yet");
        read(&clock, first, 0, "Sun, 06 Nov 1994 08:49:37 GMT", 800);
        assert_eq!(signs_by(2_000, 2_800), at(2_800));
        assert_eq!(signs_by(2_000, 7_000), at(7_000));
        for off in [-600_000, -5_001, 5_001, 600_000] {
            assert_eq!(signs_by(2_000, 2_000 + off), at(2_000), "stepped by {off} ms");
        }
        assert_eq!(signs_by(3_600_001, 4_200_000), at(4_200_000), "an answer of long ago says nothing");
    }

    #[test]
    fn what_is_signed_by_awss_clock_has_no_lead() {
        let (clock, first) = (ClockLead::default(), Instant::now());
        read(&clock, first, 0, "Sun, 06 Nov 1994 08:49:37 GMT", 600_000);
        assert_eq!(clock.lead(), Duration::from_secs(600), "what was signed before anything was known");
        read(&clock, first, 1_000, "Sun, 06 Nov 1994 08:49:38 GMT", 601_000);
        assert_eq!(clock.lead(), Duration::ZERO);
    }
}
