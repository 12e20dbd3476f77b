//! Differences in scaling policies and scheduled actions.

use aws_sdk_autoscaling::{
    primitives::DateTime,
    types::{MetricType, PredefinedMetricSpecification, TargetTrackingConfiguration},
};

use super::{Difference, LikeAws, outcome, probe};
use crate::contract::cloud::{house::House, world::World};

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        when: "a policy by request count names a target group that its group is not attached to",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(foreign_label),
    },
    Difference {
        when: "a policy by request count names a target group that no rule names",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(unused_label),
    },
    Difference {
        when: "a scaling policy is given to a group that is not there",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(nobodys_policy),
    },
    Difference {
        when: "a target-tracking policy is made: the alarms that the answer names",
        moto: "0",
        pocket_region: "2",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(alarms),
    },
    Difference {
        when: "a scheduled action starts in the past",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(past_start),
    },
    Difference {
        when: "two scheduled actions of a group start at the same time",
        moto: "accepted",
        pocket_region: "AlreadyExists",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(same_start),
    },
];

fn label(house: &House<'_>, slot: &str) -> String {
    let balancer = house.load_balancer.split_once(":loadbalancer/").unwrap().1;
    format!("{balancer}/{}", slot.rsplit_once(':').unwrap().1)
}

async fn put(world: &World, group: &str, label: &str) -> String {
    let metric = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AlbRequestCountPerTarget);
    let config = TargetTrackingConfiguration::builder().predefined_metric_specification(metric.resource_label(label).build());
    let call = world.autoscaling.put_scaling_policy().auto_scaling_group_name(group).policy_name("requests");
    let call = call.policy_type("TargetTrackingScaling").target_tracking_configuration(config.target_value(100.0).build());
    outcome(call.send().await)
}

async fn foreign_label(world: &World) -> String {
    let house = House::build(world, "d-foreign").await;
    house.group("d-foreign", &house.slots[1]).await;
    put(world, "d-foreign", &label(&house, &house.slots[0])).await
}

async fn unused_label(world: &World) -> String {
    let house = House::build(world, "d-label").await;
    house.group("d-label", &house.slots[1]).await;
    put(world, "d-label", &label(&house, &house.slots[1])).await
}

async fn nobodys_policy(world: &World) -> String {
    let call = world.autoscaling.put_scaling_policy().auto_scaling_group_name("d-nobody").policy_name("steps");
    outcome(call.adjustment_type("ChangeInCapacity").scaling_adjustment(1).send().await)
}

async fn alarms(world: &World) -> String {
    let house = House::build(world, "d-alarms").await;
    house.group("d-alarms", &house.slots[0]).await;
    let metric = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AsgAverageCpuUtilization);
    let config = TargetTrackingConfiguration::builder().predefined_metric_specification(metric.build()).target_value(50.0);
    let call = world.autoscaling.put_scaling_policy().auto_scaling_group_name("d-alarms").policy_name("cpu");
    let call = call.policy_type("TargetTrackingScaling").target_tracking_configuration(config.build());
    call.send().await.unwrap().alarms().len().to_string()
}

/// Unix seconds, so many from now.
fn seconds(from_now: i64) -> DateTime {
    DateTime::from_secs(jiff::Timestamp::now().as_second() + from_now)
}

async fn schedule(world: &World, group: &str, name: &str, start: DateTime) -> String {
    let call = world.autoscaling.put_scheduled_update_group_action().auto_scaling_group_name(group);
    outcome(call.scheduled_action_name(name).start_time(start).min_size(1).send().await)
}

async fn past_start(world: &World) -> String {
    let house = House::build(world, "d-past").await;
    house.group("d-past", &house.slots[0]).await;
    schedule(world, "d-past", "early", seconds(-3_600)).await
}

async fn same_start(world: &World) -> String {
    let house = House::build(world, "d-noon").await;
    house.group("d-noon", &house.slots[0]).await;
    let noon = seconds(3_600);
    schedule(world, "d-noon", "noon", noon).await;
    schedule(world, "d-noon", "also noon", noon).await
}
