//! Differences in load balancing.

use aws_sdk_elasticloadbalancingv2::types::{
    HostHeaderConditionConfig, ProtocolEnum, RewriteConfig, RuleCondition, RuleTransform, TransformTypeEnum, UrlRewriteConfig,
};

use super::{Difference, LikeAws, outcome, probe};
use crate::contract::cloud::{
    house::{House, forward, host},
    world::{World, eventually},
};

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        when: "a forward has weight 1000",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(weight_1000),
    },
    Difference {
        when: "a forward names six target groups",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(six_groups),
    },
    Difference {
        when: "a default action forwards to a target group that is not there",
        moto: "accepted",
        pocket_region: "TargetGroupNotFound",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(unknown_group),
    },
    Difference {
        when: "a condition has both `Values` and its `…Config`",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(both_forms),
    },
    Difference {
        when: "a host condition sent as `HostHeaderConfig` is read back",
        moto: "as `HostHeaderConfig`",
        pocket_region: "as `HostHeaderConfig` and `Values`",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(read_back),
    },
    Difference {
        when: "a listener's default rule is changed by ModifyRule",
        moto: "accepted",
        pocket_region: "OperationNotPermitted",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(default_rule),
    },
    Difference {
        when: "a rule is created with a URL rewrite",
        moto: "it is lost",
        pocket_region: "it is kept",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(transforms),
    },
    Difference {
        when: "a slot has target stickiness and a weighted rule has none",
        moto: "accepted",
        pocket_region: "InvalidConfigurationRequest",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(sticky_slot),
    },
    Difference {
        when: "a target group of another load balancer is forwarded to",
        moto: "accepted",
        pocket_region: "TargetGroupAssociationLimit",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(two_balancers),
    },
    Difference {
        when: "a target group is created again with the same settings",
        moto: "DuplicateTargetGroupName",
        pocket_region: "accepted",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(same_group),
    },
    Difference {
        when: "a target group of type `ip` is created",
        moto: "type ip",
        pocket_region: "type instance",
        like_aws: LikeAws::Moto,
        probe: probe!(ip_group),
    },
    Difference {
        when: "a target is registered in a group that no rule names",
        moto: "healthy",
        pocket_region: "unused",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(unused_group),
    },
];

async fn weight_1000(world: &World) -> String {
    let house = House::build(world, "d-weight").await;
    let action = forward(&[(&house.slots[0], 1000), (&house.slots[1], 0)]);
    outcome(world.elb.modify_rule().rule_arn(&house.base).actions(action).send().await)
}

async fn six_groups(world: &World) -> String {
    let house = House::build(world, "d-six").await;
    let mut slots = house.slots.to_vec();
    for letter in ["c", "d", "e", "f"] {
        slots.push(world.target_group(&format!("d-six-{letter}")).await);
    }
    let weights: Vec<_> = slots.iter().map(|slot| (slot, 1)).collect();
    outcome(world.elb.modify_rule().rule_arn(&house.base).actions(forward(&weights)).send().await)
}

async fn unknown_group(world: &World) -> String {
    let house = House::build(world, "d-unknown").await;
    let action = forward(&[(&format!("{}0", house.slots[0]), 1)]);
    outcome(world.elb.modify_listener().listener_arn(&house.listener).default_actions(action).send().await)
}

async fn both_forms(world: &World) -> String {
    let house = House::build(world, "d-both").await;
    let config = HostHeaderConditionConfig::builder().values("a.example.com").build();
    let both = RuleCondition::builder().field("host-header").values("a.example.com").host_header_config(config).build();
    outcome(world.elb.modify_rule().rule_arn(&house.base).conditions(both).send().await)
}

async fn read_back(world: &World) -> String {
    let house = House::build(world, "d-form").await;
    let base = house.rules().await.remove(0);
    let condition = &base.conditions()[0];
    match (condition.host_header_config(), condition.values()) {
        (Some(_), []) => "as `HostHeaderConfig`",
        (Some(_), _) => "as `HostHeaderConfig` and `Values`",
        (None, _) => "as `Values`",
    }
    .to_owned()
}

async fn default_rule(world: &World) -> String {
    let house = House::build(world, "d-default").await;
    let default = house.rules().await.pop().unwrap();
    let call = world.elb.modify_rule().rule_arn(default.rule_arn().unwrap()).actions(forward(&[(&house.slots[0], 1)]));
    outcome(call.send().await)
}

async fn transforms(world: &World) -> String {
    let house = House::build(world, "d-rewrite").await;
    let rewrite = RewriteConfig::builder().regex("^/old").replace("/new").build();
    let rewrite = UrlRewriteConfig::builder().rewrites(rewrite).build();
    let transform = RuleTransform::builder().r#type(TransformTypeEnum::UrlRewrite).url_rewrite_config(rewrite).build();
    let call = world.elb.create_rule().listener_arn(&house.listener).priority(7).conditions(host("old"));
    call.actions(forward(&[(&house.slots[0], 1)])).transforms(transform).send().await.unwrap();
    let rule = house.rules().await.remove(0);
    if rule.transforms().is_empty() { "it is lost" } else { "it is kept" }.to_owned()
}

async fn sticky_slot(world: &World) -> String {
    let house = House::build(world, "d-sticky").await;
    crate::contract::cloud::preflight::sticky(world, &house.slots[0], "lb_cookie").await;
    let action = forward(&[(&house.slots[0], 1), (&house.slots[1], 1)]);
    outcome(world.elb.modify_rule().rule_arn(&house.base).actions(action).send().await)
}

async fn two_balancers(world: &World) -> String {
    let (house, other) = (House::build(world, "d-here").await, House::build(world, "d-there").await);
    outcome(world.elb.modify_rule().rule_arn(&house.base).actions(forward(&[(&other.slots[0], 1)])).send().await)
}

async fn same_group(world: &World) -> String {
    let call = || world.elb.create_target_group().name("d-same").protocol(ProtocolEnum::Http).port(80).vpc_id(&world.vpc);
    call().send().await.unwrap();
    outcome(call().send().await)
}

async fn ip_group(world: &World) -> String {
    let call = world.elb.create_target_group().name("d-ip").protocol(ProtocolEnum::Http).port(80).vpc_id(&world.vpc);
    let answer = call.target_type("ip".into()).send().await.unwrap();
    format!("type {}", answer.target_groups()[0].target_type().unwrap())
}

async fn unused_group(world: &World) -> String {
    let house = House::build(world, "d-unused").await;
    // In service elsewhere first: only the rule is missing here.
    house.group("d-unused", &house.slots[1]).await;
    let health = async || {
        let answer = world.elb.describe_target_health().target_group_arn(&house.slots[1]).send().await.unwrap();
        let state = answer.target_health_descriptions().first()?.target_health()?.state()?.to_string();
        Some(state)
    };
    eventually("a server is registered", health).await
}
