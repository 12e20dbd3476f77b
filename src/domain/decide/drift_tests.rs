//! The drift fence: what holds, what goes back, what a person's answer does, and what it never does.

use super::{Decision, decide};
use crate::domain::{
    action::{Action, Shape, Side},
    command::{self, Command, Outcome, Refusal},
    deployment::{Deployment, Status},
    ids::RuleRef,
    invariants,
    observation::{Edit, Field, Forward, Known, Layer, Observation},
    phase::Phase,
    sample::{self, at, deployment, edited, given, observation, percent, route_mut, seen_mut},
    timing::Timing,
    weight::Weight,
};

/// 25 % wanted since the beginning, and seen.
fn at_25() -> Deployment {
    let phase = Phase::Shifting { stage: 0, weight: percent(25), by_hand: false, hurry: false, seen_at: Some(at(0)) };
    let mut d = deployment(1, phase);
    // A bake that never ends by itself: what moves is somebody's doing.
    d.plan.as_mut().unwrap().strategy.stages[0].bake_time = crate::domain::time::BakeTime::Manual;
    d
}

const BAKING: Phase = Phase::Baking { seen_at: None, commit_now: true };

/// Long after any call of ours can land.
const LATER: i64 = 100_000;

/// One tick whose decision, an advance aside, is not carried out.
fn tick(d: Deployment, o: &Observation, second: i64) -> (Deployment, Decision) {
    let timing = Timing::default();
    let seen = d.having_seen(o, &timing, at(second));
    let decision = decide(&seen, o, &timing, at(second));
    match &decision {
        Decision::Act(action) => assert_eq!(invariants::permits(&seen, o, action, &timing, at(second)), Ok(())),
        Decision::Advance(next) => return ((**next).clone(), decision),
        Decision::Wait { .. } | Decision::Done => {}
    }
    (seen, decision)
}

/// Several looks that show the same, a second apart; nothing is done meanwhile.
fn believed(mut d: Deployment, o: &Observation, from: i64) -> Deployment {
    for second in from..from + 3 {
        let (next, decision) = tick(d, o, second);
        assert!(matches!(decision, Decision::Wait { .. }), "second {second}: {decision:?}");
        d = next;
    }
    d
}

fn give(d: &Deployment, command: Command) -> Deployment {
    match command::give(d, command, given()) {
        Ok(Outcome::Changed(intent)) => Deployment { intent: *intent, ..d.clone() },
        other => panic!("{command:?}: {other:?}"),
    }
}

fn told(d: &Deployment) -> Vec<String> {
    d.held.iter().flat_map(|held| &held.differences).map(ToString::to_string).collect()
}

fn set_weight(d: &Deployment, weight: Weight) -> Decision {
    Decision::Act(Action::SetWeight { routes: vec![(0, d.overlays[0].clone())], weight })
}

#[test]
fn more_green_than_recorded_is_lowered_while_it_may_be_our_own_late_call_and_held_after() {
    let d = at_25();
    let o = observation(&d, percent(60));
    let landed = 302;
    assert_eq!(tick(d.clone(), &o, landed - 1).1, set_weight(&d, percent(25)));
    let d = believed(d, &o, landed);
    assert_eq!(told(&d), ["overlay of route-0: weight 25% -> 60%"]);
    assert_eq!(d.status(), Status::Paused);
    let attention = d.attention.clone().unwrap();
    assert_eq!(
        attention,
        "changed outside Cutover: overlay of route-0: weight 25% -> 60%: adopt it, restore it, put it back by hand, or roll back"
    );
    assert_eq!(command::allowed(&d), ["rollback", "pause", "adopt", "restore"]);
}

#[test]
fn one_look_that_disagrees_stops_every_move_and_is_not_yet_believed() {
    let base = |o: &mut Observation| route_mut(o, 0).base = Forward::Elsewhere;
    let number = |o: &mut Observation| {
        let mut moved = edited(&at_25(), 0, Layer::Base);
        moved.edits[0].field = Field::Number;
        route_mut(o, 0).edited = Some(Box::new(moved));
    };
    let conditions = |rule| move |o: &mut Observation| route_mut(o, 0).edited = Some(Box::new(edited(&at_25(), 0, rule)));
    let lower = |o: &mut Observation| route_mut(o, 0).overlays[0].forward = Forward::Split(percent(10));
    let elsewhere = |o: &mut Observation| route_mut(o, 0).overlays[0].forward = Forward::Elsewhere;
    let edits: [&dyn Fn(&mut Observation); 6] =
        [&base, &number, &conditions(Layer::Base), &conditions(Layer::Overlay), &lower, &elsewhere];
    for (i, edit) in edits.into_iter().enumerate() {
        let mut d = at_25();
        d.intent.order = give(&d, Command::Promote(command::PromoteTo::Full)).intent.order;
        let mut o = observation(&d, percent(25));
        assert!(matches!(tick(d.clone(), &o, LATER).1, Decision::Advance(_)), "as recorded, it is promoted");
        edit(&mut o);
        let (d, decision) = tick(d, &o, LATER);
        assert!(matches!(decision, Decision::Wait { .. }) && d.held.is_none(), "edit {i}: {decision:?}");
        let d = believed(d, &o, LATER + 1);
        assert!(d.held.is_some() && d.attention.is_some(), "edit {i}");
        let o = observation(&d, percent(25));
        let (d, _) = tick(d, &o, LATER + 10);
        assert!(d.held.is_some(), "edit {i}: one look that agrees may be stale as well");
        let mut d = d;
        for second in LATER + 11..LATER + 13 {
            d = tick(d, &o, second).0;
        }
        assert!(d.held.is_none() && matches!(d.phase, Phase::Shifting { weight: Weight::ALL, .. }), "edit {i}: it goes on");
    }
}

#[test]
fn a_stage_that_begins_raises_only_from_what_was_left_there() {
    let mut d = at_25()
        .entering(Phase::Shifting { stage: 1, weight: Weight::ALL, by_hand: false, hurry: false, seen_at: None }, at(LATER));
    assert_eq!(d.least, percent(25));
    for (seen, raised) in [(25, true), (60, true), (24, false), (0, false)] {
        let o = observation(&d, percent(seen));
        let decision = tick(d.clone(), &o, LATER + 1).1;
        assert_eq!(decision == set_weight(&d, Weight::ALL), raised, "{seen} %: {decision:?}");
    }
    // An operator's lower weight, not brought about everywhere yet, may have been left by us as well.
    d = d.entering(Phase::Shifting { stage: 1, weight: percent(10), by_hand: true, hurry: false, seen_at: None }, at(LATER));
    d = d.entering(Phase::Shifting { stage: 1, weight: percent(50), by_hand: true, hurry: false, seen_at: None }, at(LATER));
    assert_eq!(tick(d.clone(), &observation(&d, percent(10)), LATER + 1).1, set_weight(&d, percent(50)));
}

#[test]
fn an_overlay_set_to_all_blue_is_a_rollback_taken_outside() {
    let mut d = at_25();
    let o = observation(&d, Weight::NONE);
    for second in LATER..LATER + 2 {
        let (next, decision) = tick(d, &o, second);
        assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
        d = next;
    }
    let (back, _) = tick(d, &o, LATER + 2);
    assert!(matches!(back.phase, Phase::RollingBack { shield: false, .. }) && back.held.is_none());
    assert!(back.going_back.unwrap().reason.unwrap().contains("everything to blue"));
    // Where nothing was ever given to green, nothing was taken back.
    let d = deployment(1, Phase::Shifting { stage: 0, weight: percent(25), by_hand: false, hurry: false, seen_at: None });
    assert_eq!(tick(d.clone(), &observation(&d, Weight::NONE), 1).1, set_weight(&d, percent(25)));
}

#[test]
fn a_held_deployment_loses_no_time_and_keeps_its_gates() {
    let mut d =
        at_25().entering(Phase::Shifting { stage: 1, weight: Weight::ALL, by_hand: false, hurry: false, seen_at: None }, at(0));
    let mut o = observation(&d, percent(25));
    route_mut(&mut o, 0).base = Forward::Elsewhere;
    d = believed(d, &o, 1);
    let (d, decision) = tick(d, &o, LATER);
    assert!(matches!(decision, Decision::Wait { .. }), "its deadline of ten minutes does not run: {decision:?}");
    // Three looks, the fourth of which finds time left: of the deadline two seconds have run.
    let well = observation(&d, percent(25));
    let mut free = d.clone();
    for second in LATER + 1..LATER + 4 {
        free = tick(free, &well, second).0;
    }
    assert!(free.held.is_none());
    assert_eq!(tick(free.clone(), &well, LATER + 5).1, set_weight(&free, Weight::ALL));
    seen_mut(&mut o.green).servers.healthy = 0;
    assert!(matches!(tick(d, &o, LATER + 1).0.phase, Phase::RollingBack { .. }), "no healthy server: back, held or not");
}

#[test]
fn a_drift_in_baking_is_not_committed_and_one_in_the_commit_is_not_written_over() {
    let mut d = deployment(1, BAKING);
    d.phase_since = at(LATER);
    let o = observation(&d, Weight::ALL);
    let (d, _) = tick(d, &o, LATER);
    let mut drifted = o.clone();
    route_mut(&mut drifted, 0).edited = Some(Box::new(edited(&d, 0, Layer::Base)));
    let held = believed(d.clone(), &drifted, LATER + 1);
    assert_eq!(held.phase.name(), "baking");
    let (d, _) = tick(d, &o, LATER + 1);
    assert_eq!(d.phase.name(), "committing");
    let held = believed(d.clone(), &drifted, LATER + 100);
    assert_eq!((held.status(), command::allowed(&held)), (Status::Paused, vec!["rollback"]));
    assert!(held.attention.unwrap().ends_with(": put it back by hand, or roll back"));
    assert_eq!(tick(d, &o, LATER + 100).1, Decision::Act(Action::SetBase { routes: vec![0], to: Side::Green }));
}

#[test]
fn adopting_a_weight_makes_it_one_set_by_hand() {
    let d = at_25();
    let o = observation(&d, percent(60));
    let d = give(&believed(d, &o, LATER), Command::Adopt);
    let mut short = o.clone();
    seen_mut(&mut short.green).servers.healthy = 1;
    let (waits, decision) = tick(d.clone(), &short, LATER + 3);
    assert!(matches!(decision, Decision::Wait { .. }), "health has the last word: {decision:?}");
    assert_eq!(waits.attention.as_deref(), Some("adopting 60% waits: 1 of green's servers healthy, 2 needed"));
    let (d, _) = tick(d, &o, LATER + 3);
    assert!(matches!(d.phase, Phase::Shifting { by_hand: true, weight, .. } if weight == percent(60)), "{:?}", d.phase);
    assert_eq!((d.status(), d.held.is_none()), (Status::Paused, true));
    let (d, _) = tick(d, &o, LATER + 4);
    let d = give(&d, Command::Resume);
    let (d, _) = tick(d, &o, LATER + 5);
    assert_eq!(d.phase.wants(), Weight::ALL, "on from the first stage above it");
}

#[test]
fn adopting_an_edited_base_gives_it_to_the_overlay_first_and_then_to_the_plan() {
    let d = at_25();
    let mut o = observation(&d, percent(25));
    let mut edits = edited(&d, 0, Layer::Base);
    route_mut(&mut o, 0).edited = Some(Box::new(edits.clone()));
    let d = give(&believed(d, &o, LATER), Command::Adopt);
    assert_eq!(d.status(), Status::Paused);
    let shape = Shape { route: 0, rule: d.overlays[0].clone(), weight: percent(25), form: serde_json::json!("edited") };
    assert_eq!(tick(d.clone(), &o, LATER + 3).1, Decision::Act(Action::ReshapeOverlays { shapes: vec![shape] }));
    let mut unpinned = o.clone();
    seen_mut(&mut unpinned.blue).protected = false;
    let (open, _) = tick(d.clone(), &unpinned, LATER + 3);
    assert_eq!(tick(open, &unpinned, LATER + 3).1, Decision::Act(Action::PinBlue), "wider conditions are a rise");
    (edits.overlay_as_planned, edits.overlay_as_base) = (false, true);
    route_mut(&mut o, 0).edited = Some(Box::new(edits));
    let (d, _) = tick(d, &o, LATER + 4);
    assert_eq!(d.plan.as_ref().unwrap().routes[0].form, serde_json::json!("edited"));
    assert_eq!((d.status(), d.phase.wants()), (Status::InProgress, percent(25)), "nobody paused it");
}

#[test]
fn restoring_puts_back_the_base_then_the_overlay_and_the_commit_waits_for_late_calls() {
    let mut d = deployment(1, BAKING);
    d.phase = Phase::Baking { seen_at: Some(at(0)), commit_now: false };
    d.plan.as_mut().unwrap().strategy.bake_time = crate::domain::time::BakeTime::Manual;
    let mut o = observation(&d, percent(40));
    let view = route_mut(&mut o, 0);
    view.base = Forward::Elsewhere;
    view.edited = Some(Box::new(edited(&d, 0, Layer::Overlay)));
    let d = give(&believed(d, &o, LATER), Command::Restore);
    assert_eq!(tick(d.clone(), &o, LATER + 3).1, Decision::Act(Action::RestoreBases { routes: vec![0] }));
    route_mut(&mut o, 0).base = Forward::Split(Weight::NONE);
    let shape = Shape { route: 0, rule: d.overlays[0].clone(), weight: Weight::ALL, form: serde_json::Value::Null };
    let (d, decision) = tick(d, &o, LATER + 4);
    assert_eq!(decision, Decision::Act(Action::ReshapeOverlays { shapes: vec![shape] }));
    let mut short = o.clone();
    seen_mut(&mut short.green).servers.healthy = 1;
    assert!(matches!(tick(d.clone(), &short, LATER + 4).1, Decision::Wait { .. }), "toward green only with health");
    route_mut(&mut o, 0).edited = None;
    let (d, decision) = tick(d, &o, LATER + 5);
    assert_eq!(decision, set_weight(&d, Weight::ALL), "what is left is its weight");
    let well = observation(&d, Weight::ALL);
    let mut d = d;
    for second in LATER + 6..LATER + 9 {
        d = tick(d, &well, second).0;
    }
    assert!(d.held.is_none());
    let d = tick(give(&d, Command::Promote(command::PromoteTo::Next)), &well, LATER + 9).0;
    let landed = at(LATER + 8) + Timing::default().half_quiet() + Timing::default().absence_spread;
    assert_eq!(
        tick(d, &well, LATER + 10).1,
        Decision::Wait { until: Some(landed) },
        "a base put back late would undo the commit"
    );
}

#[test]
fn an_answer_to_one_drift_is_none_to_the_next() {
    let d = at_25();
    let o = observation(&d, percent(60));
    let d = give(&believed(d, &o, LATER), Command::Restore);
    assert_eq!(tick(d.clone(), &o, LATER + 3).1, set_weight(&d, percent(25)));
    let again = observation(&d, percent(90));
    let d = believed(d, &again, LATER + 10);
    assert_eq!((told(&d)[0].as_str(), d.answer()), ("overlay of route-0: weight 25% -> 90%", None));
    assert_eq!(d.holds.restored_at, Some(at(LATER + 12)));
}

#[test]
fn a_part_of_a_drift_that_is_over_leaves_the_answer_to_the_rest() {
    let d = at_25();
    let mut o = observation(&d, percent(60));
    route_mut(&mut o, 0).edited = Some(Box::new(edited(&d, 0, Layer::Base)));
    let d = give(&believed(d, &o, LATER), Command::Restore);
    route_mut(&mut o, 0).edited = None;
    let mut d = d;
    for second in LATER + 3..LATER + 6 {
        let (next, decision) = tick(d, &o, second);
        assert_eq!(decision, set_weight(&next, percent(25)));
        d = next;
    }
    assert!(told(&d) == ["overlay of route-0: weight 25% -> 60%"] && d.answer().is_some());
}

#[test]
fn what_cannot_be_adopted_or_restored_is_refused_with_every_reason() {
    let refused = |d: &Deployment, command| match command::give(d, command, given()) {
        Err(Refusal::DriftStays { reasons, .. }) => reasons.join("; "),
        other => panic!("{command:?}: {other:?}"),
    };
    let d = at_25();
    let mut o = observation(&d, percent(25));
    let mut moved = edited(&d, 0, Layer::Overlay);
    moved.edits.push(Edit { rule: Layer::Base, field: Field::Number, recorded: "100".to_owned(), seen: "7".to_owned() });
    route_mut(&mut o, 0).edited = Some(Box::new(moved));
    route_mut(&mut o, 0).overlays[0].forward = Forward::Elsewhere;
    let held = believed(d, &o, LATER);
    assert!(refused(&held, Command::Restore).contains("never renumbers"));
    let reasons = refused(&held, Command::Adopt);
    assert!(reasons.contains("like no base") && reasons.contains("forwards elsewhere"), "{reasons}");
    assert_eq!(command::allowed(&held), ["rollback", "pause"]);

    let mut two = deployment(2, at_25().phase);
    two.plan.as_mut().unwrap().strategy.stages[0].bake_time = crate::domain::time::BakeTime::Manual;
    let mut o = observation(&two, percent(25));
    route_mut(&mut o, 1).overlays[0].forward = Forward::Split(percent(60));
    let held = believed(two, &o, LATER);
    assert!(refused(&held, Command::Adopt).contains("different weights"));

    let verifying = deployment(1, Phase::Verifying);
    let held = believed(verifying.clone(), &observation(&verifying, percent(5)), 310);
    assert!(refused(&held, Command::Adopt).contains("no traffic in verifying"));
    for command in [Command::Promote(command::PromoteTo::Next), Command::Resume, Command::Weight(percent(5))] {
        assert!(matches!(command::give(&held, command, given()), Err(Refusal::IllegalInPhase { .. })), "{command:?}");
    }
}

#[test]
fn a_route_that_is_unknown_neither_holds_nor_frees() {
    let d = at_25();
    let o = observation(&d, percent(60));
    let mut dark = o.clone();
    dark.routes[0] = Known::Unknown("throttled".to_owned());
    let d = believed(d, &o, LATER);
    let d = believed(d, &dark, LATER + 10);
    assert!(d.held.is_some());
    let free = believed(at_25(), &dark, LATER);
    assert!(free.held.is_none() && free.seen.drift.iter().all(|route| route.edits.is_empty()));
}

/// A look with a rule beside the overlay that sends green traffic.
fn with_stray(d: &Deployment) -> Observation {
    let mut o = observation(d, percent(25));
    route_mut(&mut o, 0).strays = vec![sample::stray("canary")];
    o
}

#[test]
fn a_rule_that_was_added_and_sends_green_traffic_holds_and_is_deleted_by_no_call_of_ours() {
    let d = at_25();
    let held = believed(d.clone(), &with_stray(&d), LATER);
    assert_eq!(told(&held), ["rule canary forwards to green (by hand: delete canary), beside route-0"]);
    assert_eq!(command::allowed(&held), ["rollback", "pause", "adopt"]);
    match command::give(&held, Command::Restore, given()) {
        Err(Refusal::DriftStays { reasons, .. }) => assert!(reasons[0].contains("did not make"), "{reasons:?}"),
        other => panic!("{other:?}"),
    }
    let mut freed = held;
    for second in LATER + 3..LATER + 6 {
        freed = tick(freed, &observation(&d, percent(25)), second).0;
    }
    assert!(freed.held.is_none(), "its owner deleted it");
}

#[test]
fn an_added_rule_that_was_adopted_is_no_drift_any_more_and_the_next_one_is() {
    let d = at_25();
    let o = with_stray(&d);
    let d = give(&believed(d, &o, LATER), Command::Adopt);
    let d = tick(d, &o, LATER + 3).0;
    assert_eq!(d.plan.as_ref().unwrap().routes[0].strays, [RuleRef::new("canary")]);
    assert_eq!((d.held.is_none(), d.status(), d.phase.wants()), (true, Status::InProgress, percent(25)));
    let mut two = o;
    route_mut(&mut two, 0).strays.push(sample::stray("another"));
    let d = believed(d, &two, LATER + 4);
    assert_eq!(told(&d).len(), 1, "{:?}", told(&d));
}

#[test]
fn going_back_is_not_seen_to_be_done_while_an_added_rule_sends_green_traffic() {
    for adopted in [false, true] {
        let mut d = at_25();
        if adopted {
            d.plan.as_mut().unwrap().routes[0].strays = vec![RuleRef::new("canary")];
        }
        let back = d.turning_back(crate::domain::deployment::Trigger::Manual, None, at(LATER));
        let mut o = with_stray(&back);
        route_mut(&mut o, 0).overlays.clear();
        let back = believed(back, &o, LATER);
        assert!(back.going_back.as_ref().unwrap().observed_at.is_none(), "users are on green, adopted: {adopted}");
        let attention = back.attention.clone().unwrap();
        assert!(attention.starts_with("green still gets traffic: rule canary"), "{attention}");
        route_mut(&mut o, 0).strays.clear();
        let (back, _) = tick(back, &o, LATER + 4);
        assert_eq!(back.going_back.unwrap().observed_at, Some(at(LATER + 4)));
    }
}

#[test]
fn once_the_base_is_on_green_an_added_rule_to_green_is_its_owners() {
    let mut d = deployment(1, Phase::Committing { quiet_since: Some(at(LATER)) });
    d.phase_since = at(LATER);
    let mut o = observation(&d, Weight::ALL);
    let view = route_mut(&mut o, 0);
    view.base = Forward::Split(Weight::ALL);
    view.strays = vec![sample::stray("canary")];
    assert!(believed(d, &o, LATER + 1).held.is_none());
}

#[test]
fn an_order_to_go_back_meets_a_base_that_somebody_put_on_green_under_a_shield_whoever_carries_it_out() {
    for command in [Command::Rollback, Command::Cancel] {
        let mut d = at_25();
        if command == Command::Cancel {
            (d.phase, d.least) = (Phase::Verifying, Weight::NONE);
        }
        let mut o = observation(&d, d.phase.wants());
        route_mut(&mut o, 0).base = Forward::Split(Weight::ALL);
        // The order comes in the moment before the look: nothing was known of the edit.
        let (back, _) = tick(give(&d, command), &o, LATER);
        assert!(matches!(back.phase, Phase::RollingBack { shield: true, .. }), "{command:?}: {:?}", back.phase);
        let (_, decision) = tick(back, &o, LATER + 1);
        assert_eq!(
            decision,
            Decision::Act(Action::RaiseShields { routes: vec![0] }),
            "the overlay is all that sends anybody to blue"
        );
    }
}
