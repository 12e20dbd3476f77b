//! Counts every call, by lane and operation: how it ended, how long it waited for its token, how long its answer took.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    budget::Lane,
    operation::{Class, Operation},
};
use crate::engine::{
    ports::{CallFigures, Fault, FaultKind},
    spread::Spread,
};

/// Upper bounds in seconds, from an answer on the same network to a look's longest.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, f64::INFINITY];

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Answered,
    Failed(FaultKind),
}

impl Outcome {
    pub(super) fn of<T>(answer: &Result<T, Fault>) -> Self {
        answer.as_ref().map_or_else(|fault| Self::Failed(fault.kind), |_| Self::Answered)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::Failed(FaultKind::Transient) => "transient",
            Self::Failed(FaultKind::Throttled) => "throttled",
            Self::Failed(FaultKind::Denied) => "denied",
            Self::Failed(FaultKind::Missing) => "missing",
            Self::Failed(FaultKind::Rejected) => "rejected",
            Self::Failed(FaultKind::NotSent) => "not_sent",
        }
    }
}

/// Answers of late that tell how long one may be waited for.
const RECENT: usize = 64;
/// Fewer say nothing.
const RECENT_MIN: usize = 10;

/// The counts since the process started.
#[derive(Debug, Default)]
pub(super) struct Calls {
    tallies: Mutex<BTreeMap<(Lane, Operation), Tally>>,
    /// How long the last changes of rules took to be answered, the newest last.
    recent: Mutex<VecDeque<Duration>>,
}

#[derive(Debug)]
struct Tally {
    outcomes: BTreeMap<Outcome, u64>,
    waited: Duration,
    took: Spread,
}

impl Default for Tally {
    fn default() -> Self {
        Self { outcomes: BTreeMap::new(), waited: Duration::ZERO, took: Spread::over(&BOUNDS) }
    }
}

impl Calls {
    /// A call that got no token, or whose deadline had passed.
    pub(super) fn not_sent(&self, lane: Lane, operation: Operation, waited: Duration) {
        self.note(lane, operation, |tally| {
            tally.waited += waited;
            tally.count(Outcome::Failed(FaultKind::NotSent));
        });
    }

    /// A call that passed the gate. One that the fence held back took no time of AWS's.
    pub(super) fn made(&self, lane: Lane, operation: Operation, waited: Duration, outcome: Outcome, took: Duration) {
        if outcome == Outcome::Answered && operation.class() == Some(Class::ElbChanges) {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() >= RECENT {
                recent.pop_front();
            }
            recent.push_back(took);
        }
        self.note(lane, operation, |tally| {
            tally.waited += waited;
            tally.count(outcome);
            if outcome != Outcome::Failed(FaultKind::NotSent) {
                tally.took.add(took);
            }
        });
    }

    pub(super) fn figures(&self) -> Vec<CallFigures> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = tallies.iter().map(|((lane, operation), tally)| CallFigures {
            lane: lane.name(),
            operation: operation.name(),
            outcomes: tally.outcomes.iter().map(|(outcome, count)| (outcome.name(), *count)).collect(),
            waited: tally.waited,
            took: tally.took.took(),
            took_at_most: tally.took.at_most(),
        });
        figures.collect()
    }

    /// Of the last changes of rules, 95 in a hundred were answered within this.
    pub(super) fn usual_change(&self) -> Option<Duration> {
        let mut recent: Vec<_> = self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        recent.sort_unstable();
        recent.get((recent.len() * 95).div_ceil(100).saturating_sub(1)).copied().filter(|_| recent.len() >= RECENT_MIN)
    }

    fn note(&self, lane: Lane, operation: Operation, note: impl FnOnce(&mut Tally)) {
        note(self.tallies.lock().unwrap_or_else(PoisonError::into_inner).entry((lane, operation)).or_default());
    }
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_told_by_the_last_answers_to_changes_of_rules_once_there_are_some() {
        let (calls, ms) = (Calls::default(), Duration::from_millis);
        let answered = |took| calls.made(Lane::Forward, Operation::ModifyRule, ms(0), Outcome::Answered, ms(took));
        (0..9).for_each(|_| answered(5_000));
        calls.made(Lane::Forward, Operation::DescribeRules, ms(0), Outcome::Answered, ms(9_000));
        calls.made(Lane::Forward, Operation::ModifyRule, ms(0), Outcome::Failed(FaultKind::Transient), ms(9_000));
        assert_eq!(calls.usual_change(), None, "nine say nothing");
        answered(5_000);
        assert_eq!(calls.usual_change(), Some(ms(5_000)));
        (1..=64).for_each(answered);
        assert_eq!(calls.usual_change(), Some(ms(61)), "what was long ago is forgotten");
    }

    #[test]
    fn a_call_is_counted_once_by_how_it_ended_and_timed_if_it_was_sent() {
        let (calls, ms) = (Calls::default(), Duration::from_millis);
        calls.made(Lane::Forward, Operation::ModifyRule, ms(300), Outcome::Answered, ms(30));
        calls.made(Lane::Forward, Operation::ModifyRule, ms(0), Outcome::Failed(FaultKind::Transient), ms(9_000));
        calls.made(Lane::Forward, Operation::ModifyRule, ms(0), Outcome::Failed(FaultKind::NotSent), ms(1));
        calls.not_sent(Lane::Forward, Operation::ModifyRule, ms(700));
        calls.made(Lane::Rollback, Operation::DeleteRule, ms(0), Outcome::Answered, ms(5));
        let figures = calls.figures();
        let [forward, rollback] = figures.as_slice() else { panic!("{figures:?}") };
        assert_eq!((forward.lane, forward.operation), ("forward", "ModifyRule"));
        assert_eq!(forward.outcomes, [("ok", 1), ("transient", 1), ("not_sent", 2)]);
        assert_eq!((forward.waited, forward.took), (ms(1_000), ms(9_030)));
        let in_buckets: Vec<_> = forward.took_at_most.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(in_buckets, [&(0.05, 1), &(f64::INFINITY, 1)]);
        assert_eq!((rollback.lane, rollback.took_at_most[0]), ("rollback", (0.005, 1)));
    }
}
