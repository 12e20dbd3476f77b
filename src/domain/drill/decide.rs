//! What a drill does next: a plain function of its record, a look and the time, as for deployments.

use std::time::Duration;

use jiff::Timestamp;

use super::{Change, Drill, DrillPlan, Outcome, Phase};
use crate::domain::{
    deployment::ProviderTrouble,
    ids::RuleRef,
    observation::Known,
    plan,
    survey::{FieldFault, Role, Survey},
    time,
    timing::Timing,
};

/// How long a drill may try to begin, and then to open its rule, before it has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// A refusal right after a create may only mean that another resource is not everywhere yet; twice is meant.
const HOPELESS_TRIES: u32 = 2;

/// What one look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one a tick, and never kept")]
pub enum Look {
    /// While `pending`: the world around the declaration, and the deployment that runs there, if one does.
    Around { survey: Known<Survey>, deployment: Option<String> },
    /// After it: one a route, in the plan's order.
    Routes(Vec<Known<RouteSight>>),
}

/// What one route shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteSight {
    /// Rules that are tagged as this drill's.
    pub rules: Vec<RuleRef>,
    /// Who sits on the rule's number and is not this drill's: a name for people.
    pub in_the_way: Option<String>,
    /// The base forwards to what the rule forwards to, and to nothing else.
    pub base_as_planned: bool,
}

/// One change of the world. Those of several routes are sent side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// One rule a route (indices into the plan) that forwards to the plan's slot alone.
    Open { routes: Vec<usize> },
    /// Rules of drills, gone already or not.
    Delete { rules: Vec<RuleRef> },
}

impl Action {
    /// Its name in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open_drill",
            Self::Delete { .. } => "delete_rules",
        }
    }
}

/// What one tick is to do: change the world, or the record, or neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Act(Action),
    /// The record as it is to be.
    Advance(Box<Drill>),
    /// Nothing now; look again.
    Wait,
    /// It has ended.
    Done,
}

impl Drill {
    /// With what a look adds to the record; that is no advance.
    #[must_use]
    pub fn having_seen(mut self, look: &Look, now: Timestamp) -> Self {
        if let (Phase::Closing, Look::Routes(routes)) = (self.phase, look) {
            let absent = |route: &Known<RouteSight>| match route {
                Known::Seen(sight) => Some(sight.rules.is_empty()),
                // Its listener went, and the rule with it.
                Known::Absent => Some(true),
                Known::Unknown(_) => None,
            };
            let before = |i: usize| self.gone.get(i).copied().unwrap_or_default();
            self.gone = routes.iter().enumerate().map(|(i, route)| before(i).after(absent(route), now)).collect();
        }
        self
    }
}

/// Chooses. `d` must already hold what `look` showed.
#[must_use]
pub fn decide(d: &Drill, look: &Look, timing: &Timing, now: Timestamp) -> Decision {
    match (d.phase, look) {
        (Phase::Ended, _) => Decision::Done,
        (Phase::Pending, Look::Around { survey, deployment }) => pending(d, survey, deployment.as_deref(), now),
        (Phase::Opening, Look::Routes(routes)) => opening(d, routes, now),
        (Phase::Closing, Look::Routes(routes)) => closing(d, routes, timing, now),
        // Looked at for another phase: look again.
        (Phase::Pending, Look::Routes(_)) | (Phase::Opening | Phase::Closing, Look::Around { .. }) => Decision::Wait,
    }
}

fn pending(d: &Drill, survey: &Known<Survey>, deployment: Option<&str>, now: Timestamp) -> Decision {
    // Whoever is created after this look finds this drill on record, and waits.
    if let Some(deployment) = deployment {
        return ended(d, Outcome::Skipped, Some(format!("{deployment} runs on its routes")), now);
    }
    let survey = match survey {
        Known::Seen(survey) => survey,
        Known::Absent => return Decision::Wait,
        Known::Unknown(why) if late(d, now) => {
            return ended(d, Outcome::Failed, Some(format!("its routes could not be looked at: {why}")), now);
        }
        Known::Unknown(_) => return Decision::Wait,
    };
    match leftovers(survey) {
        Ok(rules) if !rules.is_empty() && !late(d, now) => return Decision::Act(Action::Delete { rules }),
        Ok(rules) if !rules.is_empty() => {
            let said = format!("{} of an earlier drill cannot be removed", told(&rules));
            return ended(d, Outcome::Failed, Some(said), now);
        }
        Ok(_) => {}
        Err(faults) => return ended(d, Outcome::Failed, Some(sentence(&faults)), now),
    }
    match plan::of_drill(&d.declaration, d.live.as_ref(), survey) {
        Err(faults) => ended(d, Outcome::Failed, Some(sentence(&faults)), now),
        Ok((slot, routes)) => {
            let mut next = d.entering(Phase::Opening, now);
            let numbers: Vec<_> = routes.iter().map(|route| route.overlay_number.to_string()).collect();
            let said = format!("opening a rule (number {}) that forwards to {slot}, as the base does", numbers.join(", "));
            next.plan = Some(DrillPlan { slot, routes });
            Decision::Advance(Box::new(next.telling("drill.opening", said, now)))
        }
    }
}

/// Rules of earlier drills, which go first. Any other rule of ours takes part in who gets the traffic, so nothing may be put over it.
fn leftovers(survey: &Survey) -> Result<Vec<RuleRef>, Vec<FieldFault>> {
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    for (i, route) in survey.routes.iter().enumerate() {
        for rule in route.iter().flat_map(|route| &route.others) {
            let Some(owner) = rule.owner.as_ref().filter(|owner| owner.on_our_route) else { continue };
            if owner.this_installation && owner.role == Role::Drill {
                rules.push(rule.rule.clone());
            } else {
                let detail = format!(
                    "rule {} (number {}) was left over on the route: the next deployment, or the sweeper, removes it",
                    rule.rule, rule.number
                );
                faults.push(FieldFault::new(format!("/routes/{i}"), detail));
            }
        }
    }
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

fn opening(d: &Drill, routes: &[Known<RouteSight>], now: Timestamp) -> Decision {
    let named = |i: usize| d.plan.as_ref().and_then(|plan| plan.routes.get(i)).map_or("?", |route| route.route.as_str());
    let seen = || routes.iter().enumerate().filter_map(|(i, route)| Some((i, route.seen()?)));
    if let Some((i, _)) = seen().find(|(_, sight)| !sight.base_as_planned) {
        return closes(d, Some(format!("the base of {} was changed meanwhile", named(i))), now);
    }
    if let Some((i, rule)) = seen().find_map(|(i, sight)| Some((i, sight.in_the_way.as_ref()?))) {
        return closes(d, Some(format!("rule {rule} has taken the number of the drill's on {}", named(i))), now);
    }
    if seen().count() == routes.len() && seen().all(|(_, sight)| !sight.rules.is_empty()) {
        let mut next = d.clone();
        next.opening.seen_at = Some(now);
        return closes(&next, None, now);
    }
    if let Some(trouble) = d.trouble.as_ref().filter(|trouble| trouble.hopeless && trouble.count >= HOPELESS_TRIES) {
        return closes(d, Some(format!("its rule could not be opened: {}", trouble.words)), now);
    }
    if late(d, now) {
        let why = d.trouble.as_ref().map_or("it was not seen on every route", |trouble| trouble.words.as_str());
        return closes(d, Some(format!("its rule was not open after {} s: {why}", PATIENCE.as_secs())), now);
    }
    let missing: Vec<_> = seen().filter(|(_, sight)| sight.rules.is_empty()).map(|(i, _)| i).collect();
    // What was accepted is not sent again: it only is not seen yet.
    if missing.is_empty() || d.opening.accepted_at.is_some() {
        return Decision::Wait;
    }
    Decision::Act(Action::Open { routes: missing })
}

fn closes(d: &Drill, failure: Option<String>, now: Timestamp) -> Decision {
    let mut next = d.entering(Phase::Closing, now);
    let (kind, said) = match &failure {
        None => ("drill.open", format!("open on every route, seen after {}", shown(d.opening.seen_after()))),
        Some(why) => ("drill.broken_off", format!("broken off: {why}")),
    };
    next.failure = failure;
    Decision::Advance(Box::new(next.telling(kind, said, now)))
}

fn closing(d: &Drill, routes: &[Known<RouteSight>], timing: &Timing, now: Timestamp) -> Decision {
    let rules: Vec<_> = routes.iter().filter_map(Known::seen).flat_map(|sight| sight.rules.iter().cloned()).collect();
    if !rules.is_empty() {
        // A look may be older than the deletion: it is given a moment to show it.
        let just_now = d.deletion.accepted_at.is_some_and(|at| now < time::after(at, timing.look_every));
        return if just_now { Decision::Wait } else { Decision::Act(Action::Delete { rules }) };
    }
    if routes.is_empty() || d.gone.len() != routes.len() || !d.gone.iter().all(|looks| looks.believed(timing)) {
        return Decision::Wait;
    }
    let mut next = d.clone();
    // The first look of those that agree, on the route that was last.
    next.deletion.seen_at = d.gone.iter().filter_map(|looks| looks.first).max();
    let measured = Change { sent_at: d.deletion.sent_at.or(Some(d.phase_since)), ..next.deletion };
    let budget = d.budget();
    match (&d.failure, measured.seen_after()) {
        (Some(why), _) => ended(&next, Outcome::Failed, Some(why.clone()), now),
        (None, Some(took)) if took > budget => {
            let said = format!(
                "from the deletion until it was seen on every route it took {}, and {} are allowed",
                shown(Some(took)),
                time::show_duration(budget)
            );
            ended(&next, Outcome::Slow, Some(said), now)
        }
        (None, _) => ended(&next, Outcome::Passed, None, now),
    }
}

fn ended(d: &Drill, outcome: Outcome, failure: Option<String>, now: Timestamp) -> Decision {
    let mut next = d.entering(Phase::Ended, now);
    let said = match &failure {
        None => format!("{}: the way back was seen after {}", outcome.name(), shown(d.deletion.seen_after())),
        Some(why) => format!("{}: {why}", outcome.name()),
    };
    (next.outcome, next.failure, next.ended_at) = (Some(outcome), failure, Some(now));
    Decision::Advance(Box::new(next.telling("drill.ended", said, now)))
}

fn late(d: &Drill, now: Timestamp) -> bool {
    time::between(d.phase_since, now) >= PATIENCE
}

/// How a change was received that was sent at `sent_at`; whether it *is* so, only the next look tells.
#[must_use]
pub fn noted(
    mut d: Drill,
    action: &Action,
    sent_at: Timestamp,
    received: Result<(), ProviderTrouble>,
    now: Timestamp,
) -> Drill {
    let change = match (d.phase, action) {
        (_, Action::Open { .. }) => &mut d.opening,
        (Phase::Closing, Action::Delete { .. }) => &mut d.deletion,
        // An earlier drill's rules: nothing is measured by those.
        (_, Action::Delete { .. }) => &mut Change::default(),
    };
    change.sent_at.get_or_insert(sent_at);
    match received {
        Ok(()) => {
            change.accepted_at.get_or_insert(now);
            d.trouble = None;
        }
        Err(trouble) => {
            let words = format!("{} was not accepted: {}", action.name(), trouble.words);
            let first = trouble.count == 1;
            d.trouble = Some(trouble);
            if first && d.events.len() < EVENTS_MAX {
                d = d.telling("drill.refused", words, now);
            }
        }
    }
    d
}

/// Refusals aside a drill tells of four things.
const EVENTS_MAX: usize = 40;

fn shown(took: Option<Duration>) -> String {
    took.map_or_else(|| "an unknown time".to_owned(), |took| format!("{} ms", took.as_millis()))
}

fn told(rules: &[RuleRef]) -> String {
    rules.iter().map(|rule| format!("rule {rule}")).collect::<Vec<_>>().join(", ")
}

fn sentence(faults: &[FieldFault]) -> String {
    faults.iter().map(|fault| fault.detail.as_str()).collect::<Vec<_>>().join("; ")
}
