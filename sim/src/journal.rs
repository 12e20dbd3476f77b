//! Every call this region was sent, for tests and people to read: what was asked, what was done, what was answered.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::api::Service;

/// Calls kept; the oldest go first.
const CALLS_MAX: usize = 10_000;
const PARAMETERS_MAX: usize = 64;
const PARAMETER_LENGTH_MAX: usize = 256;

/// One call.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counts from 1 and never goes back.
    pub number: u64,
    pub at: Timestamp,
    pub service: Service,
    pub operation: String,
    /// As sent, but shortened; without `Action` and `Version`.
    pub parameters: BTreeMap<String, String>,
    pub request_id: String,
    /// The fault switch that it met.
    pub fault: Option<String>,
    /// Whether it changed or read the region; an answer may have been lost all the same.
    pub applied: bool,
    /// `ok`, an error code, `reset`, `hung` or `lost`; None while it is under way.
    pub outcome: Option<String>,
}

#[derive(Debug, Default)]
pub struct Journal(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    /// How many were ever begun.
    begun: u64,
    entries: VecDeque<Entry>,
    counts: Counts,
}

/// How often each operation (as rights name it: `autoscaling:DescribePolicies`) had each outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts(BTreeMap<String, BTreeMap<String, u64>>);

impl Counts {
    /// Calls of one operation, whatever their outcome.
    #[must_use]
    pub fn of(&self, operation: &str) -> u64 {
        self.0.get(operation).map_or(0, |outcomes| outcomes.values().sum())
    }

    /// All calls.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().flat_map(BTreeMap::values).sum()
    }

    /// Calls with one outcome, such as `Throttling`.
    #[must_use]
    pub fn with(&self, outcome: &str) -> u64 {
        self.0.values().filter_map(|outcomes| outcomes.get(outcome)).sum()
    }

    /// By operation, all of them that were called.
    pub fn operations(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.keys().map(|name| (name.as_str(), self.of(name)))
    }

    /// What came after `mark` was taken.
    #[must_use]
    pub fn since(&self, mark: &Self) -> Self {
        let before = |name: &str, outcome: &str| mark.0.get(name).and_then(|them| them.get(outcome)).copied().unwrap_or(0);
        let more = self.0.iter().filter_map(|(name, outcomes)| {
            let more = outcomes.iter().map(|(outcome, count)| (outcome.clone(), count.saturating_sub(before(name, outcome))));
            let more: BTreeMap<String, u64> = more.filter(|(_, count)| *count > 0).collect();
            (!more.is_empty()).then(|| (name.clone(), more))
        });
        Self(more.collect())
    }
}

impl Journal {
    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call that arrives, and numbers it.
    pub fn begin(&self, service: Service, operation: &str, parameters: BTreeMap<String, String>, request_id: &str) -> u64 {
        let mut calls = self.lock();
        calls.begun += 1;
        let entry = Entry {
            number: calls.begun,
            at: Timestamp::now(),
            service,
            operation: operation.to_owned(),
            parameters,
            request_id: request_id.to_owned(),
            fault: None,
            applied: false,
            outcome: None,
        };
        if calls.entries.len() >= CALLS_MAX {
            calls.entries.pop_front();
        }
        calls.entries.push_back(entry);
        calls.begun
    }

    /// Adds to what is known of call `number`, if it is still kept.
    pub fn note(&self, number: u64, note: impl FnOnce(&mut Entry)) {
        let mut calls = self.lock();
        let first = calls.entries.front().map_or(0, |entry| entry.number);
        let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        let Calls { entries, counts, .. } = &mut *calls;
        if let Some(entry) = at.and_then(|at| entries.get_mut(at)) {
            let under_way = entry.outcome.is_none();
            note(entry);
            if let Some(outcome) = entry.outcome.as_ref().filter(|_| under_way) {
                let name = format!("{}:{}", entry.service.scope(), entry.operation);
                *counts.0.entry(name).or_default().entry(outcome.clone()).or_default() += 1;
            }
        }
    }

    /// The calls after `after`, of one operation or of all.
    #[must_use]
    pub fn calls(&self, after: u64, operation: Option<&str>) -> Vec<Entry> {
        let calls = self.lock();
        let wanted = |entry: &&Entry| entry.number > after && operation.is_none_or(|name| name == entry.operation);
        calls.entries.iter().filter(wanted).cloned().collect()
    }

    /// How often each operation was answered, or cut off, since the region began or was last told to forget. Those under way
    /// are not counted yet.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Forgets them, and counts from nought; numbers go on.
    pub fn clear(&self) {
        let mut calls = self.lock();
        calls.entries.clear();
        calls.counts = Counts::default();
    }
}

/// The parameters of a form-encoded body, shortened.
#[must_use]
pub fn parameters(body: &[u8]) -> BTreeMap<String, String> {
    let named = form_urlencoded::parse(body).filter(|(key, _)| key != "Action" && key != "Version");
    let short = |value: &str| value.chars().take(PARAMETER_LENGTH_MAX).collect::<String>();
    named.take(PARAMETERS_MAX).map(|(key, value)| (short(&key), short(&value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_again_by_its_number_after_older_ones_were_forgotten() {
        let journal = Journal::default();
        let begin = |name| journal.begin(Service::Elb, name, BTreeMap::new(), "id");
        begin("DescribeRules");
        journal.clear();
        let number = begin("DeleteRule");
        journal.note(number, |entry| entry.outcome = Some("ok".to_owned()));
        let calls = journal.calls(0, Some("DeleteRule"));
        assert_eq!(calls.iter().map(|call| (call.number, call.outcome.as_deref())).collect::<Vec<_>>(), [(2, Some("ok"))]);
        assert!(journal.calls(2, None).is_empty());
    }

    #[test]
    fn calls_are_counted_by_operation_and_outcome_also_when_their_lines_are_no_longer_kept() {
        let journal = Journal::default();
        let call = |service, name: &str, outcome: &str| {
            let number = journal.begin(service, name, BTreeMap::new(), "id");
            journal.note(number, |entry| entry.applied = true);
            journal.note(number, |entry| entry.outcome = Some(outcome.to_owned()));
            journal.note(number, |entry| entry.fault = Some("known later".to_owned()));
        };
        for _ in 0..CALLS_MAX {
            call(Service::Elb, "DescribeTags", "ok");
        }
        let mark = journal.counts();
        call(Service::Elb, "DescribeTags", "Throttling");
        call(Service::AutoScaling, "DescribeTags", "ok");
        journal.begin(Service::AutoScaling, "DescribePolicies", BTreeMap::new(), "under way");
        let all = journal.counts();
        assert_eq!(all.of("elasticloadbalancing:DescribeTags"), CALLS_MAX as u64 + 1);
        assert_eq!((all.total(), all.with("Throttling")), (CALLS_MAX as u64 + 2, 1));
        let since = all.since(&mark);
        let named: Vec<_> = since.operations().collect();
        assert_eq!(named, [("autoscaling:DescribeTags", 1), ("elasticloadbalancing:DescribeTags", 1)]);
        journal.clear();
        assert_eq!(journal.counts(), Counts::default());
    }

    #[test]
    fn parameters_are_shown_decoded_and_without_the_protocol() {
        let seen = parameters(b"Action=ModifyRule&Version=1&RuleArn=arn%3Aa");
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [("RuleArn".to_owned(), "arn:a".to_owned())]);
    }
}
