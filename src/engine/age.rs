//! How old something is that was read from the database: by two clocks, because one stands still while a machine sleeps and the
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
}
