//! Differences in quotas, and in how much one call may name.

use aws_sdk_elasticloadbalancingv2::types::LoadBalancerSchemeEnum;

use super::{Difference, LikeAws, outcome, probe};
use crate::contract::cloud::{
    house::{House, forward, host},
    world::World,
};

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        when: "the quota of target groups in one action is asked for",
        moto: "unknown",
        pocket_region: "5",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(groups_per_action),
    },
    Difference {
        when: "a load balancer has 100 rules, and one more is created",
        moto: "accepted",
        pocket_region: "TooManyRules",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(one_rule_more),
    },
    Difference {
        when: "one look names 21 rules",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(twenty_one_rules),
    },
    Difference {
        when: "an internal load balancer's DNS name",
        moto: "says nothing of it",
        pocket_region: "begins with `internal-`",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(internal),
    },
];

async fn groups_per_action(world: &World) -> String {
    let limits = world.elb.describe_account_limits().send().await.unwrap();
    let wanted = Some("target-groups-per-action-on-application-load-balancer");
    let limit = limits.limits().iter().find(|limit| limit.name() == wanted);
    limit.and_then(|limit| limit.max()).unwrap_or("unknown").to_owned()
}

async fn one_rule_more(world: &World) -> String {
    let house = House::build(world, "d-full").await;
    let (condition, action) = (host("d-full"), forward(&[(&house.slots[0], 1)]));
    let create = |priority| {
        let call = world.elb.create_rule().listener_arn(&house.listener).priority(priority);
        call.conditions(condition.clone()).actions(action.clone()).send()
    };
    for priority in 1..100 {
        create(priority).await.unwrap();
    }
    outcome(create(101).await)
}

async fn twenty_one_rules(world: &World) -> String {
    let house = House::build(world, "d-many").await;
    let mut arns = vec![house.base.clone()];
    for priority in 1..=20 {
        let call = world.elb.create_rule().listener_arn(&house.listener).priority(priority).conditions(host("d-many"));
        let made = call.actions(forward(&[(&house.slots[0], 1)])).send().await.unwrap();
        arns.push(made.rules()[0].rule_arn().unwrap().to_owned());
    }
    outcome(world.elb.describe_rules().set_rule_arns(Some(arns)).send().await)
}

async fn internal(world: &World) -> String {
    let call = world.elb.create_load_balancer().name("d-inside").set_subnets(Some(world.subnets.clone()));
    let made = call.scheme(LoadBalancerSchemeEnum::Internal).send().await.unwrap();
    let name = made.load_balancers()[0].dns_name().unwrap();
    if name.starts_with("internal-") { "begins with `internal-`" } else { "says nothing of it" }.to_owned()
}
