//! Bases: rules and default actions, moved to green at the commit and put back.

use cutover::domain::action::{Action as Change, Side};

use super::{Story, house::House, story, world::World};

pub const STORIES: &[Story] = &[
    story!(a_base_moves_to_green_under_its_overlay_and_back),
    story!(a_default_action_is_a_route_like_a_rule),
    story!(a_base_that_was_deleted_leaves_its_overlay_in_sight),
];

async fn a_base_moves_to_green_under_its_overlay_and_back(world: &World) {
    let house = House::build(world, "base").await;
    let d = house.opened(house.declaration(&house.base)).await;
    house.apply(&d, &Change::SetBase { routes: vec![0], to: Side::Green }).await.unwrap();
    let view = house.route(&d).await;
    assert!(view.base.is_all_green() && view.overlays[0].forward.is_all_blue());
    house.apply(&d, &Change::SetBase { routes: vec![0], to: Side::Blue }).await.unwrap();
    assert!(house.route(&d).await.base.is_all_blue());
    assert_eq!(house.numbers().await, [99, 100]);
}

async fn a_default_action_is_a_route_like_a_rule(world: &World) {
    let house = House::build(world, "default").await;
    house.serve_by_default().await;
    let d = house.opened(house.declaration(&house.listener)).await;
    let plan = d.plan.as_ref().unwrap();
    assert_eq!((plan.routes[0].base_number, plan.routes[0].overlay_number), (None, 50_000));
    assert_eq!(house.numbers().await, [100, 50_000], "behind every other rule");
    let overlay = house.rules().await.remove(1);
    let condition = &overlay.conditions()[0];
    let paths = condition.path_pattern_config().map_or(condition.values(), |config| config.values());
    assert_eq!((condition.field(), paths), (Some("path-pattern"), &["*".to_owned()][..]));

    let view = house.route(&d).await;
    assert!(view.base.is_all_blue() && view.overlays[0].forward.is_all_blue());
    house.apply(&d, &Change::SetBase { routes: vec![0], to: Side::Green }).await.unwrap();
    assert!(house.route(&d).await.base.is_all_green());
    house.apply(&d, &Change::RaiseShields { routes: vec![0] }).await.unwrap();
    assert_eq!(house.numbers().await, [100, 49_999, 50_000]);
    assert!(house.route(&d).await.shields[0].forward.is_all_blue());
    house.apply(&d, &Change::SetBase { routes: vec![0], to: Side::Blue }).await.unwrap();
    assert!(house.route(&d).await.base.is_all_blue());
}

async fn a_base_that_was_deleted_leaves_its_overlay_in_sight(world: &World) {
    let house = House::build(world, "nobase").await;
    let d = house.opened(house.declaration(&house.base)).await;
    world.elb.delete_rule().rule_arn(&house.base).send().await.unwrap();
    let view = house.route(&d).await;
    assert_eq!(view.base, cutover::domain::observation::Forward::Elsewhere);
    assert_eq!(view.overlays.len(), 1, "it still has to go");
}
