//! What a drill does next, case by case; and a walk of every small world, with stale looks, lost answers and dead holders.

use std::{collections::BTreeSet, time::Duration};

use uuid::Uuid;

use super::*;
use crate::domain::{
    ids::{DeploymentId, EnvironmentName, RuleRef, ServiceName},
    observation::Known,
    sample::{self, at},
    survey::{OtherRule, Owner, Role, Survey},
    timing::Timing,
};

fn timing() -> Timing {
    Timing { absence_looks: 3, absence_spread: Duration::from_secs(2), ..Timing::default() }
}

fn drill(routes: usize) -> Drill {
    let of = sample::deployment(routes, crate::domain::phase::Phase::Pending);
    Drill {
        id: DrillId::new(Uuid::from_u128(7)),
        target: Target { service: ServiceName::new("web"), environment: EnvironmentName::new("prod") },
        reason: None,
        created_by: "ada".to_owned(),
        created_at: at(0),
        scheduled_for: None,
        declaration: of.declaration,
        live: None,
        phase: Phase::Pending,
        phase_since: at(0),
        plan: None,
        opening: Change::default(),
        deletion: Change::default(),
        gone: Vec::new(),
        trouble: None,
        failure: None,
        outcome: None,
        ended_at: None,
        events: Vec::new(),
    }
}

fn around(survey: Survey) -> Look {
    Look::Around { survey: Known::Seen(survey), deployment: None }
}

fn free(routes: usize) -> Look {
    around(sample::survey(routes, "web-old"))
}

/// One rule a route that is there, or none.
fn sights(there: &[bool]) -> Look {
    let sight = |(i, there): (usize, &bool)| {
        let rules = if *there { vec![RuleRef::new(format!("rule-{i}"))] } else { Vec::new() };
        Known::Seen(RouteSight { rules, in_the_way: None, base_as_planned: true })
    };
    Look::Routes(there.iter().enumerate().map(sight).collect())
}

/// One tick that only looks: what it leaves on record.
fn step(d: &Drill, look: &Look, seconds: i64) -> (Drill, Decision) {
    let d = d.clone().having_seen(look, at(seconds));
    let decision = decide(&d, look, &timing(), at(seconds));
    match &decision {
        Decision::Advance(next) => (*next.clone(), decision),
        Decision::Act(_) | Decision::Wait | Decision::Done => (d, decision),
    }
}

fn advanced(d: &Drill, look: &Look, seconds: i64) -> Drill {
    let (next, decision) = step(d, look, seconds);
    assert!(matches!(decision, Decision::Advance(_)), "{decision:?}");
    next
}

fn opening(routes: usize) -> Drill {
    let d = advanced(&drill(routes), &free(routes), 1);
    assert_eq!(d.phase, Phase::Opening);
    d
}

/// Opened within a second, and closing from second 3 on.
fn closing(routes: usize) -> Drill {
    let open = Action::Open { routes: (0..routes).collect() };
    let d = noted(opening(routes), &open, at(1), Ok(()), at(2));
    let d = advanced(&d, &sights(&vec![true; routes]), 3);
    assert_eq!((d.phase, d.opening.seen_after()), (Phase::Closing, Some(Duration::from_secs(2))));
    d
}

#[test]
fn it_takes_the_overlays_number_and_forwards_to_where_the_base_does() {
    let d = opening(2);
    let plan = d.plan.as_ref().unwrap();
    assert_eq!(plan.slot, SlotRef::new("slot-a"));
    assert_eq!(plan.routes.iter().map(|route| route.overlay_number).collect::<Vec<_>>(), [99, 99]);
    assert_eq!(step(&d, &sights(&[true, false]), 2).1, Decision::Act(Action::Open { routes: vec![1] }));
}

#[test]
fn a_deployment_that_is_there_first_ends_it_before_anything_is_changed() {
    let Look::Around { survey, .. } = free(1) else { unreachable!() };
    let d = advanced(&drill(1), &Look::Around { survey, deployment: Some("web/prod #42".to_owned()) }, 1);
    assert_eq!((d.phase, d.outcome, d.attention(at(2))), (Phase::Ended, Some(Outcome::Skipped), None));
    assert!(d.failure.unwrap().contains("web/prod #42"));
}

#[test]
fn over_a_rule_that_takes_part_in_who_gets_the_traffic_it_opens_nothing() {
    let with = |role, this_installation| {
        let mut survey = sample::survey(1, "web-old");
        let owner = Owner { this_installation, deployment: Some(DeploymentId::new(Uuid::nil())), role, on_our_route: true };
        let rule = OtherRule { rule: RuleRef::new("left"), number: 99, conditions: Vec::new(), owner: Some(owner) };
        survey.routes[0].as_mut().unwrap().others.push(rule);
        around(survey)
    };
    for role in [Role::Overlay, Role::Shield, Role::Preview] {
        assert_eq!(advanced(&drill(1), &with(role, true), 1).outcome, Some(Outcome::Failed), "{role:?}");
    }
    assert_eq!(advanced(&drill(1), &with(Role::Drill, false), 1).outcome, Some(Outcome::Failed), "another installation's");
    let removal = Decision::Act(Action::Delete { rules: vec![RuleRef::new("left")] });
    assert_eq!(step(&drill(1), &with(Role::Drill, true), 1).1, removal, "an earlier drill's goes first");
    assert_eq!(advanced(&drill(1), &with(Role::Drill, true), 31).outcome, Some(Outcome::Failed));
}

#[test]
fn it_opens_nothing_where_the_base_is_not_on_the_live_slot() {
    let live = Live {
        group: crate::domain::ids::GroupName::new("web-prod-v001"),
        slot: SlotRef::new("slot-b"),
        image: crate::domain::ids::Image::Template(1),
        number: 1,
    };
    let d = advanced(&Drill { live: Some(live), ..drill(1) }, &free(1), 1);
    assert_eq!(d.outcome, Some(Outcome::Failed));
    assert!(d.failure.unwrap().contains("web-prod-v001 serves in slot-b"));
}

#[test]
fn what_cannot_be_looked_at_is_waited_for_and_then_has_failed() {
    let blind = Look::Around { survey: Known::Unknown("throttled".to_owned()), deployment: None };
    assert_eq!(step(&drill(1), &blind, 29).1, Decision::Wait);
    assert_eq!(advanced(&drill(1), &blind, 30).outcome, Some(Outcome::Failed));
}

#[test]
fn what_was_accepted_is_not_opened_again_and_what_is_not_seen_in_time_is_closed() {
    let d = noted(opening(1), &Action::Open { routes: vec![0] }, at(1), Ok(()), at(2));
    assert_eq!(step(&d, &sights(&[false]), 5).1, Decision::Wait);
    let late = advanced(&d, &sights(&[false]), 31);
    assert_eq!((late.phase, late.outcome), (Phase::Closing, None));
    assert!(late.failure.unwrap().contains("not open after 30 s"));
}

#[test]
fn a_base_that_is_changed_meanwhile_is_uncovered_at_once() {
    let sight = RouteSight { rules: vec![RuleRef::new("rule-0")], in_the_way: None, base_as_planned: false };
    let d = advanced(&opening(1), &Look::Routes(vec![Known::Seen(sight)]), 2);
    assert_eq!(d.phase, Phase::Closing);
    assert!(d.failure.unwrap().contains("was changed meanwhile"));
}

#[test]
fn it_passes_once_its_rule_is_seen_gone_everywhere_by_several_looks() {
    let mut d = closing(2);
    let (_, first) = step(&d, &sights(&[true, true]), 4);
    let rules = vec![RuleRef::new("rule-0"), RuleRef::new("rule-1")];
    assert_eq!(first, Decision::Act(Action::Delete { rules: rules.clone() }));
    d = noted(d, &Action::Delete { rules }, at(4), Ok(()), at(5));
    for (there, seconds) in [([true, false], 5), ([false, false], 7), ([false, false], 8), ([false, false], 8)] {
        let (next, decision) = step(&d, &sights(&there), seconds);
        assert_eq!(decision, Decision::Wait, "at {seconds}: a look may be stale");
        d = next;
    }
    let blind = Look::Routes(vec![Known::Unknown("throttled".to_owned()), Known::Unknown("throttled".to_owned())]);
    d = step(&d, &blind, 9).0;
    d = advanced(&d, &sights(&[false, false]), 9);
    assert_eq!((d.phase, d.outcome, d.attention(at(9))), (Phase::Ended, Some(Outcome::Passed), None));
    assert_eq!(d.deletion.accepted_after(), Some(Duration::from_secs(1)));
    assert_eq!(d.deletion.seen_after(), Some(Duration::from_secs(3)), "by the first look that showed it, on the last route");
    assert_eq!(step(&d, &sights(&[true, true]), 10).1, Decision::Done);
}

#[test]
fn one_that_is_slower_than_its_budget_needs_a_person() {
    let budget = |seconds| {
        let mut d = closing(1);
        d.declaration.drill = Some(DrillSpec { schedule: None, budget: Duration::from_secs(seconds) });
        d = noted(d, &Action::Delete { rules: vec![RuleRef::new("rule-0")] }, at(4), Ok(()), at(5));
        for seconds in [9, 10] {
            d = step(&d, &sights(&[false]), seconds).0;
        }
        advanced(&d, &sights(&[false]), 11)
    };
    assert_eq!(budget(5).outcome, Some(Outcome::Passed), "five seconds are five seconds");
    let slow = budget(4);
    assert_eq!(slow.outcome, Some(Outcome::Slow));
    let said = slow.attention(at(99)).unwrap();
    assert!(said.contains("5000 ms") && said.contains("4s"), "{said}");
}

#[test]
fn one_that_cannot_end_calls_a_person_and_goes_on() {
    let trouble = ProviderTrouble { words: "AccessDenied".to_owned(), hopeless: true, count: 9 };
    let d = Drill { trouble: Some(trouble), ..closing(1) };
    assert!(matches!(step(&d, &sights(&[true]), 100_000).1, Decision::Act(Action::Delete { .. })), "for as long as it takes");
    assert_eq!(d.attention(at(100)), None);
    let said = d.attention(at(120)).unwrap();
    assert!(said.contains("AccessDenied") && said.contains("closing"), "{said}");
}

/// A world of one route: the rule, and creating and deleting calls under way that may land at any time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    there: bool,
    was_there: bool,
    creating: bool,
    deleting: bool,
}

/// Every world that can be reached within so many ticks, whatever is stale, lost or late: when a drill ends its rule was seen gone,
/// and only a creating call that nobody answered can bring it back.
#[test]
fn whatever_is_late_lost_or_stale_it_ends_only_when_its_rule_is_gone() {
    const TICKS: i64 = 8;
    let start = (opening(1), World { there: false, was_there: false, creating: false, deleting: false });
    let mut states = vec![start];
    let (mut seen, mut ended) = (0, 0);
    for tick in 0..TICKS {
        // A tick every twelve seconds: the patience is over after three.
        let seconds = 2 + tick * 12;
        let mut next = Vec::new();
        let mut keys = BTreeSet::new();
        for (d, world) in states {
            for world in landed(world) {
                // One look may be older than the last change, no more: three in a row that agree are meant.
                let stale = [world.there, world.was_there].into_iter().collect::<BTreeSet<_>>();
                for shown in stale {
                    for (d, world) in ticked(&d, world, shown, seconds) {
                        seen += 1;
                        if d.phase == Phase::Ended {
                            ended += 1;
                            assert!(!world.there || world.was_there != world.there, "ended over its rule: {d:#?} {world:?}");
                            continue;
                        }
                        if keys.insert((format!("{d:?}"), world)) {
                            next.push((d, world));
                        }
                    }
                }
            }
        }
        states = next;
    }
    assert!(seen > 1_000 && ended > 50, "{seen} ticks, {ended} ends: nothing was walked");
}

/// What is under way may land before the next look.
fn landed(world: World) -> Vec<World> {
    let mut worlds = vec![World { was_there: world.there, ..world }];
    if world.creating {
        worlds.push(World { there: true, was_there: world.there, creating: false, ..world });
    }
    if world.deleting {
        worlds.push(World { there: false, was_there: world.there, deleting: false, ..world });
    }
    worlds
}

/// A tick that is settled, and one whose holder dies after the call; an answered call has landed.
fn ticked(d: &Drill, world: World, shown: bool, seconds: i64) -> Vec<(Drill, World)> {
    let look = sights(&[shown]);
    let (left, decision) = step(d, &look, seconds);
    let Decision::Act(action) = decision else { return vec![(left, world)] };
    let now = at(seconds);
    let lost = ProviderTrouble { words: "timed out".to_owned(), hopeless: false, count: 1 };
    let (done, under_way) = match &action {
        Action::Open { .. } => (World { there: true, was_there: world.there, ..world }, World { creating: true, ..world }),
        Action::Delete { .. } => (World { there: false, was_there: world.there, ..world }, World { deleting: true, ..world }),
    };
    vec![
        (noted(left.clone(), &action, now, Ok(()), now), done),
        (noted(left.clone(), &action, now, Err(lost), now), under_way),
        // Its holder died: nothing is on record of it.
        (d.clone(), done),
        (d.clone(), under_way),
    ]
}
