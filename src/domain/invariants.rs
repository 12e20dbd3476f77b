//! The invariants as predicates. `decide` is written so that they hold; this is the second lock, which knows nothing of why
//! an action was chosen. The engine asks `permits` before it applies one, and the explorer asks it of every choice.

use jiff::Timestamp;

use super::{
    action::{Action, Scaling, Shape, Side},
    deployment::Deployment,
    drift::{self, Answer},
    health,
    ids::RuleRef,
    observation::{Attached, Forward, Known, Observation, RouteView},
    phase::Phase,
    time,
    timing::Timing,
    weight::Weight,
};

/// What an action would have broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{action} in {phase} would break invariant {invariant}: {what}")]
pub struct Violation {
    pub action: &'static str,
    pub phase: &'static str,
    /// Its number in ARCHITECTURE.md.
    pub invariant: u8,
    pub what: &'static str,
}

/// Whether an action may be applied to what was just seen. `d` must hold what `o` showed (`Deployment::having_seen`).
///
/// # Errors
/// The invariant that it would break.
pub fn permits(d: &Deployment, o: &Observation, action: &Action, timing: &Timing, now: Timestamp) -> Result<(), Violation> {
    let verdict = match action {
        Action::PinBlue => pin(d),
        Action::CreateGreen => bring_up(d),
        Action::OpenOverlays { .. } => open(d, now),
        Action::OpenPreviews { .. } => preview(d),
        Action::SetWeight { routes, weight } => set_weight(d, o, routes, *weight),
        Action::ReshapeOverlays { shapes } => reshape(d, o, shapes),
        Action::RestoreBases { .. } => restore_bases(d),
        Action::SetBase { routes, to: Side::Green } => base_to_green(d, o, routes, timing, now),
        Action::SetBase { to: Side::Blue, .. } => way_back(d),
        Action::RaiseShields { .. } => way_back(d),
        Action::DeleteRules { rules } => delete_rules(d, o, rules, timing, now),
        Action::CopyScaling { what } => copy_scaling(d, o, *what),
        Action::GrowGreen { .. } => grow(d, o),
        Action::ReleaseGreen => release(d, o),
        Action::UnpinBlue => unpin(d, o),
        Action::Detach { side } => take_down(d, o, *side, timing, false),
        Action::DeleteGroup { side } => take_down(d, o, *side, timing, true),
    };
    verdict.map_err(|(invariant, what)| Violation { action: action.name(), phase: d.phase.name(), invariant, what })
}

type Verdict = Result<(), (u8, &'static str)>;

fn must(holds: bool, invariant: u8, what: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err((invariant, what)) }
}

fn seen_everywhere(o: &Observation, holds: impl Fn(usize, &RouteView) -> bool) -> bool {
    !o.routes.is_empty() && o.routes.iter().enumerate().all(|(i, route)| route.seen().is_some_and(|view| holds(i, view)))
}

fn pin(d: &Deployment) -> Verdict {
    must(d.phase.may_go_back(), 3, "only a blue that may be gone back to is pinned")?;
    must(d.provisioned_at.is_none(), 6, "a way back would not know that this call may be under way")
}

fn bring_up(d: &Deployment) -> Verdict {
    must(d.phase == Phase::Provisioning, 6, "things are made in `provisioning` only")?;
    must(!d.intent.is_back(), 1, "it is to go back")
}

fn open(d: &Deployment, now: Timestamp) -> Verdict {
    bring_up(d)?;
    must(d.not_before.is_none_or(|at| now >= at), 1, "writes of the last deployment may still be under way")
}

fn preview(d: &Deployment) -> Verdict {
    must(d.phase == Phase::Verifying, 6, "a preview belongs to `verifying`")?;
    must(d.plan.as_ref().is_some_and(|plan| plan.preview.is_some()), 6, "no preview was planned")?;
    must(!d.intent.is_back(), 1, "it is to go back")
}

fn set_weight(d: &Deployment, o: &Observation, routes: &[(usize, RuleRef)], weight: Weight) -> Verdict {
    must(!d.intent.is_back(), 1, "it is to go back")?;
    must(matches!(d.phase, Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. }), 2, "no weight moves here")?;
    must(routes.iter().all(|(i, rule)| d.overlays.get(*i) == Some(rule)), 6, "only recorded overlays get weight")?;
    let rises = routes.iter().any(|(i, rule)| {
        let seen = o.routes.get(*i).and_then(Known::seen);
        let overlay = seen.and_then(|view| view.overlays.iter().find(|overlay| &overlay.rule == rule));
        !matches!(overlay.map(|overlay| overlay.forward), Some(Forward::Split(now)) if now >= weight)
    });
    if !rises {
        return Ok(());
    }
    must(weight <= d.phase.wants(), 2, "more than the phase wants")?;
    must(
        !drift::suspected(d) || answered(d, Answer::Restore),
        2,
        "the world is not as recorded, and nobody said to restore it",
    )?;
    must(health::verdict(d, o, weight).passed(), 2, "too few healthy green servers")?;
    must(seen_everywhere(o, |_, view| view.shields.is_empty()), 1, "a shield is up, or a route is unknown")?;
    must(o.green_slot.seen().is_some_and(|slot| slot.strangers == 0), 2, "the slot holds others, or is unknown")
}

fn answered(d: &Deployment, answer: Answer) -> bool {
    d.answer().is_some_and(|answered| answered.answer == answer)
}

/// Conditions say which requests a weight is of: a change of them is a rise.
fn reshape(d: &Deployment, o: &Observation, shapes: &[Shape]) -> Verdict {
    must(!d.intent.is_back(), 1, "it is to go back")?;
    must(d.phase.can_pause(), 2, "no overlay is edited here")?;
    must(d.answer().is_some(), 2, "nobody said what is to become of the drift")?;
    must(shapes.iter().all(|shape| d.overlays.get(shape.route) == Some(&shape.rule)), 6, "only recorded overlays are edited")?;
    let planned = |shape: &Shape| {
        let route = d.plan.as_ref().and_then(|plan| plan.routes.get(shape.route));
        route.is_some_and(|route| route.form == shape.form) && shape.weight <= d.phase.wants()
    };
    let as_it_is = |shape: &Shape| {
        let view = o.routes.get(shape.route).and_then(Known::seen);
        view.and_then(|view| view.recorded(&shape.rule)).is_some_and(|overlay| overlay.forward == Forward::Split(shape.weight))
    };
    let said = if answered(d, Answer::Restore) { shapes.iter().all(planned) } else { shapes.iter().all(as_it_is) };
    must(said, 2, "neither what is recorded nor what is there")?;
    let most = shapes.iter().map(|shape| shape.weight).max().unwrap_or(Weight::NONE);
    must(health::verdict(d, o, most).passed(), 2, "too few healthy green servers")?;
    must(seen_everywhere(o, |_, view| view.shields.is_empty()), 1, "a shield is up, or a route is unknown")?;
    must(
        most == Weight::NONE || o.green_slot.seen().is_some_and(|slot| slot.strangers == 0),
        2,
        "the slot holds others, or is unknown",
    )
}

fn restore_bases(d: &Deployment) -> Verdict {
    must(!d.intent.is_back(), 1, "it is to go back")?;
    must(d.phase.can_pause() && !d.overlays.is_empty(), 6, "a base is put back between provisioning and the commit only")?;
    must(answered(d, Answer::Restore), 6, "nobody said to restore it")
}

fn base_to_green(d: &Deployment, o: &Observation, routes: &[usize], timing: &Timing, now: Timestamp) -> Verdict {
    must(!d.intent.is_back(), 1, "it is to go back")?;
    must(matches!(d.phase, Phase::Committing { .. }), 2, "the base is written in `committing` only")?;
    must(now >= time::after(d.phase_since, timing.commit_delay), 1, "a lane may not know of the commit yet")?;
    must(!drift::suspected(d), 2, "the world is not as recorded")?;
    must(d.holds.restored_at.is_none_or(|at| now >= timing.landed(at)), 1, "a base put back may land under the commit")?;
    let covered = |i: &usize| {
        let view = o.routes.get(*i).and_then(Known::seen);
        view.is_some_and(|view| view.overlays.iter().any(|o| Some(&o.rule) == d.overlays.get(*i) && o.forward.is_all_green()))
    };
    must(routes.iter().all(covered), 2, "without an all-green overlay above it the base would itself move traffic")
}

fn way_back(d: &Deployment) -> Verdict {
    must(matches!(d.phase, Phase::RollingBack { .. }), 6, "this belongs to the way back")
}

fn delete_rules(d: &Deployment, o: &Observation, rules: &[RuleRef], timing: &Timing, now: Timestamp) -> Verdict {
    match &d.phase {
        Phase::RollingBack { shield, .. } => {
            let covered = !shield || seen_everywhere(o, |_, view| !view.shields.is_empty());
            must(covered, 1, "a base may be on green, and not every route is seen under a shield")?;
            let is_shield =
                |rule: &RuleRef| o.routes.iter().filter_map(Known::seen).any(|v| v.shields.iter().any(|s| &s.rule == rule));
            if !rules.iter().any(is_shield) {
                return Ok(());
            }
            must(seen_everywhere(o, |_, view| view.base.is_all_blue()), 1, "a shield over a base that is not on blue stays")?;
            must(now >= timing.landed(d.phase_since), 1, "a late commit may land under the shield")
        }
        Phase::Retiring => must(
            seen_everywhere(o, |_, view| view.base.is_all_green()),
            3,
            "the rules above a base that is not on green still carry the traffic",
        ),
        Phase::Pending | Phase::Provisioning => {
            must(!rules.iter().any(|rule| d.overlays.contains(rule)), 6, "only what ended deployments left is removed here")
        }
        Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Committing { .. } => {
            let is_preview =
                |rule: &RuleRef| o.routes.iter().filter_map(Known::seen).any(|v| v.previews.iter().any(|p| &p.rule == rule));
            must(rules.iter().all(is_preview), 6, "no rule but a preview is removed here")
        }
        Phase::Succeeded | Phase::RolledBack | Phase::Cancelled | Phase::Failed => Err((6, "no rule is removed here")),
    }
}

fn copy_scaling(d: &Deployment, o: &Observation, what: Scaling) -> Verdict {
    match what {
        Scaling::Policies => bring_up(d)?,
        Scaling::Scheduled => must(d.phase == Phase::Retiring, 3, "green keeps its size until nobody can go back")?,
    }
    must(o.green.seen().is_some_and(|green| green.ours), 9, "the group is not ours, or unknown")
}

/// A late one may outlive the deployment's way back, with its group, and never its `retiring`: a quiet period lies between.
fn grow(d: &Deployment, o: &Observation) -> Verdict {
    must(!d.intent.is_back(), 1, "it is to go back")?;
    must(
        matches!(d.phase, Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. }),
        6,
        "green grows on its way only",
    )?;
    must(o.green.seen().is_some_and(|green| green.ours), 9, "the group is not ours, or unknown")
}

fn release(d: &Deployment, o: &Observation) -> Verdict {
    must(d.phase == Phase::Retiring, 3, "green keeps its size until nobody can go back")?;
    must(seen_everywhere(o, |_, view| view.base.is_all_green()), 3, "a base is not on green, or unknown")
}

fn unpin(d: &Deployment, o: &Observation) -> Verdict {
    way_back(d)?;
    must(seen_everywhere(o, |_, view| view.base.is_all_blue()), 3, "a base is not on blue, or unknown")
}

/// A group goes only when its phase has come, it is ours, and no rule names its slot; once detached and, for certain, empty.
fn take_down(d: &Deployment, o: &Observation, side: Side, timing: &Timing, delete: bool) -> Verdict {
    let (group, slot, emptied) = match side {
        Side::Blue => (&o.blue, &o.blue_slot, d.seen.absences.blue_targets),
        Side::Green => (&o.green, &o.green_slot, d.seen.absences.green_targets),
    };
    let its_time = match side {
        Side::Blue => d.phase == Phase::Retiring,
        Side::Green => matches!(d.phase, Phase::RollingBack { .. }),
    };
    must(its_time, 3, "this side still serves, or would be gone back to")?;
    let Known::Seen(group) = group else { return Err((4, "the group could not be seen")) };
    must(group.ours, 9, "the group is not ours")?;
    must(slot.seen().is_some_and(|slot| slot.named_by == 0), 3, "a rule names its slot, or the slot is unknown")?;
    must(side == Side::Green || health::serves_alone(d, o), 3, "green has too few healthy servers to serve alone")?;
    if delete {
        must(group.attached == Attached::Nowhere, 3, "it is still in its slot")?;
        must(emptied.believed(timing), 4, "its slot is not known for certain to be empty")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        phase::BackAs,
        sample::{at, deployment, given, observation, percent, seen_mut},
    };

    fn verdict(d: &Deployment, o: &Observation, action: &Action) -> Result<(), u8> {
        let late = at(1_000_000);
        permits(d, o, action, &Timing::default(), late).map_err(|violation| violation.invariant)
    }

    fn weight(d: &Deployment, weight: Weight) -> Action {
        Action::SetWeight { routes: vec![(0, d.overlays[0].clone())], weight }
    }

    #[test]
    fn nothing_moves_toward_green_once_it_is_to_go_back() {
        let phase = Phase::Shifting { stage: 0, weight: percent(50), by_hand: false, hurry: false, seen_at: None };
        let mut d = deployment(1, phase);
        let o = observation(&d, Weight::NONE);
        assert_eq!(verdict(&d, &o, &weight(&d, percent(50))), Ok(()));
        assert_eq!(verdict(&d, &o, &weight(&d, Weight::ALL)), Err(2), "more than the phase wants");
        d.intent.rollback = Some(given());
        assert_eq!(verdict(&d, &o, &weight(&d, percent(50))), Err(1));
        d.phase = Phase::Committing { quiet_since: None };
        assert_eq!(verdict(&d, &o, &Action::SetBase { routes: vec![0], to: Side::Green }), Err(1));
    }

    #[test]
    fn an_overlay_that_was_not_recorded_gets_no_weight() {
        let mut d = deployment(1, Phase::Baking { seen_at: None, commit_now: false });
        let o = observation(&d, Weight::NONE);
        let action = weight(&d, Weight::ALL);
        d.overlays = vec![RuleRef::new("recorded")];
        assert_eq!(verdict(&d, &o, &action), Err(6));
    }

    #[test]
    fn a_group_that_serves_or_would_be_gone_back_to_is_not_touched() {
        let back = deployment(1, Phase::RollingBack { shield: false, ends: BackAs::RolledBack });
        let o = observation(&back, Weight::NONE);
        for action in [Action::Detach { side: Side::Blue }, Action::DeleteGroup { side: Side::Blue }, Action::ReleaseGreen] {
            assert_eq!(verdict(&back, &o, &action), Err(3), "{}", action.name());
        }
        assert_eq!(verdict(&back, &o, &Action::Detach { side: Side::Green }), Err(3), "a rule names its slot");
        let mut unnamed = o.clone();
        seen_mut(&mut unnamed.green_slot).named_by = 0;
        assert_eq!(verdict(&back, &unnamed, &Action::Detach { side: Side::Green }), Ok(()));
        assert_eq!(verdict(&back, &unnamed, &Action::DeleteGroup { side: Side::Green }), Err(3), "it is in its slot");
        seen_mut(&mut unnamed.green).attached = Attached::Partly;
        assert_eq!(verdict(&back, &unnamed, &Action::DeleteGroup { side: Side::Green }), Err(3), "half of it is still there");
        seen_mut(&mut unnamed.green).attached = Attached::Nowhere;
        assert_eq!(verdict(&back, &unnamed, &Action::DeleteGroup { side: Side::Green }), Err(4), "its slot may not be empty");
        seen_mut(&mut unnamed.green).ours = false;
        assert_eq!(verdict(&back, &unnamed, &Action::Detach { side: Side::Green }), Err(9));
        let retiring = deployment(1, Phase::Retiring);
        let mut o = observation(&retiring, Weight::ALL);
        seen_mut(&mut o.blue_slot).named_by = 0;
        assert_eq!(verdict(&retiring, &o, &Action::Detach { side: Side::Blue }), Ok(()));
        seen_mut(&mut o.green).servers.healthy = 0;
        assert_eq!(verdict(&retiring, &o, &Action::Detach { side: Side::Blue }), Err(3), "nobody would be left");
    }

    #[test]
    fn an_ended_deployment_changes_nothing() {
        for phase in [Phase::Succeeded, Phase::RolledBack, Phase::Cancelled, Phase::Failed] {
            let d = deployment(1, phase);
            let o = observation(&d, Weight::NONE);
            let rules = d.overlays.clone();
            let all = [
                Action::PinBlue,
                Action::UnpinBlue,
                Action::CreateGreen,
                Action::CopyScaling { what: Scaling::Policies },
                Action::CopyScaling { what: Scaling::Scheduled },
                Action::GrowGreen { size: 3 },
                Action::ReleaseGreen,
                Action::OpenOverlays { routes: vec![0] },
                Action::OpenPreviews { routes: vec![0] },
                weight(&d, Weight::NONE),
                Action::SetBase { routes: vec![0], to: Side::Blue },
                Action::RaiseShields { routes: vec![0] },
                Action::DeleteRules { rules },
                Action::Detach { side: Side::Green },
                Action::DeleteGroup { side: Side::Green },
            ];
            for action in all {
                assert!(verdict(&d, &o, &action).is_err(), "{} in {}", action.name(), d.phase.name());
            }
        }
    }
}
