//! Each check, once well and once not.

use std::collections::BTreeMap;

use super::*;
use crate::domain::{
    deployment::Deployment,
    ids::{LoadBalancerRef, RouteRef, RuleRef, SlotRef, TargetGroupRef},
    inspection::{Balancer, Groups, Quotas, Rules},
    overlap::Condition,
    sample,
    survey::{Naming, Role},
};

/// What is seen when all is well: one route on one load balancer with a rule of its own.
fn well() -> (Deployment, Inspection) {
    let balancer = BalancerSurvey {
        load_balancer: LoadBalancerRef::new("public"),
        seen: Ok(Balancer { takes_rules: true, kind: "application".to_owned(), host: "public.elb.example.com".to_owned() }),
        rules: Ok(Rules { count: 1, target_groups: [TargetGroupRef::new("slot-a")].into(), namings: Vec::new() }),
    };
    let seen = Inspection {
        survey: sample::survey(1, "old"),
        unseen: Vec::new(),
        load_balancers: vec![balancer],
        quotas: Ok(Quotas {
            rules_per_load_balancer: Some(3),
            target_groups_per_action: Some(5),
            target_groups_per_load_balancer: Some(2),
        }),
        groups: Ok(Groups { there: 1, at_most: 2 }),
    };
    (sample::pending(3, 1, sample::strategy(&[50, 100], 60)), seen)
}

const DENIED: fn() -> Unseen = || Unseen { denied: true, why: "DescribeX: AccessDenied: no (request 42)".to_owned() };
const THROTTLED: fn() -> Unseen = || Unseen { denied: false, why: "DescribeX: Throttling: slow (request 43)".to_owned() };

/// After a change of what is seen and of what we know.
fn found(change: impl Fn(&mut Deployment, &mut Inspection), own: &OwnHosts) -> Preflight {
    let (mut d, mut seen) = well();
    change(&mut d, &mut seen);
    let facts = Facts { let_go: &d.let_go.clone(), orphans: &[], own };
    examine(&Inputs::of(&d), &seen, facts)
}

fn seeing(change: impl Fn(&mut Inspection)) -> Preflight {
    found(|_, seen| change(seen), &OwnHosts::default())
}

fn results(found: &Preflight, name: &str) -> Vec<Outcome> {
    found.checks.iter().filter(|check| check.name == name).map(|check| check.result).collect()
}

/// One check fails, and is the one fault of the whole.
fn refused(found: &Preflight, name: &str, words: &str) {
    let failed: Vec<_> = found.told(Outcome::Failed).collect();
    assert_eq!(failed.iter().map(|check| check.name).collect::<Vec<_>>(), [name], "{failed:?}");
    assert!(failed[0].detail.contains(words), "{failed:?}");
    assert_eq!((found.faults.len(), &found.plan), (1, &None));
}

fn other(deployment: u128, ours: bool) -> OtherRule {
    OtherRule {
        rule: RuleRef::new("left"),
        number: 99,
        conditions: Vec::new(),
        owner: Some(Owner {
            this_installation: ours,
            deployment: Some(DeploymentId::new(uuid::Uuid::from_u128(deployment))),
            role: Role::Overlay,
            on_our_route: true,
        }),
    }
}

#[test]
fn all_that_is_well_is_shown_and_what_cannot_be_known_says_so() {
    let found = seeing(|_| {});
    let names: Vec<_> = found.told(Outcome::Ok).map(|check| check.name).collect();
    let expected = [
        "route",
        "rule_numbers",
        "load_balancer",
        "slots",
        "slot_positions",
        "slot_users",
        "stickiness",
        "slots_alike",
        "blue",
        "size",
        "green_name",
        "scaling",
        "leftovers",
        "orphans",
        "quota_of_rules",
        "quota_of_target_groups_on_a_load_balancer",
        "quota_of_target_groups_in_an_action",
        "quota_of_server_groups",
        "subnets",
        "rights_to_look",
        "own_database",
    ];
    assert_eq!(names, expected);
    let unknown: Vec<_> = found.told(Outcome::Unknown).map(|check| check.name).collect();
    assert_eq!(unknown, ["launch_template", "rights_to_change", "own_api"]);
    assert_eq!((found.checks.len(), &found.faults), (expected.len() + 3, &Vec::new()));
    let numbers = found.checks.iter().find(|check| check.name == "rule_numbers").unwrap();
    assert!(numbers.detail.ends_with("99 for the overlay, 98 for the shield"), "{numbers:?}");
    assert!(found.plan.is_some());
}

#[test]
fn a_rule_in_the_way_of_the_numbers_is_named_on_its_route() {
    let near = OtherRule { owner: None, ..other(1, true) };
    let found = seeing(|seen| seen.survey.routes[0].as_mut().unwrap().others.push(near.clone()));
    refused(&found, "rule_numbers", "rule left (number 99)");
    assert_eq!(found.faults[0].pointer, "/routes/0");
    let found = seeing(|seen| seen.survey.routes[0].as_mut().unwrap().reserved = (1..=98).collect());
    assert_eq!(results(&found, "rule_numbers"), [Outcome::Failed], "numbers that others hold are not free");
}

#[test]
fn slots_that_somebody_else_forwards_to_are_refused_by_that_rules_name() {
    let naming = |slot: &str| Naming { by: "rule stray (number 7)".to_owned(), target_group: TargetGroupRef::new(slot) };
    for (slot, role) in [("slot-a", "the serving slot"), ("slot-b", "the free slot")] {
        let found = seeing(|seen| seen.survey.namings.push(naming(slot)));
        refused(&found, "slot_users", role);
        assert!(found.faults[0].detail.contains("rule stray (number 7)"));
    }
    let found = seeing(|seen| {
        seen.survey.namings.push(naming("slot-a"));
        seen.load_balancers[0].rules = Err(DENIED());
    });
    assert_eq!(
        results(&found, "slot_users"),
        [Outcome::Failed, Outcome::Failed],
        "what was seen counts, and what was not is said"
    );
    let found = seeing(|seen| seen.load_balancers[0].rules = Err(THROTTLED()));
    assert_eq!(results(&found, "slot_users"), [Outcome::Unknown]);
    assert!(found.plan.is_some(), "no plan hangs on it");
}

#[test]
fn blue_is_refused_without_a_healthy_server_and_warned_of_with_too_few() {
    let found = seeing(|seen| seen.survey.blue.as_mut().unwrap().healthy = 1);
    assert_eq!((results(&found, "blue"), found.plan.is_some()), (vec![Outcome::Warning], true));
    refused(&seeing(|seen| seen.survey.blue.as_mut().unwrap().healthy = 0), "blue", "no healthy server");
    refused(&seeing(|seen| seen.survey.blue.as_mut().unwrap().size = 5), "size", "outside 1 to 4");
    refused(&seeing(|seen| seen.survey.green_name_taken = true), "green_name", "web-prod-v003");
}

#[test]
fn what_is_taken_back_may_be_dead_that_is_why() {
    let dead = |d: &mut Deployment, seen: &mut Inspection| {
        (d.takes_back, seen.survey.blue.as_mut().unwrap().healthy) = (Some(2), 0);
    };
    let found = found(dead, &OwnHosts::default());
    assert_eq!((results(&found, "blue"), found.plan.is_some()), (vec![Outcome::Warning], true), "{:?}", found.checks);
}

#[test]
fn a_slot_with_targets_is_not_free_and_a_sticky_one_is_warned_of() {
    refused(&seeing(|seen| seen.survey.slots[1].as_mut().unwrap().targets = 1), "slots", "no slot is free");
    let found = seeing(|seen| seen.survey.slots[1].as_mut().unwrap().sticky = true);
    assert_eq!((results(&found, "stickiness"), found.plan.is_some()), (vec![Outcome::Warning], true));
    let elsewhere = |seen: &mut Inspection| {
        seen.survey.slots[1].as_mut().unwrap().load_balancers = vec![Some(LoadBalancerRef::new("private"))];
    };
    refused(&seeing(elsewhere), "slot_positions", "belongs to private");
}

#[test]
fn slots_that_differ_are_warned_of_with_what_differs() {
    let text = |(name, is): &(&str, &str)| ((*name).to_owned(), (*is).to_owned());
    let traits = |told: &[(&str, &str)]| -> BTreeMap<_, _> { told.iter().map(text).collect() };
    let with = |second: &[(&str, &str)]| {
        seeing(|seen| {
            let first = traits(&[("port", "80"), ("protocol", "HTTP"), ("health check path", "/healthz")]);
            for (slot, traits) in seen.survey.slots.iter_mut().zip([first, traits(second)]) {
                slot.as_mut().unwrap().traits = vec![traits];
            }
        })
    };
    let alike = with(&[("health check path", "/healthz"), ("port", "80"), ("protocol", "HTTP")]);
    assert_eq!(results(&alike, "slots_alike"), [Outcome::Ok]);
    let differ = with(&[("port", "8080"), ("protocol", "HTTP"), ("health check codes", "200")]);
    let warned: Vec<_> = differ.told(Outcome::Warning).collect();
    assert_eq!((warned.len(), warned[0].name, warned[0].pointer.as_deref()), (1, "slots_alike", Some("/slots/1")));
    let words = "health check codes 200 and not none, health check path none and not /healthz, port 8080 and not 80;";
    assert!(warned[0].detail.starts_with(&format!("it differs from /slots/0: {words}")), "{warned:?}");
    assert!(differ.plan.is_some() && differ.faults.is_empty());

    // At the second position alone.
    let both = found(
        |d, seen| {
            let slot = |names: [&str; 2]| SlotRef::of(names.map(TargetGroupRef::new).into()).unwrap();
            d.declaration.slots = vec![slot(["a", "a-internal"]), slot(["b", "b-internal"])];
            let one = traits(&[("port", "80")]);
            seen.survey.slots[0].as_mut().unwrap().traits = vec![one, traits(&[("port", "80")])];
            seen.survey.slots[1].as_mut().unwrap().traits = vec![traits(&[("port", "80")]), traits(&[("port", "81")])];
        },
        &OwnHosts::default(),
    );
    let warned: Vec<_> = both.told(Outcome::Warning).map(|check| check.pointer.as_deref()).collect();
    assert_eq!(warned, [Some("/slots/1/1")]);
}

#[test]
fn leftovers_of_ours_are_removed_first_and_others_refused() {
    let with = |rule: OtherRule| move |seen: &mut Inspection| seen.survey.routes[0].as_mut().unwrap().others.push(rule.clone());
    let ours = seeing(with(other(1, true)));
    assert_eq!((results(&ours, "leftovers"), results(&ours, "rule_numbers")), (vec![Outcome::Ok], vec![Outcome::Ok]));
    let anothers = seeing(with(other(1, false)));
    assert_eq!(results(&anothers, "leftovers"), [Outcome::Failed]);
    assert!(anothers.faults.iter().any(|fault| fault.detail.contains("another installation")), "{:?}", anothers.faults);
    let abandoned = |d: &mut Deployment, seen: &mut Inspection| {
        d.let_go = vec![DeploymentId::new(uuid::Uuid::from_u128(1))];
        with(other(1, true))(seen);
    };
    refused(&found(abandoned, &OwnHosts::default()), "leftovers", "a deployment that was abandoned");
}

#[test]
fn orphans_are_named_and_no_fault() {
    let (d, seen) = well();
    let facts = Facts { let_go: &[], orphans: &["web-prod-v001".to_owned()], own: &OwnHosts::default() };
    let found = examine(&Inputs::of(&d), &seen, facts);
    let warned: Vec<_> = found.told(Outcome::Warning).collect();
    assert_eq!((warned.len(), warned[0].name), (1, "orphans"));
    assert!(warned[0].detail.contains("web-prod-v001") && found.faults.is_empty());
}

#[test]
fn a_full_quota_is_refused_before_a_rule_is_made() {
    let more = |n| move |seen: &mut Inspection| seen.load_balancers[0].rules.as_mut().unwrap().count = n;
    refused(&seeing(more(2)), "quota_of_rules", "only 3 may be");
    let found = seeing(|seen| seen.survey.routes[0].as_mut().unwrap().reserved = vec![50]);
    refused(&found, "quota_of_rules", "1 more are reserved");
    let actions = |max| move |seen: &mut Inspection| seen.quotas.as_mut().unwrap().target_groups_per_action = max;
    refused(&seeing(actions(Some(1))), "quota_of_target_groups_in_an_action", "only 1 may be");
    assert_eq!(results(&seeing(actions(None)), "quota_of_target_groups_in_an_action"), [Outcome::Unknown]);
    let groups = seeing(|seen| seen.groups.as_mut().unwrap().there = 2);
    refused(&groups, "quota_of_server_groups", "only 2 may be");
}

#[test]
fn a_load_balancer_without_room_for_greens_target_group_is_refused() {
    let name = "quota_of_target_groups_on_a_load_balancer";
    let with = |groups: &'static [&str]| {
        seeing(move |seen| {
            let all = groups.iter().map(|group| TargetGroupRef::new(*group)).collect();
            seen.load_balancers[0].rules.as_mut().unwrap().target_groups = all;
        })
    };
    let full = with(&["slot-a", "shop"]);
    refused(&full, name, "name 2, and 1 more may come with this, but only 2 may be");
    assert_eq!(full.faults[0].pointer, "/routes/0");
    assert_eq!(results(&with(&["slot-a", "slot-b"]), name), [Outcome::Ok], "green's is there already");
    let unsaid = seeing(|seen| seen.quotas.as_mut().unwrap().target_groups_per_load_balancer = None);
    assert_eq!(results(&unsaid, name), [Outcome::Unknown]);
    assert_eq!(results(&seeing(|seen| seen.load_balancers[0].rules = Err(THROTTLED())), name), [Outcome::Unknown]);
    let unplanned = seeing(|seen| seen.survey.green_name_taken = true);
    assert_eq!(results(&unplanned, name), [Outcome::Unknown], "nobody knows which is green's");
}

#[test]
fn what_scales_blue_and_cannot_be_copied_is_warned_of() {
    let found = seeing(|seen| seen.survey.warnings.push("policy steps is not copied".to_owned()));
    assert_eq!((results(&found, "scaling"), found.plan.is_some()), (vec![Outcome::Warning], true));
    let found = seeing(|seen| seen.unseen.push((Part::Scaling, DENIED())));
    assert_eq!((results(&found, "scaling"), found.plan), (vec![Outcome::Failed], None));
}

#[test]
fn a_load_balancer_without_rules_is_refused() {
    let found = seeing(|seen| seen.load_balancers[0].seen.as_mut().unwrap().takes_rules = false);
    refused(&found, "load_balancer", "no overlay to go back with");
}

#[test]
fn a_look_that_was_denied_fails_its_checks_and_refuses_nothing() {
    let found = seeing(|seen| seen.quotas = Err(DENIED()));
    assert_eq!(results(&found, "quota_of_rules"), [Outcome::Failed]);
    assert_eq!(results(&found, "rights_to_look"), [Outcome::Failed]);
    assert!(found.told(Outcome::Failed).all(|check| check.detail.contains("AccessDenied: no (request 42)")));
    assert!(found.faults.is_empty() && found.plan.is_some());
    assert_eq!(results(&seeing(|seen| seen.groups = Err(THROTTLED())), "rights_to_look"), [Outcome::Ok]);
}

#[test]
fn what_of_the_plans_own_look_is_missing_leaves_the_other_checks_and_no_plan() {
    let found = seeing(|seen| {
        seen.survey.slots[1] = None;
        seen.unseen.push((Part::Slot(1), THROTTLED()));
    });
    assert_eq!((results(&found, "slots"), results(&found, "route")), (vec![Outcome::Unknown], vec![Outcome::Ok]));
    assert_eq!((found.faults.len(), &found.plan), (0, &None));
    let found = seeing(|seen| {
        seen.survey.blue = None;
        seen.unseen.push((Part::Groups, DENIED()));
    });
    assert_eq!((results(&found, "blue"), results(&found, "slots")), (vec![Outcome::Failed], vec![Outcome::Unknown]));
    assert_eq!((found.faults.len(), &found.plan), (0, &None));
}

#[test]
fn the_running_group_tells_what_can_be_launched() {
    let found = seeing(|seen| seen.survey.blue.as_mut().unwrap().subnets.clear());
    assert_eq!(results(&found, "subnets"), [Outcome::Unknown]);
    let template =
        |found: &Preflight| found.checks.iter().find(|check| check.name == "launch_template").unwrap().detail.clone();
    assert!(template(&found).starts_with("old is made from lt-1"));
    let found = seeing(|seen| seen.survey.blue.as_mut().unwrap().template = None);
    assert!(template(&found).contains("needs EC2's API"));
}

#[test]
fn a_service_or_database_behind_its_own_route_is_warned_of() {
    let own = |api: &str, database: &str| OwnHosts { api: Some(api.to_owned()), database: Some(database.to_owned()) };
    let hosts = |_: &mut Deployment, seen: &mut Inspection| {
        let host = Condition::Host(vec!["Cutover.example.com".to_owned()]);
        seen.survey.routes[0].as_mut().unwrap().conditions.push(host);
    };
    let of = |found: &Preflight| (results(found, "own_api"), results(found, "own_database"));
    let apart = found(hosts, &own("deploy.example.com", "db.example.com"));
    assert_eq!(of(&apart), (vec![Outcome::Ok], vec![Outcome::Ok]));
    let behind = found(hosts, &own("cutover.example.com", "PUBLIC.elb.example.com"));
    assert_eq!(of(&behind), (vec![Outcome::Warning], vec![Outcome::Warning]));
    assert!(behind.plan.is_some());
    let blind = |_: &mut Deployment, seen: &mut Inspection| seen.load_balancers[0].seen = Err(THROTTLED());
    let unseen = found(blind, &own("deploy.example.com", "db.example.com"));
    assert_eq!(of(&unseen), (vec![Outcome::Unknown], vec![Outcome::Unknown]));
}

#[test]
fn a_service_that_a_route_may_serve_under_another_name_is_warned_of_or_not_known() {
    type Change<'a> = &'a dyn Fn(&mut RouteSurvey);
    let own = OwnHosts { api: Some("cutover.example.com".to_owned()), database: Some("db.example.net".to_owned()) };
    let with = |change: Change<'_>| found(|_, seen| change(seen.survey.routes[0].as_mut().unwrap()), &own);
    let of = |found: &Preflight| (results(found, "own_api")[0], results(found, "own_database")[0]);
    let host = |pattern: &str| Condition::Host(vec![pattern.to_owned()]);
    for pattern in ["*.example.com", "CUTOVER.*", "cutove?.example.com"] {
        let found = with(&|route| route.conditions = vec![host(pattern)]);
        assert_eq!(of(&found), (Outcome::Warning, Outcome::Ok), "{pattern}");
        let warned = found.told(Outcome::Warning).next().unwrap();
        assert!(warned.detail.contains(&format!("takes the requests for {pattern}")), "{warned:?}");
    }
    assert_eq!(of(&with(&|route| route.conditions = vec![host("*.shop.example.com")])), (Outcome::Ok, Outcome::Ok));

    let anything: [(Change<'_>, &str); 3] = [
        (&|route| route.conditions = vec![Condition::Path(vec!["/api/*".to_owned()])], "no host condition"),
        (&|route| route.conditions = vec![Condition::Opaque("host-header".to_owned())], "a regular expression"),
        (&|route| (route.number, route.conditions) = (None, Vec::new()), "a default action"),
    ];
    for (change, words) in anything {
        let found = with(change);
        assert_eq!(of(&found), (Outcome::Unknown, Outcome::Unknown), "{words}");
        let check = found.checks.iter().find(|check| check.name == "own_api").unwrap();
        assert!(check.detail.contains("only DNS") && check.detail.contains(words), "{check:?}");
        assert_eq!(check.pointer.as_deref(), Some("/routes/0"));
    }

    // One route that is known not to take it says nothing of the next.
    let second = |d: &mut Deployment, seen: &mut Inspection| {
        d.declaration.routes.push(RouteRef::new("route-1"));
        seen.survey = sample::survey(2, "old");
        seen.survey.routes[0].as_mut().unwrap().conditions = vec![host("shop.example.com")];
    };
    let check = |found: &Preflight| found.checks.iter().find(|check| check.name == "own_api").unwrap().clone();
    let open = check(&found(second, &own));
    assert_eq!((open.result, open.pointer.as_deref()), (Outcome::Unknown, Some("/routes/1")));
    let unseen = |d: &mut Deployment, seen: &mut Inspection| {
        second(d, seen);
        seen.survey.routes[1] = None;
    };
    assert!(check(&found(unseen, &own)).detail.contains("could not be seen"));
}
