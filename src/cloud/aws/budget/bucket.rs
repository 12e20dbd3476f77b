//! One of AWS's token buckets as this replica knows it: a plain value that is told the time.
//!
//! A rollback draws on the whole bucket. Forward work draws on a part of its own, which replicas divide among them, and never
//! on the last tokens. So no forward call, of whichever replica, can make a rollback wait, and while one waits the bucket is
//! empty and forward work gets nothing.

use std::time::{Duration, Instant};

/// The slowest that forward work's tokens come back while AWS throttles, as a share of the usual pace.
const PACE_MIN: f64 = 0.125;
/// From the slowest pace back to the usual one.
const RECOVERY: Duration = Duration::from_secs(30);
/// Calls that were under way together are throttled together: they halve the pace once.
const HALVED_ONCE_IN: Duration = Duration::from_secs(1);
/// A token, give or take what a float rounds away.
const ONE: f64 = 1.0 - 1e-6;

/// Who asks for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cloud::aws) enum Lane {
    Forward,
    Rollback,
}

impl Lane {
    pub(in crate::cloud::aws) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Rollback => "rollback",
        }
    }
}

/// What AWS grants for one class of calls, per account and region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Tokens in a full bucket.
    pub size: u32,
    /// Tokens that come back.
    pub per_second: u32,
    /// Tokens that forward work leaves to rollbacks; at least 1, and fewer than `size`.
    pub reserve: u32,
}

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    whole: f64,
    forward: f64,
    /// 1 unless AWS has throttled of late.
    pace: f64,
}

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    grant: Grant,
    replicas: f64,
    level: Level,
    halved_at: Option<Instant>,
    seen: Instant,
}

impl Bucket {
    pub(super) fn full(grant: Grant, replicas: u32, now: Instant) -> Self {
        let level = Level { whole: f64::from(grant.size), forward: 0.0, pace: 1.0 };
        let mut bucket = Self { grant, replicas: f64::from(replicas.max(1)), level, halved_at: None, seen: now };
        bucket.level.forward = bucket.forward_size();
        bucket
    }

    /// Takes a token, or says how long it is until there can be one.
    pub(super) fn take(&mut self, lane: Lane, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let per_second = f64::from(self.grant.per_second);
        let whole_needed = match lane {
            Lane::Rollback => ONE,
            Lane::Forward => ONE + f64::from(self.grant.reserve),
        };
        let mut wait = (whole_needed - self.level.whole) / per_second;
        if lane == Lane::Forward {
            wait = wait.max((ONE - self.level.forward) / self.forward_per_second(self.level.pace));
        }
        if wait > 0.0 {
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        self.level.whole -= 1.0;
        if lane == Lane::Forward {
            self.level.forward -= 1.0;
        }
        Ok(())
    }

    /// AWS throttled a call: others have drawn on its bucket too. Forward work starts from nothing, at half its pace. The
    /// reserve stays in the count: this was a guess at what AWS has, and a rollback tries rather than wait on a guess.
    pub(super) fn throttled(&mut self, now: Instant) {
        self.refill(now);
        self.level.forward = self.level.forward.min(0.0);
        self.level.whole = self.level.whole.min(f64::from(self.grant.reserve));
        if self.halved_at.is_none_or(|at| now.saturating_duration_since(at) >= HALVED_ONCE_IN) {
            self.level.pace = (self.level.pace / 2.0).max(PACE_MIN);
            self.halved_at = Some(now);
        }
    }

    /// So many replicas are alive, this one included.
    pub(super) fn share(&mut self, replicas: u32, now: Instant) {
        self.refill(now);
        self.replicas = f64::from(replicas.max(1));
        self.level.forward = self.level.forward.min(self.forward_size());
    }

    /// Tokens in a full one.
    pub(super) fn size(&self) -> u32 {
        self.grant.size
    }

    /// Calls that `lane` could send at once.
    pub(super) fn ready(&mut self, lane: Lane, now: Instant) -> f64 {
        self.refill(now);
        match lane {
            Lane::Rollback => self.level.whole.max(0.0),
            Lane::Forward => self.level.forward.min(self.level.whole - f64::from(self.grant.reserve)).max(0.0),
        }
    }

    /// How fast forward work's tokens come back, as a share of the usual.
    pub(super) fn pace(&mut self, now: Instant) -> f64 {
        self.refill(now);
        self.level.pace
    }

    /// With more replicas than tokens each keeps one, or forward work would stand still.
    fn forward_size(&self) -> f64 {
        (f64::from(self.grant.size.saturating_sub(self.grant.reserve)) / self.replicas).max(1.0)
    }

    fn forward_per_second(&self, pace: f64) -> f64 {
        f64::from(self.grant.per_second) / self.replicas * pace
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.seen = self.seen.max(now);
        let before = self.level.pace;
        let recovered = elapsed / RECOVERY.as_secs_f64() * (1.0 - PACE_MIN);
        self.level.pace = (before + recovered).min(1.0);
        let come_back = elapsed * self.forward_per_second(f64::midpoint(before, self.level.pace));
        self.level.forward = (self.level.forward + come_back).min(self.forward_size());
        self.level.whole = (self.level.whole + elapsed * f64::from(self.grant.per_second)).min(f64::from(self.grant.size));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHANGES: Grant = Grant { size: 20, per_second: 3, reserve: 10 };
    /// What a sum of floats may be off by.
    const OFF: f64 = 1e-3;

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Forward,
        Rollback,
        Throttled,
        Share(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0_u64..4_000).prop_map(Step::Pass),
            6 => Just(Step::Forward),
            3 => Just(Step::Rollback),
            1 => Just(Step::Throttled),
            1 => (0_u32..40).prop_map(Step::Share),
        ]
    }

    fn grant() -> impl Strategy<Value = Grant> {
        (2_u32..60, 1_u32..60)
            .prop_flat_map(|(size, per_second)| (1..size).prop_map(move |reserve| Grant { size, per_second, reserve }))
    }

    fn drain(bucket: &mut Bucket, lane: Lane, now: Instant) -> usize {
        (0..1_000).take_while(|_| bucket.take(lane, now).is_ok()).count()
    }

    proptest! {
        #[test]
        fn no_window_sees_more_calls_than_aws_grants_and_forward_work_leaves_the_reserve(
            grant in grant(),
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let mut now = Instant::now();
            let mut bucket = Bucket::full(grant, 1, now);
            let mut sent: Vec<Instant> = Vec::new();
            let mut rollbacks_so_far = 0;
            for step in steps {
                match step {
                    Step::Pass(ms) => now += Duration::from_millis(ms),
                    Step::Throttled => bucket.throttled(now),
                    Step::Share(replicas) => bucket.share(replicas, now),
                    Step::Forward => {
                        if bucket.take(Lane::Forward, now).is_ok() {
                            sent.push(now);
                            prop_assert!(bucket.level.whole >= f64::from(grant.reserve) - OFF);
                            prop_assert!(bucket.take(Lane::Rollback, now).is_ok(), "forward work made a rollback wait");
                            sent.push(now);
                        }
                    }
                    Step::Rollback => {
                        if bucket.take(Lane::Rollback, now).is_ok() {
                            sent.push(now);
                            rollbacks_so_far += 1;
                        } else {
                            prop_assert!(rollbacks_so_far > 0 || !sent.is_empty());
                            prop_assert!(bucket.level.whole < 1.0, "a rollback waits only for an empty bucket");
                            prop_assert!(bucket.take(Lane::Forward, now).is_err(), "forward work went before a rollback");
                        }
                    }
                }
            }
            for (i, from) in sent.iter().enumerate() {
                for (j, to) in sent.iter().enumerate().skip(i) {
                    let granted = f64::from(grant.size) + f64::from(grant.per_second) * to.duration_since(*from).as_secs_f64();
                    let calls = f64::from(u32::try_from(j - i + 1).unwrap());
                    prop_assert!(calls <= granted + OFF, "{calls} calls, {granted} granted");
                }
            }
        }

        #[test]
        fn after_the_wait_that_it_names_a_token_is_there(
            grant in grant(),
            forward in any::<bool>(),
            throttled in 0_usize..4,
            replicas in 1_u32..20,
        ) {
            let (lane, mut now) = (if forward { Lane::Forward } else { Lane::Rollback }, Instant::now());
            let mut bucket = Bucket::full(grant, replicas, now);
            for _ in 0..throttled {
                bucket.throttled(now);
                now += HALVED_ONCE_IN;
            }
            drain(&mut bucket, lane, now);
            let wait = bucket.take(lane, now).unwrap_err();
            prop_assert_eq!(bucket.take(lane, now + wait + Duration::from_micros(1)), Ok(()));
        }

        #[test]
        fn replicas_together_send_no_more_forward_work_than_one(replicas in 1_u32..=10, seconds in 0_u64..60) {
            let start = Instant::now();
            let mut buckets: Vec<_> = (0..replicas).map(|_| Bucket::full(CHANGES, replicas, start)).collect();
            let mut sent = 0;
            for second in 0..=seconds {
                let now = start + Duration::from_secs(second);
                sent += buckets.iter_mut().map(|bucket| drain(bucket, Lane::Forward, now)).sum::<usize>();
            }
            prop_assert!(sent <= 10 + 3 * usize::try_from(seconds).unwrap(), "{sent} in {seconds} s");
        }
    }

    #[test]
    fn forward_work_stops_at_the_reserve_and_a_burst_of_rollbacks_gets_the_rest() {
        let now = Instant::now();
        let mut bucket = Bucket::full(CHANGES, 1, now);
        assert_eq!(drain(&mut bucket, Lane::Forward, now), 10);
        assert_eq!(drain(&mut bucket, Lane::Rollback, now), 10);
        let later = now + Duration::from_secs(2);
        assert_eq!(drain(&mut bucket, Lane::Forward, later), 0, "the reserve comes back first");
        assert_eq!(drain(&mut bucket, Lane::Rollback, later), 6);
    }

    #[test]
    fn the_reserve_is_not_divided() {
        let now = Instant::now();
        let mut bucket = Bucket::full(CHANGES, 2, now);
        assert_eq!(drain(&mut bucket, Lane::Forward, now), 5, "the other replica has the other five");
        assert_eq!(drain(&mut bucket, Lane::Rollback, now), 15);
    }

    #[test]
    fn throttling_slows_forward_work_for_a_while_and_no_rollback() {
        let now = Instant::now();
        let mut bucket = Bucket::full(CHANGES, 1, now);
        (0..5).for_each(|_| bucket.throttled(now));
        let ready = (bucket.ready(Lane::Forward, now), bucket.ready(Lane::Rollback, now));
        assert_eq!((ready, bucket.pace(now)), ((0.0, 10.0), 0.5), "five calls that were under way together");
        assert_eq!(bucket.take(Lane::Rollback, now), Ok(()), "what AWS has is a guess: a rollback tries");
        let later = now + Duration::from_secs(4);
        assert!((6..9).contains(&drain(&mut bucket, Lane::Forward, later)), "at some half of the pace: twelve would be due");
        (1..6).for_each(|second| bucket.throttled(later + Duration::from_secs(second)));
        let slowest = later + Duration::from_secs(5);
        assert!(bucket.pace(slowest) < 0.2, "{bucket:?}");
        assert_eq!(bucket.pace(slowest + RECOVERY), 1.0);
    }
}
