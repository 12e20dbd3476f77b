//! What scales blue is copied to green: policies at green's own target group, schedules later; what would be dead is named.

use aws_sdk_autoscaling::types::{
    CustomizedMetricSpecification, MetricDimension, MetricStatistic, MetricType, PredefinedMetricSpecification, ScalingPolicy,
    StepAdjustment, TargetTrackingConfiguration,
};
use cutover::domain::{
    action::{Action as Change, Scaling},
    deployment::Deployment,
    observation::{Known, ScalingView},
    phase::Phase,
};

use super::{
    Story,
    house::House,
    story,
    world::{World, eventually},
};

pub const STORIES: &[Story] = &[
    story!(what_scales_blue_scales_green_and_what_would_be_dead_is_named),
    story!(a_group_that_nothing_scales_needs_nothing_copied),
    story!(a_schedule_that_may_shrink_blue_is_named_unless_it_is_suspended),
];

/// `app/NAME/ID/targetgroup/NAME/ID`.
fn label(load_balancer: &str, slot: &str) -> String {
    let balancer = load_balancer.rsplit_once(":loadbalancer/").unwrap().1;
    format!("{balancer}/targetgroup/{}", slot.rsplit_once(":targetgroup/").unwrap().1)
}

async fn track(world: &World, group: &str, name: &str, tracking: TargetTrackingConfiguration) {
    let call = world.autoscaling.put_scaling_policy().auto_scaling_group_name(group).policy_name(name);
    call.policy_type("TargetTrackingScaling").target_tracking_configuration(tracking).send().await.unwrap();
}

async fn scaled_blue(house: &House<'_>) {
    let (world, blue) = (house.world, house.blue());
    let requests = PredefinedMetricSpecification::builder()
        .predefined_metric_type(MetricType::AlbRequestCountPerTarget)
        .resource_label(label(&house.load_balancer, &house.slots[0]));
    let requests = TargetTrackingConfiguration::builder().predefined_metric_specification(requests.build()).target_value(80.0);
    track(world, &blue, "requests", requests.disable_scale_in(true).build()).await;
    let own = CustomizedMetricSpecification::builder()
        .metric_name("QueueLength")
        .namespace("Web")
        .dimensions(MetricDimension::builder().name("AutoScalingGroupName").value(&blue).build())
        .statistic(MetricStatistic::Average)
        .build();
    let own = TargetTrackingConfiguration::builder().customized_metric_specification(own).target_value(5.5);
    track(world, &blue, "queue", own.build()).await;
    let step = world.autoscaling.put_scaling_policy().auto_scaling_group_name(&blue).policy_name("in-steps");
    let step = step
        .policy_type("StepScaling")
        .adjustment_type("ChangeInCapacity")
        .step_adjustments(StepAdjustment::builder().metric_interval_lower_bound(0.0).scaling_adjustment(1).build());
    step.send().await.unwrap();
    let night = world.autoscaling.put_scheduled_update_group_action().auto_scaling_group_name(&blue);
    let night = night.scheduled_action_name("night").recurrence("0 22 * * *").time_zone("Europe/Berlin").min_size(1);
    night.send().await.unwrap();
}

async fn lacking(house: &House<'_>, d: &Deployment) -> Option<ScalingView> {
    match house.observe(d).await.scaling {
        Known::Seen(scaling) => Some(scaling),
        Known::Absent | Known::Unknown(_) => None,
    }
}

async fn what_scales_blue_scales_green_and_what_would_be_dead_is_named(world: &World) {
    let house = House::with_blue(world, "scaled").await;
    scaled_blue(&house).await;
    let up = async || {
        let survey = house.survey(&house.pending(house.declaration_with_blue())).await;
        survey.blue.as_ref().is_some_and(|blue| blue.healthy == 2).then_some(survey)
    };
    let survey = eventually("blue is healthy", up).await;
    let named: Vec<_> = survey.warnings.iter().filter(|warning| warning.contains("in-steps")).collect();
    assert!(named.len() == 1 && named[0].contains("CloudWatch alarm"), "{:?}", survey.warnings);

    let mut d = house.opened(house.declaration_with_blue()).await;
    assert_eq!(lacking(&house, &d).await, None, "nobody asks before the servers are up");
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    let wanted = eventually("green is up, and looked at", async || lacking(&house, &d).await).await;
    assert_eq!((wanted.policies_missing, wanted.scheduled_missing), (2, 1));
    for _ in 0..2 {
        // An answer was lost: the repeat replaces what is there.
        house.apply(&d, &Change::CopyScaling { what: Scaling::Policies }).await.unwrap();
    }
    assert_eq!(lacking(&house, &d).await, Some(ScalingView { policies_missing: 0, scheduled_missing: 1 }));
    the_copies_are_greens_own(&house, &d).await;

    d.phase = Phase::Retiring;
    house.apply(&d, &Change::CopyScaling { what: Scaling::Scheduled }).await.unwrap();
    assert_eq!(lacking(&house, &d).await, Some(ScalingView::default()));
    let green = d.plan.as_ref().unwrap().green.group.as_str();
    let copied = world.autoscaling.describe_scheduled_actions().auto_scaling_group_name(green).send().await.unwrap();
    let night = &copied.scheduled_update_group_actions()[0];
    assert_eq!((night.recurrence(), night.min_size()), (Some("0 22 * * *"), Some(1)));
}

async fn the_copies_are_greens_own(house: &House<'_>, d: &Deployment) {
    let green = d.plan.as_ref().unwrap().green.group.as_str();
    let policies = house.world.autoscaling.describe_policies().auto_scaling_group_name(green).send().await.unwrap();
    let named = |name: &str| -> ScalingPolicy {
        let found = policies.scaling_policies().iter().find(|policy| policy.policy_name() == Some(name));
        found.unwrap_or_else(|| panic!("no policy {name}")).clone()
    };
    assert_eq!(policies.scaling_policies().len(), 2, "the one in steps would be dead");
    let requests = named("requests").target_tracking_configuration.unwrap();
    let at = requests.predefined_metric_specification().and_then(|metric| metric.resource_label());
    assert_eq!(at, Some(label(&house.load_balancer, &house.slots[1]).as_str()), "green's requests, not blue's");
    assert_eq!((requests.target_value(), requests.disable_scale_in()), (Some(80.0), Some(true)));
    let own = named("queue").target_tracking_configuration.unwrap();
    let of = own.customized_metric_specification().map(|metric| metric.dimensions()[0].value().unwrap_or_default());
    assert_eq!(of, Some(green), "its own servers");
}

async fn a_group_that_nothing_scales_needs_nothing_copied(world: &World) {
    let house = House::with_blue(world, "unscaled").await;
    let survey = house.survey(&house.pending(house.declaration_with_blue())).await;
    assert!(survey.blue.unwrap().scaling.is_null());
    assert!(survey.warnings.is_empty(), "{:?}", survey.warnings);
    // Without a group there is nothing to ask either.
    let first = House::build(world, "first").await;
    assert!(first.survey(&first.pending(first.declaration(&first.base))).await.blue.is_none());
}

async fn a_schedule_that_may_shrink_blue_is_named_unless_it_is_suspended(world: &World) {
    let house = House::with_blue(world, "scheduled").await;
    let blue = house.blue();
    for (name, min) in [("night", 1), ("morning", 3)] {
        let call = world.autoscaling.put_scheduled_update_group_action().auto_scaling_group_name(&blue);
        call.scheduled_action_name(name).recurrence("0 22 * * *").min_size(min).send().await.unwrap();
    }
    let warnings = async || house.survey(&house.pending(house.declaration_with_blue())).await.warnings;
    let told = warnings().await;
    assert!(told.len() == 1 && told[0].contains("scheduled action night sets min 1"), "{told:?}");
    world
        .autoscaling
        .suspend_processes()
        .auto_scaling_group_name(&blue)
        .scaling_processes("ScheduledActions")
        .send()
        .await
        .unwrap();
    let told = warnings().await;
    assert!(told.is_empty(), "none fires: {told:?}");
}
