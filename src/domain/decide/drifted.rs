//! While the world is not as recorded (`domain::drift`): nothing moves by itself, and a person's answer is carried out.
//!
//! As everywhere, it acts until the world is *seen* to be as wanted, and only then records: an adopted base is given to the
//! overlay first. Toward green an answer opens no door that a weight by hand does not: the same guards, and health above all.

use jiff::Timestamp;

use super::{
    Decision, all_routes,
    forward::{lower, may_rise, overlays_where},
    routes_where,
};
use crate::domain::{
    action::{Action, Shape},
    deployment::Deployment,
    drift::{self, Answer, Weighed},
    health,
    observation::{Field, Forward, Layer, Observation, RouteView},
    phase::Phase,
    plan::{Plan, RoutePlan},
    timing::Timing,
    weight::Weight,
};

/// What to do while the world is not as recorded; `None` when it is.
pub(super) fn drifted(d: &Deployment, plan: &Plan, o: &Observation, timing: &Timing, now: Timestamp) -> Option<Decision> {
    if !drift::suspected(d) {
        return None;
    }
    // Our own late calls on the other routes are no drift, and toward blue.
    if let Some(action) = lower(d, o, timing, now) {
        return Some(Decision::Act(action));
    }
    let (Some(held), Some(answered), Some(routes)) = (&d.held, d.answer(), all_routes(o)) else { return Some(Decision::WAIT) };
    // Something else has come to be: what was answered was not this.
    if !drift::is_all_in(d, held) {
        return Some(Decision::WAIT);
    }
    if let Some(size) = health::outgrown_to(d, o) {
        return Some(Decision::Act(Action::GrowGreen { size }));
    }
    Some(match answered.answer {
        Answer::Restore if drift::not_restorable(held).is_empty() => {
            restore(d, plan, o, &routes, timing, now).map_or(Decision::WAIT, Decision::Act)
        }
        Answer::Adopt if held.not_adoptable.is_empty() => adopt(d, plan, o, &routes, timing, now),
        Answer::Restore | Answer::Adopt => Decision::WAIT,
    })
}

/// The next call that puts the world back as recorded. First bases that are off blue: that is where a rollback leads. Other
/// bases come after their overlays, which would look edited beside a base that was put back before them.
fn restore(
    d: &Deployment,
    plan: &Plan,
    o: &Observation,
    routes: &[&RouteView],
    timing: &Timing,
    now: Timestamp,
) -> Option<Action> {
    let bases = routes_where(o, |_, view| base_is_edited(view));
    let off_blue: Vec<_> =
        bases.iter().copied().filter(|i| routes.get(*i).is_some_and(|view| !view.base.is_all_blue())).collect();
    if !off_blue.is_empty() {
        return Some(Action::RestoreBases { routes: off_blue });
    }
    let (floor, wants) = (drift::floor(d), d.phase.wants());
    let shapes = shapes(d, routes, |i, view, forward| {
        let as_planned = view.edited.as_ref().is_none_or(|edited| edited.overlay_as_planned);
        let weight = match forward {
            Forward::Split(_) if as_planned => return None,
            Forward::Split(seen) => seen.clamp(floor, wants),
            Forward::Elsewhere => floor,
        };
        Some((weight, plan.routes.get(i)?))
    });
    if !shapes.is_empty() {
        return reshape(d, o, shapes);
    }
    if !bases.is_empty() {
        return Some(Action::RestoreBases { routes: bases });
    }
    let above = overlays_where(d, o, |_, seen| seen > wants && drift::weighed(d, seen, timing, now) == Weighed::Edited);
    if !above.is_empty() {
        return Some(Action::SetWeight { routes: above, weight: wants });
    }
    let below = overlays_where(d, o, |_, seen| seen < floor);
    (!below.is_empty() && may_rise(d, o, floor)).then_some(Action::SetWeight { routes: below, weight: floor })
}

/// The record takes the world as it is, once the overlays follow their bases.
fn adopt(d: &Deployment, plan: &Plan, o: &Observation, routes: &[&RouteView], timing: &Timing, now: Timestamp) -> Decision {
    let edited = d.overlays.iter().zip(routes).find_map(|(rule, view)| match view.recorded(rule)?.forward {
        Forward::Split(seen) if drift::weighed(d, seen, timing, now) == Weighed::Edited => Some(seen),
        Forward::Split(_) | Forward::Elsewhere => None,
    });
    if let Some(weight) = edited {
        let everywhere = overlays_where(d, o, |_, seen| seen == weight).len() == d.overlays.len();
        if !everywhere || weight > d.phase.wants() && !health::verdict(d, o, weight).passed() {
            return Decision::WAIT;
        }
    }
    let taken = |view: &RouteView| view.edited.as_ref().and_then(|edited| edited.as_seen.clone().ok());
    let as_seen = |(planned, view): (&RoutePlan, &&RouteView)| RoutePlan {
        strays: view.strays.iter().map(|stray| stray.rule.clone()).collect(),
        ..taken(view).unwrap_or_else(|| planned.clone())
    };
    let as_seen: Vec<_> = plan.routes.iter().zip(routes).map(as_seen).collect();
    let shapes = shapes(d, routes, |i, view, forward| match (forward, as_seen.get(i)) {
        (Forward::Split(seen), Some(route)) if !view.edited.as_ref().is_none_or(|edited| edited.overlay_as_base) => {
            Some((seen, route))
        }
        (Forward::Split(_) | Forward::Elsewhere, _) => None,
    });
    if !shapes.is_empty() {
        return reshape(d, o, shapes).map_or(Decision::WAIT, Decision::Act);
    }
    let stage = match d.phase {
        Phase::Shifting { stage, .. } => stage,
        _ => plan.strategy.stages.len() - 1,
    };
    let mut next = match edited {
        Some(weight) => d.entering(Phase::Shifting { stage, weight, by_hand: true, hurry: false, seen_at: None }, now),
        None => d.clone(),
    };
    drift::let_go(&mut next, now);
    if let Some(plan) = &mut next.plan {
        plan.routes = as_seen;
    }
    Decision::advance(next)
}

/// The overlays that have to change, with what they are to be.
fn shapes<'a>(
    d: &Deployment,
    routes: &[&RouteView],
    to_be: impl Fn(usize, &RouteView, Forward) -> Option<(Weight, &'a RoutePlan)>,
) -> Vec<Shape> {
    let seen = d.overlays.iter().zip(routes).enumerate();
    let one = |(i, (rule, view)): (usize, (&_, &&RouteView))| {
        let (weight, planned) = to_be(i, view, view.recorded(rule)?.forward)?;
        Some(Shape { route: i, rule: Clone::clone(rule), weight, form: planned.form.clone() })
    };
    seen.filter_map(one).collect()
}

/// Other conditions may bring green requests that went to blue: a rise, whatever the weight.
fn reshape(d: &Deployment, o: &Observation, shapes: Vec<Shape>) -> Option<Action> {
    let most = shapes.iter().map(|shape| shape.weight).max()?;
    (most == Weight::NONE || may_rise(d, o, most)).then_some(Action::ReshapeOverlays { shapes })
}

/// Whether a call could make the base what was recorded.
fn base_is_edited(view: &RouteView) -> bool {
    let mut edits = view.edited.iter().flat_map(|edited| &edited.edits).filter(|edit| edit.rule == Layer::Base);
    let gone = edits.clone().any(|edit| edit.field == Field::Rule);
    !gone && (!view.base.is_all_blue() || edits.any(|edit| edit.field != Field::Number))
}
