//! Whether the demo held what it promised: the summary, line by line, each with its own yes or no.

use std::time::{Duration, Instant};

use super::timeline::{Act, Window};
use crate::load::record::Record;

/// How far from the weight the users' share may be, in standard deviations of independent draws.
const DEVIATIONS_MAX: f64 = 4.0;
/// Fewer answers in a window say nothing.
const ANSWERS_MIN: u64 = 100;

/// One line of the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub holds: bool,
    pub text: String,
}

impl Line {
    /// A line that says `text` and whether that is what was promised.
    #[must_use]
    pub fn new(holds: bool, text: String) -> Self {
        Self { holds, text }
    }

    /// As it is printed.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("  {}  {}", if self.holds { "ok  " } else { "FAIL" }, self.text)
    }
}

/// What the telling of a story leaves to be judged.
#[derive(Debug)]
pub struct Told {
    /// The deployments, in their order; the last one is rolled back.
    pub acts: Vec<Act>,
    pub back: Rollback,
    /// What the story saw for itself.
    pub lines: Vec<Line>,
}

/// What the users saw of it.
#[must_use]
pub fn seen(record: &Record, told: &Told, windows: &[Window]) -> Vec<Line> {
    let mut lines = requests(record);
    for act in &told.acts {
        let within = |window: &&Window| window.from < act.to && window.to > act.from;
        let windows: Vec<_> = windows.iter().filter(within).cloned().collect();
        lines.extend(shares(record, act.version, &windows, act.promised));
    }
    lines.extend(told.acts.last().into_iter().flat_map(|act| rollback(record, act.version, told.back)));
    lines
}

/// Requests sent and lost.
fn requests(record: &Record) -> Vec<Line> {
    let totals = record.totals();
    let fresh = format!("{} on kept connections, {} on fresh ones", totals.sent - totals.fresh, totals.fresh);
    let mut lines = vec![
        Line::new(totals.sent > 0, format!("requests sent: {} ({fresh})", totals.sent)),
        Line::new(totals.lost == 0 && totals.answered == totals.sent, format!("requests failed: {}", totals.lost)),
    ];
    lines.extend(
        record
            .losses()
            .into_iter()
            .map(|loss| Line::new(false, format!("  sent {:?} after the start: {}", loss.sent, loss.why))),
    );
    lines
}

/// The share of `version` in each window that had enough answers to tell, and which of the weights `promised` (in permille)
/// no such window had.
fn shares(record: &Record, version: &str, windows: &[Window], promised: &[u32]) -> Vec<Line> {
    let mut missing = promised.to_vec();
    let lines = windows.iter().filter_map(|window| {
        let permille = window.shares.get(version).copied().unwrap_or_default();
        let asked = f64::from(permille) / 1000.0;
        let seen = record.share(version, window.from, window.to);
        if seen.of_all < ANSWERS_MIN {
            return None;
        }
        let off = seen.deviations_from(asked)?;
        missing.retain(|promised| *promised != permille);
        let (asked, percent) = (asked * 100.0, seen.percent()?);
        let text = format!(
            "{version} at {asked:5.1} %: seen {percent:6.2} % of {:6} answers, {off:.1} standard deviations off",
            seen.of_all
        );
        Some(Line::new(off <= DEVIATIONS_MAX, text))
    });
    let mut lines: Vec<Line> = lines.collect();
    let unseen = |permille| format!("{version} at {:5.1} %: was not seen for long enough to tell", f64::from(permille) / 10.0);
    lines.extend(missing.into_iter().map(|permille| Line::new(false, unseen(permille))));
    lines
}

/// What the rollback of `version` looked like from outside.
#[derive(Debug, Clone, Copy)]
pub struct Rollback {
    /// Who or what it was asked by, and when.
    pub by: &'static str,
    pub asked: Instant,
    /// When the load balancer had accepted the last change of it.
    pub accepted: Instant,
    /// The longest that a rule change takes to reach every node of this region.
    pub propagation: Duration,
}

/// How soon a rollback has to be accepted.
const ACCEPTED_WITHIN: Duration = Duration::from_millis(50);

/// How soon a rollback was accepted: from the request's arrival to the load balancer's last acceptance, by the service's own
/// account.
#[must_use]
pub fn accepted(after: Option<Duration>) -> Line {
    let Some(after) = after else {
        return Line::new(false, "the rollback has no accepted_at: the load balancer never took it".to_owned());
    };
    let (ms, bound) = (after.as_secs_f64() * 1000.0, ACCEPTED_WITHIN.as_millis());
    let text = format!("rollback accepted by the load balancer: {ms:.0} ms after the request (at most {bound})");
    Line::new(after <= ACCEPTED_WITHIN, text)
}

/// When the last answer of the version that went came, and what came after it.
fn rollback(record: &Record, version: &str, rollback: Rollback) -> Vec<Line> {
    let last = record.last_answer(version).map(|last| last.saturating_duration_since(rollback.asked));
    let last = match last {
        Some(last) => {
            let (last, by) = (last.as_secs_f64(), rollback.by);
            Line::new(true, format!("last answer by {version}: {last:.2} s after {by}, as the users saw it"))
        }
        None => Line::new(false, format!("{version} never answered: there was nothing to roll back")),
    };
    // The nodes may differ for as long as a change takes to reach them all. After that, not one.
    let settled = rollback.accepted + rollback.propagation;
    let late = record.answers_to_requests_sent_after(version, settled);
    let bound = rollback.propagation.as_secs_f64();
    vec![
        last,
        Line::new(late == 0, format!("requests answered by {version} after that (nodes obey within {bound:.1} s): {late}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::{Answer, Kind};

    struct Story {
        start: Instant,
        record: Record,
    }

    impl Story {
        fn new() -> Self {
            let start = Instant::now();
            Self { start, record: Record::starting_at(start) }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn answers(&self, ms: std::ops::Range<u64>, version: impl Fn(u64) -> &'static str) {
            let kind = Kind { session: false, fresh: false };
            for ms in ms {
                let answer = Answer::Status { status: 200, version: Some(version(ms).to_owned()) };
                self.record.sent(kind);
                self.record.answered(kind, self.at(ms), self.at(ms), answer);
            }
        }

        fn window(&self, from: u64, to: u64, permille: u32) -> Window {
            Window { from: self.at(from), to: self.at(to), shares: [("v2".to_owned(), permille)].into() }
        }
    }

    fn held(lines: &[Line]) -> Vec<bool> {
        lines.iter().map(|line| line.holds).collect()
    }

    #[test]
    fn a_share_near_its_weight_holds_and_one_far_from_it_does_not() {
        let story = Story::new();
        story.answers(0..1000, |ms| if ms % 20 == 0 { "v2" } else { "v1" });
        assert_eq!(held(&shares(&story.record, "v2", &[story.window(0, 999, 50)], &[50])), [true]);
        assert_eq!(held(&shares(&story.record, "v2", &[story.window(0, 999, 500)], &[])), [false]);
        assert_eq!(held(&shares(&story.record, "v2", &[story.window(0, 999, 0)], &[])), [false], "not one may be green at 0");
        assert_eq!(held(&shares(&story.record, "v2", &[story.window(0, 50, 50)], &[])), [] as [bool; 0], "too few to tell");
        assert_eq!(held(&shares(&story.record, "v2", &[story.window(0, 50, 50)], &[50])), [false], "but it was promised");
    }

    #[test]
    fn a_green_answer_long_after_the_rollback_fails_the_demo() {
        let story = Story::new();
        story.answers(0..1000, |ms| if ms < 600 { "v2" } else { "v1" });
        let propagation = Duration::from_millis(200);
        let back = Rollback { by: "the request", asked: story.at(500), accepted: story.at(520), propagation };
        assert_eq!(held(&rollback(&story.record, "v2", back)), [true, true]);
        story.answers(900..901, |_| "v2");
        assert_eq!(held(&rollback(&story.record, "v2", back)), [true, false]);
        assert_eq!(held(&rollback(&story.record, "v3", back)), [false, true]);
    }

    #[test]
    fn a_rollback_that_was_accepted_late_or_never_fails_the_demo() {
        let after = [Some(Duration::from_millis(50)), Some(Duration::from_millis(51)), None];
        assert_eq!(held(&after.map(accepted)), [true, false, false]);
    }

    #[test]
    fn one_lost_request_fails_the_demo_and_is_named() {
        let story = Story::new();
        story.answers(0..10, |_| "v1");
        assert_eq!(held(&requests(&story.record)), [true, true]);
        let kind = Kind { session: false, fresh: true };
        story.record.sent(kind);
        story.record.answered(kind, story.at(20), story.at(21), Answer::Failed("connection reset".to_owned()));
        let lines = requests(&story.record);
        assert_eq!(held(&lines), [true, false, false]);
        assert_eq!(lines[1].text, "requests failed: 1");
        assert!(lines[2].text.contains("connection reset"));
    }
}
