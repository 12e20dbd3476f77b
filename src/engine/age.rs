//! The database's clock, and how old something is that was read from the database. The latter by two clocks, because one stands still while a machine sleeps and the
//! other can be set.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::time;

/// When something was last known to be as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    since: Instant,
    at: Timestamp,
    /// How old it was at `since`.
    before: Duration,
}

impl Confirmed {
    /// Now; to be taken *before* the question is asked, so that it is never later than the truth.
    #[must_use]
    pub fn now() -> Self {
        Self { since: Instant::now(), at: Timestamp::now(), before: Duration::ZERO }
    }

    /// Read back from the disk, where only the wall clock counts on across a restart. One that lies in the future says that the
    /// clock was set back: then nobody knows how old it is.
    #[must_use]
    pub fn kept(at: Timestamp) -> Self {
        let now = Timestamp::now();
        let before = if at > now { Duration::MAX } else { time::between(at, now) };
        Self { since: Instant::now(), at, before }
    }

    /// The older of what the two clocks say.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.before.saturating_add(self.since.elapsed()).max(time::between(self.at, Timestamp::now()))
    }

    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// The time on record: the database's, counted on from one answer of its by the monotonic clock. What a deployment waits for goes by
/// it, so that replicas agree and a clock of theirs that is stepped ends no quiet period.
#[derive(Debug, Clone, Copy)]
pub struct RecordClock {
    at: Timestamp,
    since: Instant,
}

impl RecordClock {
    /// `at` is what an answer says that came just now: never later than the truth.
    #[must_use]
    pub fn showing(at: Timestamp) -> Self {
        Self { at, since: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        time::after(self.at, self.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_as_old_as_the_wall_clock_says_and_of_unknown_age_when_that_was_set_back() {
        let ago = |seconds: i64| Timestamp::from_second(Timestamp::now().as_second() - seconds).unwrap();
        let age = Confirmed::kept(ago(100)).age();
        assert!((Duration::from_secs(99)..Duration::from_secs(103)).contains(&age), "{age:?}");
        assert_eq!(Confirmed::kept(ago(-60)).age(), Duration::MAX);
        assert!(Confirmed::now().age() < Duration::from_secs(1));
    }

    #[test]
    fn a_machine_that_slept_is_told_by_the_wall_clock() {
        let asleep = Confirmed { at: Timestamp::now() - Duration::from_secs(3600), ..Confirmed::now() };
        assert!(asleep.age() >= Duration::from_secs(3600));
    }

    #[test]
    fn the_time_on_record_goes_on_from_what_the_database_said() {
        let said = Timestamp::from_second(1_000_000).unwrap();
        let clock = RecordClock { since: Instant::now() - Duration::from_secs(7), ..RecordClock::showing(said) };
        let passed = clock.now().duration_since(said).as_secs();
        assert!((7..9).contains(&passed), "{passed} s");
    }
}
