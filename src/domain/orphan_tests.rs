//! What a sweep may remove, held against a list of what it must never touch that is written down apart from it.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::{
    declaration::Provider,
    phase::{BackAs, Phase},
    sample::{at, deployment},
    weight::Weight,
};

const DAY: i64 = 24 * 3600;

fn terms() -> Terms {
    Terms { remove: true, report_after: Duration::from_secs(600), remove_after: Duration::from_secs(24 * 3600) }
}

fn here() -> Provider {
    Provider::Aws { region: "eu-west-1".to_owned(), role: None }
}

fn is_here(declaration: &Declaration) -> bool {
    declaration.provider == here()
}

fn elsewhere() -> Provider {
    Provider::Aws { region: "us-east-1".to_owned(), role: None }
}

/// web/prod #42, whose green is `web-prod-v042` in slot-b.
fn maker(phase: Phase) -> Deployment {
    deployment(1, phase)
}

/// web/prod #43, whose blue is what #42 made.
fn next(phase: Phase) -> Deployment {
    let mut d = deployment(1, phase);
    (d.id, d.number) = (DeploymentId::new(Uuid::from_u128(43)), 43);
    let plan = d.plan.as_mut().unwrap();
    plan.blue.as_mut().unwrap().group = GroupName::new("web-prod-v042");
    plan.green.group = GroupName::new("web-prod-v043");
    std::mem::swap(&mut plan.blue_slot, &mut plan.green.slot);
    d
}

fn tags(d: &Deployment) -> Tags {
    let (deployment, target) = (Some(d.id), Some(d.target.clone()));
    Tags { deployment, target, role: Some(Role::Overlay), route: Some(RouteRef::new("route-0")) }
}

fn group() -> Found {
    let made = maker(Phase::Succeeded);
    Found { thing: Thing::ServerGroup(GroupName::new("web-prod-v042")), tags: Some(tags(&made)) }
}

fn overlay() -> Found {
    Found { thing: Thing::Rule(RuleRef::new("overlay-0")), ..group() }
}

/// An overlay whose tags name a route that its deployment never had.
fn elsewhere_routed() -> Found {
    let tags = Tags { route: Some(RouteRef::new("route-9")), ..tags(&maker(Phase::RolledBack)) };
    Found { tags: Some(tags), ..overlay() }
}

fn orphan(found: &Found, facts: &Facts) -> Orphan {
    match judge(found, facts, &is_here) {
        Standing::Orphan(orphan) => *orphan,
        Standing::Claimed => panic!("it is claimed"),
    }
}

fn free() -> GroupLook {
    GroupLook { ours: true, deleting: false, attached: Vec::new(), named_by: 0, registered: 0 }
}

fn bare() -> RuleLook {
    RuleLook { ours: true, between: 0, base_serves: Some(true) }
}

#[test]
fn the_green_of_a_deployment_that_went_back_and_the_blue_of_one_that_succeeded_are_to_go() {
    for phase in [Phase::RolledBack, Phase::Cancelled] {
        let d = maker(phase);
        let name = d.phase.name();
        let facts = Facts { tagged: Some(d.clone()), last: Some(d), ..Facts::default() };
        let orphan = orphan(&group(), &facts);
        assert_eq!(orphan.fate, Fate::ToGo(SlotRef::new("slot-b")));
        assert_eq!(orphan.why, format!("web/prod #42 ended {name}, and its server group is still there"));
    }
    let facts = Facts { tagged: Some(maker(Phase::Succeeded)), last: Some(next(Phase::Succeeded)), ..Facts::default() };
    let replaced = orphan(&group(), &facts);
    assert_eq!(replaced.fate, Fate::ToGo(SlotRef::new("slot-b")));
    assert_eq!(replaced.why, "web/prod #43 succeeded, and the server group that it replaced is still there");
    assert_eq!(replaced.deployment, Some(DeploymentId::new(Uuid::from_u128(42))), "it is shown with the one that made it");
}

#[test]
fn what_serves_or_may_serve_is_claimed() {
    let succeeded = || Some(maker(Phase::Succeeded));
    let back = Phase::RollingBack { shield: false, ends: BackAs::RolledBack };
    let claims = [
        Facts { tagged: succeeded(), last: succeeded(), live: true, ..Facts::default() },
        Facts { tagged: succeeded(), last: Some(next(Phase::Retiring)), ..Facts::default() },
        Facts { tagged: succeeded(), last: Some(next(back.clone())), ..Facts::default() },
        Facts { tagged: Some(maker(back.clone())), ..Facts::default() },
    ];
    for facts in &claims {
        assert_eq!(judge(&group(), facts, &is_here), Standing::Claimed, "{facts:#?}");
    }
    let facts = Facts { tagged: Some(maker(back)), ..Facts::default() };
    assert_eq!(judge(&overlay(), &facts, &is_here), Standing::Claimed, "a rule of a deployment that runs");
    let adopted = Found { tags: None, ..group() };
    assert_eq!(judge(&adopted, &claims[1], &is_here), Standing::Claimed, "another one has adopted it");
}

#[test]
fn what_the_records_do_not_say_was_to_go_is_listed_and_kept() {
    let ended = || Some(maker(Phase::RolledBack));
    let stories = [
        ("no record", group(), Facts::default()),
        ("no plan", group(), Facts { tagged: ended(), ..Facts::default() }),
        (
            "abandoned",
            group(),
            Facts { tagged: Some(maker(Phase::Failed)), last: Some(maker(Phase::Failed)), ..Facts::default() },
        ),
        (
            "the next was",
            group(),
            Facts { tagged: Some(maker(Phase::Succeeded)), last: Some(next(Phase::Failed)), ..Facts::default() },
        ),
        (
            "back to it",
            group(),
            Facts { tagged: Some(maker(Phase::Succeeded)), last: Some(next(Phase::RolledBack)), ..Facts::default() },
        ),
        ("two services", group(), Facts { tagged: ended(), last: ended(), shared: true, ..Facts::default() }),
        ("no tags", Found { tags: None, ..group() }, Facts { last: Some(next(Phase::Succeeded)), ..Facts::default() }),
        (
            "a copy of its tags",
            Found { thing: Thing::ServerGroup(GroupName::new("mine")), ..group() },
            Facts { tagged: ended(), last: ended(), ..Facts::default() },
        ),
        ("another route's", elsewhere_routed(), Facts { tagged: ended(), ..Facts::default() }),
        ("an abandoned rule", overlay(), Facts { tagged: Some(maker(Phase::Failed)), ..Facts::default() }),
        ("an unknown rule", overlay(), Facts::default()),
        ("one runs there", overlay(), Facts { tagged: ended(), busy: true, ..Facts::default() }),
    ];
    for (name, found, facts) in stories {
        let orphan = orphan(&found, &facts);
        assert!(matches!(orphan.fate, Fate::Kept(_)), "{name}: {orphan:#?}");
        let look = Look::Group(free());
        assert!(matches!(way_out(&orphan, &look), Way::Shut(_)), "{name}: whatever a look says");
        assert_eq!(
            orphan.why.contains("abandoned"),
            ["abandoned", "the next was", "an abandoned rule"].contains(&name),
            "{name}"
        );
    }
}

#[test]
fn a_group_goes_out_of_its_slot_first_then_drains_then_is_deleted() {
    let d = maker(Phase::RolledBack);
    let orphan = orphan(&group(), &Facts { tagged: Some(d.clone()), last: Some(d), ..Facts::default() });
    let way = |look: GroupLook| way_out(&orphan, &Look::Group(look));
    let from = vec![TargetGroupRef::new("slot-b")];
    assert!(matches!(way(GroupLook { attached: from.clone(), named_by: 1, registered: 2, ..free() }), Way::Shut(_)));
    let attached = GroupLook { attached: from.clone(), registered: 2, ..free() };
    assert_eq!(way(attached), Way::Open(Some(Step::Detach { from })));
    assert_eq!(way(GroupLook { registered: 1, ..free() }), Way::Open(None), "it drains");
    assert_eq!(way(free()), Way::Open(Some(Step::DeleteGroup)));
    assert_eq!(way(GroupLook { deleting: true, ..free() }), Way::Open(None));
    assert!(matches!(way(GroupLook { ours: false, ..free() }), Way::Shut(_)), "somebody took its tags off to keep it");
    assert!(matches!(way_out(&orphan, &Look::Unknown("throttled".to_owned())), Way::Unknown(_)));
}

#[test]
fn a_rule_goes_only_where_traffic_falls_to_a_base_that_serves() {
    let facts = Facts { tagged: Some(maker(Phase::Succeeded)), serving: Some(SlotRef::new("slot-b")), ..Facts::default() };
    let orphan = orphan(&overlay(), &facts);
    assert_eq!(orphan.fate, Fate::ToGo(SlotRef::new("slot-b")));
    let way = |look: RuleLook| way_out(&orphan, &Look::Rule(look));
    assert_eq!(way(bare()), Way::Open(Some(Step::DeleteRule)));
    for held in [
        RuleLook { base_serves: Some(false), ..bare() },
        RuleLook { base_serves: None, ..bare() },
        RuleLook { between: 1, ..bare() },
        RuleLook { ours: false, ..bare() },
    ] {
        assert!(matches!(way(held), Way::Shut(_)), "{held:?}");
    }
}

#[test]
fn a_first_deployment_that_went_back_leaves_its_rules_over_the_slot_it_went_back_to() {
    let orphan = orphan(&overlay(), &Facts { tagged: Some(maker(Phase::RolledBack)), ..Facts::default() });
    assert_eq!(orphan.fate, Fate::ToGo(SlotRef::new("slot-a")));
}

#[test]
fn both_terms_must_be_over_and_the_second_counts_from_when_nothing_stood_against_it() {
    let open = Way::Open(Some(Step::DeleteRule));
    let due = |first_seen: i64, clear_since: Option<i64>, now: i64, terms: &Terms| {
        due(&open, &Sighting { first_seen: at(first_seen), clear_since: clear_since.map(at), now: at(now) }, terms).is_some()
    };
    assert!(due(0, Some(0), DAY, &terms()));
    assert!(!due(0, Some(0), DAY - 1, &terms()));
    assert!(!due(0, Some(1), DAY, &terms()), "a rule named it until then");
    assert!(!due(0, None, 2 * DAY, &terms()));
    assert!(!due(DAY - 1, Some(0), DAY, &terms()), "what is not listed yet is not removed");
    assert!(!due(0, Some(0), DAY, &Terms { remove: false, ..terms() }));
    assert_eq!(Terms { remove: false, ..terms() }.remove_at(Some(at(0))), None);
}

#[test]
fn a_term_counts_only_while_somebody_looks_and_can_tell() {
    let gap = Duration::from_secs(2700);
    let after = |before, is_clear, now| Clear::after(before, is_clear, at(now), gap);
    let row = |since, until| Some(Clear { since: at(since), until: at(until) });
    assert_eq!(after(None, Some(true), 0), row(0, 0));
    assert_eq!(after(row(0, 600), Some(true), 1200), row(0, 1200));
    assert_eq!(after(row(0, 600), Some(true), 3300), row(0, 3300), "a few looks were missed");
    assert_eq!(after(row(0, 600), Some(true), 3301), row(3301, 3301), "nobody looked: who knows what was between");
    assert_eq!(after(row(0, 600), Some(false), 1200), None);
    // Looks that cannot tell are as good as none, however many there are.
    assert_eq!(after(row(0, 600), None, 3300), row(0, 600));
    assert_eq!(after(after(row(0, 600), None, 3300), Some(true), 3301), row(3301, 3301));
}

/// Mostly not: with a fair coin for each of them hardly anything would ever be removed.
fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.15)
}

fn phases() -> impl Strategy<Value = Phase> {
    let shifting = Phase::Shifting { stage: 0, weight: Weight::ALL, by_hand: false, hurry: false, seen_at: None };
    let running = vec![
        Phase::Pending,
        Phase::Provisioning,
        shifting,
        Phase::Committing { quiet_since: None },
        Phase::Retiring,
        Phase::RollingBack { shield: true, ends: BackAs::Cancelled },
        Phase::Failed,
    ];
    let ended = vec![Phase::Succeeded, Phase::RolledBack, Phase::Cancelled];
    prop_oneof![1 => prop::sample::select(running), 3 => prop::sample::select(ended)]
}

/// Records in which anything may be missing, or be another's.
fn facts() -> impl Strategy<Value = Facts> {
    let records = (prop::option::weighted(0.9, phases()), prop::option::weighted(0.9, phases()), any::<bool>());
    let odd = (rarely(), rarely(), rarely(), rarely(), rarely());
    (records, odd).prop_map(|((tagged, last, same), (shared, live, busy, no_live, far))| {
        let tagged = tagged.map(maker);
        let mut last = if same { tagged.clone() } else { last.map(next) };
        if far && let Some(last) = &mut last {
            last.declaration.provider = elsewhere();
        }
        Facts { tagged, last, shared, live, drill: None, busy, serving: (!no_live).then(|| SlotRef::new("slot-b")) }
    })
}

fn looks() -> impl Strategy<Value = Look> {
    let group =
        (rarely(), rarely(), any::<bool>(), rarely(), rarely()).prop_map(|(lost, deleting, attached, named, drains)| {
            let attached = attached.then(|| TargetGroupRef::new("slot-b")).into_iter().collect();
            Look::Group(GroupLook { ours: !lost, deleting, attached, named_by: named.into(), registered: drains.into() })
        });
    let rule = (rarely(), rarely(), any::<Option<bool>>())
        .prop_map(|(lost, between, base_serves)| Look::Rule(RuleLook { ours: !lost, between: between.into(), base_serves }));
    prop_oneof![8 => group, 8 => rule, 1 => Just(Look::Gone), 1 => Just(Look::Unknown("throttled".to_owned()))]
}

fn found() -> impl Strategy<Value = Found> {
    (any::<bool>(), rarely(), rarely(), rarely()).prop_map(|(is_group, untagged, no_role, no_route)| {
        let tags = Tags {
            role: (!no_role).then_some(Role::Shield),
            route: (!no_route).then(|| RouteRef::new("route-0")),
            ..tags(&maker(Phase::Succeeded))
        };
        Found { tags: (!untagged).then_some(tags), ..if is_group { group() } else { overlay() } }
    })
}

/// What must hold of everything that is changed, in words of its own.
fn harmless(found: &Found, facts: &Facts, look: &Look, step: &Step) -> bool {
    let went = |d: &Deployment| [Phase::RolledBack, Phase::Cancelled].contains(&d.phase);
    let Some(maker) = &facts.tagged else { return false };
    let ended = found.tags.is_some() && maker.phase.is_terminal() && maker.phase != Phase::Failed;
    let of_a_group = || {
        let Some(last) = &facts.last else { return false };
        let to_go = if last.id == maker.id { went(last) } else { last.phase == Phase::Succeeded };
        to_go && !facts.live && !facts.shared && last.declaration.provider == here()
    };
    ended
        && match (look, step) {
            (Look::Group(look), Step::Detach { from }) => {
                of_a_group() && look.ours && look.named_by == 0 && from == &look.attached
            }
            (Look::Group(look), Step::DeleteGroup) => {
                of_a_group() && look.ours && look.attached.is_empty() && look.named_by == 0 && look.registered == 0
            }
            (Look::Rule(look), Step::DeleteRule) => {
                !facts.busy && look.ours && look.between == 0 && look.base_serves == Some(true)
            }
            _ => false,
        }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn nothing_is_changed_that_serves_may_serve_was_let_go_or_is_not_ours(
        found in found(), facts in facts(), look in looks(), first in 0_i64..3, clear in prop::option::of(0_i64..3), now in 0_i64..5
    ) {
        if matches!((&found.thing, &look), (Thing::Rule(_), Look::Group(_)) | (Thing::ServerGroup(_), Look::Rule(_))) {
            // A look is one of its thing.
            return Ok(());
        }
        let Standing::Orphan(orphan) = judge(&found, &facts, &is_here) else { return Ok(()) };
        let seen = Sighting { first_seen: at(first * DAY), clear_since: clear.map(|days| at(days * DAY)), now: at(now * DAY) };
        if let Some(step) = due(&way_out(&orphan, &look), &seen, &terms()) {
            prop_assert!(harmless(&found, &facts, &look, &step), "{step:?} of {found:#?} by {facts:#?} and {look:?}");
            prop_assert!(clear.is_some_and(|clear| now > clear));
        }
    }
}

#[test]
fn the_property_meets_removals_of_every_kind() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut steps = std::collections::BTreeSet::new();
    for _ in 0..4000 {
        let mut draw = |strategy: &BoxedStrategy<(Found, Facts, Look)>| strategy.new_tree(&mut runner).unwrap().current();
        let (found, facts, look) = draw(&(found(), facts(), looks()).boxed());
        if let Standing::Orphan(orphan) = judge(&found, &facts, &is_here)
            && let Way::Open(Some(step)) = way_out(&orphan, &look)
        {
            steps.insert(step.name());
        }
    }
    assert_eq!(steps.into_iter().collect::<Vec<_>>(), ["delete_group", "delete_rule", "detach"]);
}
