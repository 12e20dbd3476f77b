//! `verifying`, `shifting`, `baking`: the overlay's weight rises, stage by stage, while the base stays on blue.

use jiff::Timestamp;

use super::{Decision, all_routes, drifted::drifted, start::pinned};
use crate::domain::{
    action::Action,
    deadline,
    deployment::{Deployment, Order, Steer, Trigger},
    drift::{self, Weighed},
    health::{self, Verdict},
    ids::RuleRef,
    observation::{Attached, Forward, Observation},
    phase::Phase,
    plan::Plan,
    preview, time,
    timing::Timing,
    weight::Weight,
};

pub(super) fn verifying(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Decision {
    let Some(plan) = &d.plan else { return Decision::WAIT };
    if let Some(back) = no_longer(d, o, timing, now) {
        return back;
    }
    if let Some(decision) = drifted(d, plan, o, timing, now) {
        return decision;
    }
    if let Some(decision) = show(d, o, plan, timing, now) {
        return decision;
    }
    if let Some(order) = d.open_order() {
        let to = match order.to {
            Steer::Full => shift(plan.strategy.stages.len() - 1, plan, true),
            Steer::Next | Steer::Weight { .. } | Steer::OnFrom { .. } => shift(0, plan, false),
        };
        return obey(&all_made(d, now), order, to, now);
    }
    if let Some(decision) = bring_about(d, o, timing, now) {
        return decision;
    }
    if d.intent.is_paused() || all_routes(o).is_none() {
        return Decision::WAIT;
    }
    Decision::advance(all_made(d, now).entering(shift(0, plan, false), now))
}

/// The record from which on nothing is created any more.
fn all_made(d: &Deployment, now: Timestamp) -> Deployment {
    Deployment { provisioned_at: d.provisioned_at.or(Some(now)), ..d.clone() }
}

/// The preview: opened while it is wanted, then removed and seen gone before anything else happens.
fn show(d: &Deployment, o: &Observation, plan: &Plan, timing: &Timing, now: Timestamp) -> Option<Decision> {
    plan.preview.as_ref()?;
    if preview::is_wanted(d, now) {
        let missing = super::routes_where(o, |_, view| view.previews.is_empty());
        return Some(if missing.is_empty() {
            Decision::Wait { until: preview::ends(d).filter(|ends| *ends > now) }
        } else {
            Decision::Act(Action::OpenPreviews { routes: missing })
        });
    }
    if let Some(action) = super::remove_previews(o) {
        return Some(Decision::Act(action));
    }
    let gone = d.seen.absences.previews.len() == plan.routes.len()
        && d.seen.absences.previews.iter().all(|looks| looks.believed(timing));
    (!gone).then_some(Decision::WAIT)
}

pub(super) fn shifting(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Decision {
    let (Some(plan), Phase::Shifting { stage, weight, by_hand, hurry, seen_at }) = (&d.plan, &d.phase) else {
        return Decision::WAIT;
    };
    if let Some(back) = no_longer(d, o, timing, now) {
        return back;
    }
    if let Some(decision) = drifted(d, plan, o, timing, now) {
        return decision;
    }
    if let Some(order) = d.open_order() {
        return obey(d, order, steered(plan, order.to, *stage, *weight), now);
    }
    if let Some(decision) = bring_about(d, o, timing, now) {
        return decision;
    }
    let Some(seen_at) = seen_at else {
        return record_seen(d, o, now, |at| Phase::Shifting {
            stage: *stage,
            weight: *weight,
            by_hand: *by_hand,
            hurry: *hurry,
            seen_at: at,
        });
    };
    if d.intent.is_paused() || *by_hand {
        return Decision::WAIT;
    }
    let bake = plan.strategy.stages.get(*stage).map(|stage| stage.bake_time);
    match bake.and_then(|bake| bake.ends(*seen_at)) {
        _ if *hurry => advance_if_well(d, o, *weight, now, after_stage(plan, *stage)),
        Some(ends) if now >= ends => advance_if_well(d, o, *weight, now, after_stage(plan, *stage)),
        until => Decision::Wait { until },
    }
}

pub(super) fn baking(
    d: &Deployment,
    o: &Observation,
    timing: &Timing,
    now: Timestamp,
    seen_at: Option<Timestamp>,
    commit_now: bool,
) -> Decision {
    let Some(plan) = &d.plan else { return Decision::WAIT };
    if let Some(back) = no_longer(d, o, timing, now) {
        return back;
    }
    if let Some(decision) = drifted(d, plan, o, timing, now) {
        return decision;
    }
    if let Some(order) = d.open_order() {
        let to = match order.to {
            Steer::Next | Steer::Full => Phase::Baking { seen_at, commit_now: true },
            Steer::Weight { weight } if weight < Weight::ALL => {
                Phase::Shifting { stage: plan.strategy.stages.len() - 1, weight, by_hand: true, hurry: false, seen_at: None }
            }
            // Already where that leads.
            Steer::Weight { .. } | Steer::OnFrom { .. } => d.phase.clone(),
        };
        return obey(d, order, to, now);
    }
    if let Some(decision) = bring_about(d, o, timing, now) {
        return decision;
    }
    let Some(seen) = seen_at else {
        return record_seen(d, o, now, |at| Phase::Baking { seen_at: at, commit_now });
    };
    if d.intent.is_paused() {
        return Decision::WAIT;
    }
    let ends = plan.strategy.bake_time.ends(seen);
    if !commit_now && ends.is_none_or(|ends| now < ends) {
        return Decision::Wait { until: ends };
    }
    // A base that was put back for somebody may be put back again by a call that is late: not under a commit.
    match d.holds.restored_at.map(|at| timing.landed(at)) {
        Some(landed) if now < landed => Decision::Wait { until: Some(landed) },
        _ => advance_if_well(d, o, Weight::ALL, now, Phase::Committing { quiet_since: None }),
    }
}

/// Rolls back by itself: the health gate failed, or the deadline passed.
fn no_longer(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<Decision> {
    let late = || {
        (deadline::passed(d, now) && !is_worse_off_on_blue(d, o))
            .then(|| Decision::advance(d.turning_back(Trigger::Deadline, Some(deadline::said(d)), now)))
    };
    unwell(d, o, timing, now).or_else(late)
}

/// No deployment goes back by itself from traffic onto fewer healthy servers than it has: that is for a person to say, who is
/// called (`attention`).
fn is_worse_off_on_blue(d: &Deployment, o: &Observation) -> bool {
    d.phase.wants() > Weight::NONE && health::fewer_on_blue(d, o).is_some()
}

/// Rolls back by itself where the health gate failed.
pub(super) fn unwell(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<Decision> {
    if is_worse_off_on_blue(d, o) {
        return None;
    }
    // A slot that is named by no rule is not checked by the provider: that an overlay is gone is told by the looks for it.
    let checked =
        d.overlays.iter().zip(&o.routes).all(|(rule, route)| route.seen().is_none_or(|view| view.recorded(rule).is_some()));
    let failed = match health::verdict(d, o, d.phase.wants()) {
        _ if !checked => None,
        Verdict::NoneHealthy { needed } => Some(format!("health: none of green's servers is healthy, {needed} needed")),
        Verdict::Short { healthy, needed } if d.seen.short.duration() >= timing.health_patience => Some(format!(
            "health: {healthy} of green's servers healthy, {needed} needed, for {}",
            time::show_duration(timing.health_patience)
        )),
        Verdict::Passed | Verdict::Unknown | Verdict::Short { .. } | Verdict::Outgrown { .. } => None,
    };
    failed.map(|reason| Decision::advance(d.turning_back(Trigger::Gate, Some(reason), now)))
}

/// Sends the wanted weight where it is not seen: downward at once and anywhere, upward only into a world that was seen whole.
fn bring_about(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<Decision> {
    if let Some(action) = lower(d, o, timing, now) {
        return Some(Decision::Act(action));
    }
    let below = overlays_where(d, o, |_, seen| drift::weighed(d, seen, timing, now) == Weighed::TooLittle);
    let outgrown = matches!(health::verdict(d, o, d.phase.wants()), Verdict::Outgrown { .. });
    // Blue may have grown since green was made: what is to take its traffic has to be as large first, and what has it already
    // would never pass again.
    let grown = health::outgrown_to(d, o).filter(|_| outgrown || !below.is_empty());
    if let Some(size) = grown {
        return Some(Decision::Act(Action::GrowGreen { size }));
    }
    if below.is_empty() {
        return None;
    }
    let weight = d.phase.wants();
    if !may_rise(d, o, weight) {
        return Some(Decision::Wait { until: deadline::of(d, now) });
    }
    Some(Decision::Act(Action::SetWeight { routes: below, weight }))
}

/// Takes back what a late call of ours may have given to green; routes that somebody edited are left alone.
pub(super) fn lower(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<Action> {
    let edited = |i: usize| d.seen.drift.get(i).is_some_and(|route| !route.edits.is_empty());
    let above = overlays_where(d, o, |i, seen| !edited(i) && drift::weighed(d, seen, timing, now) == Weighed::TooMuch);
    (!above.is_empty()).then(|| Action::SetWeight { routes: above, weight: d.phase.wants() })
}

/// The recorded overlays that were seen with such a weight.
pub(super) fn overlays_where(d: &Deployment, o: &Observation, such: impl Fn(usize, Weight) -> bool) -> Vec<(usize, RuleRef)> {
    let seen = d.overlays.iter().zip(&o.routes).enumerate();
    let such = seen.filter(|(i, (rule, route))| {
        let overlay = route.seen().and_then(|view| view.overlays.iter().find(|overlay| &overlay.rule == *rule));
        matches!(overlay.map(|overlay| overlay.forward), Some(Forward::Split(weight)) if such(*i, weight))
    });
    such.map(|(i, (rule, _))| (i, rule.clone())).collect()
}

/// Whether green may be given more: every route known with its recorded overlay, the slot holding our group alone, blue
/// pinned, enough healthy servers.
pub(super) fn may_rise(d: &Deployment, o: &Observation, weight: Weight) -> bool {
    let whole = all_routes(o).is_some_and(|routes| {
        routes.len() == d.overlays.len()
            && routes.iter().zip(&d.overlays).all(|(view, rule)| view.overlays.iter().any(|overlay| &overlay.rule == rule))
    });
    let slot_is_ours = o.green_slot.seen().is_some_and(|slot| slot.strangers == 0)
        && o.green.seen().is_some_and(|group| group.ours && group.attached == Attached::Everywhere && !group.deleting);
    let blue_stays = d.plan.as_ref().is_some_and(|plan| pinned(plan, o));
    whole && slot_is_ours && blue_stays && health::verdict(d, o, weight).passed()
}

/// The weight is seen on every route: its clock starts.
fn record_seen(d: &Deployment, o: &Observation, now: Timestamp, phase: impl Fn(Option<Timestamp>) -> Phase) -> Decision {
    let whole = all_routes(o).is_some_and(|routes| routes.iter().all(|view| view.green_share() == Some(d.phase.wants())));
    if !whole {
        return Decision::Wait { until: deadline::of(d, now) };
    }
    let mut next = d.clone();
    next.phase = phase(Some(now));
    Decision::advance(next)
}

fn advance_if_well(d: &Deployment, o: &Observation, weight: Weight, now: Timestamp, to: Phase) -> Decision {
    if all_routes(o).is_some() && health::verdict(d, o, weight).passed() {
        Decision::advance(d.entering(to, now))
    } else {
        Decision::WAIT
    }
}

fn shift(stage: usize, plan: &Plan, hurry: bool) -> Phase {
    let weight = plan.strategy.stages.get(stage).map_or(Weight::ALL, |stage| stage.weight);
    Phase::Shifting { stage, weight, by_hand: false, hurry, seen_at: None }
}

fn after_stage(plan: &Plan, stage: usize) -> Phase {
    if stage + 1 < plan.strategy.stages.len() {
        shift(stage + 1, plan, false)
    } else {
        Phase::Baking { seen_at: None, commit_now: false }
    }
}

/// Where an order leads from a stage.
fn steered(plan: &Plan, to: Steer, stage: usize, weight: Weight) -> Phase {
    let on_from = |weight: Weight| match plan.strategy.stages.iter().position(|stage| stage.weight > weight) {
        Some(stage) => shift(stage, plan, false),
        None => Phase::Baking { seen_at: None, commit_now: false },
    };
    match to {
        Steer::Weight { weight } => Phase::Shifting { stage, weight, by_hand: true, hurry: false, seen_at: None },
        Steer::Full if weight == Weight::ALL => Phase::Baking { seen_at: None, commit_now: false },
        Steer::Full => shift(plan.strategy.stages.len() - 1, plan, true),
        Steer::OnFrom { weight } => on_from(weight),
        Steer::Next => on_from(weight),
    }
}

fn obey(d: &Deployment, order: &Order, to: Phase, now: Timestamp) -> Decision {
    let mut next = if to == d.phase { d.clone() } else { d.entering(to, now) };
    next.order_seen = order.number;
    Decision::advance(next)
}
