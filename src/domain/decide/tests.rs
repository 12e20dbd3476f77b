//! What the explorer cannot take out and find: rules that stand in for each other, and those that guard what its worlds leave
//! out. Each is shown here where it acts; so are the finds of the explorer.

use std::time::Duration;

use jiff::Timestamp;

use super::{Decision, decide};
use crate::domain::{
    action::{Action, Scaling, Side},
    attention,
    declaration::Preview,
    deployment::{Deployment, Trigger},
    health::ShortFor,
    invariants,
    looks::Looks,
    observation::{Attached, Forward, Known, Observation, ScalingView, Servers},
    phase::{BackAs, Phase},
    sample::{at, deployment, given, observation, percent, route_mut, seen_mut, shield},
    time::BakeTime,
    timing::Timing,
    weight::Weight,
};

fn shifting(weight: Weight) -> Phase {
    Phase::Shifting { stage: 0, weight, by_hand: false, hurry: false, seen_at: None }
}

const COMMITTING: Phase = Phase::Committing { quiet_since: None };

/// Decides on one look, and holds what was chosen against the invariants.
pub(super) fn decided(d: &Deployment, o: &Observation, now: Timestamp) -> Decision {
    let timing = Timing::default();
    let d = d.clone().having_seen(o, &timing, now);
    let decision = decide(&d, o, &timing, now);
    if let Decision::Act(action) = &decision {
        assert_eq!(invariants::permits(&d, o, action, &timing, now), Ok(()));
    }
    decision
}

pub(super) fn action(decision: Decision) -> Option<Action> {
    match decision {
        Decision::Act(action) => Some(action),
        Decision::Advance(_) | Decision::Wait { .. } | Decision::Done => None,
    }
}

pub(super) fn believed(now: Timestamp) -> Looks {
    Looks { count: 9, first: Some(now - Duration::from_secs(30)), last: Some(now) }
}

#[test]
fn weight_rises_only_where_the_slot_holds_our_own_group_and_nothing_else() {
    let d = deployment(1, shifting(percent(50)));
    let o = observation(&d, Weight::NONE);
    let rise = Action::SetWeight { routes: vec![(0, d.overlays[0].clone())], weight: percent(50) };
    assert_eq!(action(decided(&d, &o, at(1))), Some(rise));

    let changes: [fn(&mut Observation); 8] = [
        |o| seen_mut(&mut o.green_slot).strangers = 1,
        |o| o.green_slot = Known::Unknown("throttled".to_owned()),
        |o| seen_mut(&mut o.green).ours = false,
        |o| seen_mut(&mut o.green).attached = Attached::Nowhere,
        |o| seen_mut(&mut o.green).attached = Attached::Partly,
        |o| seen_mut(&mut o.green).deleting = true,
        |o| seen_mut(&mut o.green).servers.healthy = 0,
        |o| o.routes[0] = Known::Unknown("throttled".to_owned()),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut o = o.clone();
        change(&mut o);
        assert_eq!(action(decided(&d, &o, at(1))), None, "change {i}");
    }
}

#[test]
fn green_grows_after_blue_before_it_is_given_more() {
    let d = deployment(1, shifting(percent(50)));
    let mut o = observation(&d, Weight::NONE);
    seen_mut(&mut o.blue).servers = Servers { desired: 4, in_service: 4, healthy: 4 };
    assert_eq!(action(decided(&d, &o, at(1))), Some(Action::GrowGreen { size: 4 }));
    let green = seen_mut(&mut o.green);
    (green.min, green.servers.desired) = (4, 4);
    let rise = Action::SetWeight { routes: vec![(0, d.overlays[0].clone())], weight: percent(50) };
    assert_eq!(action(decided(&d, &o, at(1))), Some(rise), "two healthy servers are half of blue's four");

    // Blue grows while half of its traffic is on green: no failing of green's, and no next stage before green is as large.
    let d =
        deployment(1, Phase::Shifting { stage: 0, weight: percent(50), by_hand: false, hurry: false, seen_at: Some(at(0)) });
    let mut o = observation(&d, percent(50));
    seen_mut(&mut o.blue).servers = Servers { desired: 8, in_service: 8, healthy: 8 };
    assert_eq!(action(decided(&d, &o, at(1))), Some(Action::GrowGreen { size: 4 }), "as far as the declared maximum lets it");
    let green = seen_mut(&mut o.green);
    (green.min, green.servers.desired) = (4, 4);
    for second in [1, 300, 600, 900] {
        let found = decided(&d, &o, at(second));
        assert!(matches!(found, Decision::Wait { .. }), "{found:?}");
    }
    seen_mut(&mut o.green).servers = Servers { desired: 4, in_service: 4, healthy: 4 };
    let found = decided(&d, &o, at(900));
    assert!(matches!(&found, Decision::Advance(next) if next.phase != d.phase), "{found:?}");

    // The same with all of it on green, at the end of the bake.
    let d = deployment(1, Phase::Baking { seen_at: Some(at(0)), commit_now: true });
    let mut o = observation(&d, Weight::ALL);
    seen_mut(&mut o.blue).servers = Servers { desired: 3, in_service: 3, healthy: 3 };
    assert_eq!(action(decided(&d, &o, at(1))), Some(Action::GrowGreen { size: 3 }));
}

#[test]
fn nothing_goes_back_by_itself_to_fewer_healthy_servers_than_it_has() {
    let timing = Timing::default();
    let mut d = deployment(1, Phase::Baking { seen_at: Some(at(0)), commit_now: false });
    d.seen.short = ShortFor { ms: 60_000, last: Some(at(1)) };
    let mut o = observation(&d, Weight::ALL);
    seen_mut(&mut o.green).servers.healthy = 1;
    let back = |d: &Deployment, o: &Observation| match decided(d, o, at(2)) {
        Decision::Advance(next) => next.going_back.map(|back| back.trigger),
        Decision::Act(_) | Decision::Wait { .. } | Decision::Done => None,
    };
    assert_eq!(back(&d, &o), Some(Trigger::Gate), "blue is well");
    let well = o.blue.clone();
    seen_mut(&mut o.blue).servers.healthy = 0;
    assert_eq!(back(&d, &o), None);
    let told = attention::sentence(&d, &o, &timing, at(2)).unwrap();
    assert!(told.contains("blue is worse: 0 healthy servers, and 1 of green's"), "{told}");
    let mut asked = d.clone();
    asked.intent.rollback = Some(given());
    assert_eq!(back(&asked, &o), Some(Trigger::Manual), "a person knows better");

    let mut late = deployment(1, shifting(percent(50)));
    late.phase_since = at(-3600);
    assert_eq!(back(&late, &o), None, "nor by a deadline");
    o.blue = Known::Absent;
    assert_eq!(back(&late, &o), None, "nobody is left there");
    o.blue = Known::Unknown("throttled".to_owned());
    assert_eq!(back(&late, &o), Some(Trigger::Deadline), "toward blue always, unless it is known to be worse");

    // Without traffic there is nothing to lose.
    late.phase = Phase::Verifying;
    o.blue = well;
    seen_mut(&mut o.blue).servers.healthy = 0;
    assert_eq!(back(&late, &o), Some(Trigger::Deadline));
}

#[test]
fn weight_falls_whatever_is_unknown_about_the_rest() {
    let d = deployment(2, shifting(percent(50)));
    let mut o = observation(&d, Weight::ALL);
    o.routes[1] = Known::Unknown("throttled".to_owned());
    o.blue = Known::Unknown("throttled".to_owned());
    let fall = Action::SetWeight { routes: vec![(0, d.overlays[0].clone())], weight: percent(50) };
    assert_eq!(action(decided(&d, &o, at(1))), Some(fall));
}

#[test]
fn a_group_goes_only_while_no_rule_names_its_slot() {
    let mut d = deployment(1, Phase::RollingBack { shield: false, ends: BackAs::RolledBack });
    let now = at(1000);
    d.seen.absences.overlays = vec![believed(now)];
    d.seen.absences.shields = vec![believed(now)];
    let mut o = observation(&d, Weight::NONE);
    route_mut(&mut o, 0).overlays.clear();
    // A rule of somebody else forwards to the slot too.
    seen_mut(&mut o.green_slot).named_by = 1;
    assert_eq!(action(decided(&d, &o, now)), None);
    seen_mut(&mut o.green_slot).named_by = 0;
    assert_eq!(action(decided(&d, &o, now)), Some(Action::Detach { side: Side::Green }));
}

#[test]
fn a_group_that_was_detached_by_half_is_detached_again_and_not_removed() {
    let mut d = deployment(1, Phase::RollingBack { shield: false, ends: BackAs::RolledBack });
    let now = at(1000);
    d.seen.absences.overlays = vec![believed(now)];
    d.seen.absences.shields = vec![believed(now)];
    d.seen.absences.green_targets = believed(now);
    let mut o = observation(&d, Weight::NONE);
    route_mut(&mut o, 0).overlays.clear();
    seen_mut(&mut o.green_slot).named_by = 0;
    seen_mut(&mut o.green_slot).targets = 0;
    seen_mut(&mut o.green).attached = Attached::Partly;
    assert_eq!(action(decided(&d, &o, now)), Some(Action::Detach { side: Side::Green }));
    seen_mut(&mut o.green).attached = Attached::Nowhere;
    assert_eq!(action(decided(&d, &o, now)), Some(Action::DeleteGroup { side: Side::Green }));
}

/// Two load balancers, one of which is slow to show a weight.
#[test]
fn the_slower_route_holds_the_stage() {
    let d = deployment(2, shifting(percent(50)));
    let rise = |routes: &[usize]| {
        let routes = routes.iter().map(|i| (*i, d.overlays[*i].clone())).collect();
        Some(Action::SetWeight { routes, weight: percent(50) })
    };
    let mut o = observation(&d, Weight::NONE);
    assert_eq!(action(decided(&d, &o, at(1))), rise(&[0, 1]), "both are sent together");
    route_mut(&mut o, 0).overlays[0].forward = Forward::Split(percent(50));
    assert_eq!(action(decided(&d, &o, at(90))), rise(&[1]), "a minute of bake would be over, and it has not begun");
    o.routes[1] = Known::Unknown("throttled".to_owned());
    assert!(matches!(decided(&d, &o, at(91)), Decision::Wait { .. }), "unknown is not seen");
    let o = observation(&d, percent(50));
    let Decision::Advance(next) = decided(&d, &o, at(92)) else { panic!("both show it") };
    assert_eq!(
        next.phase,
        Phase::Shifting { stage: 0, weight: percent(50), by_hand: false, hurry: false, seen_at: Some(at(92)) }
    );
}

#[test]
fn the_base_is_written_no_sooner_than_every_lane_has_learned_of_the_commit() {
    let d = deployment(1, COMMITTING);
    let o = observation(&d, Weight::ALL);
    let delay = i64::try_from(Timing::default().commit_delay.as_secs()).unwrap();
    assert_eq!(decided(&d, &o, at(delay - 1)), Decision::Wait { until: Some(at(delay)) });
    assert_eq!(action(decided(&d, &o, at(delay))), Some(Action::SetBase { routes: vec![0], to: Side::Green }));
}

#[test]
fn the_base_is_never_written_without_an_all_green_overlay_above_it() {
    let d = deployment(1, COMMITTING);
    let mut o = observation(&d, percent(50));
    assert_eq!(action(decided(&d, &o, at(60))), None, "a late weight has landed");
    let looked = |d: Deployment, second| d.having_seen(&o, &Timing::default(), at(second));
    let called = looked(looked(looked(d.clone(), 60), 61), 62).attention;
    assert!(called.is_some_and(|sentence| sentence.contains("roll back")), "a person is called");
    route_mut(&mut o, 0).overlays.clear();
    assert_eq!(action(decided(&d, &o, at(60))), None);
}

/// Measured by `cutover probe`: nodes of a load balancer go on by a deleted rule for some seconds.
#[test]
fn a_group_stays_in_its_slot_until_its_rules_end_is_everywhere() {
    let back = Phase::RollingBack { shield: false, ends: BackAs::RolledBack };
    let mut d = deployment(1, back);
    let mut o = observation(&d, Weight::NONE);
    route_mut(&mut o, 0).overlays.clear();
    seen_mut(&mut o.green_slot).named_by = 0;
    let timing = Timing::default();
    let gone_for = |seconds: i64| Looks { count: 9, first: Some(at(100)), last: Some(at(100 + seconds)) };
    d.seen.absences.shields = vec![believed(at(100))];
    let mut detached = |seconds| {
        d.seen.absences.overlays = vec![gone_for(seconds)];
        if let Some(back) = &mut d.going_back {
            back.observed_at = Some(at(0));
        }
        action(decide(&d, &o, &timing, at(100 + seconds))) == Some(Action::Detach { side: Side::Green })
    };
    assert!(!detached(9) && detached(10));
}

/// Found by the explorer.
#[test]
fn an_overlay_goes_only_when_every_route_is_seen_under_a_shield() {
    let d = deployment(2, COMMITTING).turning_back(Trigger::Manual, None, at(0));
    let mut o = observation(&d, Weight::ALL);
    for i in 0..2 {
        route_mut(&mut o, i).base = Forward::Split(Weight::ALL);
    }
    let whole = o.clone();
    o.routes[1] = Known::Unknown("throttled".to_owned());
    assert_eq!(action(decided(&d, &o, at(1))), Some(Action::RaiseShields { routes: vec![0] }));
    route_mut(&mut o, 0).shields.push(shield(&d));
    assert_eq!(action(decided(&d, &o, at(2))), None, "the unknown route may have a green base and no shield");

    let mut o = whole;
    for i in 0..2 {
        route_mut(&mut o, i).shields.push(shield(&d));
    }
    assert_eq!(action(decided(&d, &o, at(3))), Some(Action::DeleteRules { rules: d.overlays.clone() }));
}

/// Found by the explorer.
#[test]
fn a_shield_stays_until_no_stale_read_can_hide_a_late_commit() {
    let mut d = deployment(1, COMMITTING).turning_back(Trigger::Manual, None, at(0));
    let timing = Timing::default();
    let half = i64::try_from(timing.half_quiet().as_secs()).unwrap();
    let spread = i64::try_from(timing.absence_spread.as_secs()).unwrap();
    let mut o = observation(&d, Weight::NONE);
    route_mut(&mut o, 0).overlays.clear();
    route_mut(&mut o, 0).shields.push(shield(&d));
    d.seen.absences.overlays = vec![believed(at(half))];
    if let Some(back) = &mut d.going_back {
        back.observed_at = Some(at(5));
    }
    assert_eq!(decided(&d, &o, at(half)), Decision::Wait { until: Some(at(half + spread)) });
    let Decision::Advance(next) = decided(&d, &o, at(half + spread)) else { panic!("the shield may go") };
    assert_eq!(next.phase, Phase::RollingBack { shield: false, ends: BackAs::RolledBack });
}

/// Found by the explorer.
#[test]
fn blue_is_pinned_again_where_somebody_undid_it_and_green_does_not_rise_before() {
    for phase in
        [Phase::Verifying, shifting(percent(50)), Phase::Baking { seen_at: Some(at(0)), commit_now: false }, COMMITTING]
    {
        let d = deployment(1, phase);
        let mut o = observation(&d, if d.phase == shifting(percent(50)) { Weight::NONE } else { d.phase.wants() });
        seen_mut(&mut o.blue).min = 1;
        if d.phase == Phase::Verifying {
            o.routes[0] = Known::Unknown("throttled".to_owned());
        }
        let Decision::Advance(open) = decided(&d, &o, at(1)) else { panic!("{}", d.phase.name()) };
        assert_eq!(action(decided(&open, &o, at(1))), Some(Action::PinBlue), "{}", d.phase.name());
    }
}

/// Found by the explorer.
#[test]
fn provisioning_does_not_end_while_blue_is_unknown() {
    let mut d = deployment(1, Phase::Verifying);
    d.phase = Phase::Provisioning;
    let mut o = observation(&d, Weight::NONE);
    d.overlays.clear();
    o.blue = Known::Unknown("throttled".to_owned());
    assert!(matches!(decided(&d, &o, at(1)), Decision::Wait { .. }));
    o.blue = o.green.clone();
    assert!(matches!(decided(&d, &o, at(1)), Decision::Advance(next) if next.phase == Phase::Verifying));
}

/// Found by the explorer.
#[test]
fn retiring_touches_nothing_of_blue_while_green_is_unknown_or_gone() {
    let mut d = deployment(1, Phase::Retiring);
    d.seen.absences.overlays = vec![believed(at(60))];
    let mut o = observation(&d, Weight::NONE);
    route_mut(&mut o, 0).overlays.clear();
    route_mut(&mut o, 0).base = Forward::Split(Weight::ALL);
    seen_mut(&mut o.blue_slot).named_by = 0;
    assert_eq!(action(decided(&d, &o, at(60))), Some(Action::ReleaseGreen));
    let green = std::mem::replace(&mut o.green, Known::Unknown("throttled".to_owned()));
    assert_eq!(action(decided(&d, &o, at(60))), None);
    o.green = Known::Absent;
    assert_eq!(action(decided(&d, &o, at(60))), None);
    o.green = green;
    seen_mut(&mut o.green).min = 1;
    seen_mut(&mut o.green).servers.healthy = 0;
    assert_eq!(action(decided(&d, &o, at(60))), None, "whoever could still help needs blue");
    let told = d.clone().having_seen(&o, &Timing::default(), at(60)).attention;
    assert_eq!(told.as_deref(), Some("blue is kept: 0 of green's servers healthy, 1 needed"));
    // Its own scaling rules now, within the declared bounds: two may have become one.
    seen_mut(&mut o.green).servers.healthy = 1;
    assert_eq!(action(decided(&d, &o, at(60))), Some(Action::Detach { side: Side::Blue }));
}

/// All that is left of a way back: nothing of green is there, and blue is as it was.
fn gone_back(d: &Deployment, now: Timestamp) -> Decision {
    let mut d = d.clone();
    for looks in [&mut d.seen.absences.overlays, &mut d.seen.absences.shields] {
        *looks = vec![believed(now)];
    }
    d.seen.absences.green = believed(now);
    if let Some(back) = &mut d.going_back {
        back.observed_at = Some(now);
    }
    let mut o = observation(&d, Weight::NONE);
    route_mut(&mut o, 0).overlays.clear();
    o.green = Known::Absent;
    seen_mut(&mut o.blue).min = 1;
    seen_mut(&mut o.blue).protected = false;
    decided(&d, &o, now)
}

/// Found by the explorer.
#[test]
fn a_way_back_ends_only_when_no_pin_or_creation_can_land_any_more() {
    let landed = Timing::default().landed(at(0));
    let mut d = deployment(1, Phase::RollingBack { shield: false, ends: BackAs::RolledBack });
    d.provisioned_at = Some(at(0));
    assert_eq!(gone_back(&d, at(100)), Decision::Wait { until: Some(landed) });
    assert!(matches!(gone_back(&d, landed), Decision::Advance(next) if next.phase == Phase::RolledBack));
}

/// Somebody unpins blue in mid-flight. The call that pins it again may be late too, and the way back waits for that one.
#[test]
fn blue_is_pinned_again_once_the_record_says_that_such_a_call_may_be_under_way() {
    let landed = |signed| Timing::default().landed(at(signed));
    let bakes = Phase::Shifting { stage: 0, weight: percent(50), by_hand: true, hurry: false, seen_at: Some(at(0)) };
    let d = deployment(1, bakes);
    let pinned = observation(&d, percent(50));
    let mut unpinned = pinned.clone();
    seen_mut(&mut unpinned.blue).min = 1;
    assert_eq!(decided(&d, &pinned, at(1000)), Decision::Wait { until: None });
    let Decision::Advance(open) = decided(&d, &unpinned, at(1000)) else { panic!("it was not written down first") };
    assert_eq!(action(decided(&open, &unpinned, at(1001))), Some(Action::PinBlue));

    let back = open.turning_back(Trigger::Manual, None, at(1002));
    assert_eq!(gone_back(&back, at(1010)), Decision::Wait { until: Some(landed(1002)) });

    // Seen pinned, no more are signed: what goes back much later waits for none.
    let Decision::Advance(closed) = decided(&open, &pinned, at(1003)) else { panic!("that it is over was not written down") };
    assert_eq!(decided(&closed, &pinned, at(1004)), Decision::Wait { until: None });
    let back = closed.turning_back(Trigger::Manual, None, at(1005));
    assert_eq!(gone_back(&back, at(1010)), Decision::Wait { until: Some(landed(1003)) });
    let late = closed.turning_back(Trigger::Manual, None, at(9000));
    assert!(matches!(gone_back(&late, at(9001)), Decision::Advance(next) if next.phase == Phase::RolledBack));
}

#[test]
fn a_preview_that_is_still_to_be_made_keeps_the_record_open() {
    let mut d = deployment(1, Phase::Verifying);
    d.plan.as_mut().unwrap().preview = Some(Preview {
        header: "X-Preview".to_owned(),
        value: "green".to_owned(),
        bake_time: BakeTime::For(Duration::from_secs(60)),
    });
    d.provisioned_at = None;
    let mut o = observation(&d, Weight::NONE);
    assert_eq!(action(decided(&d, &o, at(1))), Some(Action::OpenPreviews { routes: vec![0] }));
    o.routes[0] = Known::Unknown("throttled".to_owned());
    assert_eq!(decided(&d, &o, at(1)), Decision::Wait { until: Some(at(60)) });
}

#[test]
fn a_preview_that_is_over_is_removed_and_seen_gone_before_the_first_weight_is_chosen() {
    let mut d = deployment(1, Phase::Verifying);
    let bake_time = BakeTime::For(Duration::from_secs(60));
    d.plan.as_mut().unwrap().preview = Some(Preview { header: "X-Preview".to_owned(), value: "green".to_owned(), bake_time });
    let mut o = observation(&d, Weight::NONE);
    let preview = shield(&d);
    route_mut(&mut o, 0).previews.push(preview.clone());
    let removed = Some(Action::DeleteRules { rules: vec![preview.rule] });
    assert_eq!(action(decided(&d, &o, at(61))), removed, "before anything else");
    route_mut(&mut o, 0).previews.clear();
    assert_eq!(decided(&d, &o, at(62)), Decision::Wait { until: None }, "one look may be stale");
    d.seen.absences.previews = vec![believed(at(62))];
    assert!(matches!(decided(&d, &o, at(62)), Decision::Advance(next) if matches!(next.phase, Phase::Shifting { .. })));
}

#[test]
fn provisioning_does_not_end_before_what_scales_blue_is_seen_to_scale_green() {
    let mut d = deployment(1, Phase::Verifying);
    d.phase = Phase::Provisioning;
    d.plan.as_mut().unwrap().blue.as_mut().unwrap().scaling = serde_json::json!({"policies": []});
    let mut o = observation(&d, Weight::NONE);
    d.overlays.clear();
    o.scaling = Known::Unknown("throttled".to_owned());
    assert!(matches!(decided(&d, &o, at(1)), Decision::Wait { .. }), "unknown is not copied");
    o.scaling = Known::Seen(ScalingView { policies_missing: 1, scheduled_missing: 1 });
    assert_eq!(action(decided(&d, &o, at(1))), Some(Action::CopyScaling { what: Scaling::Policies }));
    o.scaling = Known::Seen(ScalingView { policies_missing: 0, scheduled_missing: 1 });
    assert!(
        matches!(decided(&d, &o, at(1)), Decision::Advance(next) if next.phase == Phase::Verifying),
        "schedules come later"
    );
}

#[test]
fn a_quiet_period_that_ended_in_the_dark_is_looked_at_again_at_the_phases_own_pace() {
    let d = deployment(2, Phase::Committing { quiet_since: Some(at(0)) });
    let timing = Timing::default();
    let over = i64::try_from(timing.quiet().as_secs()).unwrap();
    let mut o = observation(&d, Weight::ALL);
    for i in 0..2 {
        route_mut(&mut o, i).base = Forward::Split(Weight::ALL);
    }
    assert!(matches!(decided(&d, &o, at(over)), Decision::Advance(_)), "seen whole, it goes on");
    o.routes[1] = Known::Unknown("throttled".to_owned());
    // A time that has passed would make it due at once, and again, against a provider that is throttling already.
    assert_eq!(decided(&d, &o, at(over)), Decision::Wait { until: None });
}

#[test]
fn a_rule_of_somebody_else_that_keeps_a_slot_in_use_is_told_of() {
    let d = deployment(1, Phase::Retiring);
    let mut o = observation(&d, Weight::ALL);
    route_mut(&mut o, 0).base = Forward::Split(Weight::ALL);
    let said = |o: &Observation| d.clone().having_seen(o, &Timing::default(), at(1)).attention;
    seen_mut(&mut o.blue_slot).named_by = 1;
    assert_eq!(said(&o), None, "the overlay still stands, and it names the slot");
    route_mut(&mut o, 0).overlays.clear();
    assert!(
        said(&o).is_some_and(|said| said.contains("1 rule(s) that are no declared route still name slot-a")),
        "{:?}",
        said(&o)
    );
    seen_mut(&mut o.blue_slot).named_by = 0;
    assert_eq!(said(&o), None);
}
