//! Whether one could go back, told by what was seen.

use super::*;
use crate::domain::{
    deployment::ProviderTrouble,
    observation::{Known, Observation, Servers},
    phase::BackAs,
    sample::{self, at, deployment, seen_mut},
};

const BAKING: Phase = Phase::Baking { seen_at: None, commit_now: false };

/// A deployment after one look at time 100, that somebody changed.
fn looked(phase: Phase, change: impl Fn(&mut Observation)) -> Deployment {
    let d = deployment(1, phase);
    let mut o = sample::observation(&d, Weight::ALL);
    change(&mut o);
    d.having_seen(&o, &Timing::default(), at(100))
}

fn judged(d: &Deployment, now: i64) -> Readiness {
    of(d, None, &Timing::default(), at(now))
}

/// The state and the one reason.
fn told(d: &Deployment, now: i64) -> (State, String) {
    let Readiness { state, reasons } = judged(d, now);
    let [reason] = &reasons[..] else { panic!("{reasons:?}") };
    assert!(!reason.to_do.is_empty() && reason.state == state);
    (state, reason.detail.clone())
}

fn blue(o: &mut Observation) -> &mut crate::domain::observation::GroupView {
    seen_mut(&mut o.blue)
}

#[test]
fn a_whole_and_kept_blue_is_ready_in_every_phase_from_which_one_can_go_back() {
    let back = Phase::RollingBack { shield: false, ends: BackAs::RolledBack };
    for phase in [Phase::Verifying, BAKING, Phase::Committing { quiet_since: None }, back] {
        let d = looked(phase.clone(), |_| {});
        let weight = d.seen.weight;
        assert_eq!(judged(&d, 101), Readiness { state: State::Ready, reasons: Vec::new() }, "{phase:?} {weight:?}");
    }
    let known = super::blue(&looked(BAKING, |_| {}), &Timing::default(), at(101)).unwrap();
    let all = (known.healthy, known.of, known.min_pinned, known.protected, known.image_pinned);
    assert_eq!(all, (Some(2), 2, Some(true), Some(true), Some(true)));
    assert_eq!(known.seen_at, Some(at(100)));
}

#[test]
fn fewer_servers_than_before_are_degraded_and_none_is_no() {
    let healthy = |healthy| looked(BAKING, |o| blue(o).servers.healthy = healthy);
    let (state, why) = told(&healthy(1), 101);
    assert_eq!(state, State::Degraded);
    assert!(why.starts_with("1 of 2 servers of old"), "{why}");
    assert_eq!(told(&healthy(0), 101).0, State::No);
    // Somebody has shrunk the group with its minimum: one of one is not enough.
    let shrunk = looked(BAKING, |o| {
        blue(o).servers = Servers { desired: 1, in_service: 1, healthy: 1 };
        blue(o).min = 1;
    });
    let Readiness { state, reasons } = judged(&shrunk, 101);
    assert_eq!((state, reasons.len()), (State::Degraded, 2), "{reasons:?}");
    assert!(reasons[1].detail.contains("minimum of old is 1, not 2"), "{reasons:?}");
    let grown = looked(BAKING, |o| blue(o).servers = Servers { desired: 4, in_service: 4, healthy: 3 });
    assert!(told(&grown, 101).1.starts_with("3 of 4"), "what it has grown to counts");
}

#[test]
fn what_was_not_seen_is_degraded_with_since_when_and_never_no() {
    let unseen = |o: &mut Observation| o.blue = Known::Unknown("throttled".to_owned());
    let d = looked(BAKING, |_| {});
    let mut o = sample::observation(&d, Weight::ALL);
    unseen(&mut o);
    let d = d.having_seen(&o, &Timing::default(), at(110)).having_seen(&o, &Timing::default(), at(120));
    let (state, why) = told(&d, 121);
    assert_eq!(state, State::Degraded);
    assert!(why.contains("not seen since 1970-01-01T00:01:40Z"), "{why}");
    let seen_again = d.having_seen(&sample::observation(&deployment(1, BAKING), Weight::ALL), &Timing::default(), at(130));
    assert_eq!(judged(&seen_again, 131).state, State::Ready);
    let (state, why) = told(&looked(BAKING, unseen), 101);
    assert!(state == State::Degraded && why.contains("never seen"), "{why}");
    // Nobody has looked at all for a while.
    let stale = judged(&looked(BAKING, |_| {}), 100 + 46);
    assert_eq!((stale.state, stale.reasons.len()), (State::Degraded, 2), "{stale:?}");
    // None healthy when it was seen is no word about now.
    let sick_then = looked(BAKING, |o| blue(o).servers.healthy = 0).having_seen(&o, &Timing::default(), at(110));
    assert_eq!(told(&sick_then, 111).0, State::Degraded);
    let unwatched = looked(BAKING, |o| o.routes[0] = Known::Unknown("throttled".to_owned()));
    assert_eq!(told(&unwatched, 101).0, State::Degraded);
    assert_eq!((sticky_share(&unwatched), sticky_share(&looked(BAKING, |_| {}))), (None, Some(Weight::NONE)));
}

#[test]
fn a_blue_that_is_gone_is_believed_after_several_looks() {
    let timing = Timing::default();
    let mut d = looked(BAKING, |_| {});
    let mut o = sample::observation(&d, Weight::ALL);
    o.blue = Known::Absent;
    let mut states = Vec::new();
    for now in [110, 111, 113] {
        d = d.having_seen(&o, &timing, at(now));
        states.push(told(&d, now).0);
    }
    assert_eq!(states, [State::Degraded, State::Degraded, State::No]);
    assert_eq!(told(&looked(BAKING, |o| blue(o).deleting = true), 101).0, State::No);
}

#[test]
fn a_group_that_may_change_under_you_is_degraded_with_what_to_do() {
    let template = looked(BAKING, |o| blue(o).launches = Launches::Whatever("$Latest".to_owned()));
    let (state, why) = told(&template, 101);
    assert!(state == State::Degraded && why.contains("$Latest"), "{why}");
    assert!(told(&looked(BAKING, |o| blue(o).protected = false), 101).1.contains("deletion protection"));
    assert_eq!(judged(&looked(BAKING, |o| blue(o).launches = Launches::Untold), 101).state, State::Ready, "unknown is not no");
}

#[test]
fn before_there_is_an_overlay_going_back_changes_nothing_for_anybody() {
    let sick = |phase| {
        let mut d = deployment(1, phase);
        d.seen.at = Some(at(100));
        d
    };
    for phase in [Phase::Pending, Phase::Provisioning] {
        assert_eq!(judged(&sick(phase), 1000).state, State::Ready);
    }
}

#[test]
fn without_anything_to_go_back_from_it_is_no_and_says_why() {
    let timing = Timing::default();
    let none = of_service(None, None, None, &timing, at(0));
    assert_eq!((none.state, none.reasons.len()), (State::No, 1));
    let before = Before { image: crate::domain::ids::Image::Template(6), version: Some("8.2.9".to_owned()) };
    let succeeded = looked(Phase::Succeeded, |_| {});
    let anew = of_service(Some((&succeeded, Way::Anew)), Some(&before), None, &timing, at(101));
    assert_eq!((anew.state, anew.reasons.len()), (State::Degraded, 1));
    assert!(anew.reasons[0].detail.contains("deploys lt:6 (8.2.9) anew"), "{anew:?}");
    let running = of_service(Some((&looked(BAKING, |_| {}), Way::Back)), Some(&before), None, &timing, at(101));
    assert_eq!(running.state, State::Ready, "what runs goes back at once");
    let words = [
        (Phase::Retiring, "past its commit"),
        (Phase::Succeeded, "has succeeded"),
        (Phase::RolledBack, "has gone back"),
        (Phase::Cancelled, "was cancelled"),
        (Phase::Failed, "abandoned"),
    ];
    for (phase, word) in words {
        let (state, why) = told(&looked(phase, |_| {}), 101);
        assert!(state == State::No && why.contains(word), "{why}");
    }
    let mut let_go = looked(BAKING, |_| {});
    let_go.intent.abandon = Some(sample::given());
    assert_eq!(told(&let_go, 101).0, State::No);
    let mut first = looked(BAKING, |_| {});
    first.plan.as_mut().unwrap().blue = None;
    assert_eq!(told(&first, 101).0, State::Degraded);
}

#[test]
fn a_rollback_that_was_asked_for_before_is_what_a_further_one_is_answered_with() {
    let timing = Timing::default();
    let told = |takes_back, phase, as_of| {
        let mut d = looked(phase, |_| {});
        (d.number, d.takes_back) = (3, takes_back);
        let readiness = of_service(Some((&d, Way::Again)), None, as_of, &timing, at(101));
        (readiness.state, readiness.reasons.into_iter().map(|reason| reason.detail).collect::<Vec<_>>().join("; "))
    };
    let (state, why) = told(Some(2), BAKING, None);
    assert!(state == State::Degraded && why.contains("#3 is on its way to take #2 back"), "{why}");
    let (state, why) = told(Some(2), BAKING, Some(at(90)));
    assert!(state == State::Degraded && why.contains("1970-01-01T00:01:30Z"), "{why}");
    let (state, why) = told(Some(2), Phase::Succeeded, None);
    assert!(state == State::No && why.contains("#3 has taken #2 back"), "{why}");
    let (state, why) = told(None, Phase::RolledBack, None);
    assert!(state == State::No && why.contains("#3 has gone back"), "{why}");
}

#[test]
fn a_database_that_is_away_an_edit_and_a_refusal_are_told() {
    let d = looked(BAKING, |_| {});
    let away = of(&d, Some(at(90)), &Timing::default(), at(101));
    assert_eq!(away.state, State::Degraded);
    assert!(away.reasons[0].detail.contains("1970-01-01T00:01:30Z"), "{away:?}");
    let off_blue = looked(BAKING, |o| {
        sample::route_mut(o, 0).base = crate::domain::observation::Forward::Split(Weight::ALL);
    });
    assert!(told(&off_blue, 101).1.contains("a shield is raised first"));
    let mut refused = d;
    refused.seen.trouble = Some(ProviderTrouble { words: "AccessDenied".to_owned(), hopeless: true, count: 1 });
    assert!(told(&refused, 101).1.contains("AccessDenied"));
}

#[test]
fn the_expected_time_is_what_was_measured_and_nothing_without_a_measurement() {
    assert_eq!(measured(&[]), None);
    let ms = Duration::from_millis;
    let took = |accepted, observed: Option<u64>| Took { accepted: ms(accepted), observed: observed.map(ms) };
    let one = measured(&[took(40, None)]).unwrap();
    assert_eq!((one.rollbacks, one.accepted, one.observed), (1, Spread { median: ms(40), p95: ms(40) }, None));
    let history: Vec<_> = (1..=20).rev().map(|n| took(n * 10, Some(n * 100))).collect();
    let all = measured(&history).unwrap();
    assert_eq!(all.accepted, Spread { median: ms(100), p95: ms(190) });
    assert_eq!(all.observed, Some(Spread { median: ms(1000), p95: ms(1900) }));
}
