//! Auto Scaling groups: made, filled, replaced, drained, deleted.

use std::time::Duration;

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification, MixedInstancesPolicy, Tag,
};
use aws_sdk_elasticloadbalancingv2::types::{TargetHealthReasonEnum, TargetHealthStateEnum};
use cutover_sim::{
    Sim,
    model::{Image, ServerKind},
    scenario::{Stage, Staged},
};

use super::region::{World, code, eventually, forward, quick, slow, staged};

async fn group(world: &World, name: &str) -> Option<AutoScalingGroup> {
    let groups = world.auto_scaling.describe_auto_scaling_groups().auto_scaling_group_names(name).send().await;
    groups.expect("groups").auto_scaling_groups().first().cloned()
}

async fn in_service(world: &World, name: &str, size: usize) -> AutoScalingGroup {
    eventually(&format!("{name} has {size} servers in service"), || async {
        let group = group(world, name).await?;
        let ready =
            group.instances().iter().filter(|server| server.lifecycle_state().is_some_and(|it| it.as_str() == "InService"));
        (ready.count() == size && group.instances().len() == size).then_some(group)
    })
    .await
}

fn template(staged: &Staged) -> LaunchTemplateSpecification {
    let id = &staged.services[0].launch_template;
    LaunchTemplateSpecification::builder().launch_template_id(id).version("2").build()
}

/// Green's group, as Cutover asks for it: the image set on the group itself.
async fn create_green(world: &World, staged: &Staged, image: &str) {
    let overrides = LaunchTemplateOverrides::builder().image_id(image).build();
    let launch = LaunchTemplate::builder().launch_template_specification(template(staged)).overrides(overrides).build();
    world
        .auto_scaling
        .create_auto_scaling_group()
        .auto_scaling_group_name("web-prod-v001")
        .mixed_instances_policy(MixedInstancesPolicy::builder().launch_template(launch).build())
        .min_size(1)
        .max_size(4)
        .desired_capacity(2)
        .vpc_zone_identifier("subnet-1")
        .target_group_arns(&staged.services[0].slots[1][0])
        .health_check_type("ELB")
        .health_check_grace_period(60)
        .tags(Tag::builder().key("cutover:deployment").value("1").propagate_at_launch(true).build())
        .send()
        .await
        .expect("the group is created");
}

#[tokio::test]
async fn a_group_boots_from_the_image_set_on_it_and_joins_its_slot() {
    let (world, staged) = staged(quick(), &Stage::default()).await;
    let image = &staged.images["v3"];
    create_green(&world, &staged, image).await;
    let green = in_service(&world, "web-prod-v001", 2).await;
    assert!(green.instances().iter().all(|server| server.image_id() == Some(image)), "{green:?}");
    assert_eq!(green.tags()[0].value(), Some("1"));
    let policy = green.mixed_instances_policy().and_then(|policy| policy.launch_template()).expect("a policy");
    assert_eq!(policy.overrides()[0].image_id(), Some(image.as_str()));

    let slot = &staged.services[0].slots[1][0];
    let health = world.elb.describe_target_health().target_group_arn(slot).send().await.expect("health");
    let states: Vec<_> = health.target_health_descriptions().iter().filter_map(|target| target.target_health()).collect();
    assert_eq!(states.len(), 2);
    assert!(states.iter().all(|health| health.reason() == Some(&TargetHealthReasonEnum::NotInUse)), "no rule names it yet");
    let attached = world.auto_scaling.describe_load_balancer_target_groups().auto_scaling_group_name("web-prod-v001");
    let attached = attached.send().await.expect("attached");
    assert_eq!(attached.load_balancer_target_groups()[0].state(), Some("Added"));

    let activities = world.auto_scaling.describe_scaling_activities().auto_scaling_group_name("web-prod-v001");
    let activities = activities.send().await.expect("activities");
    assert_eq!(
        activities.activities().iter().filter(|it| it.status_code().is_some_and(|code| code.as_str() == "Successful")).count(),
        2
    );
}

#[tokio::test]
async fn blue_becomes_healthy_behind_its_route() {
    let (world, staged) = staged(quick(), &Stage::default()).await;
    let slot = &staged.services[0].slots[0][0];
    eventually("blue is healthy", || async {
        let health = world.elb.describe_target_health().target_group_arn(slot).send().await.expect("health");
        let healthy = health.target_health_descriptions().iter().filter_map(|target| target.target_health()?.state());
        (healthy.filter(|state| **state == TargetHealthStateEnum::Healthy).count() == 2).then_some(())
    })
    .await;
    let attached = world.auto_scaling.describe_load_balancer_target_groups();
    let attached = attached.auto_scaling_group_name("web-prod-v000").send().await.expect("attached");
    assert_eq!(attached.load_balancer_target_groups()[0].state(), Some("InService"));
}

#[tokio::test]
async fn what_aws_refuses_of_a_group_is_refused() {
    let (world, staged) = staged(slow(), &Stage { servers: 0, ..Stage::default() }).await;
    create_green(&world, &staged, &staged.images["v2"]).await;
    let create = |name: &str, min, max, desired| {
        world
            .auto_scaling
            .create_auto_scaling_group()
            .auto_scaling_group_name(name)
            .min_size(min)
            .max_size(max)
            .desired_capacity(desired)
            .vpc_zone_identifier("subnet-1")
    };
    let source = || template(&staged);
    assert_eq!(code(create("web-prod-v001", 1, 2, 1).launch_template(source()).send().await), "AlreadyExists");
    assert_eq!(code(create("x", 3, 2, 3).launch_template(source()).send().await), "ValidationError");
    assert_eq!(code(create("x", 1, 2, 3).launch_template(source()).send().await), "ValidationError");
    assert_eq!(code(create("x", 1, 2, 1).send().await), "ValidationError");
    let unknown = LaunchTemplateSpecification::builder().launch_template_id("lt-0none").version("1").build();
    assert_eq!(code(create("x", 1, 2, 1).launch_template(unknown).send().await), "ValidationError");
    let nowhere = create("x", 1, 2, 1).launch_template(source()).target_group_arns("arn:none");
    assert_eq!(code(nowhere.send().await), "ValidationError");
    let latest = LaunchTemplateSpecification::builder().launch_template_name("web").version("$Latest").build();
    create("x", 0, 2, 0).launch_template(latest).send().await.expect("$Latest is taken");

    let desired = world.auto_scaling.set_desired_capacity().auto_scaling_group_name("x").desired_capacity(3);
    assert_eq!(code(desired.send().await), "ValidationError");
    let missing = world.auto_scaling.update_auto_scaling_group().auto_scaling_group_name("none").min_size(1);
    assert_eq!(code(missing.send().await), "ValidationError", "Auto Scaling knows no NotFound");
    assert!(group(&world, "none").await.is_none());
}

#[tokio::test]
async fn a_deletion_waits_for_the_servers_and_keeps_the_name() {
    let (world, staged) = staged(quick(), &Stage::default()).await;
    let name = staged.services[0].blue.as_deref().expect("a blue");
    in_service(&world, name, 2).await;
    let delete = |force| world.auto_scaling.delete_auto_scaling_group().auto_scaling_group_name(name).force_delete(force);
    assert_eq!(code(delete(false).send().await), "ResourceInUse");

    let protect = |kind: &str| {
        let update = world.auto_scaling.update_auto_scaling_group().auto_scaling_group_name(name);
        update.deletion_protection(kind.into()).send()
    };
    protect("prevent-all-deletion").await.expect("protected");
    assert_eq!(code(delete(true).send().await), "ValidationError");
    protect("none").await.expect("unprotected");
    delete(true).send().await.expect("accepted");

    let deleting = group(&world, name).await.expect("still there");
    assert_eq!(deleting.status(), Some("Delete in progress"));
    let again = world.auto_scaling.create_auto_scaling_group().auto_scaling_group_name(name).min_size(0).max_size(1);
    let again = again.vpc_zone_identifier("subnet-1").launch_template(template(&staged)).send().await;
    assert_eq!(code(again), "AlreadyExists", "the name stays taken");

    let slot = &staged.services[0].slots[0][0];
    eventually("blue drains", || async {
        let health = world.elb.describe_target_health().target_group_arn(slot).send().await.expect("health");
        let states = health.target_health_descriptions().iter().filter_map(|target| target.target_health()?.state());
        (states.filter(|state| **state == TargetHealthStateEnum::Draining).count() == 2).then_some(())
    })
    .await;
    eventually("the group is gone", || async { group(&world, name).await.is_none().then_some(()) }).await;
    let health = world.elb.describe_target_health().target_group_arn(slot).send().await.expect("health");
    assert!(health.target_health_descriptions().is_empty());
    assert!(world.sim.shared().now().instances.is_empty());
}

#[tokio::test]
async fn detaching_drains_and_the_group_lives_on() {
    let (world, staged) = staged(quick(), &Stage::default()).await;
    let (name, slot) = (staged.services[0].blue.as_deref().expect("a blue"), &staged.services[0].slots[0][0]);
    in_service(&world, name, 2).await;
    let detach = || {
        let call = world.auto_scaling.detach_load_balancer_target_groups().auto_scaling_group_name(name);
        call.target_group_arns(slot).send()
    };
    detach().await.expect("detached");
    assert_eq!(code(detach().await), "ValidationError");
    let state = || async {
        let held = world.auto_scaling.describe_load_balancer_target_groups().auto_scaling_group_name(name).send().await;
        held.expect("held").load_balancer_target_groups().first().and_then(|held| held.state().map(str::to_owned))
    };
    assert_eq!(state().await.as_deref(), Some("Removing"));
    eventually("its targets are gone", || async { state().await.is_none().then_some(()) }).await;
    in_service(&world, name, 2).await;
}

#[tokio::test]
async fn a_launch_that_fails_is_told_in_the_activities_alone() {
    let (world, staged) = staged(quick(), &Stage::default()).await;
    create_green(&world, &staged, "ami-0bad").await;
    let failed = eventually("a launch failed", || async {
        let call = world.auto_scaling.describe_scaling_activities().auto_scaling_group_name("web-prod-v001");
        call.send().await.expect("activities").activities().first().cloned()
    })
    .await;
    assert_eq!(failed.status_code().map(|code| code.as_str()), Some("Failed"));
    assert_eq!(failed.status_message(), Some("The image id '[ami-0bad]' does not exist. Launching EC2 instance failed."));
    assert!(group(&world, "web-prod-v001").await.expect("there").instances().is_empty());

    repair(&world.sim, "ami-0bad");
    in_service(&world, "web-prod-v001", 2).await;
}

fn repair(sim: &Sim, image: &str) {
    let server = ServerKind::BuiltIn { version: "v9".to_owned(), boot: Duration::ZERO, healthy: true };
    sim.shared().change(|region| region.images.insert(image.to_owned(), Image { id: image.to_owned(), server }));
}

#[tokio::test]
async fn a_sick_server_is_replaced_unless_that_is_suspended() {
    let (world, staged) = staged(quick(), &Stage::default()).await;
    let name = staged.services[0].blue.as_deref().expect("a blue");
    let before = in_service(&world, name, 2).await;
    let sick = before.instances()[0].instance_id().expect("an id").to_owned();
    let suspend = world.auto_scaling.suspend_processes().auto_scaling_group_name(name);
    suspend.scaling_processes("ReplaceUnhealthy").send().await.expect("suspended");
    world.sim.shared().change(|region| region.instances.get_mut(&sick).expect("it is there").sick = true);
    eventually("it counts as unhealthy", || async {
        let group = group(&world, name).await?;
        let server = group.instances().iter().find(|server| server.instance_id() == Some(&sick))?;
        (server.health_status() == Some("Unhealthy") && group.instances().len() == 2).then_some(())
    })
    .await;
    world.auto_scaling.resume_processes().auto_scaling_group_name(name).send().await.expect("resumed");
    eventually("it is replaced", || async {
        let group = in_service(&world, name, 2).await;
        group.instances().iter().all(|server| server.instance_id() != Some(&sick)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn scaling_in_spares_what_is_protected() {
    let (world, staged) = staged(quick(), &Stage { servers: 3, ..Stage::default() }).await;
    let name = staged.services[0].blue.as_deref().expect("a blue");
    let before = in_service(&world, name, 3).await;
    let ids: Vec<String> = before.instances().iter().filter_map(|server| server.instance_id().map(str::to_owned)).collect();
    let protect = world.auto_scaling.set_instance_protection().auto_scaling_group_name(name).protected_from_scale_in(true);
    protect.instance_ids(&ids[0]).instance_ids(&ids[1]).send().await.expect("protected");
    let update = world.auto_scaling.update_auto_scaling_group().auto_scaling_group_name(name);
    update.min_size(1).desired_capacity(1).send().await.expect("shrunk");
    eventually("the third one is gone", || async {
        let group = group(&world, name).await?;
        let left: Vec<_> = group.instances().iter().filter_map(|server| server.instance_id()).collect();
        (left.len() == 2 && !left.contains(&ids[2].as_str())).then_some(())
    })
    .await;
    let terminate = world.auto_scaling.terminate_instance_in_auto_scaling_group().instance_id(&ids[0]);
    let refused = terminate.should_decrement_desired_capacity(true).send().await;
    assert_eq!(code(refused), "ValidationError", "the minimum holds");
}

#[tokio::test]
async fn the_load_balancers_verdict_reaches_its_group_once_the_grace_is_over() {
    let (world, staged) = staged(quick(), &Stage::default()).await;
    // Green's slot is in a rule, so that it is checked at all.
    let (blue, green) = (staged.services[0].slots[0][0].as_str(), staged.services[0].slots[1][0].as_str());
    let rule = world.elb.modify_rule().rule_arn(&staged.services[0].routes[0]);
    rule.actions(forward(&[(blue, 999), (green, 0)])).send().await.expect("opened");
    let sick = ServerKind::BuiltIn { version: "v9".to_owned(), boot: Duration::ZERO, healthy: false };
    world
        .sim
        .shared()
        .change(|region| region.images.insert("ami-0ick".to_owned(), Image { id: "ami-0ick".to_owned(), server: sick }));
    let suspend = |name: &'static str| {
        world.auto_scaling.suspend_processes().auto_scaling_group_name(name).scaling_processes("ReplaceUnhealthy").send()
    };
    create_green(&world, &staged, "ami-0ick").await;
    suspend("web-prod-v001").await.expect("suspended");
    let verdicts =
        |group: &AutoScalingGroup| group.instances().iter().map(|it| it.health_status() == Some("Healthy")).collect::<Vec<_>>();
    let young = in_service(&world, "web-prod-v001", 2).await;
    assert_eq!(verdicts(&young), [true, true], "nobody has looked yet: a new server counts as healthy");
    eventually("the group has heard of it", || async {
        (verdicts(&group(&world, "web-prod-v001").await?) == [false, false]).then_some(())
    })
    .await;
}
