//! What the sweeper sees and does: an inventory by tags over pages, close looks, and one step at a time.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aws_sdk_autoscaling::types::Tag as GroupTag;
use aws_sdk_elasticloadbalancingv2::types::Tag as RuleTag;
use cutover::{
    domain::{
        action::Action as Change,
        deployment::Deployment,
        ids::{GroupName, RouteRef, RuleRef, SlotRef, TargetGroupRef},
        orphan::{Found, GroupLook, Look, RuleLook, Step, Tags, Thing},
        survey::Role,
    },
    engine::sweeper::ports::{Place, SweptCloud},
};

use super::{
    Story,
    house::{House, forward, host},
    story,
    world::{Emulator, INSTALLATION, World, eventually},
};

pub const STORIES: &[Story] = &[
    story!(an_inventory_holds_what_is_tagged_over_all_pages_and_nothing_else),
    story!(what_the_engine_made_is_found_with_all_that_its_tags_say),
    story!(a_group_is_taken_out_of_its_slot_drained_and_removed_in_steps),
    story!(a_group_that_a_rule_names_anywhere_on_its_load_balancer_shows_it),
    story!(a_rule_shows_what_its_removal_would_uncover),
    story!(a_thing_whose_tags_were_taken_off_is_not_ours_any_more),
];

/// More groups than one page holds.
const GROUPS: usize = 103;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn place(house: &House<'_>) -> Place {
    let declaration = house.declaration(&house.base);
    let name = house.cloud.whereabouts(&declaration);
    let (provider, routes) = (declaration.provider, declaration.routes);
    Place { name, ways: vec![provider.clone()], provider, routes, adopted: Vec::new() }
}

async fn inventory(house: &House<'_>, place: &Place) -> Vec<Found> {
    house.cloud.inventory(place, &place.provider, soon()).await.unwrap()
}

async fn look(house: &House<'_>, found: &Found, slot: &str) -> Look {
    let place = place(house);
    house.cloud.inspect(&place, &place.provider, found, &SlotRef::new(slot), soon()).await
}

async fn group_look(house: &House<'_>, found: &Found, slot: &str) -> GroupLook {
    match look(house, found, slot).await {
        Look::Group(look) => look,
        other => panic!("no group was seen: {other:?}"),
    }
}

async fn rule_look(house: &House<'_>, found: &Found, slot: &str) -> RuleLook {
    match look(house, found, slot).await {
        Look::Rule(look) => look,
        other => panic!("no rule was seen: {other:?}"),
    }
}

async fn remove(house: &House<'_>, found: &Found, step: Step) {
    let place = place(house);
    house.cloud.remove(&place, &place.provider, &found.thing, &step, soon()).await.unwrap();
}

fn group(name: &str, tags: Option<Tags>) -> Found {
    Found { thing: Thing::ServerGroup(GroupName::new(name)), tags }
}

/// A group of no servers with this tag, in no slot.
async fn tagged_group(world: &World, name: &str, key: &str, value: &str) {
    let tag = GroupTag::builder().key(key).value(value).propagate_at_launch(false).build();
    let template = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder();
    let template = template.launch_template_id(&world.template).version("1").build();
    let call = world.autoscaling.create_auto_scaling_group().auto_scaling_group_name(name).tags(tag);
    let call = call.launch_template(template).min_size(0).max_size(0).desired_capacity(0);
    call.vpc_zone_identifier(world.subnets[0].clone()).send().await.unwrap();
}

async fn an_inventory_holds_what_is_tagged_over_all_pages_and_nothing_else(world: &World) {
    let house = House::build(world, "pages").await;
    for i in 0..GROUPS {
        tagged_group(world, &format!("pages-{i:03}"), "cutover:installation", INSTALLATION).await;
    }
    tagged_group(world, "pages-other", "cutover:installation", "another").await;
    tagged_group(world, "pages-untagged", "team", INSTALLATION).await;
    let mine = |found: &Found| found.thing.name().starts_with("pages-").then(|| found.thing.name().to_owned());
    let found = inventory(&house, &place(&house)).await;
    let names: BTreeSet<_> = found.iter().filter_map(mine).collect();
    assert_eq!(names, (0..GROUPS).map(|i| format!("pages-{i:03}")).collect());
    assert!(found.iter().filter(|found| mine(found).is_some()).all(|found| found.tags == Some(Tags::default())));

    let named = |name: &str| GroupName::new(name);
    let adopted = ["pages-untagged", "pages-other", "pages-000", "pages-gone"].map(named).to_vec();
    let more = inventory(&house, &Place { adopted, ..place(&house) }).await;
    let untagged: Vec<_> = more.iter().filter(|found| found.tags.is_none()).map(|found| found.thing.name()).collect();
    assert_eq!(untagged, ["pages-other", "pages-untagged"], "by name, whoever made them");
    assert_eq!(more.len(), found.len() + 2, "what is ours is found once");
}

/// A deployment with its overlay open and its green in its slot.
async fn opened(house: &House<'_>) -> (Deployment, Found, Found) {
    let d = house.opened(house.declaration(&house.base)).await;
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    let found = inventory(house, &place(house)).await;
    let of = |thing: &Thing| found.iter().find(|found| &found.thing == thing).cloned().expect("it was just made");
    let group = of(&Thing::ServerGroup(d.plan.as_ref().unwrap().green.group.clone()));
    (d.clone(), group, of(&Thing::Rule(d.overlays[0].clone())))
}

async fn what_the_engine_made_is_found_with_all_that_its_tags_say(world: &World) {
    let house = House::build(world, "swept").await;
    let (d, group, rule) = opened(&house).await;
    let tags = Tags { deployment: Some(d.id), target: Some(house.target()), role: None, route: None };
    assert_eq!(group.tags, Some(tags.clone()));
    assert_eq!(rule.tags, Some(Tags { role: Some(Role::Overlay), route: Some(RouteRef::new(&house.base)), ..tags }));
    let elsewhere = world.cloud_of("another").inventory(&place(&house), &place(&house).provider, soon()).await.unwrap();
    let ours = |found: &&Found| found.thing == group.thing || found.thing == rule.thing;
    assert_eq!(elsewhere.iter().find(ours), None, "another installation finds its own");
}

async fn a_group_is_taken_out_of_its_slot_drained_and_removed_in_steps(world: &World) {
    let house = House::build(world, "steps").await;
    let (d, group, rule) = opened(&house).await;
    let slot = house.slots[1].as_str();
    eventually("green's servers are registered", async || {
        (group_look(&house, &group, slot).await.registered == 2).then_some(())
    })
    .await;
    let seen = group_look(&house, &group, slot).await;
    assert_eq!((seen.ours, seen.deleting, seen.named_by), (true, false, 1), "the overlay names its slot");
    assert_eq!(seen.attached, [TargetGroupRef::new(slot)]);
    remove(&house, &rule, Step::DeleteRule).await;
    remove(&house, &rule, Step::DeleteRule).await;
    assert_eq!(look(&house, &rule, slot).await, Look::Gone);
    let seen =
        eventually("no rule names it", async || Some(group_look(&house, &group, slot).await).filter(|s| s.named_by == 0)).await;
    // As the engine left it: pinned.
    let protect = world.autoscaling.update_auto_scaling_group().auto_scaling_group_name(group.thing.name());
    let protected = aws_sdk_autoscaling::types::DeletionProtection::PreventAllDeletion;
    protect.deletion_protection(protected).send().await.unwrap();
    remove(&house, &group, Step::Detach { from: seen.attached }).await;
    if world.emulator == Emulator::PocketRegion {
        // moto never deregisters.
        let drained = async || Some(group_look(&house, &group, slot).await).filter(|s| s.registered == 0);
        let seen = eventually("its servers have drained", drained).await;
        assert_eq!((seen.ours, seen.attached.len()), (true, 0));
    }
    remove(&house, &group, Step::DeleteGroup).await;
    remove(&house, &group, Step::DeleteGroup).await;
    eventually("it is gone", async || (look(&house, &group, slot).await == Look::Gone).then_some(())).await;
    drop(d);
}

async fn a_group_that_a_rule_names_anywhere_on_its_load_balancer_shows_it(world: &World) {
    let house = House::build(world, "named").await;
    let slot = &house.slots[1];
    house.group("named-stray", slot).await;
    let stray = group("named-stray", None);
    assert_eq!(group_look(&house, &stray, slot).await.named_by, 0, "a target group in no rule");
    // A second listener that no route is on, by its default action, and a weight of nothing in a rule.
    let call = world.elb.create_listener().load_balancer_arn(&house.load_balancer).port(8080);
    let call = call.protocol(aws_sdk_elasticloadbalancingv2::types::ProtocolEnum::Http);
    call.default_actions(forward(&[(slot, 1)])).send().await.unwrap();
    super::house::rule(world, &house.listener, 7, &host("stray"), forward(&[(&house.slots[0], 1), (slot, 0)])).await;
    let seen = group_look(&house, &stray, slot).await;
    assert_eq!((seen.named_by, seen.ours), (2, false), "and it carries no tags");
    if world.emulator == Emulator::PocketRegion {
        let healthy = async || {
            let health = world.elb.describe_target_health().target_group_arn(slot).send().await.unwrap();
            let healthy = aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum::Healthy;
            let states = health.target_health_descriptions().iter().filter_map(|it| it.target_health()?.state());
            (states.filter(|state| **state == healthy).count() == 2).then_some(())
        };
        eventually("its servers answer", healthy).await;
        remove(&house, &stray, Step::Detach { from: seen.attached }).await;
        let drains = group_look(&house, &stray, slot).await;
        assert_eq!(
            (drains.attached.len(), drains.registered),
            (0, 2),
            "out of its slot, and still answering what it was asked"
        );
    }
}

async fn a_rule_shows_what_its_removal_would_uncover(world: &World) {
    let house = House::build(world, "uncover").await;
    let (d, _, overlay) = opened(&house).await;
    let serving = house.slots[0].as_str();
    let bare = RuleLook { ours: true, between: 0, base_serves: Some(true) };
    assert_eq!(rule_look(&house, &overlay, serving).await, bare);
    let elsewhere = rule_look(&house, &overlay, &house.slots[1]).await;
    assert_eq!(elsewhere.base_serves, Some(false), "the base forwards to another slot");
    house.apply(&d, &Change::RaiseShields { routes: vec![0] }).await.unwrap();
    let found = inventory(&house, &place(&house)).await;
    let of_d = |found: &&Found| found.tags.as_ref().is_some_and(|tags| tags.deployment == Some(d.id));
    let shield = found.iter().filter(of_d).find(|found| found.tags.as_ref().unwrap().role == Some(Role::Shield)).unwrap();
    assert_eq!(rule_look(&house, shield, serving).await.between, 1, "the overlay lies under it");
    assert_eq!(rule_look(&house, &overlay, serving).await, bare, "what lies over it does not matter");
    // Half of the base's traffic to another slot, by hand.
    let half = forward(&[(&house.slots[0], 1), (&house.slots[1], 1)]);
    world.elb.modify_rule().rule_arn(&house.base).actions(half).send().await.unwrap();
    assert_eq!(rule_look(&house, &overlay, serving).await.base_serves, Some(false));
    world.elb.delete_rule().rule_arn(&house.base).send().await.unwrap();
    assert_eq!(rule_look(&house, &overlay, serving).await.base_serves, None);
}

async fn a_thing_whose_tags_were_taken_off_is_not_ours_any_more(world: &World) {
    let house = House::build(world, "kept").await;
    let (_, group, overlay) = opened(&house).await;
    let slot = house.slots[0].as_str();
    assert!(rule_look(&house, &overlay, slot).await.ours);
    let call = world.elb.remove_tags().resource_arns(overlay.thing.name()).tag_keys("cutover:installation");
    call.send().await.unwrap();
    assert!(!rule_look(&house, &overlay, slot).await.ours, "what is remembered of it does not count");
    let tag = RuleTag::builder().key("cutover:installation").value("another").build();
    world.elb.add_tags().resource_arns(overlay.thing.name()).tags(tag).send().await.unwrap();
    assert!(!rule_look(&house, &overlay, slot).await.ours);
    let gone = GroupTag::builder().key("cutover:installation").resource_id(group.thing.name());
    let gone = gone.resource_type("auto-scaling-group").build();
    world.autoscaling.delete_tags().tags(gone).send().await.unwrap();
    assert!(!group_look(&house, &group, slot).await.ours);
    let found = inventory(&house, &place(&house)).await;
    assert!(!found.iter().any(|found| found.thing == group.thing), "and the next inventory is without it");
    let strange = Found { thing: Thing::Rule(RuleRef::new("rule")), ..overlay };
    assert!(matches!(look(&house, &strange, slot).await, Look::Unknown(_)), "what is not even a rule");
}
