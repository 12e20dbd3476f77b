//! What became of every request, in bounded memory: 16 bytes each, the oldest forgotten first, the totals never.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Answers remembered one by one: an hour at 300 requests a second.
const SAMPLES_MAX: usize = 1 << 20;
/// Versions told apart.
const VERSIONS_MAX: usize = 256;
/// Losses whose reasons are kept.
const LOSSES_MAX: usize = 20;
/// In a sample: no version was named.
const NO_VERSION: u16 = u16::MAX;

/// How a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// By a user with a sticky cookie: no measure of the weights.
    pub session: bool,
    /// On a connection of its own.
    pub fresh: bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Status { status: u16, version: Option<String> },
    Failed(String),
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub sent: u64,
    /// Of those, on connections of their own.
    pub fresh: u64,
    pub answered: u64,
    /// Errors, timeouts and every status from 400 up: to a user a 404 in mid-release is no better than a 502.
    pub lost: u64,
}

/// A request that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// When it was sent, since the start.
    pub sent: Duration,
    pub why: String,
}

/// How many of the answers in a window a version gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub of_version: u64,
    pub of_all: u64,
}

impl Share {
    /// In percent; none without an answer.
    #[must_use]
    pub fn percent(self) -> Option<f64> {
        (self.of_all > 0).then(|| 100.0 * self.of_version as f64 / self.of_all as f64)
    }

    /// How many standard deviations of independent draws lie between what was seen and `weight`, a share from 0 to 1.
    /// Infinite where the weight leaves nothing to chance (0 or 1) and something else was seen; none without an answer.
    #[must_use]
    pub fn deviations_from(self, weight: f64) -> Option<f64> {
        let (seen, all) = (self.of_version as f64, self.of_all as f64);
        let off = (seen - all * weight).abs();
        let deviation = (all * weight * (1.0 - weight)).sqrt();
        match (self.of_all, off == 0.0) {
            (0, _) => None,
            (_, true) => Some(0.0),
            (_, false) => Some(off / deviation),
        }
    }
}

/// Everything the load generator remembers.
#[derive(Debug)]
pub struct Record {
    started: Instant,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    totals: Totals,
    versions: Vec<String>,
    /// In the order of the answers.
    samples: VecDeque<Sample>,
    losses: Vec<Loss>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Since the start.
    answered_us: u64,
    latency_us: u32,
    version: u16,
    session: bool,
}

impl Sample {
    fn sent_us(self) -> u64 {
        self.answered_us.saturating_sub(u64::from(self.latency_us))
    }
}

impl Record {
    /// An empty record; all its times count from `started`.
    #[must_use]
    pub fn starting_at(started: Instant) -> Self {
        Self { started, kept: Mutex::default() }
    }

    /// Counts a request out.
    pub fn sent(&self, kind: Kind) {
        let mut kept = self.lock();
        kept.totals.sent += 1;
        kept.totals.fresh += u64::from(kind.fresh);
    }

    /// Notes what came back, and when.
    pub fn answered(&self, kind: Kind, sent: Instant, answered: Instant, answer: Answer) {
        let mut kept = self.lock();
        let version = match answer {
            Answer::Status { status, version } => {
                kept.totals.answered += 1;
                if status >= 400 {
                    kept.lose(self.since_start(sent), format!("status {status}"));
                }
                version.map_or(NO_VERSION, |version| kept.number_of(version))
            }
            Answer::Failed(why) => {
                kept.lose(self.since_start(sent), why);
                return;
            }
        };
        if kept.samples.len() == SAMPLES_MAX {
            kept.samples.pop_front();
        }
        kept.samples.push_back(Sample {
            answered_us: micros(self.since_start(answered)),
            latency_us: u32::try_from(answered.saturating_duration_since(sent).as_micros()).unwrap_or(u32::MAX),
            version,
            session: kind.session,
        });
    }

    /// Counts since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// The first losses and their reasons.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        self.lock().losses.clone()
    }

    /// The versions that have answered, in the order of their first answer.
    #[must_use]
    pub fn versions(&self) -> Vec<String> {
        self.lock().versions.clone()
    }

    /// The share of `version` among the answers to requests sent from `from` to `to`, sessions aside. When they were answered
    /// does not matter: to leave out the late ones would favour the version that happens to be faster.
    #[must_use]
    pub fn share(&self, version: &str, from: Instant, to: Instant) -> Share {
        let (from, to) = (micros(self.since_start(from)), micros(self.since_start(to)));
        let kept = self.lock();
        let number = kept.find(version);
        let mut share = Share::default();
        // In the order of the answers: what was answered before `from` was sent before it.
        for sample in kept.samples.iter().rev().take_while(|sample| sample.answered_us >= from) {
            if !sample.session && (from..=to).contains(&sample.sent_us()) {
                share.of_all += 1;
                share.of_version += u64::from(Some(sample.version) == number);
            }
        }
        share
    }

    /// When `version` last answered.
    #[must_use]
    pub fn last_answer(&self, version: &str) -> Option<Instant> {
        let kept = self.lock();
        let number = kept.find(version)?;
        let last = kept.samples.iter().rev().find(|sample| sample.version == number)?;
        Some(self.started + Duration::from_micros(last.answered_us))
    }

    /// How many requests sent after `since` were answered by `version`, sessions included.
    #[must_use]
    pub fn answers_to_requests_sent_after(&self, version: &str, since: Instant) -> u64 {
        let since = micros(self.since_start(since));
        let kept = self.lock();
        let number = kept.find(version);
        let later = kept.samples.iter().rev().take_while(|sample| sample.answered_us > since);
        later.filter(|sample| Some(sample.version) == number && sample.sent_us() > since).count() as u64
    }

    /// When everything began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.started)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn lose(&mut self, sent: Duration, why: String) {
        self.totals.lost += 1;
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(Loss { sent, why });
        }
    }

    fn find(&self, version: &str) -> Option<u16> {
        self.versions.iter().position(|known| known == version).and_then(|at| u16::try_from(at).ok())
    }

    fn number_of(&mut self, version: String) -> u16 {
        if let Some(number) = self.find(&version) {
            return number;
        }
        if self.versions.len() == VERSIONS_MAX {
            return NO_VERSION;
        }
        self.versions.push(version);
        u16::try_from(self.versions.len() - 1).unwrap_or(NO_VERSION)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Kind = Kind { session: false, fresh: false };

    struct Story {
        record: Record,
        start: Instant,
    }

    impl Story {
        fn new() -> Self {
            let start = Instant::now();
            Self { record: Record::starting_at(start), start }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn answer(&self, kind: Kind, sent: u64, answered: u64, version: &str) {
            let answer = Answer::Status { status: 200, version: Some(version.to_owned()) };
            self.record.sent(kind);
            self.record.answered(kind, self.at(sent), self.at(answered), answer);
        }
    }

    #[test]
    fn a_window_holds_what_was_sent_within_it_whenever_it_was_answered() {
        let story = Story::new();
        story.answer(PLAIN, 0, 110, "v2"); // sent before the window
        story.answer(PLAIN, 100, 120, "v1");
        story.answer(PLAIN, 110, 130, "v2");
        story.answer(Kind { session: true, fresh: false }, 110, 130, "v2");
        story.answer(PLAIN, 190, 210, "v2"); // answered after it
        story.answer(PLAIN, 201, 220, "v2"); // sent after it
        let share = story.record.share("v2", story.at(100), story.at(200));
        assert_eq!(share, Share { of_version: 2, of_all: 3 });
        assert_eq!(story.record.share("v3", story.at(100), story.at(200)).of_version, 0);
    }

    #[test]
    fn the_last_answer_of_a_version_is_found_and_what_it_answered_afterwards_is_counted() {
        let story = Story::new();
        story.answer(PLAIN, 0, 10, "v2");
        story.answer(PLAIN, 20, 40, "v2");
        story.answer(PLAIN, 30, 50, "v1");
        assert_eq!(story.record.last_answer("v2"), Some(story.at(40)));
        assert_eq!(story.record.last_answer("v3"), None);
        assert_eq!(story.record.answers_to_requests_sent_after("v2", story.at(10)), 1);
        assert_eq!(story.record.answers_to_requests_sent_after("v2", story.at(25)), 0);
    }

    #[test]
    fn an_error_and_a_bad_status_are_lost_and_say_why() {
        let story = Story::new();
        let failed = |answer| story.record.answered(PLAIN, story.at(5), story.at(6), answer);
        failed(Answer::Status { status: 503, version: None });
        failed(Answer::Failed("connection reset".to_owned()));
        failed(Answer::Status { status: 204, version: None });
        assert_eq!(story.record.totals().lost, 2);
        let reasons: Vec<String> = story.record.losses().into_iter().map(|loss| loss.why).collect();
        assert_eq!(reasons, ["status 503", "connection reset"]);
    }

    #[test]
    fn memory_is_bounded_and_totals_are_not_forgotten() {
        let story = Story::new();
        let count = SAMPLES_MAX as u64 + 10;
        for _ in 0..count {
            story.answer(PLAIN, 0, 1, "v1");
        }
        assert_eq!(story.record.lock().samples.len(), SAMPLES_MAX);
        assert_eq!(story.record.totals().answered, count);
        assert!(size_of::<Sample>() <= 16);
    }

    #[test]
    fn deviations_tell_chance_from_a_wrong_weight() {
        let seen = |of_version, of_all| Share { of_version, of_all };
        assert_eq!(seen(50, 1000).deviations_from(0.05), Some(0.0));
        assert!(seen(70, 1000).deviations_from(0.05).unwrap() < 4.0);
        assert!(seen(90, 1000).deviations_from(0.05).unwrap() > 4.0);
        assert_eq!(seen(0, 1000).deviations_from(0.0), Some(0.0));
        assert_eq!(seen(1, 1000).deviations_from(0.0), Some(f64::INFINITY));
        assert_eq!(seen(999, 1000).deviations_from(1.0), Some(f64::INFINITY));
        assert_eq!(seen(0, 0).deviations_from(0.5), None);
    }
}
