//! Shields: above the overlay, to blue alone, whatever sits on their number.

use cutover::domain::{action::Action as Change, weight::Weight};

use super::{
    Story,
    house::{House, forward, host, rule},
    story,
    world::World,
};

pub const STORIES: &[Story] = &[
    story!(a_shield_goes_above_the_overlay_and_sends_all_to_blue),
    story!(a_shield_raised_twice_is_one_shield),
    story!(a_shield_whose_number_was_taken_goes_right_under_the_overlay),
    story!(a_shield_is_seen_by_the_next_deployment_too),
];

fn raise() -> Change {
    Change::RaiseShields { routes: vec![0] }
}

async fn a_shield_goes_above_the_overlay_and_sends_all_to_blue(world: &World) {
    let house = House::build(world, "shield").await;
    let d = house.opened(house.declaration(&house.base)).await;
    let routes = vec![(0, d.overlays[0].clone())];
    house.apply(&d, &Change::SetWeight { routes, weight: Weight::ALL }).await.unwrap();
    house.apply(&d, &raise()).await.unwrap();
    let view = house.route(&d).await;
    assert!(view.shields[0].forward.is_all_blue() && view.overlays[0].forward.is_all_green());
    assert_eq!(view.green_share(), Some(Weight::NONE), "the topmost counts");
    assert_eq!(house.numbers().await, [98, 99, 100]);
}

async fn a_shield_raised_twice_is_one_shield(world: &World) {
    let house = House::build(world, "shield2").await;
    let d = house.opened(house.declaration(&house.base)).await;
    house.apply(&d, &raise()).await.unwrap();
    let again = House { cloud: world.cloud(), ..house };
    again.apply(&d, &raise()).await.unwrap();
    assert_eq!(again.numbers().await, [98, 99, 100]);
}

async fn a_shield_whose_number_was_taken_goes_right_under_the_overlay(world: &World) {
    let house = House::build(world, "shield3").await;
    let d = house.opened(house.declaration(&house.base)).await;
    for number in [98, 97] {
        rule(world, &house.listener, number, &host("stranger"), forward(&[(&house.slots[0], 1)])).await;
    }
    house.apply(&d, &raise()).await.unwrap();
    assert_eq!(house.numbers().await, [96, 97, 98, 99, 100]);
    assert_eq!(house.route(&d).await.shields.len(), 1);
}

async fn a_shield_is_seen_by_the_next_deployment_too(world: &World) {
    let house = House::build(world, "shield4").await;
    let next = house.planned(house.declaration(&house.base)).await;
    let first = house.opened(house.declaration(&house.base)).await;
    house.apply(&first, &raise()).await.unwrap();
    let view = house.route(&next).await;
    assert_eq!(view.shields.len(), 1);
    assert_eq!(view.shields[0].deployment, Some(first.id), "its tag says whose it is");
}
