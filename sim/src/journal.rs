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
        if let Some(entry) = at.and_then(|at| calls.entries.get_mut(at)) {
            note(entry);
        }
    }

    /// The calls after `after`, of one operation or of all.
    #[must_use]
    pub fn calls(&self, after: u64, operation: Option<&str>) -> Vec<Entry> {
        let calls = self.lock();
        let wanted = |entry: &&Entry| entry.number > after && operation.is_none_or(|name| name == entry.operation);
        calls.entries.iter().filter(wanted).cloned().collect()
    }

    /// Forgets them; numbers go on.
    pub fn clear(&self) {
        self.lock().entries.clear();
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
    fn parameters_are_shown_decoded_and_without_the_protocol() {
        let seen = parameters(b"Action=ModifyRule&Version=1&RuleArn=arn%3Aa");
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [("RuleArn".to_owned(), "arn:a".to_owned())]);
    }
}
