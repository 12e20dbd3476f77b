//! `pending` and `provisioning`: refuse or plan, then bring green up beside blue, the overlay open at 0.

use jiff::Timestamp;

use super::{Decision, routes_where};
use crate::domain::{
    action::{Action, Scaling},
    deadline,
    deployment::{Deployment, Trigger},
    observation::{Known, Observation},
    phase::Phase,
    plan::{self, Inputs, Plan},
    preflight,
    survey::{FieldFault, Role, Survey},
    time,
    timing::Timing,
};

pub(super) fn pending(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Decision {
    if deadline::passed(d, now) {
        return Decision::advance(d.turning_back(Trigger::Deadline, Some(deadline::said(d)), now));
    }
    // A stale look might show blue as the last deployment had pinned it, and the plan would "restore" that for good.
    if let Some(at) = d.not_before
        && time::after(now, timing.half_quiet()) < time::after(at, timing.absence_spread)
    {
        return Decision::WAIT;
    }
    let Some(Known::Seen(survey)) = &o.survey else { return Decision::Wait { until: deadline::of(d, now) } };
    // Its rule is no leftover yet, and the number that it has is the one to be planned.
    if survey.drilled.running {
        return Decision::Wait { until: deadline::of(d, now) };
    }
    match leftovers(d, survey) {
        Leftovers::Refuse(faults) => return refuse(d, faults, now),
        Leftovers::Remove(action) => return Decision::Act(action),
        Leftovers::Wait => return Decision::WAIT,
        Leftovers::None => {}
    }
    match plan::make(&Inputs::of(d), survey) {
        Err(faults) => refuse(d, faults, now),
        Ok(_) if d.intent.is_paused() => Decision::WAIT,
        Ok(plan) => {
            let mut next = d.entering(Phase::Provisioning, now);
            next.plan = Some(plan);
            // What a drill sent last may still be under way, as with a deployment before this one.
            let landed = survey.drilled.ended_at.map(|at| time::after(at, timing.half_quiet()));
            next.not_before = d.not_before.max(landed);
            Decision::advance(next)
        }
    }
}

/// Ends it before anything was changed: nothing to take back, so it goes through no `rolling_back`.
fn refuse(d: &Deployment, faults: Vec<FieldFault>, now: Timestamp) -> Decision {
    let mut next = d.entering(Phase::Cancelled, now);
    next.refusal = faults;
    Decision::advance(next)
}

enum Leftovers {
    None,
    Remove(Action),
    /// One that may not go yet.
    Wait,
    Refuse(Vec<FieldFault>),
}

/// Rules of ended deployments on our routes. No other deployment can be running on them, so whatever carries another
/// one's tag is left over: overlays go at once, a shield once the base is seen on the slot that serves, those that an
/// `abandon` let go never.
fn leftovers(d: &Deployment, survey: &Survey) -> Leftovers {
    let faults = preflight::to_be_removed_by_hand(survey, &d.let_go);
    if !faults.is_empty() {
        return Leftovers::Refuse(faults);
    }
    let mut remove = Vec::new();
    let mut wait = false;
    for route in survey.routes.iter().flatten() {
        for rule in &route.others {
            let Some(owner) = rule.owner.as_ref().filter(|owner| owner.on_our_route) else { continue };
            let serves = d
                .live
                .as_ref()
                .is_none_or(|live| matches!(route.forwards.as_slice(), [(to, _)] if live.slot.position(to).is_some()));
            match owner.role {
                Role::Overlay | Role::Preview | Role::Drill => remove.push(rule.rule.clone()),
                Role::Shield if serves => remove.push(rule.rule.clone()),
                Role::Shield => wait = true,
            }
        }
    }
    if !remove.is_empty() {
        Leftovers::Remove(Action::DeleteRules { rules: remove })
    } else if wait {
        Leftovers::Wait
    } else {
        Leftovers::None
    }
}

/// A refusal right after a create may only mean that another resource is not everywhere yet; twice is meant.
const HOPELESS_TRIES: u32 = 2;

pub(super) fn provisioning(d: &Deployment, o: &Observation, now: Timestamp) -> Decision {
    let Some(plan) = &d.plan else { return Decision::WAIT };
    if let Some(failure) = o.launch_failures.iter().find(|failure| failure.hopeless) {
        return Decision::advance(d.turning_back(Trigger::Launch, Some(failure.message.clone()), now));
    }
    if let Some(faults) = in_the_way(o) {
        let mut refused = d.clone();
        refused.refusal = faults;
        return Decision::advance(refused.turning_back(
            Trigger::Rejected,
            Some("a rule or group of somebody else is in the way".to_owned()),
            now,
        ));
    }
    if let Some(trouble) = d.seen.trouble.as_ref().filter(|trouble| trouble.hopeless && trouble.count >= HOPELESS_TRIES) {
        return Decision::advance(d.turning_back(Trigger::Launch, Some(trouble.words.clone()), now));
    }
    if deadline::passed(d, now) {
        let mut said = deadline::said(d);
        if let Some(failure) = o.launch_failures.first() {
            said = format!("{said}; the last launch failed: {}", failure.message);
        }
        return Decision::advance(d.turning_back(Trigger::Deadline, Some(said), now));
    }
    if let Some(action) = wanted(d, plan, o, now) {
        return Decision::Act(action);
    }
    let overlays: Option<Vec<_>> = o
        .routes
        .iter()
        .map(|route| route.seen().and_then(|view| view.overlays.first()).map(|overlay| overlay.rule.clone()))
        .collect();
    match (overlays, o.green.seen()) {
        (Some(overlays), Some(green))
            if all_healthy(plan, green.servers) && pinned(plan, o) && scales(plan, o) && !d.intent.is_paused() =>
        {
            let mut next = d.entering(Phase::Verifying, now);
            next.overlays = overlays;
            // With a preview something is still to be made: it ends with `verifying`.
            next.provisioned_at = plan.preview.is_none().then_some(now);
            Decision::advance(next)
        }
        _ => Decision::Wait { until: deadline::of(d, now).into_iter().chain(d.not_before.filter(|at| *at > now)).min() },
    }
}

fn all_healthy(plan: &Plan, servers: crate::domain::observation::Servers) -> bool {
    servers.in_service >= plan.green.size && servers.healthy >= plan.green.size
}

/// The first thing that is not yet as provisioning wants it.
fn wanted(d: &Deployment, plan: &Plan, o: &Observation, now: Timestamp) -> Option<Action> {
    if let Some(action) = pin(plan, o) {
        return Some(action);
    }
    // Creating again what a stale look did not show is harmless: the name is taken, and the tags say by whom.
    if o.green.is_absent() && pinned(plan, o) {
        return Some(Action::CreateGreen);
    }
    let leftovers: Vec<_> = o.routes.iter().filter_map(Known::seen).flat_map(|view| view.leftovers.iter().cloned()).collect();
    if !leftovers.is_empty() {
        return Some(Action::DeleteRules { rules: leftovers });
    }
    if d.not_before.is_some_and(|at| now < at) {
        return None;
    }
    let routes = routes_where(o, |_, view| view.overlays.is_empty());
    if !routes.is_empty() {
        return Some(Action::OpenOverlays { routes });
    }
    // A policy that counts requests names a target group that has to be in a rule first.
    let missing = o.scaling.seen().is_some_and(|scaling| scaling.policies_missing > 0);
    let ours = o.green.seen().is_some_and(|green| green.ours);
    (missing && ours).then_some(Action::CopyScaling { what: Scaling::Policies })
}

/// Whether green scales as blue does; what could not be seen is not known to.
fn scales(plan: &Plan, o: &Observation) -> bool {
    plan.blue.as_ref().is_none_or(|blue| blue.scaling.is_null())
        || o.scaling.seen().is_some_and(|scaling| scaling.policies_missing == 0)
}

/// Pins blue where it is seen not to be.
pub(super) fn pin(plan: &Plan, o: &Observation) -> Option<Action> {
    (o.blue.seen().is_some() && !pinned(plan, o)).then_some(Action::PinBlue)
}

/// Whether blue is *seen* to be pinned; unknown is not enough.
pub(super) fn pinned(plan: &Plan, o: &Observation) -> bool {
    plan.blue.as_ref().is_none_or(|pin| o.blue.seen().is_some_and(|blue| blue.min >= pin.size && blue.protected))
}

/// Somebody else's rule on an overlay's number, or somebody else's group under green's name.
fn in_the_way(o: &Observation) -> Option<Vec<FieldFault>> {
    let mut faults: Vec<_> = o
        .routes
        .iter()
        .enumerate()
        .filter_map(|(i, route)| Some((i, route.seen()?.in_the_way.as_ref()?)))
        .map(|(i, rule)| {
            FieldFault::new(format!("/routes/{i}"), format!("rule {rule} has taken the number reserved for the overlay"))
        })
        .collect();
    if o.green.seen().is_some_and(|group| !group.ours) {
        faults.push(FieldFault::new(
            "",
            "a server group with green's name exists and carries none of our tags: rename or remove it",
        ));
    }
    (!faults.is_empty()).then_some(faults)
}
