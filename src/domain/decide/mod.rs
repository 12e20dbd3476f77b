//! The only place that chooses. `decide` is a plain function of a record, a look and the time: no clock, no IO, no chance.
//!
//! It acts until the world *is seen* to be as the phase wants, and only then advances. So there is nothing to remember
//! about what was tried: a crash between acting and recording costs one more look and the repeat of an idempotent action.
//! First run, retry, recovery and take-over are one path.
//!
//! The law: automation may always move traffic toward blue; toward green only with passed gates and a world just seen to be
//! as recorded (the live lease is the engine's part).

mod back;
mod commit;
#[cfg(test)]
mod commit_tests;
#[cfg(test)]
mod drift_tests;
mod drifted;
mod forward;
mod start;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

use super::{
    action::Action,
    deployment::{Deployment, Trigger},
    observation::{Known, Observation, RouteView},
    phase::Phase,
    timing::Timing,
};

/// What one tick is to do: change the world, or the record, or neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Act(Action),
    /// The record as it is to be.
    Advance(Box<Deployment>),
    /// Nothing now; look again at `until`, or at the phase's own pace.
    Wait {
        until: Option<Timestamp>,
    },
    /// The deployment has ended.
    Done,
}

impl Decision {
    fn advance(next: Deployment) -> Self {
        Self::Advance(Box::new(next))
    }

    const WAIT: Self = Self::Wait { until: None };
}

/// Chooses. `d` must already hold what `o` showed (`Deployment::having_seen`).
#[must_use]
pub fn decide(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Decision {
    if d.phase.is_terminal() {
        return Decision::Done;
    }
    if d.intent.abandon.is_some() {
        return Decision::advance(d.entering(Phase::Failed, now));
    }
    if d.phase.may_go_back() {
        if d.intent.is_back() {
            return Decision::advance(d.turning_back(Trigger::Manual, None, now));
        }
        if let Some(what) = outside(d, o, timing) {
            return Decision::advance(d.turning_back(Trigger::Outside, Some(what), now));
        }
    }
    match &d.phase {
        Phase::Pending => start::pending(d, o, timing, now),
        Phase::Provisioning => start::provisioning(d, o, now),
        Phase::Verifying => or_pin(d, o, now, forward::verifying(d, o, timing, now)),
        Phase::Shifting { .. } => or_pin(d, o, now, or_tidy(o, forward::shifting(d, o, timing, now))),
        Phase::Baking { seen_at, commit_now } => {
            or_pin(d, o, now, or_tidy(o, forward::baking(d, o, timing, now, *seen_at, *commit_now)))
        }
        Phase::Committing { quiet_since } => or_pin(d, o, now, or_tidy(o, commit::committing(d, o, timing, now, *quiet_since))),
        Phase::Retiring => commit::retiring(d, o, timing, now),
        Phase::RollingBack { shield, ends } => back::rolling_back(d, o, timing, now, *shield, *ends),
        Phase::Succeeded | Phase::RolledBack | Phase::Cancelled | Phase::Failed => Decision::Done,
    }
}

/// Blue stays pinned while anybody may go back to it. Somebody may have undone that, or a call that the last deployment sent
/// has: where there is nothing else to do, it is pinned again.
///
/// Such a call may be late like any other, and a way back has to wait it out: so the record says that it may be under way before
/// it is made, and from when on it is not once blue was seen pinned.
fn or_pin(d: &Deployment, o: &Observation, now: Timestamp, decision: Decision) -> Decision {
    let (Decision::Wait { .. }, Some(plan)) = (&decision, &d.plan) else { return decision };
    let provisioned_at = match (start::pin(plan, o), d.provisioned_at) {
        (Some(action), None) => return Decision::Act(action),
        (Some(_), Some(_)) => None,
        // A preview is still to be made.
        (None, None) if d.phase == Phase::Verifying && plan.preview.is_some() => return decision,
        (None, None) if start::pinned(plan, o) => Some(now),
        (None, _) => return decision,
    };
    Decision::advance(Deployment { provisioned_at, ..d.clone() })
}

/// A preview that was on its way when `verifying` ended is removed where there is nothing else to do.
fn or_tidy(o: &Observation, decision: Decision) -> Decision {
    match &decision {
        Decision::Wait { .. } => remove_previews(o).map_or(decision, Decision::Act),
        Decision::Act(_) | Decision::Advance(_) | Decision::Done => decision,
    }
}

fn remove_previews(o: &Observation) -> Option<Action> {
    let previews = o.routes.iter().filter_map(Known::seen).flat_map(|view| &view.previews);
    let rules: Vec<_> = previews.map(|preview| preview.rule.clone()).collect();
    (!rules.is_empty()).then_some(Action::DeleteRules { rules })
}

/// What somebody did outside that is to be taken for a rollback: a shield raised, a recorded overlay deleted or set to all
/// blue, a committed base moved back.
fn outside(d: &Deployment, o: &Observation, timing: &Timing) -> Option<String> {
    let routes = d.plan.as_ref().map(|plan| plan.routes.as_slice()).unwrap_or_default();
    let named = |i: usize| routes.get(i).map_or("?", |route| route.route.as_str());
    // One positive look is enough to believe a thing is there.
    for (i, route) in o.routes.iter().enumerate() {
        if let Some(shield) = route.seen().and_then(|view| view.shields.first()) {
            return Some(format!("shield {} was raised on {}", shield.rule, named(i)));
        }
    }
    let absences = &d.seen.absences;
    if !d.overlays.is_empty()
        && let Some(i) = absences.overlays.iter().position(|looks| looks.believed(timing))
    {
        return Some(format!("the overlay on {} was deleted outside Cutover", named(i)));
    }
    if let Some(i) = absences.emptied.iter().position(|looks| looks.believed(timing)) {
        return Some(format!("the overlay on {} was set to send everything to blue outside Cutover", named(i)));
    }
    if matches!(d.phase, Phase::Committing { quiet_since: Some(_) })
        && let Some(i) = absences.bases_off_green.iter().position(|looks| looks.believed(timing))
    {
        return Some(format!("the base of {} was moved off green outside Cutover", named(i)));
    }
    None
}

/// The view of every route, or `None` when one of them is unknown.
fn all_routes(o: &Observation) -> Option<Vec<&RouteView>> {
    o.routes.iter().map(Known::seen).collect()
}

/// Indices of the routes that were seen and for which `holds` is true.
fn routes_where(o: &Observation, holds: impl Fn(usize, &RouteView) -> bool) -> Vec<usize> {
    o.routes.iter().enumerate().filter(|(i, route)| route.seen().is_some_and(|view| holds(*i, view))).map(|(i, _)| i).collect()
}
