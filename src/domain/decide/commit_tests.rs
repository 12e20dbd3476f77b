//! Green's health from the commit on: as long as blue is there it can be gone back to, and green is never left alone short.

use super::{
    Decision,
    tests::{action, believed, decided},
};
use crate::domain::{
    action::{Action, Side},
    deployment::Trigger,
    health::ShortFor,
    observation::{Forward, Known},
    phase::{BackAs, Phase},
    sample::{at, deployment, observation, route_mut, seen_mut},
    time,
    timing::Timing,
    weight::Weight,
};

#[test]
fn a_green_that_falls_sick_in_the_quiet_period_goes_back_and_is_never_left_alone() {
    let timing = Timing::default();
    let quiet = timing.quiet();
    let mut d = deployment(1, Phase::Committing { quiet_since: Some(at(0)) });
    let mut o = observation(&d, Weight::ALL);
    route_mut(&mut o, 0).base = Forward::Split(Weight::ALL);
    let over = time::after(at(0), quiet);
    assert!(matches!(decided(&d, &o, over), Decision::Advance(next) if next.phase == Phase::Retiring));

    seen_mut(&mut o.green).servers.healthy = 1;
    assert_eq!(decided(&d, &o, over), Decision::WAIT, "short, and not yet for long");
    let told = d.clone().having_seen(&o, &timing, over).attention;
    assert_eq!(told.as_deref(), Some("blue is kept: 1 of green's servers healthy, 2 needed"));
    let green = std::mem::replace(&mut o.green, Known::Unknown("throttled".to_owned()));
    assert_eq!(decided(&d, &o, over), Decision::WAIT, "unknown is not well");
    o.green = green;
    d.seen.short = ShortFor { ms: 60_000, last: Some(at(0)) };
    let back = |decision| match decision {
        Decision::Advance(next) => (next.phase, next.going_back.unwrap().trigger),
        other => panic!("{other:?}"),
    };
    let shielded = (Phase::RollingBack { shield: true, ends: BackAs::RolledBack }, Trigger::Gate);
    assert_eq!(back(decided(&d, &o, at(1))), shielded, "the base may be on green");
    d.seen.short = ShortFor::default();
    seen_mut(&mut o.green).servers.healthy = 0;
    assert_eq!(back(decided(&d, &o, at(1))), shielded, "at once when nobody is left");
    seen_mut(&mut o.blue).servers.in_service = 4;
    seen_mut(&mut o.green).servers.healthy = 2;
    assert!(
        matches!(decided(&d, &o, over), Decision::Advance(next) if next.phase == Phase::Retiring),
        "blue's growth is no fault of green's"
    );
}

#[test]
fn a_first_release_that_falls_short_stays_since_nobody_serves_in_its_place() {
    let timing = Timing::default();
    for phase in [Phase::Baking { seen_at: Some(at(0)), commit_now: false }, Phase::Committing { quiet_since: Some(at(0)) }] {
        let mut d = deployment(1, phase);
        d.plan.as_mut().unwrap().blue = None;
        d.seen.short = ShortFor { ms: 60_000, last: Some(at(0)) };
        let mut o = observation(&d, Weight::ALL);
        o.blue = Known::Absent;
        route_mut(&mut o, 0).base = Forward::Split(if d.phase.base_may_be_green() { Weight::ALL } else { Weight::NONE });
        seen_mut(&mut o.green).servers.healthy = 1;
        let decided = decided(&d, &o, at(1));
        assert!(!matches!(&decided, Decision::Advance(next) if next.going_back.is_some()), "{decided:?}");
        let told = crate::domain::attention::sentence(&d, &o, &timing, at(1)).unwrap();
        assert!(told.contains("there is no release before it: green's 1 healthy servers"), "{told}");
    }
}

/// A slot that no rule names is not checked: its servers count as unhealthy, and are not.
#[test]
fn an_overlay_that_somebody_deleted_is_no_sickness_of_greens_and_is_told_by_the_looks_for_it() {
    let mut d = deployment(1, Phase::Committing { quiet_since: None });
    let mut o = observation(&d, Weight::ALL);
    seen_mut(&mut o.green).servers.healthy = 0;
    let trigger = |decision| match decision {
        Decision::Advance(next) => next.going_back.map(|back| back.trigger),
        Decision::Act(_) | Decision::Wait { .. } | Decision::Done => None,
    };
    assert_eq!(trigger(decided(&d, &o, at(1))), Some(Trigger::Gate), "checked, and sick");
    route_mut(&mut o, 0).overlays.clear();
    assert_eq!(trigger(decided(&d, &o, at(1))), None, "one look may be stale");
    d.seen.absences.overlays = vec![believed(at(1))];
    assert_eq!(trigger(decided(&d, &o, at(1))), Some(Trigger::Outside));
}

#[test]
fn a_green_that_serves_alone_needs_what_is_declared_or_was_planned_where_that_is_less() {
    let mut d = deployment(1, Phase::Retiring);
    d.seen.absences.overlays = vec![believed(at(60))];
    let mut o = observation(&d, Weight::NONE);
    route_mut(&mut o, 0).overlays.clear();
    route_mut(&mut o, 0).base = Forward::Split(Weight::ALL);
    seen_mut(&mut o.blue_slot).named_by = 0;
    for (planned, min, needed) in [(4, 3, 3), (2, 3, 2), (4, 0, 1)] {
        d.plan.as_mut().unwrap().green.size = planned;
        (d.declaration.server_group.min, seen_mut(&mut o.green).min) = (min, min);
        for (healthy, chosen) in [(needed - 1, None), (needed, Some(Action::Detach { side: Side::Blue }))] {
            seen_mut(&mut o.green).servers.healthy = healthy;
            assert_eq!(action(decided(&d, &o, at(60))), chosen, "{healthy} of {planned}, {min} declared");
        }
    }
}
