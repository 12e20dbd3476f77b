//! `rolling_back`: traffic first, by the overlay's deletion (under a shield where the base may be green); then green goes and
//! blue is unpinned. It never gives up.

use jiff::Timestamp;

use super::{
    Decision, all_routes,
    commit::{Removal, remove},
    routes_where,
};
use crate::domain::{
    action::{Action, Side},
    deployment::Deployment,
    observation::{Forward, Known, Observation},
    phase::{BackAs, Phase},
    plan::Plan,
    timing::Timing,
    weight::Weight,
};

pub(super) fn rolling_back(
    d: &Deployment,
    o: &Observation,
    timing: &Timing,
    now: Timestamp,
    shield: bool,
    ends: BackAs,
) -> Decision {
    let Some(plan) = &d.plan else { return end(&accepted_by_itself(d, now), ends, now) };
    if let Some(action) = traffic(d, o, shield) {
        return Decision::Act(action);
    }
    if let Some(decision) = record_observed(d, o, timing, now) {
        return decision;
    }
    let overlays_gone = absent_everywhere(plan, &d.seen.absences.overlays, timing);
    let on_blue = all_routes(o).is_some_and(|routes| routes.iter().all(|view| view.base.is_all_blue()));
    if !overlays_gone || !on_blue {
        return Decision::WAIT;
    }
    if let Some(decision) = lower_shields(d, o, timing, now, shield, ends) {
        return decision;
    }
    if !absent_everywhere(plan, &d.seen.absences.shields, timing) {
        return Decision::WAIT;
    }
    match remove(d, o, timing, plan, Side::Green) {
        Removal::Act(action) => Decision::Act(action),
        Removal::Wait => Decision::WAIT,
        Removal::Done => match unpin(plan, o, d, timing) {
            Some(Removal::Act(action)) => Decision::Act(action),
            Some(Removal::Wait) => Decision::WAIT,
            Some(Removal::Done) | None => match all_landed(d, timing) {
                at if now < at => Decision::Wait { until: Some(at) },
                _ => end(d, ends, now),
            },
        },
    }
}

/// Nothing of it was ever at the load balancer, so there is nobody else to accept it.
fn accepted_by_itself(d: &Deployment, now: Timestamp) -> Deployment {
    let mut next = d.clone();
    if let Some(back) = &mut next.going_back {
        back.accepted_at = back.accepted_at.or(d.intent.rollback_accepted_at).or(Some(now));
    }
    next
}

/// From when on no pin, no creation and no base put back of ours can land any more: only then is it sure that nothing is
/// left behind, and that nothing is written over what its owner does next. It counts from the last of them, which was mostly
/// long ago; from the turn back only where such calls might still be made when it came.
fn all_landed(d: &Deployment, timing: &Timing) -> Timestamp {
    let provisioned = d.provisioned_at.unwrap_or(d.phase_since);
    timing.landed(d.holds.restored_at.map_or(provisioned, |restored| restored.max(provisioned)))
}

/// Whatever still sends traffic to green: shields go up first where the base may be green, then overlays down, then bases back.
fn traffic(d: &Deployment, o: &Observation, shield: bool) -> Option<Action> {
    if shield {
        let bare = routes_where(o, |_, view| view.shields.is_empty());
        if !bare.is_empty() {
            return Some(Action::RaiseShields { routes: bare });
        }
        // An overlay goes only under a shield that was seen: a route that is unknown may have a green base and none.
        all_routes(o)?;
    }
    let mut rules: Vec<_> = o
        .routes
        .iter()
        .filter_map(Known::seen)
        .flat_map(|view| view.overlays.iter().chain(&view.previews))
        .map(|rule| rule.rule.clone())
        .collect();
    // Recorded ones are named even where a look did not show them: deleting what is gone is success.
    if !rules.is_empty() {
        rules.extend(d.overlays.iter().filter(|rule| !rules.contains(rule)).cloned().collect::<Vec<_>>());
        return Some(Action::DeleteRules { rules });
    }
    let bases = routes_where(o, |_, view| matches!(view.base, Forward::Split(weight) if weight > Weight::NONE));
    (!bases.is_empty()).then_some(Action::SetBase { routes: bases, to: Side::Blue })
}

/// Shields stay until half a quiet period is over and stale reads with it: a commit signed before this phase began may land
/// under them until then.
/// The base was just seen on blue on every route, and is looked at again in each later tick.
fn lower_shields(
    d: &Deployment,
    o: &Observation,
    timing: &Timing,
    now: Timestamp,
    shield: bool,
    ends: BackAs,
) -> Option<Decision> {
    let rules: Vec<_> =
        o.routes.iter().filter_map(Known::seen).flat_map(|view| view.shields.iter()).map(|rule| rule.rule.clone()).collect();
    if !shield && rules.is_empty() {
        return None;
    }
    let safe = timing.landed(d.phase_since);
    if now < safe {
        return Some(Decision::Wait { until: Some(safe) });
    }
    if shield {
        // From here on a missing shield is not raised again.
        let mut next = d.clone();
        next.phase = Phase::RollingBack { shield: false, ends };
        return Some(Decision::advance(next));
    }
    Some(Decision::Act(Action::DeleteRules { rules }))
}

/// The first look at which no route sends anything to green.
fn record_observed(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<Decision> {
    let back = d.going_back.as_ref()?;
    if back.observed_at.is_some() {
        return None;
    }
    let clear = all_routes(o)?.iter().enumerate().all(|(i, view)| {
        let shielded = view.shields.iter().any(|shield| shield.forward.is_all_blue());
        let overlay_is_gone = d.seen.absences.overlays.get(i).is_some_and(|looks| looks.believed(timing));
        // Somebody else's rule is not ours to delete, adopted or not; while it stands green has users.
        view.strays.is_empty() && (shielded || overlay_is_gone && view.base.is_all_blue())
    });
    if !clear {
        return None;
    }
    let mut next = d.clone();
    next.going_back = Some(crate::domain::deployment::GoingBack {
        accepted_at: back.accepted_at.or(d.intent.rollback_accepted_at).or(Some(now)),
        observed_at: Some(now),
        ..back.clone()
    });
    Some(Decision::advance(next))
}

/// Whether something is believed gone from every route.
fn absent_everywhere(plan: &Plan, looks: &[crate::domain::looks::Looks], timing: &Timing) -> bool {
    looks.len() == plan.routes.len() && looks.iter().all(|looks| looks.believed(timing))
}

/// Blue's minimum and protection as they were.
fn unpin(plan: &Plan, o: &Observation, d: &Deployment, timing: &Timing) -> Option<Removal> {
    let pin = plan.blue.as_ref()?;
    Some(match &o.blue {
        Known::Seen(blue) if blue.min != pin.min || blue.protected != pin.protected => Removal::Act(Action::UnpinBlue),
        Known::Seen(_) => Removal::Done,
        // Somebody removed it: nothing to put back.
        Known::Absent if d.seen.absences.blue.believed(timing) => Removal::Done,
        Known::Absent | Known::Unknown(_) => Removal::Wait,
    })
}

fn end(d: &Deployment, ends: BackAs, now: Timestamp) -> Decision {
    let to = match ends {
        BackAs::RolledBack => Phase::RolledBack,
        BackAs::Cancelled => Phase::Cancelled,
    };
    Decision::advance(d.entering(to, now))
}
