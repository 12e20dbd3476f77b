//! Scaling policies and scheduled actions: what a deployment copies from blue to green, and what AWS refuses of the copy.

use aws_sdk_autoscaling::{
    operation::{
        put_scaling_policy::builders::PutScalingPolicyFluentBuilder,
        put_scheduled_update_group_action::builders::PutScheduledUpdateGroupActionFluentBuilder,
    },
    primitives::DateTime,
    types::{
        CustomizedMetricSpecification, MetricStatistic, MetricType, PredefinedMetricSpecification, ScalingPolicy,
        ScheduledUpdateGroupActionRequest, StepAdjustment, TargetTrackingConfiguration,
    },
};
use cutover_sim::scenario::{Stage, Staged};

use super::region::{World, code, eventually, forward, quick, slow, staged};

const BLUE: &str = "web-prod-v000";

fn put(world: &World, name: &str) -> PutScalingPolicyFluentBuilder {
    world.auto_scaling.put_scaling_policy().auto_scaling_group_name(BLUE).policy_name(name)
}

/// Keeps so many requests on each server of `slot` behind the load balancer of `balancer`.
fn by_requests(label: &str) -> TargetTrackingConfiguration {
    let metric = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AlbRequestCountPerTarget);
    let metric = metric.resource_label(label).build();
    TargetTrackingConfiguration::builder().predefined_metric_specification(metric).target_value(100.0).build()
}

fn label(balancer: &str, slot: &str) -> String {
    let balancer = balancer.split_once(":loadbalancer/").expect("a load balancer's ARN").1;
    format!("{balancer}/{}", slot.rsplit_once(':').expect("a target group's ARN").1)
}

async fn policies(world: &World, group: &str) -> Vec<ScalingPolicy> {
    let policies = world.auto_scaling.describe_policies().auto_scaling_group_name(group).send().await;
    policies.expect("policies").scaling_policies.unwrap_or_default()
}

async fn track(world: &World, label: &str) -> String {
    let put = put(world, "requests").policy_type("TargetTrackingScaling");
    code(put.target_tracking_configuration(by_requests(label)).send().await)
}

#[tokio::test]
async fn a_policy_by_requests_needs_a_slot_that_its_load_balancer_uses_and_its_group_is_attached_to() {
    let (world, staged) = staged(slow(), &Stage { load_balancers: 2, ..Stage::default() }).await;
    let (service, balancers) = (&staged.services[0], &staged.load_balancers);
    let (blue, green) = (&service.slots[0], &service.slots[1]);
    let none = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AlbRequestCountPerTarget).build();
    let none = TargetTrackingConfiguration::builder().predefined_metric_specification(none).target_value(1.0).build();
    let none = put(&world, "requests").policy_type("TargetTrackingScaling").target_tracking_configuration(none).send().await;
    let told = format!("{none:?}");
    assert!(told.contains("Resource label should be specified for predefined metric type ALBRequestCountPerTarget"), "{told}");
    assert_eq!(track(&world, "nonsense").await, "ValidationError");
    assert_eq!(track(&world, &label(&format!("{}0", balancers[0]), &blue[0])).await, "ValidationError", "no such balancer");
    assert_eq!(track(&world, &label(&balancers[0], &format!("{}0", blue[0]))).await, "ValidationError", "no such slot");
    assert_eq!(track(&world, &label(&balancers[1], &blue[0])).await, "ValidationError", "another load balancer's slot");
    assert_eq!(track(&world, &label(&balancers[0], &green[0])).await, "ValidationError", "a slot in no rule");
    let open = forward(&[(blue[0].as_str(), 999), (green[0].as_str(), 0)]);
    world.elb.modify_rule().rule_arn(&service.routes[0]).actions(open).send().await.expect("opened");
    assert_eq!(track(&world, &label(&balancers[0], &green[0])).await, "ValidationError", "somebody else's slot");
    assert!(policies(&world, BLUE).await.is_empty(), "nothing came of it");

    let fine = by_requests(&label(&balancers[0], &blue[0]));
    let put = put(&world, "requests").policy_type("TargetTrackingScaling").target_tracking_configuration(fine);
    let made = put.estimated_instance_warmup(90).send().await.expect("accepted");
    assert_eq!(made.alarms().len(), 2, "AWS makes one alarm for each direction");
    let kept = policies(&world, BLUE).await.remove(0);
    assert_eq!(kept.policy_arn(), made.policy_arn());
    assert_eq!((kept.estimated_instance_warmup(), kept.enabled()), (Some(90), Some(true)));
    let config = kept.target_tracking_configuration().expect("the configuration");
    assert_eq!((config.target_value(), config.disable_scale_in()), (Some(100.0), Some(false)));
    let metric = config.predefined_metric_specification().expect("the metric");
    assert_eq!(metric.resource_label(), Some(label(&balancers[0], &blue[0]).as_str()));
}

#[tokio::test]
async fn policies_of_every_kind_are_kept_as_they_came_until_their_group_goes() {
    let (world, _staged): (World, Staged) = staged(slow(), &Stage::default()).await;
    let step = |from: f64, add| StepAdjustment::builder().metric_interval_lower_bound(from).scaling_adjustment(add).build();
    let steps = put(&world, "steps").policy_type("StepScaling").adjustment_type("ChangeInCapacity");
    let steps = steps.step_adjustments(step(0.0, 1)).step_adjustments(step(20.0, 3)).metric_aggregation_type("Maximum");
    let first = steps.clone().send().await.expect("kept");
    let again = steps.send().await.expect("replaced");
    assert_eq!(first.policy_arn(), again.policy_arn(), "the same name is the same policy");
    put(&world, "simple").adjustment_type("ExactCapacity").scaling_adjustment(-2).cooldown(30).send().await.expect("kept");
    let custom = CustomizedMetricSpecification::builder().metric_name("Queue").namespace("Ours");
    let custom = custom.statistic(MetricStatistic::Average).build();
    let custom = TargetTrackingConfiguration::builder().customized_metric_specification(custom);
    let custom = custom.target_value(0.5).disable_scale_in(true).build();
    let custom = put(&world, "queue").policy_type("TargetTrackingScaling").target_tracking_configuration(custom);
    let made = custom.enabled(false).send().await.expect("kept");
    assert_eq!(made.alarms().len(), 1, "none to scale in");

    let kept = policies(&world, BLUE).await;
    assert_eq!(kept.iter().filter_map(ScalingPolicy::policy_name).collect::<Vec<_>>(), ["queue", "simple", "steps"]);
    let metric = kept[0].target_tracking_configuration().and_then(|config| config.customized_metric_specification());
    assert_eq!(metric.and_then(CustomizedMetricSpecification::metric_name), Some("Queue"));
    assert_eq!(kept[0].enabled(), Some(false));
    assert_eq!((kept[1].scaling_adjustment(), kept[1].cooldown()), (Some(-2), Some(30)));
    assert_eq!(kept[2].step_adjustments()[1].scaling_adjustment(), Some(3));
    let kinds = world.auto_scaling.describe_policies().policy_types("StepScaling").send().await.expect("policies");
    assert_eq!(kinds.scaling_policies().len(), 1);

    let delete = |name: &'static str| world.auto_scaling.delete_policy().auto_scaling_group_name(BLUE).policy_name(name).send();
    delete("queue").await.expect("deleted");
    assert_eq!(code(delete("queue").await), "ValidationError");
    assert_eq!(code(put(&world, "bad").policy_type("Magic").send().await), "ValidationError");
    assert_eq!(code(put(&world, "bad").adjustment_type("Sideways").scaling_adjustment(1).send().await), "ValidationError");
    let nobody = world.auto_scaling.describe_policies().auto_scaling_group_name("nobody").send().await;
    assert_eq!(code(nobody), "ValidationError");
    world.auto_scaling.delete_auto_scaling_group().auto_scaling_group_name(BLUE).force_delete(true).send().await.expect("gone");
    assert_eq!(code(delete("steps").await), "ValidationError", "its group is on its way out");
}

fn at(world: &World, name: &str) -> PutScheduledUpdateGroupActionFluentBuilder {
    world.auto_scaling.put_scheduled_update_group_action().auto_scaling_group_name(BLUE).scheduled_action_name(name)
}

fn in_seconds(seconds: i64) -> DateTime {
    DateTime::from_secs(jiff::Timestamp::now().as_second() + seconds)
}

async fn scheduled(world: &World) -> Vec<String> {
    let actions = world.auto_scaling.describe_scheduled_actions().auto_scaling_group_name(BLUE).send().await;
    let actions = actions.expect("actions").scheduled_update_group_actions.unwrap_or_default();
    actions.into_iter().filter_map(|action| action.scheduled_action_name).collect()
}

#[tokio::test]
async fn a_scheduled_action_sets_its_groups_sizes_when_its_time_has_come() {
    let (world, _staged) = staged(quick(), &Stage::default()).await;
    at(&world, "soon").start_time(in_seconds(2)).min_size(3).max_size(6).send().await.expect("kept");
    at(&world, "every day").recurrence("0 6 * * *").time_zone("Europe/Berlin").desired_capacity(4).send().await.expect("kept");
    assert_eq!(scheduled(&world).await, ["every day", "soon"]);
    eventually("it is carried out", || async {
        let groups = world.auto_scaling.describe_auto_scaling_groups().auto_scaling_group_names(BLUE).send().await.ok()?;
        let group = groups.auto_scaling_groups().first()?.clone();
        let sizes = (group.min_size(), group.max_size(), group.desired_capacity());
        (sizes == (Some(3), Some(6), Some(3)) && group.instances().len() == 3).then_some(())
    })
    .await;
    assert_eq!(scheduled(&world).await, ["every day"], "what has run is no longer listed");
}

#[tokio::test]
async fn scheduled_actions_are_checked_one_by_one() {
    let (world, _staged) = staged(slow(), &Stage::default()).await;
    assert_eq!(code(at(&world, "x").start_time(in_seconds(-5)).min_size(1).send().await), "ValidationError");
    assert_eq!(code(at(&world, "x").start_time(in_seconds(600)).send().await), "ValidationError", "no size");
    assert_eq!(code(at(&world, "x").recurrence("at noon").min_size(1).send().await), "ValidationError");
    assert_eq!(code(at(&world, "x").start_time(in_seconds(600)).min_size(2).max_size(1).send().await), "ValidationError");
    assert_eq!(code(at(&world, "x").min_size(1).send().await), "ValidationError", "no time");
    let noon = in_seconds(600);
    at(&world, "noon").start_time(noon).min_size(1).send().await.expect("kept");
    at(&world, "noon").start_time(noon).min_size(2).send().await.expect("replaced");
    assert_eq!(code(at(&world, "also noon").start_time(noon).min_size(1).send().await), "AlreadyExists");

    let request = |name: &str, start| {
        ScheduledUpdateGroupActionRequest::builder().scheduled_action_name(name).start_time(start).min_size(1).build()
    };
    let batch = world.auto_scaling.batch_put_scheduled_update_group_action().auto_scaling_group_name(BLUE);
    let batch = batch.scheduled_update_group_actions(request("also noon", noon));
    let batch = batch.scheduled_update_group_actions(request("later", in_seconds(900))).send().await.expect("answered");
    let failed = batch.failed_scheduled_update_group_actions();
    assert_eq!(
        failed.iter().map(|it| (it.scheduled_action_name(), it.error_code())).collect::<Vec<_>>(),
        [(Some("also noon"), Some("AlreadyExists"))]
    );
    assert_eq!(scheduled(&world).await, ["later", "noon"]);

    let delete = |name: &'static str| {
        world.auto_scaling.delete_scheduled_action().auto_scaling_group_name(BLUE).scheduled_action_name(name).send()
    };
    delete("noon").await.expect("deleted");
    assert_eq!(code(delete("noon").await), "ValidationError");
    let batch = world.auto_scaling.batch_delete_scheduled_action().auto_scaling_group_name(BLUE);
    let batch = batch.scheduled_action_names("later").scheduled_action_names("noon").send().await.expect("answered");
    assert_eq!(batch.failed_scheduled_actions().len(), 1);
    assert!(scheduled(&world).await.is_empty());
}
