//! Edits by hand: what AWS only writes otherwise is none, each that is one is told, followed by an overlay, or put back.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, HostHeaderRewriteConfig, RewriteConfig, Rule, RuleCondition, RuleTransform, TransformTypeEnum,
};
use cutover::domain::{
    action::{Action as Change, Shape, Side},
    deployment::Deployment,
    observation::{Edited, Forward},
    weight::Weight,
};

use super::{
    Story,
    house::{House, forward, host},
    overlays::{login_then, picky},
    story,
    world::{Emulator, World},
};

pub const STORIES: &[Story] = &[
    story!(a_rule_copied_and_read_back_is_no_edit),
    story!(an_edited_base_is_told_and_followed_by_its_overlay),
    story!(what_was_edited_is_put_back_as_it_was),
    story!(an_edited_default_action_is_put_back_through_its_listener),
    story!(a_number_and_a_destination_are_told),
];

fn quarter() -> Weight {
    Weight::from_permille(250).unwrap()
}

async fn edit(house: &House<'_>, rule: &str, conditions: Option<Vec<RuleCondition>>, actions: Option<Vec<Action>>) -> Rule {
    let call = house.world.elb.modify_rule().rule_arn(rule).set_conditions(conditions).set_actions(actions);
    call.send().await.unwrap().rules()[0].clone()
}

/// What is told of the route: rule, field, recorded, seen.
async fn told(house: &House<'_>, d: &Deployment) -> Vec<(String, String, String)> {
    let edits = house.route(d).await.edited.map(|edited| edited.edits).unwrap_or_default();
    let name = |edit: &cutover::domain::observation::Edit| format!("{} {}", edit.rule.name(), edit.field.name());
    edits.into_iter().map(|edit| (name(&edit), edit.recorded, edit.seen)).collect()
}

async fn edited(house: &House<'_>, d: &Deployment) -> Edited {
    *house.route(d).await.edited.expect("something was edited")
}

async fn shape(house: &House<'_>, d: &Deployment, weight: Weight, form: serde_json::Value) {
    let shape = Shape { route: 0, rule: d.overlays[0].clone(), weight, form };
    house.apply(d, &Change::ReshapeOverlays { shapes: vec![shape] }).await.unwrap();
}

async fn a_rule_copied_and_read_back_is_no_edit(world: &World) {
    let mut house = House::build(world, "same").await;
    let short = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(&house.slots[0]).build();
    let old = RuleCondition::builder().field("host-header").values("old.example.com").build();
    let plain = forward(&[(&house.slots[0], 1)]);
    let bases = [
        (vec![host("same")], vec![plain.clone()]),
        (vec![old], vec![short]),
        (picky("same").split_off(1), vec![plain.clone()]),
        (vec![host("same")], login_then(&plain)),
    ];
    for (i, (conditions, actions)) in bases.into_iter().enumerate() {
        edit(&house, &house.base, Some(conditions), Some(actions)).await;
        let d = house.opened(house.declaration(&house.base)).await;
        assert_eq!(told(&house, &d).await, [], "base {i}");
        let routes = vec![(0, d.overlays[0].clone())];
        house.apply(&d, &Change::SetWeight { routes, weight: quarter() }).await.unwrap();
        assert_eq!(told(&house, &d).await, [], "base {i} at a quarter");
        for side in [Side::Green, Side::Blue] {
            house.apply(&d, &Change::SetBase { routes: vec![0], to: side }).await.unwrap();
            assert_eq!(told(&house, &d).await, [], "base {i} on {side:?}");
        }
        house.apply(&d, &Change::DeleteRules { rules: d.overlays.clone() }).await.unwrap();
    }
    house.serve_by_default().await;
    house.base.clone_from(&house.listener);
    let d = house.opened(house.declaration(&house.listener)).await;
    assert_eq!(told(&house, &d).await, [], "a default action");
}

async fn an_edited_base_is_told_and_followed_by_its_overlay(world: &World) {
    let house = House::build(world, "follow").await;
    let mut d = house.opened(house.declaration(&house.base)).await;
    let routes = vec![(0, d.overlays[0].clone())];
    house.apply(&d, &Change::SetWeight { routes, weight: quarter() }).await.unwrap();
    edit(&house, &house.base, Some(vec![host("other")]), None).await;
    let told_of =
        ("base conditions".to_owned(), "host-header follow.example.com".to_owned(), "host-header other.example.com".to_owned());
    assert_eq!(told(&house, &d).await, std::slice::from_ref(&told_of));
    let seen = edited(&house, &d).await;
    assert!(seen.overlay_as_planned && !seen.overlay_as_base);
    let now = seen.as_seen.unwrap();
    shape(&house, &d, quarter(), now.form.clone()).await;
    let seen = edited(&house, &d).await;
    assert!(!seen.overlay_as_planned && seen.overlay_as_base);
    assert_eq!(told(&house, &d).await, [told_of], "an overlay that follows its base is no edit of its own");
    assert_eq!(house.route(&d).await.overlays[0].forward, Forward::Split(quarter()));
    d.plan.as_mut().unwrap().routes[0] = now;
    assert_eq!(told(&house, &d).await, [], "adopted");
}

async fn what_was_edited_is_put_back_as_it_was(world: &World) {
    let house = House::build(world, "restore").await;
    let d = house.opened(house.declaration(&house.base)).await;
    let (base, overlay) = (house.rules().await.remove(1), house.rules().await.remove(0));
    let elsewhere = forward(&[(&world.target_group("restore-c").await, 1)]);
    edit(&house, &house.base, Some(vec![host("other")]), Some(vec![elsewhere])).await;
    edit(&house, d.overlays[0].as_str(), Some(vec![host("third")]), Some(login_then(&forward(&[(&house.slots[1], 1)])))).await;
    if world.emulator == Emulator::PocketRegion {
        rewrite_host(&house).await;
    }
    let fields: Vec<_> = told(&house, &d).await.into_iter().map(|(what, ..)| what).collect();
    let transforms: &[&str] = if world.emulator == Emulator::PocketRegion { &["base transforms"] } else { &[] };
    let expected = [&["base forward", "base conditions"], transforms, &["overlay conditions", "overlay actions"]].concat();
    assert_eq!(fields, expected);

    house.apply(&d, &Change::RestoreBases { routes: vec![0] }).await.unwrap();
    shape(&house, &d, Weight::NONE, d.plan.as_ref().unwrap().routes[0].form.clone()).await;
    assert_eq!(told(&house, &d).await, []);
    let (base_now, overlay_now) = (house.rules().await.remove(1), house.rules().await.remove(0));
    assert_eq!((base_now.conditions(), base_now.transforms()), (base.conditions(), base.transforms()));
    assert_eq!(overlay_now.conditions(), overlay.conditions());
    let view = house.route(&d).await;
    assert!(view.base.is_all_blue() && view.overlays[0].forward.is_all_blue());
}

/// The base rewrites the host.
async fn rewrite_host(house: &House<'_>) {
    let rewrite = RewriteConfig::builder().regex("^other").replace("new").build();
    let config = HostHeaderRewriteConfig::builder().rewrites(rewrite).build();
    let transform = RuleTransform::builder().r#type(TransformTypeEnum::HostHeaderRewrite).host_header_rewrite_config(config);
    let call = house.world.elb.modify_rule().rule_arn(&house.base).transforms(transform.build());
    call.send().await.unwrap();
}

async fn an_edited_default_action_is_put_back_through_its_listener(world: &World) {
    let house = House::build(world, "redefault").await;
    let set = |slot: String| world.elb.modify_listener().listener_arn(&house.listener).default_actions(forward(&[(&slot, 1)]));
    house.serve_by_default().await;
    let d = house.opened(house.declaration(&house.listener)).await;
    set(world.target_group("redefault-c").await).send().await.unwrap();
    assert_eq!(house.route(&d).await.base, Forward::Elsewhere);
    let told_of = told(&house, &d).await;
    assert_eq!((told_of[0].0.as_str(), told_of[0].2.as_str()), ("base forward", "to redefault-c 1"));
    house.apply(&d, &Change::RestoreBases { routes: vec![0] }).await.unwrap();
    assert_eq!(told(&house, &d).await, []);
    assert!(house.route(&d).await.base.is_all_blue());
}

async fn a_number_and_a_destination_are_told(world: &World) {
    let house = House::build(world, "moved").await;
    let d = house.opened(house.declaration(&house.base)).await;
    let pair = aws_sdk_elasticloadbalancingv2::types::RulePriorityPair::builder().rule_arn(&house.base).priority(200).build();
    world.elb.set_rule_priorities().rule_priorities(pair).send().await.unwrap();
    let expected = ("base number".to_owned(), "100".to_owned(), "200".to_owned());
    assert_eq!(told(&house, &d).await, [expected]);
    assert_eq!(edited(&house, &d).await.as_seen.unwrap().base_number, Some(200));
    let pair = aws_sdk_elasticloadbalancingv2::types::RulePriorityPair::builder().rule_arn(&house.base).priority(50).build();
    world.elb.set_rule_priorities().rule_priorities(pair).send().await.unwrap();
    assert!(edited(&house, &d).await.as_seen.unwrap_err().contains("comes before the overlay"));
    world.elb.delete_rule().rule_arn(&house.base).send().await.unwrap();
    assert_eq!(told(&house, &d).await, [("base rule".to_owned(), "there".to_owned(), "deleted".to_owned())]);
}
