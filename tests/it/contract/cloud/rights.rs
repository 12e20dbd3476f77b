//! The policy for rolling back allows what the rollback lane calls: all of it, and no more.

use std::{collections::BTreeSet, sync::Arc};

use cutover::{
    cloud::aws::{Budget, BudgetSettings, Policy},
    domain::{action::Action as Change, phase::Phase},
    engine::ports::Cloud,
};

use super::{
    house::{House, forward, host, later, rule},
    world::World,
};

#[tokio::test]
async fn the_lane_needs_every_right_of_its_policy_and_no_other() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "rights").await;
    let mut d = house.opened(house.declaration(&house.base)).await;
    d.phase = Phase::Committing { quiet_since: None };
    // Somebody has the shield's number: whose the rule is has to be looked at.
    let number = i32::try_from(d.plan.as_ref().unwrap().routes[0].shield_number).unwrap();
    rule(&world, &house.listener, number, &host("somebody"), forward(&[(&house.slots[0], 1)])).await;

    let lane = world.cloud_on(&Arc::new(Budget::new(BudgetSettings::default()))).for_rollbacks();
    lane.warm(&d).await;
    lane.apply(&d, &Change::RaiseShields { routes: vec![0] }, later()).await.unwrap();
    lane.apply(&d, &Change::DeleteRules { rules: d.overlays.clone() }, later()).await.unwrap();

    let called: BTreeSet<_> =
        lane.figures().calls.iter().map(|calls| format!("elasticloadbalancing:{}", calls.operation)).collect();
    let policy: serde_json::Value = serde_json::from_str(&Policy::Rollback.text()).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
    let allowed: BTreeSet<_> = actions.map(|action| action.as_str().unwrap().to_owned()).collect();
    // No call of ours: AWS asks for it with the tags in CreateRule.
    let tagging = BTreeSet::from(["elasticloadbalancing:AddTags".to_owned()]);
    assert_eq!(called, &allowed - &tagging);
}
