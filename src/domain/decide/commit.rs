//! `committing` and `retiring`: the base moves to green *under* the overlay, a quiet period passes, then overlay and blue go.

use jiff::Timestamp;

use super::{Decision, all_routes, forward::unwell, routes_where};
use crate::domain::{
    action::{Action, Scaling, Side},
    deployment::Deployment,
    drift, health,
    observation::{Attached, GroupView, Known, Observation},
    phase::Phase,
    plan::Plan,
    time,
    timing::Timing,
};

pub(super) fn committing(
    d: &Deployment,
    o: &Observation,
    timing: &Timing,
    now: Timestamp,
    quiet_since: Option<Timestamp>,
) -> Decision {
    // Until blue is touched it can be gone back to, and is better than green without servers.
    if let Some(back) = unwell(d, o, timing, now) {
        return back;
    }
    // A base that somebody edited is not written over, nor the overlay taken from above it.
    if drift::suspected(d) {
        return Decision::WAIT;
    }
    if let Some(since) = quiet_since {
        let over = time::after(since, timing.quiet());
        // The overlay must still stand, the base still be green and green's servers well at the very look that ends the quiet
        // period: it is the last one after which anybody can go back.
        return match (now >= over, settled(o) && health::may_serve_alone(d, o)) {
            (true, true) => Decision::advance(d.entering(Phase::Retiring, now)),
            (true, false) => Decision::WAIT,
            (false, _) => Decision::Wait { until: Some(over) },
        };
    }
    if settled(o) {
        let mut next = d.clone();
        next.phase = Phase::Committing { quiet_since: Some(now) };
        return Decision::advance(next);
    }
    // A lane that still believes in `baking` deletes the overlay at once; with the base on green that would leave blue's slot
    // in no rule. So the base is written only when every lane has had time to learn of this phase.
    let from = time::after(d.phase_since, timing.commit_delay);
    if now < from {
        return Decision::Wait { until: Some(from) };
    }
    // Only under an overlay that stands: without it this write would itself move traffic to green.
    let routes = routes_where(o, |i, view| {
        let stands =
            d.overlays.get(i).is_some_and(|rule| view.overlays.iter().any(|o| &o.rule == rule && o.forward.is_all_green()));
        stands && view.base.is_all_blue()
    });
    if routes.is_empty() || all_routes(o).is_none() {
        Decision::WAIT
    } else {
        Decision::Act(Action::SetBase { routes, to: Side::Green })
    }
}

/// Base on green and overlay all-green, on every route.
fn settled(o: &Observation) -> bool {
    all_routes(o).is_some_and(|routes| {
        !routes.is_empty()
            && routes.iter().all(|view| {
                view.base.is_all_green() && view.overlays.first().is_some_and(|overlay| overlay.forward.is_all_green())
            })
    })
}

pub(super) fn retiring(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Decision {
    let Some(plan) = &d.plan else { return Decision::WAIT };
    // Nothing of blue is touched, and no rule above the base removed, while a base is not where the commit left it.
    let Some(routes) = all_routes(o).filter(|routes| routes.iter().all(|view| view.base.is_all_green())) else {
        return Decision::WAIT;
    };
    let rules: Vec<_> = routes
        .iter()
        .flat_map(|view| view.overlays.iter().chain(&view.previews).chain(&view.shields))
        .map(|rule| rule.rule.clone())
        .collect();
    if !rules.is_empty() {
        return Decision::Act(Action::DeleteRules { rules });
    }
    if !d.seen.absences.overlays.iter().all(|looks| looks.believed(timing)) {
        return Decision::WAIT;
    }
    // Green serves alone now: its minimum is the declared one again. Blue goes only while green is seen to be there.
    match &o.green {
        Known::Seen(green) if green.min > d.declaration.server_group.min => return Decision::Act(Action::ReleaseGreen),
        Known::Seen(_) => {}
        Known::Absent | Known::Unknown(_) => return Decision::WAIT,
    }
    if plan.blue.as_ref().is_some_and(|blue| !blue.scaling.is_null()) {
        match o.scaling.seen() {
            Some(scaling) if scaling.scheduled_missing == 0 => {}
            Some(_) => return Decision::Act(Action::CopyScaling { what: Scaling::Scheduled }),
            None => return Decision::WAIT,
        }
    }
    match plan.blue.as_ref().map(|_| remove(d, o, timing, plan, Side::Blue)) {
        // Whoever could still help by hand needs blue as long as green is short.
        Some(Removal::Act(_)) if !health::serves_alone(d, o) => Decision::WAIT,
        Some(Removal::Act(action)) => Decision::Act(action),
        Some(Removal::Wait) => Decision::WAIT,
        Some(Removal::Done) | None => Decision::advance(d.entering(Phase::Succeeded, now)),
    }
}

/// What is next on the way to a group's being gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removal {
    Act(Action),
    Wait,
    Done,
}

/// Out of its slot, drained, deleted, seen gone: in this order, and only while no rule names the slot.
pub(super) fn remove(d: &Deployment, o: &Observation, timing: &Timing, plan: &Plan, side: Side) -> Removal {
    let (group, slot, gone, targets_gone) = match side {
        Side::Blue => (&o.blue, &o.blue_slot, d.seen.absences.blue, d.seen.absences.blue_targets),
        Side::Green => (&o.green, &o.green_slot, d.seen.absences.green, d.seen.absences.green_targets),
    };
    debug_assert!(side == Side::Green || plan.blue.is_some(), "only a deployment with a blue removes it");
    match group {
        // Somebody else's group under our name: not ours to touch, so for us it is gone.
        Known::Seen(GroupView { ours: false, .. }) => Removal::Done,
        Known::Absent if gone.believed(timing) => Removal::Done,
        Known::Absent | Known::Unknown(_) => Removal::Wait,
        Known::Seen(GroupView { deleting: true, .. }) => Removal::Wait,
        Known::Seen(group) => {
            let unnamed = slot.seen().is_some_and(|slot| slot.named_by == 0);
            // The API says at once that an overlay is gone; a node of the load balancer may send by it for some seconds more.
            let everywhere = d.seen.absences.overlays.iter().all(|looks| looks.is_everywhere(timing));
            if !unnamed || (!everywhere && group.attached == Attached::Everywhere) {
                Removal::Wait
            } else if group.attached != Attached::Nowhere {
                Removal::Act(Action::Detach { side })
            } else if targets_gone.believed(timing) {
                Removal::Act(Action::DeleteGroup { side })
            } else {
                Removal::Wait
            }
        }
    }
}
