//! Looks at a listener's rules, with whose they are.
//!
//! DescribeRules gives no tags, and fails as a whole when one of the ARNs asked for is gone: so it is asked by listener, and
//! the tags of each ARN not met before are asked for once, and remembered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
    time::{Duration, Instant},
};

use aws_sdk_elasticloadbalancingv2::types::{Rule, TagDescription};

use super::{
    client::Clients,
    fault,
    form::{self, Form},
    names::Mark,
    operation::Operation,
};
use crate::{
    domain::{
        ids::{ListenerRef, RuleRef, SlotRef, TargetGroupRef},
        overlap::Condition,
    },
    engine::ports::{Fault, FaultKind},
};

/// Pages of one listing; a listener may have 100 rules, by a raised quota some hundreds, and a page holds 400.
pub(super) const PAGES_MAX: usize = 10;
/// ARNs in one DescribeTags (AWS's limit).
pub(super) const TAGS_PER_CALL_MAX: usize = 20;
/// Rules whose tags are remembered; beyond, all are forgotten and asked for again.
const REMEMBERED_MAX: usize = 20_000;
/// How long a rule without our tags is asked for again: reads are eventually consistent, and a rule of ours whose tags
/// did not show at once must not be a stranger for ever.
const DOUBTED_FOR: Duration = Duration::from_secs(10);

/// A rule as seen.
#[derive(Debug, Clone)]
pub(super) struct SeenRule {
    pub(super) rule: RuleRef,
    /// `None` for the default rule, which holds the default action.
    pub(super) number: Option<u32>,
    /// Where it forwards, with weights as AWS has them.
    pub(super) forwards: Vec<(TargetGroupRef, u32)>,
    pub(super) mark: Option<Mark>,
    /// What of it can be copied, or a sentence that names what cannot. The SDK's own rule would take some kilobytes for each of the
    /// thousands that a replica remembers: most of it room for kinds of actions that it has not.
    form: Result<Form, String>,
    conditions: Vec<Condition>,
}

impl SeenRule {
    pub(super) fn read(raw: &Rule) -> Option<Self> {
        let number = match raw.priority()? {
            "default" => None,
            number => Some(number.parse().ok()?),
        };
        Some(Self {
            rule: RuleRef::new(raw.rule_arn()?),
            number,
            forwards: form::forwards(raw),
            mark: None,
            form: Form::read(raw),
            conditions: super::conditions::overlap(raw.conditions()),
        })
    }

    /// # Errors
    /// A sentence that names what cannot be copied.
    pub(super) fn form(&self) -> Result<&Form, String> {
        self.form.as_ref().map_err(Clone::clone)
    }

    pub(super) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    pub(super) fn names(&self, slot: &SlotRef) -> bool {
        self.forwards.iter().any(|(named, _)| slot.position(named).is_some())
    }
}

/// Whose rules are, as far as it was ever asked.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<HashMap<RuleRef, Remembered>>);

#[derive(Debug, Clone)]
enum Remembered {
    /// Tags are given at creation and never changed.
    Ours(Mark),
    Stranger {
        first_asked: Instant,
        last_asked: Instant,
    },
}

impl Marks {
    /// Remembers the tags that a rule was created with.
    pub(super) fn remember(&self, rule: RuleRef, mark: Mark) {
        self.lock().insert(rule, Remembered::Ours(mark));
    }

    /// What is remembered of `rule`; `Err` when it must be asked for.
    fn recall(&self, rule: &RuleRef) -> Result<Option<Mark>, ()> {
        match self.lock().get(rule) {
            Some(Remembered::Ours(mark)) => Ok(Some(mark.clone())),
            Some(Remembered::Stranger { first_asked, last_asked })
                if last_asked.duration_since(*first_asked) >= DOUBTED_FOR =>
            {
                Ok(None)
            }
            Some(Remembered::Stranger { .. }) | None => Err(()),
        }
    }

    fn learn(&self, rule: RuleRef, mark: Option<&Mark>, now: Instant) {
        let mut known = self.lock();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        let learnt = match (mark, known.get(&rule)) {
            (Some(mark), _) => Remembered::Ours(mark.clone()),
            (None, Some(Remembered::Stranger { first_asked, .. })) => {
                Remembered::Stranger { first_asked: *first_asked, last_asked: now }
            }
            (None, _) => Remembered::Stranger { first_asked: now, last_asked: now },
        };
        known.insert(rule, learnt);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RuleRef, Remembered>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// All rules of a listener with their ownership, by number, the default rule last.
pub(super) async fn of_listener(
    clients: &Clients,
    marks: &Marks,
    listener: &ListenerRef,
    deadline: Instant,
) -> Result<Vec<SeenRule>, Fault> {
    let mut rules = listed(clients, listener, deadline).await?;
    let mut unknown = Vec::new();
    for rule in rules.iter_mut().filter(|rule| rule.number.is_some()) {
        match marks.recall(&rule.rule) {
            Ok(mark) => rule.mark = mark,
            Err(()) => unknown.push(rule.rule.clone()),
        }
    }
    let asked = ask(clients, &unknown, deadline).await?;
    let now = Instant::now();
    for rule in &mut rules {
        if let Some(mark) = asked.get(rule.rule.as_str()) {
            marks.learn(rule.rule.clone(), mark.as_ref(), now);
            rule.mark.clone_from(mark);
        }
    }
    Ok(rules)
}

/// All rules of a listener; whose they are was not asked.
pub(super) async fn listed(clients: &Clients, listener: &ListenerRef, deadline: Instant) -> Result<Vec<SeenRule>, Fault> {
    const OPERATION: Operation = Operation::DescribeRules;
    let mut rules = Vec::new();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let call = clients.elb.describe_rules().listener_arn(listener.as_str()).set_marker(marker);
        let page = clients.look(OPERATION, deadline, call.send()).await?;
        for rule in page.rules() {
            rules.push(SeenRule::read(rule).ok_or_else(|| fault::incomplete(OPERATION, "a rule's ARN or priority"))?);
        }
        marker = page.next_marker.clone();
        if marker.is_none() {
            rules.sort_by_key(|rule| rule.number.unwrap_or(u32::MAX));
            return Ok(rules);
        }
    }
    Err(fault::incomplete(OPERATION, "an end: there are more pages than a listener can have"))
}

/// The marks of rules, by ARN, as they are now.
pub(super) async fn ask(
    clients: &Clients,
    rules: &[RuleRef],
    deadline: Instant,
) -> Result<BTreeMap<String, Option<Mark>>, Fault> {
    const OPERATION: Operation = Operation::DescribeTags;
    let calls = rules.chunks(TAGS_PER_CALL_MAX).map(|chunk| {
        let arns = chunk.iter().map(|rule| rule.as_str().to_owned()).collect();
        clients.look(OPERATION, deadline, clients.elb.describe_tags().set_resource_arns(Some(arns)).send())
    });
    let mut marks = BTreeMap::new();
    for answer in futures::future::join_all(calls).await {
        // A rule that is not there to be asked about, made or deleted just now, says nothing of its listener.
        let answer = answer.map_err(|fault| match fault.kind {
            FaultKind::Missing => Fault { kind: FaultKind::Transient, ..fault },
            _ => fault,
        })?;
        for described in answer.tag_descriptions() {
            let arn = described.resource_arn().ok_or_else(|| fault::incomplete(OPERATION, "an ARN"))?;
            marks.insert(arn.to_owned(), Mark::read(pairs(described)));
        }
    }
    if rules.iter().any(|rule| !marks.contains_key(rule.as_str())) {
        // Not "untagged": a rule that we know nothing of is unknown, and so is the listener.
        return Err(fault::incomplete(OPERATION, "a rule that was asked for"));
    }
    Ok(marks)
}

fn pairs(described: &TagDescription) -> impl Iterator<Item = (&str, &str)> {
    described.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_doubted_for_a_while_and_ours_is_known_for_good() {
        let (marks, rule, start) = (Marks::default(), RuleRef::new("r"), Instant::now());
        assert_eq!(marks.recall(&rule), Err(()));
        marks.learn(rule.clone(), None, start);
        assert_eq!(marks.recall(&rule), Err(()), "its tags may not show yet");
        marks.learn(rule.clone(), None, start + DOUBTED_FOR);
        assert_eq!(marks.recall(&rule), Ok(None));
        let mark = Mark::read([("cutover:installation", "i")].into_iter()).unwrap();
        marks.remember(rule.clone(), mark.clone());
        assert_eq!(marks.recall(&rule), Ok(Some(mark)));
    }
}
